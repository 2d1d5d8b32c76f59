//! The polling process: one thread per poller, pinned, never sleeping, like DPDK's lcores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use anyhow::{Context, Result, bail, ensure};
use kverdict_core::load::{LoadSpec, Placement};

use crate::affinity;
use crate::assignment::Assignment;
use crate::board::Board;
use crate::memory::HUGEPAGE_BYTES;
use crate::pipeline::Pipeline;

/// Huge pages of 2 MiB that the pollers of this load take on their node.
pub fn hugepages_needed(spec: &LoadSpec) -> usize {
    Pipeline::bytes(&spec.pollers).div_ceil(HUGEPAGE_BYTES) * spec.pollers.count as usize
}

/// The CPU of poller `index`, out of the ascending CPUs of its node.
fn cpu_of(placement: Placement, index: usize, cpus: &[u32]) -> u32 {
    match placement {
        Placement::OnePerCpu => cpus[index % cpus.len()],
        Placement::StackedOnFirstCpu => cpus[0],
        Placement::StackedOnLastCpu => cpus[cpus.len() - 1],
    }
}

/// Prepares all pollers, says so, and polls until a poller fails.
pub fn run(assignment: &Assignment) -> Result<std::convert::Infallible> {
    let spec = &assignment.spec;
    ensure!(
        spec.pollers.burst_packets <= spec.pollers.ring_slots,
        "bursts of {} do not fit rings of {}",
        spec.pollers.burst_packets,
        spec.pollers.ring_slots
    );
    let cpus = assignment.poller_cpus()?;
    let board = Board::map(&assignment.board, spec.pollers.count)?;
    let start = Arc::new(Barrier::new(spec.pollers.count as usize + 1));
    let mut threads = Vec::new();
    for index in 0..spec.pollers.count as usize {
        let cpu = cpu_of(spec.pollers.placement, index, cpus);
        let pipeline = pipeline_near(assignment, cpu).with_context(|| format!("poller {index}"))?;
        let (counter, start) = (board.counter(index), Arc::clone(&start));
        let thread = std::thread::Builder::new().name(format!("kv-poller-{index}"));
        threads.push(thread.spawn(move || {
            affinity::confine(&[cpu]).expect("it could run there a moment ago");
            start.wait();
            poll(pipeline, counter)
        })?);
    }
    crate::ready_and_go(assignment)?;
    start.wait();
    for thread in threads {
        // A poller's panic ends the process at once (see `main`), so this waits for good.
        if thread.join().is_err() {
            bail!("a poller ended");
        }
    }
    bail!("there are no pollers")
}

/// Builds the pipeline from its own CPU, so that everything the kernel allocates on the way is
/// near as well; the calling thread stays on that CPU.
fn pipeline_near(assignment: &Assignment, cpu: u32) -> Result<Pipeline> {
    affinity::confine(&[cpu])?;
    Pipeline::on_node(
        &assignment.spec.pollers,
        assignment.spec.node,
        assignment.hugepages,
    )
}

/// The hot loop: no system call, no sleep, no end.
fn poll(mut pipeline: Pipeline, counter: &AtomicU64) {
    let mut sent = 0;
    loop {
        sent += pipeline.turn() as u64;
        counter.store(sent, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pollers_wrap_around_their_node_or_stack() {
        let cpus = [4, 5, 6];
        let lay = |placement| {
            (0..4)
                .map(|index| cpu_of(placement, index, &cpus))
                .collect::<Vec<_>>()
        };
        assert_eq!(lay(Placement::OnePerCpu), [4, 5, 6, 4]);
        assert_eq!(lay(Placement::StackedOnFirstCpu), [4; 4]);
        assert_eq!(lay(Placement::StackedOnLastCpu), [6; 4]);
    }
}
