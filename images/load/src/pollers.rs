//! The polling process: one thread per poller, pinned, never sleeping, like DPDK's lcores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kverdict_core::load::{LoadSpec, Placement, RealtimeSpec};

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

/// The CPUs that the load's pollers are pinned to, out of those of their node.
pub fn pinned_to(spec: &LoadSpec, cpus: &[u32]) -> Vec<u32> {
    if cpus.is_empty() {
        return Vec::new();
    }
    let pollers = 0..spec.pollers.count as usize;
    let mut pinned: Vec<u32> = pollers
        .map(|index| cpu_of(spec.pollers.placement, index, cpus))
        .collect();
    pinned.sort_unstable();
    pinned.dedup();
    pinned
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
        let realtime = spec.pollers.realtime.clone();
        threads.push(thread.spawn(move || {
            affinity::confine(&[cpu]).expect("it could run there a moment ago");
            start.wait();
            match realtime {
                None => poll(pipeline, counter),
                Some(spec) => poll_and_rest(pipeline, counter, &spec),
            }
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

/// The same with real-time priority and pauses, in which ordinary tasks run.
fn poll_and_rest(mut pipeline: Pipeline, counter: &AtomicU64, spec: &RealtimeSpec) {
    let (work, rest) = (
        Duration::from_micros(spec.work_us.into()),
        Duration::from_micros(spec.rest_us.into()),
    );
    become_realtime().expect("PID 1 of the guest may do that");
    let mut sent = 0;
    loop {
        let started = Instant::now();
        while started.elapsed() < work {
            sent += pipeline.turn() as u64;
            counter.store(sent, Ordering::Relaxed);
        }
        std::thread::sleep(rest);
    }
}

fn become_realtime() -> Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) };
    ensure!(
        result == 0,
        "SCHED_FIFO: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
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
