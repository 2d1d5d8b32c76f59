//! Trials that a program makes elsewhere, such as by ssh or as a job of Kubernetes.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::Scope;
use std::time::Duration;

use anyhow::{Result, bail};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use rustix::fs::Access;

use super::local::Place;
use super::spec::Spec;
use super::threads::Threads;
use super::{Executor, Jobs};
use crate::commands::Usage;
use crate::guests;
use crate::process::{self, Interrupted, Job};

/// Trials at a time where nobody says how many: elsewhere is not known.
const JOBS_DEFAULT: usize = 4;
/// So often is a trial begun again that left no record: machines elsewhere get lost.
const TRIES: u32 = 3;
/// A trial with all its waiting for a machine.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Has trials made elsewhere, side by side.
#[derive(Debug)]
pub struct Elsewhere<'scope, 'env> {
    place: &'env Place<'env>,
    jobs: usize,
    program: &'env Path,
    spec: Spec,
    threads: Threads<'scope, 'env>,
}

impl<'scope, 'env> Elsewhere<'scope, 'env> {
    /// By this program, in threads of `scope` that wait for it.
    ///
    /// # Errors
    /// When it is no program, or the run's folder cannot be written.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        place: &'env Place<'env>,
        jobs: Jobs,
        program: &'env Path,
    ) -> Result<Self> {
        rustix::fs::access(program, Access::EXEC_OK)
            .map_err(|error| Usage(format!("--executor {}: {error}", program.display())))?;
        Ok(Self {
            place,
            jobs: jobs.or(JOBS_DEFAULT),
            program,
            spec: Spec::lay_out(place.guests, place.campaign)?,
            threads: Threads::new(scope, &place.stop),
        })
    }
}

impl Executor for Elsewhere<'_, '_> {
    fn has_room(&mut self, under_way: usize) -> Result<bool> {
        Ok(under_way < self.jobs)
    }

    fn start(&mut self, order: &Order) -> Result<()> {
        self.spec.orders.push(order.clone());
        self.spec.write(&self.place.guests.run)?;
        let (place, program, order) = (self.place, self.program, order.clone());
        self.threads.start(move || {
            let task = place.progress.task(format!("trial {}", order.id()), 0);
            let record = call(place, program, &order)?;
            task.finish(guests::ending(place.campaign, &record));
            Ok(record)
        })
    }

    fn wait(&mut self) -> Result<TrialRecord> {
        self.threads.wait()
    }
}

/// Calls the program until there is a record.
fn call(place: &Place<'_>, program: &Path, order: &Order) -> Result<TrialRecord> {
    let run = &place.guests.run;
    let log = run.elsewhere_log(&order.id());
    let job = Job::new(program, DEADLINE)
        .args([run.spec().as_os_str(), order.number.to_string().as_ref()])
        .args([run.all_trials()])
        .log(&log)
        // It has others do the work, such as ssh.
        .guarded();
    for _ in 0..TRIES {
        job.start()?
            .wait_with(|| match place.stop.load(Ordering::Relaxed) {
                true => Err(Interrupted.into()),
                false => Ok(()),
            })?;
        if let Some(record) = place.results.find(&run.all_trials(), order)? {
            return Ok(record);
        }
    }
    bail!(
        "trial {}: {} was called {TRIES} times and left no record in {}; what it said is in {}:\n{}",
        order.id(),
        program.display(),
        run.trial(&order.id()).record().display(),
        log.display(),
        process::tail_of(&log, 10)
    )
}
