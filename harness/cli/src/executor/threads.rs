//! Threads that each make one trial.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use anyhow::{Context, Result};
use kverdict_core::record::TrialRecord;

use crate::process::POLL_INTERVAL;

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

    /// Is set when they are to end.
    pub fn stop(&self) -> &'env AtomicBool {
        self.stop
    }

    /// How many run, or have ended and were not waited for.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Begins a trial.
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
