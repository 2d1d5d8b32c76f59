//! Trials in threads of this process: the death signal of a QEMU is tied to the thread that started it.

use std::sync::atomic::AtomicBool;
use std::thread::Scope;

use anyhow::{Context, Result};
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

use super::threads::Threads;
use super::{Executor, Jobs};
use crate::guests::{Guests, Surroundings};
use crate::host::{self, Cpus, Lease};
use crate::progress::Progress;

/// What QEMU takes besides a guest's memory, in MiB: TCG's translations are the most of it.
const OVERHEAD_MIB: u64 = 128;
/// Beyond so many trials at a time a terminal has no room to show each.
const SHOWN_MAX: usize = 12;

/// What all trials of a run need.
#[derive(Debug)]
pub struct Place<'a> {
    /// Kernels and the like.
    pub guests: &'a Guests,
    /// What the guests do.
    pub campaign: &'a Campaign,
    /// Where to show it.
    pub progress: &'a Progress,
    /// Ends all trials when it is set.
    pub stop: AtomicBool,
}

/// Runs trials side by side on this host.
#[derive(Debug)]
pub struct Local<'scope, 'env> {
    place: &'env Place<'env>,
    jobs: Jobs,
    cpus: Cpus,
    memory_mib: u64,
    /// For the trial to come.
    lease: Option<Lease>,
    threads: Threads<'scope, 'env>,
}

impl<'scope, 'env> Local<'scope, 'env> {
    /// Runs them in threads of `scope`.
    ///
    /// # Errors
    /// When the host does not tell what it has.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        place: &'env Place<'env>,
        jobs: Jobs,
    ) -> Result<Self> {
        let memory = host::available_memory_mib();
        Ok(Self {
            place,
            jobs,
            cpus: Cpus::of_this_host()?,
            memory_mib: memory.context("cannot read how much memory is free")?,
            lease: None,
            threads: Threads::new(scope, &place.stop),
        })
    }
}

impl Executor for Local<'_, '_> {
    fn has_room(&mut self, under_way: usize) -> Result<bool> {
        let guest = &self.place.campaign.guest;
        let needed = (under_way as u64 + 1) * (guest.memory_mib() + OVERHEAD_MIB);
        let first = under_way == 0;
        let allowed = match self.jobs {
            Jobs::Auto => true,
            Jobs::AtMost(jobs) => under_way < jobs,
        };
        if !first && (!allowed || needed > self.memory_mib) {
            return Ok(false);
        }
        if self.lease.is_none() {
            self.lease = self.cpus.lease(guest.cpus())?;
        }
        Ok(first || self.lease.is_some() || matches!(self.jobs, Jobs::AtMost(_)))
    }

    fn start(&mut self, order: &Order) -> Result<()> {
        let (place, lease, order) = (self.place, self.lease.take(), order.clone());
        let shown = self.threads.count() < SHOWN_MAX;
        self.threads.start(move || {
            let around = Surroundings {
                dir: place.guests.run.trial(&order.id()),
                lease: lease.as_ref(),
                stop: &place.stop,
                progress: shown.then_some(place.progress),
            };
            place.guests.trial(place.campaign, &order, &around)
        })
    }

    fn wait(&mut self) -> Result<TrialRecord> {
        // Whoever else is on this host may want them meanwhile.
        self.lease = None;
        self.threads.wait()
    }
}
