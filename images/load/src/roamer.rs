//! A roaming process: unpinned, with the default memory policy, like a monitoring exporter that
//! wakes regularly and walks its tables.
//!
//! Its working set is first touched on one node and the process then set free on another, so
//! that NUMA balancing has something to mend: every roamer of an even number wants to go where
//! one of an odd number is, and the other way round.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::affinity;
use crate::assignment::{Assignment, Role};
use crate::memory::Region;
use crate::seed::Random;
use crate::walk::{self, Page};

/// Pages walked between two looks at the clock, which costs a system call on some clock sources.
const PAGES_PER_LOOK: usize = 8;

/// Prepares the working set, says so, and walks it for ever.
pub fn run(assignment: &Assignment, index: u32) -> Result<Infallible> {
    let mut words = misplaced_working_set(assignment, index)?;
    crate::ready_and_go(assignment)?;
    let spec = &assignment.spec.roamers;
    let mut random = Random::of(Role::Roamer { index });
    let burst = Duration::from_micros(spec.burst_us.into());
    let sleep = Duration::from_micros(spec.sleep_us.into());
    loop {
        if burst.is_zero() {
            walk::once(&mut words);
        } else {
            walk_for(&mut words, burst, &mut random);
        }
        if !sleep.is_zero() {
            std::thread::sleep(sleep);
        }
    }
}

/// Touches the working set from the roamer's home node and leaves the process, unpinned, on the
/// next node that has CPUs.
fn misplaced_working_set(assignment: &Assignment, index: u32) -> Result<Vec<Page>> {
    let nodes: Vec<&Vec<u32>> = assignment
        .nodes
        .iter()
        .filter(|cpus| !cpus.is_empty())
        .collect();
    let home = index as usize % nodes.len().max(1);
    let home_cpus = nodes.get(home).context("no node has a CPU")?;
    affinity::confine(home_cpus)?;
    let bytes = assignment.spec.roamers.working_set_kib as usize * 1024;
    let mut region = Region::anonymous(bytes)?;
    region.touch();
    affinity::confine(nodes[(home + 1) % nodes.len()])?;
    affinity::confine(&assignment.cpus())?;
    Ok(walk::pages(region))
}

/// Pages in random order until the time is over.
fn walk_for(pages: &mut [Page], burst: Duration, random: &mut Random) {
    let started = Instant::now();
    while started.elapsed() < burst {
        for _ in 0..PAGES_PER_LOOK {
            let page = random.below(pages.len());
            walk::page(&mut pages[page]);
        }
    }
}
