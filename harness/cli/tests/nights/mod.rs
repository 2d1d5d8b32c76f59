//! Nights of a made-up kernel, with a program in QEMU's place that plays the guest: a kernel with the defect locks
//! up in every trial, and every kernel does while `broken` is there.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::Duration;

use serde_json::Value;

use crate::made_up::{self, Place, TARGET_LOCKUP};
use crate::support::wait_until;

/// `hang` names a trial that does not end.
const GUEST: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "QEMU emulator version 9.9"; exit 0; }
while [ $# -gt 0 ]; do [ "$1" = -kernel ] && kernel=$2; shift; done
say() { echo "$1" >> agent.jsonl; }
counters() { echo "{\"packets\":$1,\"node_busy_percent\":[],\"swaps\":$1,\"amplifier\":{\"kv_met\":$2}}"; }
: > console.log
say '{"type":"hello","protocol":1,"release":"6.99","version":"x","uptime_ms":9,"nodes":[],"cmdline":""}'
say '{"type":"armed","detectors":[],"tracing":true}'
say '{"type":"load-started","uptime_ms":1000,"processes":1,"hugepages":false}'
say "{\"type\":\"heartbeat\",\"seq\":0,\"uptime_ms\":1000,\"counters\":$(counters 0 0)}"
case "$PWD" in *"/$(cat "$TEST/hang" 2>/dev/null || echo none)-"*) exec sleep 1000 ;; esac
if grep -q DEFECT "$kernel" || [ -e "$TEST/broken" ]; then
    cat "$TEST/lockup.log" > console.log
    say "{\"type\":\"heartbeat\",\"seq\":1,\"uptime_ms\":13000,\"counters\":$(counters 900 1)}"
    exec sleep 1000
fi
say "{\"type\":\"heartbeat\",\"seq\":1,\"uptime_ms\":61000,\"counters\":$(counters 900 60)}"
say '{"type":"end","uptime_ms":61001}'
"#;

pub const NIGHT: &str = "
schema: 1
name: t
campaign: campaign.yaml
kernels:
  unfixed: {kernel: tiny, apply: [defect.patch], control: true}
  fixed: {kernel: tiny}
budget_minutes: 30
trials: {min: 1, max: 8}
alpha: 0.2
notify: cat > said.md
";

/// A made-up kernel in a folder of its own, and a night's file.
pub struct Bench {
    pub place: Place,
}

impl Bench {
    pub fn new() -> Self {
        Self::of(NIGHT)
    }

    pub fn of(night: &str) -> Self {
        let place = Place::new();
        // A made-up guest cannot be locked up on purpose, so that no survival of it counts.
        let quick = "policy:\n  prove_detectors: false\n";
        let campaign = made_up::campaign().replace("policy:\n", quick);
        place.write("campaign.yaml", &campaign);
        place.write("defect.patch", made_up::DEFECT);
        place.write("night.yaml", night);
        place.guest(GUEST);
        fs::copy(TARGET_LOCKUP, place.path("lockup.log")).unwrap();
        Self { place }
    }

    pub fn night(&self) -> (Option<i32>, Value, String) {
        self.place.run(&["nightly", "night.yaml", "--json"])
    }

    pub fn start(&self) -> Child {
        self.place.start(&["nightly", "night.yaml", "--json"])
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.place.start(arguments).wait_with_output().unwrap()
    }

    /// Folders of all runs, the oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.place.path("results")) else {
            return Vec::new();
        };
        let mut runs: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        runs.sort_by_key(|run| {
            fs::metadata(run.join("night.json"))
                .unwrap()
                .modified()
                .unwrap()
        });
        runs
    }

    pub fn trials(&self) -> usize {
        let Some(run) = self.runs().pop() else {
            return 0;
        };
        let text = fs::read_to_string(run.join("trials.jsonl"));
        text.unwrap_or_default().lines().count()
    }

    /// Starts a night that hangs in this trial, and waits until it does.
    pub fn hanging(&self, trial: usize) -> Child {
        self.place.write("hang", &format!("{trial:04}"));
        let child = self.start();
        wait_until(Duration::from_secs(60), "the trial that hangs", || {
            let hangs = |run: PathBuf| {
                let events = fs::read_to_string(run.join("events.jsonl"));
                let began = format!("\"id\":\"{trial:04}-");
                events.is_ok_and(|text| text.contains(&began))
            };
            self.runs().pop().is_some_and(hangs)
        });
        child
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn change<'a>(report: &'a Value, kernel: &str) -> &'a str {
    let cells = report["cells"].as_array().unwrap();
    let cell = cells
        .iter()
        .find(|cell| cell["cell"]["kernel"] == kernel)
        .unwrap();
    cell["judged"]["change"].as_str().unwrap()
}
