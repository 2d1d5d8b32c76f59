//! What came out of a trial, from everything that was seen of it.

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use kverdict_core::agent_channel::{AgentChannel, Phase};
use kverdict_core::console::{ConsoleFindings, Match, Outcome};
use kverdict_core::outside::finding::{Findings, Kind, State};

use crate::process::{self, Ending};
use crate::running::FLOOD_BYTES;
use crate::stalls::Stalls;

/// A detector reports within a few of its periods; beyond so many times the least stall, that is not why.
const STALL_MEMORY: u32 = 4;

/// That a guest ended by itself, or why it was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(ExitStatus),
    Stopped(Reason),
}

/// Why the harness ended a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    ConsoleReport,
    Stuck,
    Flood,
    NoHello,
    SetUpTooLong,
    Silent,
    LoadTooLong,
    ShutdownTooLong,
}

/// The one place that says which layer wins: a failure that the kernel named itself, then vCPUs that
/// were found stuck from outside, then QEMU's own trouble, then what the agent said, then how the
/// guest ended. A mere warning on the console hides no hang. A target signature counts from any layer.
pub fn classify(
    findings: &ConsoleFindings,
    outside: &Findings,
    agent: &AgentChannel,
    end: End,
    qemu_log: &Path,
) -> (Outcome, String) {
    if end == End::Stopped(Reason::Flood) {
        let text = format!(
            "the console or the agent wrote more than {} MiB",
            FLOOD_BYTES >> 20
        );
        return (Outcome::ConsoleFlood, text);
    }
    if findings.outcome.is_fatal() || findings.matched() == Some(Match::Target) {
        return console(findings);
    }
    if outside.state == State::Stuck {
        return (stuck_outcome(outside), format!("from outside: {outside}"));
    }
    // QEMU ends with 0 when the guest powers off, panics or resets.
    if let End::Exited(status) = end
        && !status.success()
    {
        let how = process::describe(Ending::Exited(status), Duration::ZERO);
        let said = process::tail_of(qemu_log, 1);
        return (Outcome::Infrastructure, format!("QEMU {how}: {said}"));
    }
    match &agent.phase {
        Phase::Unfit(why) => (Outcome::Unfit, why.clone()),
        Phase::LoadFailed(why) => (Outcome::LoadFailure, why.clone()),
        Phase::Booting => (Outcome::BootFailure, boot_failure(findings, end)),
        Phase::SettingUp | Phase::Armed => match end {
            End::Exited(_) => said(
                Outcome::UnexpectedExit,
                "the guest ended before its load started",
            ),
            End::Stopped(_) => said(Outcome::LoadFailure, "the load did not start in time"),
        },
        Phase::Loading => match end {
            End::Exited(_) => said(Outcome::UnexpectedExit, "the guest ended under load"),
            End::Stopped(Reason::LoadTooLong) => {
                said(Outcome::SilentHang, "the load went on far beyond its time")
            }
            End::Stopped(_) => (
                Outcome::SilentHang,
                format!(
                    "no word from the agent after {} s of load; from outside: {}",
                    agent.load_ms() / 1000,
                    outside.state
                ),
            ),
        },
        Phase::Ended if !agent.silent_cpus.is_empty() => (
            Outcome::SilentHang,
            format!(
                "CPUs {:?} did not answer the roll call after the load",
                agent.silent_cpus
            ),
        ),
        Phase::Ended => match end {
            End::Exited(_) => console(findings),
            End::Stopped(_) => said(Outcome::SilentHang, "the guest did not power off"),
        },
    }
}

/// Why the host is to blame for a report of a guest's detectors that came at `at`, which know time by the guest's
/// clocks only; none: it is not. What was seen from outside is counted in CPU time, and a target's signature is
/// proof by itself.
pub fn blame(stalls: &Stalls, outcome: Outcome, at: Instant) -> Option<String> {
    // Half of what the detector waits for: the rest may be the guest's own, in a trial that is lost anyway.
    let least = match outcome {
        // `watchdog_thresh=4`, as campaigns set it: the soft one waits for 8 s, the hard one for 8 to 12 s.
        Outcome::HardLockup | Outcome::SoftLockup => Duration::from_secs(4),
        // CONFIG_RCU_CPU_STALL_TIMEOUT is 21 s, the workqueue's watchdog_thresh 30 s, hung_task_timeout_secs 120 s.
        Outcome::RcuStall => Duration::from_secs(10),
        Outcome::WorkqueueLockup => Duration::from_secs(15),
        Outcome::HungTask => Duration::from_secs(60),
        Outcome::Clean
        | Outcome::Warning
        | Outcome::Lockdep
        | Outcome::Sanitizer
        | Outcome::MemoryLeak
        | Outcome::SilentHang
        | Outcome::Panic
        | Outcome::Oops
        | Outcome::Bug
        | Outcome::BootFailure
        | Outcome::LoadFailure
        | Outcome::UnexpectedExit
        | Outcome::ConsoleFlood
        | Outcome::Unfit
        | Outcome::Infrastructure => return None,
    };
    let stalled = stalls.between(at.checked_sub(least * STALL_MEMORY)?, at);
    (stalled >= least).then(|| {
        format!(
            "this machine, or all of this run, stood still for {:.1} s, which a guest takes for a fault of its own",
            stalled.as_secs_f64()
        )
    })
}

fn stuck_outcome(outside: &Findings) -> Outcome {
    if outside
        .stuck
        .iter()
        .any(|stuck| stuck.kind == Kind::HardLockup)
    {
        Outcome::HardLockup
    } else {
        Outcome::SoftLockup
    }
}

/// Where two layers cannot both be right: worth a person's look, whatever the outcome.
pub fn contradictions(
    console: &ConsoleFindings,
    outside: &Findings,
    agent: &AgentChannel,
) -> Vec<String> {
    let mut found = Vec::new();
    let stuck = outside.state == State::Stuck;
    if console.outcome == Outcome::HardLockup && !stuck && outside.watch.samples > 0 {
        found.push(format!(
            "the console reports `{}`, but from outside no vCPU was stuck in {} samples",
            console.title().unwrap_or_default(),
            outside.watch.samples
        ));
    }
    if stuck && agent.phase == Phase::Ended && agent.silent_cpus.is_empty() {
        found.push(format!(
            "from outside: {outside}; but every CPU answered the agent's roll call"
        ));
    }
    let both = console.signature.as_ref().zip(outside.signature.as_ref());
    if let Some((said, seen)) = both
        && said.name == seen.name
        && said.matched == Match::Target
        && seen.matched == Match::Target
    {
        // Two deadlocks at once are possible; the console's stacks cannot tell who waits for whom.
        let stuck: Vec<Option<u32>> = outside.stuck.iter().map(|one| one.cpu).collect();
        let said: Vec<Option<u32>> = said.sides.iter().map(|side| side.stack.cpu).collect();
        if !said.iter().all(|cpu| stuck.contains(cpu)) {
            found.push(format!(
                "the console shows the deadlock on CPUs {said:?}, from outside those stuck are {stuck:?}"
            ));
        }
    }
    found
}

fn said(outcome: Outcome, title: &str) -> (Outcome, String) {
    (outcome, title.to_owned())
}

fn console(findings: &ConsoleFindings) -> (Outcome, String) {
    (
        findings.outcome,
        findings.title().unwrap_or_default().to_owned(),
    )
}

fn boot_failure(findings: &ConsoleFindings, end: End) -> String {
    let last = findings
        .boot_markers
        .last_kernel_line
        .as_ref()
        .map_or("nothing", |line| line.text.as_str());
    let how = match end {
        End::Exited(_) => "the guest ended before the agent said hello",
        End::Stopped(_) => "no hello from the agent in time",
    };
    format!("{how}; the console's last line: {last}")
}
