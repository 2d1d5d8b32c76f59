//! Nights of a made-up kernel, with a program in QEMU's place that plays the guest: a kernel with the defect locks
//! up in every trial, and every kernel does while `broken` is there.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::Duration;

use serde_json::Value;

use crate::made_up::{self, Place};
use crate::support::wait_until;

/// What a kernel does in one trial after the other is in `does/NAME`, over and over: at `host` QEMU fails, `lockup`
/// locks up, `soft` goes on after a soft lockup, anything else survives.
const GUEST: &str = r#"
id=$(basename "$PWD")
arm=${id#*-}
[ -e "$TEST/does/$arm" ] && set -- $(cat "$TEST/does/$arm")
[ $# -gt 0 ] && shift $((($(ls -d ../*-"$arm" | wc -l) - 1) % $#))
[ "$1" = host ] && { echo "no memory" >&2; exit 1; }
begin
[ "$1" = soft ] && cat "$TEST/soft-lockup.log" > console.log
if [ "$1" = lockup ] || grep -q DEFECT "$kernel" || [ -e "$TEST/broken" ]; then lock_up; fi
survive 60 60
"#;

/// A console with a soft lockup, of a real boot.
const SOFT_LOCKUP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../core/tests/logs/softlockup-kworker-6.12.log"
);

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
        fs::copy(SOFT_LOCKUP, place.path("soft-lockup.log")).unwrap();
        Self { place }
    }

    pub fn night(&self) -> (Option<i32>, Value, String) {
        self.place.run(&["nightly", "night.yaml", "--json"])
    }

    /// What the trials of some kernels do from now on.
    pub fn do_now(&self, what: &[(&str, &str)]) {
        for (kernel, words) in what {
            self.place.write(&format!("does/{kernel}"), words);
        }
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
