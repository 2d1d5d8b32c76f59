//! CPU affinity of threads.

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// A mask of these CPUs. CPUs beyond the mask's 1024 are left out.
pub fn mask(cpus: &[u32]) -> CpuSet {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if (cpu as usize) < CpuSet::MAX_CPU {
            set.set(cpu as usize);
        }
    }
    set
}

/// Restricts the calling thread to `cpus`.
///
/// # Errors
/// When none of them is online.
pub fn confine(cpus: &[u32]) -> Result<()> {
    sched_setaffinity(None, &mask(cpus)).with_context(|| format!("cannot run on CPUs {cpus:?}"))
}

/// Restricts the thread `pid` to `set`.
///
/// # Errors
/// When the thread is gone or no CPU of the set is online.
pub fn confine_other(pid: Pid, set: &CpuSet) -> rustix::io::Result<()> {
    sched_setaffinity(Some(pid), set)
}
