//! Threads that each make one trial.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use anyhow::{Context, Result};
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

use crate::guests::{Guests, Surroundings};
use crate::host::Lease;
use crate::process::POLL_INTERVAL;
use crate::progress::Progress;

/// Beyond so many trials at a time a terminal has no room to show each.
pub const SHOWN_MAX: usize = 12;

/// A trial to come.
#[derive(Debug)]
pub struct Coming<'a> {
    /// Its kernel is among these.
    pub guests: Arc<Guests>,
    /// What the guest does.
    pub campaign: &'a Campaign,
    /// What is asked for.
    pub order: Order,
    /// What the guest boots into.
    pub initramfs: PathBuf,
    /// CPUs of its own.
    pub lease: Option<Lease>,
}

/// Trials under way, one thread each. Dropping it asks them to end.
#[derive(Debug)]
pub struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    stop: &'env AtomicBool,
    running: Vec<ScopedJoinHandle<'scope, Result<TrialRecord>>>,
}

impl<'scope, 'env> Threads<'scope, 'env> {
    /// No thread yet; they are to end when `stop` is set.
    pub fn new(scope: &'scope Scope<'scope, 'env>, stop: &'env AtomicBool) -> Self {
        Self {
            scope,
            stop,
            running: Vec::new(),
        }
    }

    /// How many run, or have ended and were not waited for.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Begins a trial of this host's.
    ///
    /// # Errors
    /// As [`Threads::start`].
    pub fn make(&mut self, coming: Coming<'scope>, progress: &'scope Progress) -> Result<()> {
        let stop = self.stop;
        let progress = (self.count() < SHOWN_MAX).then_some(progress);
        self.start(move || {
            let around = Surroundings {
                dir: coming.guests.run.trial(&coming.order.id()),
                initramfs: coming.initramfs,
                lease: coming.lease.as_ref(),
                stop,
                progress,
            };
            let (guests, campaign) = (coming.guests, coming.campaign);
            guests.trial(campaign, &coming.order, &around)
        })
    }

    /// Begins what makes a trial.
    ///
    /// # Errors
    /// When the host has no more threads.
    pub fn start(
        &mut self,
        trial: impl FnOnce() -> Result<TrialRecord> + Send + 'scope,
    ) -> Result<()> {
        let thread = thread::Builder::new().name("trial".to_owned());
        let handle = thread.spawn_scoped(self.scope, trial);
        self.running
            .push(handle.context("cannot start a thread for a trial")?);
        Ok(())
    }

    /// Waits until one has ended.
    ///
    /// # Errors
    /// Its error.
    pub fn wait(&mut self) -> Result<TrialRecord> {
        loop {
            let ended = self.running.iter().position(ScopedJoinHandle::is_finished);
            if let Some(index) = ended {
                let handle = self.running.remove(index);
                return handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Threads<'_, '_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
