//! Trials as job arrays of Slurm. The run's folder has to be on a file system that the nodes share; QEMU has to
//! be installed on them, and kverdict comes with the folder.
//!
//! A task that a lost node took is queued again by Slurm (`--requeue`), one that failed by us. Slurm's word is
//! never needed for a result: that is a folder with a record in it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use xshell::{Shell, cmd};

use super::local::Place;
use super::spec::{self, Spec};
use super::{Executor, ExecutorArgs};
use crate::guests;
use crate::process::{self, Interrupted};
use crate::progress::Task;
use crate::store;

/// Trials under way where nobody says how many.
const JOBS_DEFAULT: usize = 16;
/// An array's largest index is below 1001 unless the cluster says otherwise (`MaxArraySize`, slurm.conf(5)).
const JOBS_MAX: usize = 1000;
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

/// Has trials made by a cluster.
#[derive(Debug)]
pub struct Slurm<'a> {
    place: &'a Place<'a>,
    sh: Shell,
    jobs: usize,
    arguments: &'a [String],
    spec: Spec,
    /// To be queued, with how often they were before.
    waiting: Vec<(Order, u32)>,
    queued: Vec<Queued>,
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
            sh: Shell::new()?,
            jobs: args.jobs.or(JOBS_DEFAULT).min(JOBS_MAX),
            arguments: &args.slurm_arg,
            spec: Spec::lay_out(place.guests, place.campaign)?,
            waiting: Vec::new(),
            queued: Vec::new(),
            asked: Instant::now(),
            shown: place.progress.task("slurm", 0),
        };
        // What an earlier kverdict queued would make trials that are about to be queued again.
        slurm
            .cancel()
            .context("no cluster answers; is Slurm's client set up on this machine?")?;
        Ok(slurm)
    }

    /// All tasks of this run have it.
    fn name(&self) -> String {
        format!("kverdict-{}", self.place.guests.run.id())
    }

    fn cancel(&self) -> Result<()> {
        let name = self.name();
        cmd!(self.sh, "scancel --quiet --name={name}")
            .quiet()
            .run()?;
        Ok(())
    }

    /// Queues what is waiting, as one array.
    fn submit(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.waiting.sort_by_key(|(order, _)| order.number);
        // Numbers of long runs are larger than an array's index may be.
        let first = self.waiting[0].0.number;
        let run = &self.place.guests.run;
        let script = run.elsewhere().join("array.sh");
        store::replace_program(&script, self.script(first).as_bytes())?;
        let offsets = self.waiting.iter().map(|(order, _)| order.number - first);
        let offsets: Vec<String> = offsets.map(|offset| offset.to_string()).collect();
        let array = format!("{}%{}", offsets.join(","), self.jobs);
        let arguments = self.resources();
        let more = self.arguments;
        let job = cmd!(
            self.sh,
            "sbatch --parsable --array={array} {arguments...} {more...} {script}"
        )
        .quiet()
        .read()
        .context("sbatch does not take the trials")?;
        // `<id>;<cluster>` where there are several.
        let job = job.split(';').next().unwrap_or_default().trim().to_owned();
        for (order, tries) in self.waiting.drain(..) {
            self.queued.push(Queued {
                task: format!("{job}_{}", order.number - first),
                order,
                tries: tries + 1,
                missing: None,
            });
        }
        Ok(())
    }

    fn script(&self, first: u32) -> String {
        let run = &self.place.guests.run;
        let mut script =
            format!("#!/bin/sh\n# Trials from number {first} on; the task's index is added.\n");
        let quoted = |path: &std::path::Path| {
            format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
        };
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
        let name = self.name();
        let listing = cmd!(self.sh, "squeue --noheader --array --name={name}")
            .args(["--format=%i %T"])
            .quiet()
            .ignore_stderr()
            .read();
        // A controller that restarts knows its jobs afterwards.
        let Ok(listing) = listing else {
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
        self.submit()
    }

    /// A trial that has ended.
    fn ended(&mut self) -> Option<TrialRecord> {
        let trials = self.place.guests.run.all_trials();
        let results = self
            .queued
            .iter()
            .map(|one| spec::result(&trials, &one.order));
        let (index, record) = results
            .enumerate()
            .find_map(|(index, record)| Some((index, record?)))?;
        self.queued.remove(index);
        Some(record)
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
            if let Some(record) = self.ended() {
                let ending = guests::ending(self.place.campaign, &record);
                self.place
                    .progress
                    .line(format!("trial {}: {ending}", record.id));
                return Ok(record);
            }
            // Only when all that have ended are told: what is wanted instead of them goes as one array.
            if !self.waiting.is_empty() {
                self.spec.write(&self.place.guests.run)?;
                self.submit()?;
            }
            self.look_after()?;
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Slurm<'_> {
    fn drop(&mut self) {
        if !self.queued.is_empty() {
            // Nobody waits for them any more. One that cannot be cancelled is stopped by its time limit.
            let _ = self.cancel();
        }
    }
}
