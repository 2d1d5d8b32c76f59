//! A campaign and records of trials that were never run.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::sync::LazyLock;

use kverdict_core::arming::{Arming, Fired};
use kverdict_core::campaign::Campaign;
use kverdict_core::console::{ConsoleFindings, Match, Outcome, Scanner};
use kverdict_core::protocol::Counters;
use kverdict_core::record::{Exposure, Timing, TrialRecord};

const CAMPAIGN: &str = "
schema: 1
name: test
signature: stop-two-cpus
arms:
  CONTROL: {role: control, kernel: k, apply: [defect]}
  SUBJECT: {role: subject, kernel: k}
guest:
  nodes: [{cpus: 4, memory_mib: 512}, {cpus: 4, memory_mib: 512}]
load:
  node: 1
  pollers: {count: 3}
  roamers: {count: 5, working_set_kib: 1024}
policy:
  load_seconds: 60
  min_control_lockups: 3
  min_exposure: {swaps_per_minute: 6}
";

pub fn campaign() -> Campaign {
    campaign_of(["unfixed", "fixed"], 4)
}

/// With other names of the arms, the control's first, and so many trials of each at most.
pub fn campaign_of([control, subject]: [&str; 2], trials: u32) -> Campaign {
    let text = CAMPAIGN
        .replace("CONTROL", control)
        .replace("SUBJECT", subject);
    let mut campaign = Campaign::parse("test.yaml", &text).unwrap();
    campaign.policy.max_trials_per_arm = trials;
    campaign
}

/// Simulations make hundreds of thousands of records.
static CONSOLE: LazyLock<ConsoleFindings> = LazyLock::new(|| Scanner::new().finish());

pub fn record(number: u32, arm: &str, outcome: Outcome, seconds: u64, swaps: u64) -> TrialRecord {
    TrialRecord {
        schema: 1,
        id: format!("{number:04}-{arm}"),
        number,
        arm: arm.into(),
        build: "key".into(),
        accelerator: "TCG".into(),
        started: "2026-01-01T00:00:00Z".into(),
        outcome,
        title: String::new(),
        signature: None,
        outside: Default::default(),
        outside_lost: None,
        contradictions: Vec::new(),
        exposure: Exposure {
            holder: None,
            load_ms: seconds * 1000,
            heartbeats: seconds,
            counted_ms: None,
            counters: Counters {
                swaps: Some(swaps),
                ..Counters::default()
            },
        },
        detectors: Vec::new(),
        refused_settings: Vec::new(),
        timing: Timing::default(),
        console: CONSOLE.clone(),
    }
}

pub fn arming(arm: &str, fired: &[&str]) -> Arming {
    Arming {
        arm: arm.into(),
        build: "key".into(),
        how: "made to spin".into(),
        fired: fired
            .iter()
            .map(|detector| Fired {
                detector: (*detector).into(),
                after_ms: 3000,
                what: "hard lockup".into(),
            })
            .collect(),
        silent: Vec::new(),
        waited_ms: 15_000,
        trouble: None,
    }
}

pub fn proven() -> [Arming; 2] {
    [
        arming("unfixed", &["outside"]),
        arming("fixed", &["outside", "console"]),
    ]
}

pub fn lockup(number: u32, arm: &str, seconds: u64) -> TrialRecord {
    let mut record = record(number, arm, Outcome::HardLockup, seconds, 100);
    record.signature = Some(Match::Target);
    record
}

pub fn survival(number: u32, arm: &str) -> TrialRecord {
    record(number, arm, Outcome::Clean, 60, 100)
}
