//! Trials as job arrays of Slurm. The run's folder has to be on a file system that the nodes share; QEMU has to
//! be installed on them, and kverdict comes with the folder.
//!
//! A task that a lost node took is queued again by Slurm (`--requeue`), one that failed by us. Slurm's word is
//! never needed for a result: that is a folder with a record in it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

use super::local::Place;
use super::spec::Spec;
use super::{Executor, ExecutorArgs};
use crate::build::is_interrupt;
use crate::guests;
use crate::process::{self, Interrupted, Job, POLL_INTERVAL};
use crate::progress::Task;
use crate::store;

/// Trials under way where nobody says how many.
const JOBS_DEFAULT: usize = 16;
/// An array's largest index, unless the cluster says otherwise (`MaxArraySize`, slurm.conf(5)).
const INDEX_MAX: u32 = 1000;
/// Trials under way at most; they fit into an array.
const JOBS_MAX: usize = INDEX_MAX as usize;
/// What QEMU and kverdict take besides the guest's memory, in MiB: a limit that kills is set generously.
const OVERHEAD_MIB: u64 = 1024;
/// So often results are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So often Slurm is asked; its controller serves everybody.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// A task that Slurm does not know any more and that has left no result is lost after so long: file names that
/// are new take a while to be seen by other clients of NFS (`acdirmax`, nfs(5), is 60 s).
const LOST_AFTER: Duration = Duration::from_secs(75);
/// So often is a trial queued again that left no record.
const TRIES: u32 = 3;
/// A command of Slurm; sbatch by itself tries again for two minutes where the controller asks it to.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);
/// The last command of a run that ends.
const LAST_COMMAND_LIMIT: Duration = Duration::from_secs(15);
/// After sbatch failed for the first time; twice as long after each further time, which makes a quarter of an hour.
const PAUSE: Duration = Duration::from_secs(2);
/// So often does sbatch fail while nobody answers squeue either, before the run ends.
const SILENCES: u32 = 10;
/// So often in a row while squeue is answered: it is refused then, and not for a moment only.
const REFUSALS: u32 = 3;

/// A trial that was queued.
#[derive(Debug)]
struct Queued {
    order: Order,
    /// As squeue writes it: `12_3`.
    task: String,
    /// How often it was queued.
    tries: u32,
    /// Since when Slurm does not know it.
    missing: Option<Instant>,
}

/// How often sbatch has failed since it last succeeded.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Failures {
    /// Squeue failed as well.
    silences: u32,
    /// Squeue was answered, these last times.
    refusals: u32,
}

impl Failures {
    /// One more. Gives how long to wait before the next try; none: another one is no use.
    fn one_more(&mut self, is_answered: bool) -> Option<Duration> {
        if is_answered {
            self.refusals += 1;
        } else {
            self.silences += 1;
            self.refusals = 0;
        }
        let is_over = self.refusals == REFUSALS || self.silences == SILENCES;
        let times = self.silences + self.refusals - 1;
        (!is_over).then(|| PAUSE * 2_u32.pow(times))
    }
}

/// Has trials made by a cluster.
#[derive(Debug)]
pub struct Slurm<'a> {
    place: &'a Place<'a>,
    jobs: usize,
    arguments: &'a [String],
    spec: Spec,
    /// To be queued, with how often they were before.
    waiting: Vec<(Order, u32)>,
    queued: Vec<Queued>,
    failures: Failures,
    /// When sbatch may be called again.
    next_try: Instant,
    asked: Instant,
    shown: Task<'a>,
}

impl<'a> Slurm<'a> {
    /// With the cluster that sbatch of this machine belongs to.
    ///
    /// # Errors
    /// When there is none, or the run's folder cannot be written.
    pub fn new(place: &'a Place<'a>, args: &'a ExecutorArgs) -> Result<Self> {
        let slurm = Self {
            place,
            jobs: args.jobs.or(JOBS_DEFAULT).min(JOBS_MAX),
            arguments: &args.slurm_arg,
            spec: Spec::lay_out(place.guests, place.campaign)?,
            waiting: Vec::new(),
            queued: Vec::new(),
            failures: Failures::default(),
            next_try: Instant::now(),
            asked: Instant::now(),
            shown: place.progress.task("slurm", 0),
        };
        // What an earlier kverdict queued would make trials that are about to be queued again.
        said(&slurm.cancel())
            .context("no cluster answers; is Slurm's client set up on this machine?")?;
        Ok(slurm)
    }

    /// All tasks of this run have it.
    fn name(&self) -> String {
        format!("kverdict-{}", self.place.guests.run.id())
    }

    /// Takes all tasks of this run off the cluster.
    fn cancel(&self) -> Job {
        Job::new("scancel", COMMAND_LIMIT)
            .args(["--quiet".to_owned(), format!("--name={}", self.name())])
    }

    /// Tasks of this run that Slurm knows, a line each: `12_3 RUNNING`.
    fn tasks(&self) -> Result<String> {
        let squeue = Job::new("squeue", COMMAND_LIMIT);
        said(&squeue.args([
            "--noheader",
            "--array",
            &format!("--name={}", self.name()),
            "--format=%i %T",
        ]))
    }

    /// Queues what is waiting, as one array if that can be. What cannot be queued now goes on waiting.
    fn submit(&mut self) -> Result<()> {
        self.spec.write(&self.place.guests.run)?;
        self.waiting.sort_by_key(|(order, _)| order.number);
        while let Some((first, _)) = self.waiting.first() {
            let (first, count) = (first.number, array_length(&self.waiting));
            let script = self.place.guests.run.elsewhere().join("array.sh");
            store::replace_program(&script, self.script(first).as_bytes())?;
            let job = match self.queue(&script, first, count) {
                Ok(job) => job,
                Err(error) => return self.put_off(error),
            };
            self.failures = Failures::default();
            for (order, tries) in self.waiting.drain(..count) {
                self.queued.push(Queued {
                    task: format!("{job}_{}", order.number - first),
                    order,
                    tries: tries + 1,
                    missing: None,
                });
            }
        }
        Ok(())
    }

    /// Queues as an array the first trials that wait; `first` is the number of index 0. Gives the job's id.
    fn queue(&self, script: &Path, first: u32, count: usize) -> Result<String> {
        // Numbers of long runs are larger than an array's index may be.
        let offsets = self.waiting[..count].iter();
        let offsets: Vec<String> = offsets
            .map(|(order, _)| (order.number - first).to_string())
            .collect();
        let array = format!("--array={}%{}", offsets.join(","), self.jobs);
        let sbatch = Job::new("sbatch", COMMAND_LIMIT)
            .args(["--parsable", &array])
            .args(self.resources())
            .args(self.arguments)
            .args([script]);
        // `<id>;<cluster>` where there are several.
        let job = said(&sbatch)?;
        Ok(job.split(';').next().unwrap_or_default().trim().to_owned())
    }

    /// After sbatch failed, which says no more than that in its exit status: whether the controller answers squeue
    /// tells one that is away from one that refuses. One that took the trials and could not say so makes some
    /// of them twice; the first result counts.
    fn put_off(&mut self, error: Error) -> Result<()> {
        if is_interrupt(&error) {
            return Err(error);
        }
        let answer = if_answered(self.tasks())?;
        let Some(pause) = self.failures.one_more(answer.is_some()) else {
            return Err(error.context(match answer {
                Some(_) => "sbatch does not take the trials",
                None => "Slurm's controller does not answer; when it does, --resume goes on",
            }));
        };
        self.next_try = Instant::now() + pause;
        let seconds = pause.as_secs();
        let line = format!("sbatch failed, and is called again in {seconds} s: {error:#}");
        self.place.progress.line(line);
        Ok(())
    }

    fn script(&self, first: u32) -> String {
        let run = &self.place.guests.run;
        let mut script =
            format!("#!/bin/sh\n# Trials from number {first} on; the task's index is added.\n");
        let quoted = |path: &Path| process::shell_word(path.as_os_str());
        let _ = writeln!(
            script,
            "exec {} trial --spec {} --index $(({first} + SLURM_ARRAY_TASK_ID)) --out {}",
            quoted(&run.program()),
            quoted(&run.spec()),
            quoted(&run.all_trials()),
        );
        script
    }

    /// What one task needs. The user's own arguments come behind, and win.
    fn resources(&self) -> Vec<String> {
        let (guest, policy) = (&self.place.campaign.guest, &self.place.campaign.policy);
        let seconds = policy.boot_deadline_seconds
            + policy.load_seconds * 3
            + policy.shutdown_deadline_seconds
            + 900;
        let log = self.place.guests.run.elsewhere().join("slurm-%A_%a.log");
        vec![
            format!("--job-name={}", self.name()),
            "--requeue".to_owned(),
            "--open-mode=append".to_owned(),
            format!("--output={}", log.display()),
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            format!("--cpus-per-task={}", guest.cpus()),
            format!("--mem={}M", guest.memory_mib() + OVERHEAD_MIB),
            format!("--time={}", seconds.div_ceil(60)),
        ]
    }

    /// Asks Slurm, and queues again what got lost.
    fn look_after(&mut self) -> Result<()> {
        if self.asked.elapsed() < ASK_EVERY {
            return Ok(());
        }
        self.asked = Instant::now();
        // A controller that restarts knows its jobs afterwards.
        let Some(listing) = if_answered(self.tasks())? else {
            self.shown.set(0, "squeue does not answer");
            return Ok(());
        };
        let known: HashSet<&str> = listing
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let running = listing
            .lines()
            .filter(|line| line.ends_with(" RUNNING"))
            .count();
        self.shown.set(
            0,
            format!("{running} running, {} queued", known.len() - running),
        );
        let mut lost = Vec::new();
        for one in &mut self.queued {
            if known.contains(one.task.as_str()) {
                one.missing = None;
            } else if one.missing.get_or_insert_with(Instant::now).elapsed() > LOST_AFTER {
                lost.push(one.order.number);
            }
        }
        for number in lost {
            self.queue_again(number)?;
        }
        Ok(())
    }

    fn queue_again(&mut self, number: u32) -> Result<()> {
        let Some(index) = self
            .queued
            .iter()
            .position(|one| one.order.number == number)
        else {
            return Ok(());
        };
        let one = self.queued.remove(index);
        let log = self
            .place
            .guests
            .run
            .elsewhere()
            .join(format!("slurm-{}.log", one.task));
        let said = process::tail_of(&log, 10);
        let id = one.order.id();
        if one.tries == TRIES {
            bail!(
                "trial {id}: queued {TRIES} times and left no record; what the last one said is in {}:\n{said}",
                log.display()
            );
        }
        self.place.progress.line(format!(
            "trial {id}: task {} left no record, queued again: {said}",
            one.task
        ));
        self.waiting.push((one.order, one.tries));
        Ok(())
    }

    /// A trial that has ended.
    fn ended(&mut self) -> Result<Option<TrialRecord>> {
        let trials = self.place.guests.run.all_trials();
        for index in 0..self.queued.len() {
            let order = &self.queued[index].order;
            if let Some(record) = self.place.results.find(&trials, order)? {
                self.queued.remove(index);
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

/// How many of these trials, which are in the order of their numbers, go into one array.
fn array_length(waiting: &[(Order, u32)]) -> usize {
    let first = waiting.first().map_or(0, |(order, _)| order.number);
    waiting.partition_point(|(order, _)| order.number - first <= INDEX_MAX)
}

/// What a command of Slurm printed.
fn said(command: &Job) -> Result<String> {
    let output = command.capture()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}`: {}", command.shell_line(), errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The answer, if there is one; only an interrupt is an error.
fn if_answered(answer: Result<String>) -> Result<Option<String>> {
    match answer {
        Err(error) if is_interrupt(&error) => Err(error),
        answer => Ok(answer.ok()),
    }
}

/// Runs a command whether or not the user has asked to stop, for a while.
fn run_at_the_end(command: &Job) {
    // It is stopped when it is dropped.
    let Ok(child) = command.start() else { return };
    let end = Instant::now() + LAST_COMMAND_LIMIT;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        thread::sleep(POLL_INTERVAL);
    }
}

impl Executor for Slurm<'_> {
    fn has_room(&mut self, under_way: usize) -> Result<bool> {
        Ok(under_way < self.jobs)
    }

    fn start(&mut self, order: &Order) -> Result<()> {
        self.spec.orders.push(order.clone());
        self.waiting.push((order.clone(), 0));
        Ok(())
    }

    fn wait(&mut self) -> Result<TrialRecord> {
        loop {
            if process::interrupted() {
                return Err(Interrupted.into());
            }
            if let Some(record) = self.ended()? {
                let ending = guests::ending(self.place.campaign, &record);
                self.place
                    .progress
                    .line(format!("trial {}: {ending}", record.id));
                return Ok(record);
            }
            // Only when all that have ended are told: what is wanted instead of them goes as one array.
            if !self.waiting.is_empty() && self.next_try <= Instant::now() {
                self.submit()?;
            }
            self.look_after()?;
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Slurm<'_> {
    fn drop(&mut self) {
        // Nobody waits for them any more. What waits may be queued, too, when sbatch was cut short. A task that cannot
        // be cancelled is stopped by its time limit.
        if !self.queued.is_empty() || !self.waiting.is_empty() {
            run_at_the_end(&self.cancel());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_index_of_an_array_is_larger_than_a_cluster_takes() {
        let lengths = |numbers: &[u32]| {
            let order = |number: &u32| Order {
                number: *number,
                arm: "fixed".to_owned(),
                cell: None,
            };
            let mut waiting: Vec<_> = numbers.iter().map(|one| (order(one), 0)).collect();
            let mut lengths = Vec::new();
            while !waiting.is_empty() {
                let length = array_length(&waiting);
                waiting.drain(..length);
                lengths.push(length);
            }
            lengths
        };
        assert_eq!(lengths(&[7]), [1]);
        assert_eq!(lengths(&[5, 6, 1005]), [3]);
        assert_eq!(lengths(&[5, 6, 1006, 1200, 2006, 2007]), [2, 3, 1]);
    }

    #[test]
    fn a_controller_that_is_away_is_waited_for_and_one_that_refuses_is_not() {
        let tries = |answers: &[bool]| {
            let mut failures = Failures::default();
            let pauses = answers.iter().map_while(|one| failures.one_more(*one));
            pauses.map(|pause| pause.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(tries(&[true; 20]), [2, 4]);
        let silent = tries(&[false; 20]);
        assert_eq!(silent.len() as u32, SILENCES - 1);
        assert_eq!(silent.iter().sum::<u64>(), 1022);
        // One that is busy answers now and then.
        let mixed = [true, true, false, true, true, false, true, true, true];
        assert_eq!(tries(&mixed).len(), 8);
    }
}
