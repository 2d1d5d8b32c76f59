//! How many guests this host has room for beside each other.

use anyhow::{Context, Result};
use kverdict_core::campaign::Guest;

use super::Jobs;
use crate::host::{self, Cpus, Lease};

/// What QEMU takes besides a guest's memory, in MiB: TCG's translations are the most of it.
const OVERHEAD_MIB: u64 = 128;

/// CPUs and memory of this host, for guests of this process.
#[derive(Debug)]
pub struct Room {
    jobs: Jobs,
    cpus: Cpus,
    memory_mib: u64,
    /// For the guest to come.
    lease: Option<Lease>,
}

impl Room {
    /// The room that there is now.
    ///
    /// # Errors
    /// When the host does not tell what it has.
    pub fn of_this_host(jobs: Jobs) -> Result<Self> {
        let memory = host::available_memory_mib();
        Ok(Self {
            jobs,
            cpus: Cpus::of_this_host()?,
            memory_mib: memory.context("cannot read how much memory is free")?,
            lease: None,
        })
    }

    /// Whether there is room for another guest beside those under way. The first one always has it.
    ///
    /// # Errors
    /// When CPUs cannot be kept for it.
    pub fn has_room(&mut self, guest: &Guest, under_way: &[&Guest]) -> Result<bool> {
        let all = under_way.iter().copied().chain([guest]);
        let needed: u64 = all.map(|one| one.memory_mib() + OVERHEAD_MIB).sum();
        let first = under_way.is_empty();
        let allowed = match self.jobs {
            Jobs::Auto => true,
            Jobs::AtMost(jobs) => under_way.len() < jobs,
        };
        if !first && (!allowed || needed > self.memory_mib) {
            return Ok(false);
        }
        // One that was kept for a smaller guest is no use.
        let fits = |lease: &Lease| lease.cpus().len() == guest.cpus() as usize;
        if !self.lease.as_ref().is_some_and(fits) {
            self.lease = None;
            self.lease = self.cpus.lease(guest.cpus())?;
        }
        Ok(first || self.lease.is_some() || matches!(self.jobs, Jobs::AtMost(_)))
    }

    /// The CPUs for a guest that there is room for, if it has any of its own.
    pub fn take(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    /// Lets whoever else is on this host have what was kept for the guest to come.
    pub fn release(&mut self) {
        self.lease = None;
    }
}
