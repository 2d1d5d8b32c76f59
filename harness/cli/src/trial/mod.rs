//! One trial: boot a kernel, watch console and agent, end it, and say what was seen.

mod outcome;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use kverdict_core::agent_channel::Phase;
use kverdict_core::campaign::Policy;
use kverdict_core::console::{Match, Outcome};
use kverdict_core::outside::finding::State;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::record::{self, Timing, TrialRecord};

use crate::holder::Tally;
use crate::layout::TrialDir;
use crate::process::{self, Interrupted};
use crate::qemu::Machine;
use crate::running::RunningGuest;
use crate::store;
use outcome::{End, Reason};

/// After a fatal report that is complete, or once the target is proven, more of the same may follow.
const COMPLETE_GRACE: Duration = Duration::from_secs(1);
/// A fatal report that is not complete gets so long: the other side of a deadlock is reported by a
/// detector of its own, up to a watchdog period later.
const INCOMPLETE_GRACE: Duration = Duration::from_secs(20);
/// Guest time may run slower than the host's when the host is busy; beyond this factor the load
/// is taken for stuck.
const LOAD_SLOWNESS_LIMIT: u32 = 3;
/// Guest seconds that the load may go on after its time, for the roll call of all CPUs.
const OVERDUE_SECONDS: u32 = 30;

/// What makes one trial.
#[derive(Debug)]
pub struct TrialSpec<'a> {
    /// `<number>-<arm>`.
    pub id: String,
    /// Position in the run's order, from 1.
    pub number: u32,
    /// Name of the arm.
    pub arm: String,
    /// Key of the kernel.
    pub build: String,
    /// Folder, which must not exist yet.
    pub dir: TrialDir,
    /// The guest.
    pub machine: Machine<'a>,
    /// Names of the kernel's functions and variables; empty: none are known.
    pub symbols: &'a Symbols,
    /// Name of the lockup signature that counts as the target.
    pub signature: &'a str,
    /// Deadlines.
    pub policy: &'a Policy,
    /// The host's CPUs that QEMU may run on; absent: any.
    pub cpus: Option<&'a BTreeSet<u32>>,
}

/// What is told how far a trial is; an error of its ends the trial.
pub type Watch<'a> = &'a mut dyn FnMut(Standing<'_>) -> Result<()>;

/// Where a trial stands, for the progress display.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// How far the guest has come.
    pub phase: &'a Phase,
    /// Seconds under load so far.
    pub load_seconds: u64,
}

/// Runs a trial to its end.
///
/// # Errors
/// Trouble of the host only (QEMU missing, disk full), or [`Interrupted`]; whatever the guest does
/// is an outcome.
pub fn run(spec: &TrialSpec<'_>, watch: Watch<'_>) -> Result<TrialRecord> {
    let started = store::now();
    let mut watcher = Watcher::start(spec)?;
    let end = watcher.follow_to_the_end(watch)?;
    Ok(watcher.into_record(started, end))
}

struct Watcher<'a> {
    spec: &'a TrialSpec<'a>,
    guest: RunningGuest,
    tally: Tally,
    hello: Option<Duration>,
    last_word: Instant,
    messages: u64,
    ended_at: Option<Instant>,
    report_at: Option<Instant>,
    complete_at: Option<Instant>,
    stuck_at: Option<Instant>,
    /// What the console's worst report is, and since when.
    worst: Option<(Outcome, Instant)>,
}

impl<'a> Watcher<'a> {
    fn start(spec: &'a TrialSpec<'a>) -> Result<Self> {
        let interval = spec.policy.sample_interval();
        let guest =
            RunningGuest::start(&spec.dir, &spec.machine, spec.symbols, interval, spec.cpus)?;
        Ok(Self {
            last_word: guest.start,
            tally: Tally::new(&spec.dir),
            spec,
            guest,
            hello: None,
            messages: 0,
            ended_at: None,
            report_at: None,
            complete_at: None,
            stuck_at: None,
            worst: None,
        })
    }

    fn follow_to_the_end(&mut self, watch: Watch<'_>) -> Result<End> {
        loop {
            let ended = self.guest.ended()?;
            self.take_in()?;
            if let Some(status) = ended {
                self.take_in_the_rest()?;
                return Ok(End::Exited(status));
            }
            if process::interrupted() {
                self.guest.child.kill();
                return Err(Interrupted.into());
            }
            if let Some(reason) = self.time_to_stop() {
                self.take_evidence(reason)?;
                self.guest.child.kill();
                self.take_in_the_rest()?;
                return Ok(End::Stopped(reason));
            }
            // Should it fail, dropping the guest ends it.
            watch(Standing {
                phase: &self.guest.agent.phase,
                load_seconds: self.guest.agent.load_ms() / 1000,
            })?;
            std::thread::sleep(process::POLL_INTERVAL);
        }
    }

    /// What a guest has said that says no more, as far as it is worth reading.
    fn take_in_the_rest(&mut self) -> Result<()> {
        while !self.take_in()? && !self.guest.floods() {}
        Ok(())
    }

    /// Gives whether that was all.
    fn take_in(&mut self) -> Result<bool> {
        let all = self.guest.hear()?;
        if self.guest.agent.messages > self.messages {
            self.messages = self.guest.agent.messages;
            self.last_word = Instant::now();
            if self.guest.agent.phase == Phase::Loading {
                self.tally.read(self.guest.agent.load_ms())?;
            }
        }
        if self.hello.is_none() && self.guest.agent.release.is_some() {
            self.hello = Some(self.guest.start.elapsed());
        }
        // Before the agent runs, the kernel may do anything for any time.
        if self.guest.agent.release.is_some() {
            self.guest.outside.tick()?;
        }
        if self.guest.outside.findings().state == State::Stuck {
            self.stuck_at.get_or_insert_with(Instant::now);
        }
        if self.guest.agent.phase == Phase::Ended {
            self.ended_at.get_or_insert_with(Instant::now);
        }
        let worst = self.guest.scanner.worst_report();
        let worst = worst.map(|report| report.outcome);
        if worst != self.worst.map(|(outcome, _)| outcome) {
            self.worst = worst.map(|outcome| (outcome, Instant::now()));
        }
        let terminal = self.guest.scanner.terminal();
        if terminal.is_some() || self.guest.scanner.target_complete() {
            self.report_at.get_or_insert_with(Instant::now);
        }
        if terminal.is_some_and(|report| report.complete) || self.guest.scanner.target_complete() {
            self.complete_at.get_or_insert_with(Instant::now);
        }
        Ok(all)
    }

    fn time_to_stop(&self) -> Option<Reason> {
        let policy = self.spec.policy;
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        let since = |at| self.guest.stalls.lived_since(at);
        if self.guest.floods() {
            return Some(Reason::Flood);
        }
        if self
            .complete_at
            .is_some_and(|at| since(at) > COMPLETE_GRACE)
            || self
                .report_at
                .is_some_and(|at| since(at) > INCOMPLETE_GRACE)
        {
            return Some(Reason::ConsoleReport);
        }
        if self
            .stuck_at
            .is_some_and(|at| since(at) > self.console_wait())
        {
            return Some(Reason::Stuck);
        }
        if self
            .ended_at
            .is_some_and(|at| since(at) > seconds(policy.shutdown_deadline_seconds))
        {
            return Some(Reason::ShutdownTooLong);
        }
        match self.guest.agent.phase {
            Phase::Booting | Phase::SettingUp | Phase::Armed => {
                let late = self.guest.age() > policy.boot_deadline();
                late.then_some(if self.hello.is_none() {
                    Reason::NoHello
                } else {
                    Reason::SetUpTooLong
                })
            }
            Phase::Loading => {
                if since(self.last_word) > seconds(policy.silence_seconds) {
                    return Some(Reason::Silent);
                }
                // The agent's timer may sit on a CPU that is gone while its heartbeats go on.
                let overdue = self.guest.agent.load_ms() / 1000
                    > u64::from(policy.load_seconds + OVERDUE_SECONDS);
                let limit =
                    policy.boot_deadline() + seconds(policy.load_seconds) * LOAD_SLOWNESS_LIMIT;
                (overdue || since(self.guest.start) > limit).then_some(Reason::LoadTooLong)
            }
            // These end in a power-off, for which there is the shutdown's deadline.
            Phase::Ended => None,
            Phase::Unfit(_) | Phase::LoadFailed(_) => {
                let late = since(self.last_word) > seconds(policy.shutdown_deadline_seconds);
                late.then_some(Reason::ShutdownTooLong)
            }
        }
    }

    /// How long the console may take to say what is known from outside already.
    fn console_wait(&self) -> Duration {
        let armed = self
            .guest
            .agent
            .detectors
            .iter()
            .any(|one| one.name == "hard-lockup" && one.armed);
        if self.report_at.is_some() {
            INCOMPLETE_GRACE
        } else if armed {
            Duration::from_secs(u64::from(self.spec.policy.console_wait_seconds))
        } else {
            Duration::ZERO
        }
    }

    /// What is asked of a guest before it is killed.
    fn take_evidence(&mut self, reason: Reason) -> Result<()> {
        let silent = match reason {
            Reason::Stuck | Reason::Silent | Reason::LoadTooLong | Reason::ShutdownTooLong => true,
            Reason::ConsoleReport | Reason::Flood | Reason::NoHello | Reason::SetUpTooLong => false,
        };
        if self.spec.policy.vmcore && (silent || self.stuck_at.is_some()) {
            // A dump that fails is told by its absence and QEMU's log; the trial stands without.
            let _ = self
                .guest
                .outside
                .dump(self.guest.agent.release.as_deref().unwrap_or("unknown"));
        }
        if silent {
            self.guest.outside.ask_to_speak();
            self.take_in()?;
        }
        Ok(())
    }

    fn into_record(mut self, started: String, end: End) -> TrialRecord {
        let total = self.guest.start.elapsed();
        let stalled = self.guest.stalls.between(self.guest.start, Instant::now());
        // The agent's last word may be long before a lockup. A reading that fails leaves the one before.
        let _ = self.tally.read(self.guest.agent.load_ms());
        let since_start = |at: Option<Instant>| {
            at.map(|at| at.duration_since(self.guest.start).as_millis() as u64)
        };
        let console_ms = since_start(self.report_at);
        let outside_ms = since_start(self.stuck_at);
        let findings = self.guest.scanner.finish();
        let mut outside = self.guest.outside;
        let why_ended = matches!(end, End::Exited(_))
            .then(|| outside.why_ended())
            .flatten();
        let (outside, lost) = outside.finish();
        // A guest that ends by itself takes its monitor along.
        let outside_lost = lost.filter(|_| matches!(end, End::Stopped(_)));
        let qemu_log = self.spec.dir.qemu_log();
        let (outcome, title) =
            outcome::classify(&findings, &outside, &self.guest.agent, end, &qemu_log);
        let blamed = findings.matched() != Some(Match::Target) && outside.state != State::Stuck;
        let reported = self.worst.filter(|(worst, _)| *worst == outcome);
        let why = reported.filter(|_| blamed);
        let why = why.and_then(|(outcome, at)| outcome::blame(&self.guest.stalls, outcome, at));
        let (outcome, title) = match why {
            Some(why) => (
                Outcome::Infrastructure,
                format!("{why}: {outcome}: {title}"),
            ),
            None => (outcome, title),
        };
        let title = match (outcome, why_ended) {
            (Outcome::UnexpectedExit, Some(why)) => format!("{title} (QEMU: {why})"),
            (_, _) => title,
        };
        let locked_up = findings.outcome.is_fatal() || findings.matched() == Some(Match::Target);
        let load_to_report_ms = findings
            .worst_report()
            .filter(|_| locked_up)
            .and_then(|report| report.time_us)
            .zip(self.guest.agent.load_started_ms())
            .map(|(report_us, load_ms)| (report_us / 1000).saturating_sub(load_ms));
        let name = self.spec.signature;
        let of_console = findings
            .signature
            .as_ref()
            .filter(|finding| finding.name == name);
        let of_outside = outside
            .signature
            .as_ref()
            .filter(|finding| finding.name == name);
        let signature = of_console
            .map(|finding| finding.matched)
            .max(of_outside.map(|finding| finding.matched));
        let mut exposure = self.guest.agent.exposure();
        // Nothing was exposed to anything while nothing ran.
        let load = self.guest.agent.load_started();
        let lost = load.map_or(Duration::ZERO, |load| {
            self.guest.stalls.lost(load, self.last_word)
        });
        let lost = lost.as_millis() as u64;
        exposure.load_ms = exposure.load_ms.saturating_sub(lost);
        exposure.counted_ms = exposure
            .counted_ms
            .map(|counted| counted.min(exposure.load_ms));
        exposure.holder = self.tally.grown();
        // A lockup may silence the heartbeats long before it is noticed, or leave them going on until
        // the guest is killed. Too much time makes the rate smaller and the verdict harder to reach, too
        // little would flatter it.
        let noticed = self.stuck_at.zip(self.guest.agent.load_started());
        if let Some((stuck, load)) = noticed {
            exposure.load_ms = stuck.saturating_duration_since(load).as_millis() as u64;
        }
        exposure.load_ms = exposure.load_ms.max(load_to_report_ms.unwrap_or(0));
        TrialRecord {
            schema: record::SCHEMA_VERSION,
            id: self.spec.id.clone(),
            number: self.spec.number,
            arm: self.spec.arm.clone(),
            build: self.spec.build.clone(),
            accelerator: self.spec.machine.acceleration.to_string(),
            started,
            outcome,
            title,
            signature,
            contradictions: outcome::contradictions(&findings, &outside, &self.guest.agent),
            outside,
            outside_lost,
            exposure,
            detectors: self.guest.agent.detectors,
            refused_settings: self.guest.agent.refused_settings,
            timing: Timing {
                hello_ms: self.hello.map(|time| time.as_millis() as u64),
                total_ms: total.as_millis() as u64,
                load_to_report_ms,
                outside_ms,
                stalled_ms: (stalled > Duration::ZERO).then_some(stalled.as_millis() as u64),
                console_ms,
            },
            console: findings,
        }
    }
}
