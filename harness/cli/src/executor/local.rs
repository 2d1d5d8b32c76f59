//! Trials in threads of this process: the death signal of a QEMU is tied to the thread that started it.

use std::sync::atomic::AtomicBool;
use std::thread::Scope;

use anyhow::Result;
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

use super::results::Results;
use super::room::Room;
use super::threads::{SHOWN_MAX, Threads};
use super::{Executor, Jobs};
use crate::guests::{Guests, LOAD, Surroundings};
use crate::progress::Progress;

/// What all trials of a run need.
#[derive(Debug)]
pub struct Place<'a> {
    /// Kernels and the like.
    pub guests: &'a Guests,
    /// What the guests do.
    pub campaign: &'a Campaign,
    /// What counts as a result of theirs.
    pub results: Results,
    /// Where to show it.
    pub progress: &'a Progress,
    /// Ends all trials when it is set.
    pub stop: AtomicBool,
}

/// Runs trials side by side on this host.
#[derive(Debug)]
pub struct Local<'scope, 'env> {
    place: &'env Place<'env>,
    room: Room,
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
        Ok(Self {
            place,
            room: Room::of_this_host(jobs)?,
            threads: Threads::new(scope, &place.stop),
        })
    }
}

impl Executor for Local<'_, '_> {
    fn has_room(&mut self, under_way: usize) -> Result<bool> {
        let guest = &self.place.campaign.guest;
        let under_way = vec![guest; under_way];
        self.room.has_room(guest, &under_way, self.place.progress)
    }

    fn start(&mut self, order: &Order) -> Result<()> {
        let (place, lease, order) = (self.place, self.room.take(), order.clone());
        let shown = self.threads.count() < SHOWN_MAX;
        self.threads.start(move || {
            let dir = place.guests.run.trial(&order.id());
            let around = Surroundings {
                dir: dir.clone(),
                initramfs: place.guests.run.initramfs(LOAD),
                lease: lease.as_ref(),
                stop: &place.stop,
                progress: shown.then_some(place.progress),
            };
            let record = place.guests.trial(place.campaign, &order, &around)?;
            place.results.sign(&dir)?;
            Ok(record)
        })
    }

    fn wait(&mut self) -> Result<TrialRecord> {
        self.room.release();
        self.threads.wait()
    }
}
