//! Processes that NUMA balancing has to swap: returners, which go back to the pollers' CPU although
//! their memory is on the next node, and hoppers, which go round that node's CPUs although theirs is
//! on the pollers'.
//!
//! With B the pollers' CPU and A one of the next node: a returner on B takes a hinting fault and finds
//! the hopper that runs on A for a partner, since both would be at home after the swap. When that
//! hopper hops, migration/A runs and leaves A empty, and A balances on its way to sleep. It looks for
//! work on B, which has the most of it and, while the returner is in the kernel, nothing that can be
//! pulled: it asks B's stopper to push the returner. These are both sides of the race.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kverdict_core::load::SwapperSpec;

use crate::affinity;
use crate::assignment::Assignment;
use crate::memory::Region;
use crate::seed::Random;
use crate::walk::{self, Page};

/// Says that it is ready, and returns for ever.
pub fn run_returner(assignment: &Assignment) -> Result<Infallible> {
    let (spec, place) = (spec(assignment)?, Place::of(assignment)?);
    let mut pages = working_set(spec, &place.far)?;
    let everywhere = place.and_near(&place.far);
    rustix::process::nice(spec.returner_nice as i32).context("nice")?;
    crate::ready_and_go(assignment)?;
    loop {
        affinity::confine(&[place.near])?;
        affinity::confine(&everywhere)?;
        walk_on(
            place.near,
            &mut pages,
            Duration::from_micros(spec.stay_us.into()),
        );
    }
}

/// Says that it is ready, and hops for ever.
pub fn run_hopper(assignment: &Assignment, index: u32) -> Result<Infallible> {
    let (spec, place) = (spec(assignment)?, Place::of(assignment)?);
    let mut pages = working_set(spec, &[place.near])?;
    crate::ready_and_go(assignment)?;
    let mut random = Random::of(assignment.role);
    let mut at = index as usize % place.far.len();
    loop {
        let next = place.far[at];
        affinity::confine(&[next])?;
        // A task that may not go to the pollers' CPU is no partner for a swap.
        affinity::confine(&place.and_near(&[next]))?;
        walk_for(&mut pages, Duration::from_micros(spec.hop_us.into()));
        // Not one after the other: hoppers that meet would hop on together for ever, and what they leave
        // would not be empty.
        at = (at + 1 + random.below(place.far.len().max(2) - 1)) % place.far.len();
    }
}

/// Where swaps begin and end.
struct Place {
    /// The pollers' CPU.
    near: u32,
    /// The CPUs of the next node that has any.
    far: Vec<u32>,
}

impl Place {
    fn of(assignment: &Assignment) -> Result<Self> {
        let nodes = &assignment.nodes;
        let after = assignment.spec.node as usize + 1;
        let far = (0..nodes.len().saturating_sub(1))
            .map(|step| &nodes[(after + step) % nodes.len()])
            .find(|cpus| !cpus.is_empty());
        Ok(Place {
            near: *assignment
                .poller_cpus()?
                .last()
                .context("a node without CPUs")?,
            far: far.context("swaps need two nodes")?.clone(),
        })
    }

    fn and_near(&self, cpus: &[u32]) -> Vec<u32> {
        cpus.iter().copied().chain([self.near]).collect()
    }
}

fn spec(assignment: &Assignment) -> Result<&SwapperSpec> {
    let spec = assignment.spec.swappers.as_ref();
    spec.context("the load has no swappers")
}

/// Memory that is on the node of `home` and stays there.
fn working_set(spec: &SwapperSpec, home: &[u32]) -> Result<Vec<Page>> {
    affinity::confine(home)?;
    let mut region = Region::anonymous(spec.working_set_kib as usize * 1024)?;
    region.touch();
    region.keep_from_migrating()?;
    Ok(walk::pages(region))
}

/// Walks until the time is over or the process is on another CPU.
fn walk_on(cpu: u32, pages: &mut [Page], time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        for page in pages.iter_mut() {
            walk::page(page);
            if rustix::thread::sched_getcpu() != cpu as usize {
                return;
            }
        }
    }
}

fn walk_for(pages: &mut [Page], time: Duration) {
    let started = Instant::now();
    loop {
        for page in pages.iter_mut() {
            walk::page(page);
            if started.elapsed() >= time {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::Role;

    fn place(node: u32, nodes: &[&[u32]]) -> Result<Place> {
        let spec = serde_json::from_str(&format!(
            r#"{{"node": {node}, "pollers": {{"count": 1}}, "roamers": {{"count": 0, "working_set_kib": 64}}}}"#
        ));
        Place::of(&Assignment {
            role: Role::Returner { index: 0 },
            spec: spec.unwrap(),
            nodes: nodes.iter().map(|cpus| cpus.to_vec()).collect(),
            hugepages: false,
            board: "/nowhere".into(),
            roamers: Vec::new(),
        })
    }

    #[test]
    fn swaps_are_between_the_pollers_last_cpu_and_the_next_node_that_has_cpus() {
        let last = place(1, &[&[0, 1], &[2, 3]]).unwrap();
        assert_eq!((last.near, last.far.as_slice()), (3, &[0, 1][..]));
        let past_an_empty_one = place(0, &[&[0, 1], &[], &[2, 3]]).unwrap();
        assert_eq!(past_an_empty_one.far, [2, 3]);
        assert_eq!(past_an_empty_one.and_near(&[2]), [2, 1]);
        assert!(place(0, &[&[0, 1]]).is_err());
        assert!(place(0, &[&[0, 1], &[]]).is_err());
    }
}
