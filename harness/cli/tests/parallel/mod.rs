//! A campaign of a made-up kernel, with a program in QEMU's place that plays the guest: a kernel with the defect
//! locks up. Several can run at once.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::made_up::{self, Place};

/// Survives after a while, in which others can be seen to run; `begun` has a line for each start, `most` one
/// for how many ran then, and while `hang` is there nothing ends.
const GUEST: &str = r#"
mkdir -p "$TEST/running"
echo $$ > "$TEST/running/$name"
echo "$name" >> "$TEST/begun"
ls "$TEST/running" | wc -l >> "$TEST/most"
begin
while [ -e "$TEST/hang" ]; do sleep 0.05; done
if grep -q DEFECT "$kernel"; then
    rm "$TEST/running/$name"
    lock_up
fi
sleep 0.5
survive 60 60
rm "$TEST/running/$name"
"#;

/// A campaign in a folder of its own.
pub struct Bench {
    pub place: Place,
}

impl Bench {
    pub fn new() -> Self {
        Self::of(4)
    }

    /// With so many trials of each arm at most.
    pub fn of(trials: u32) -> Self {
        let place = Place::new();
        // A made-up guest cannot be locked up on purpose, so that no survival of it counts, and trials go on
        // until there are no more.
        let policy = "policy:\n  prove_detectors: false\n";
        let campaign = made_up::campaign()
            .replace("policy:\n", policy)
            .replace(
                "max_trials_per_arm: 30",
                &format!("max_trials_per_arm: {trials}"),
            )
            .replace("memory_mib: 512", "memory_mib: 64")
            .replacen("kernel: tiny", "kernel: tiny\n    apply: [defect.patch]", 1);
        place.write("campaign.yaml", &campaign);
        place.write("defect.patch", made_up::DEFECT);
        place.guest(GUEST);
        Self { place }
    }

    /// With exactly so many trials of each arm: none of it is enough.
    pub fn without_end(trials: u32) -> Self {
        let bench = Self::of(trials);
        let campaign = fs::read_to_string(bench.place.path("campaign.yaml")).unwrap();
        let campaign = campaign
            .replace("min_control_lockups: 3", "min_control_lockups: 100")
            .replace("alpha: 0.01", "alpha: 0.000001");
        bench.place.write("campaign.yaml", &campaign);
        bench
    }

    pub fn verify(&self, more: &[&str]) -> (Option<i32>, Value, String) {
        self.place
            .run(&[&["verify", "campaign.yaml", "--json"], more].concat())
    }

    /// The most guests that ran at once.
    pub fn most(&self) -> u32 {
        let text = fs::read_to_string(self.place.path("most")).unwrap();
        text.lines()
            .map(|line| line.trim().parse().unwrap())
            .max()
            .unwrap()
    }

    pub fn begun(&self) -> Vec<String> {
        let text = fs::read_to_string(self.place.path("begun")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.place.run_dir().join("trials.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Process ids of guests that were started and did not end by themselves.
    pub fn guests(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.place.path("running")).unwrap();
        let pids = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        pids.map(|pid| Path::new("/proc").join(pid.trim()))
            .collect()
    }
}

/// What a verdict rests on, without the times that differ between two runs.
pub fn counts(report: &Value) -> Vec<[Value; 4]> {
    let arms = report["verdict"]["arms"].as_array().unwrap();
    let of =
        |arm: &Value| ["arm", "trials", "target_lockups", "survived"].map(|key| arm[key].clone());
    arms.iter().map(of).collect()
}
