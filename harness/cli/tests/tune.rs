//! `kverdict tune` from its file to its campaign, with a program in QEMU's place that plays the guest: what
//! it reports depends on what the guest was told to do.

mod made_up;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use made_up::Place;
use serde_json::Value;

const SPEC: &str = "
schema: 1
name: small
campaign: campaign.yaml
load_seconds: 20
max_trials: 16
parameters:
  - {at: [load, roamers, count], values: [3, 8]}
  - {at: [tuning, sysctls, kernel.numa_balancing_scan_size_mb], values: [64]}
";

/// Reads the plan out of the initramfs and reports near misses accordingly: eight roamers are the best. While
/// `lockup` is there, it locks up.
const GUEST: &str = r#"
boot
plan=$(tail -c 8192 "$initrd")
met=15
case "$plan" in *'"roamers":{"count":8'*) met=60 ;; esac
case "$plan" in *'"kernel.numa_balancing_scan_size_mb","64"'*)
    say '{"type":"tuned","name":"kernel.numa_balancing_scan_size_mb","value":"64","error":"too small"}' ;;
esac
load
[ -e "$TEST/lockup" ] && cat "$TEST/lockup.log" > console.log
survive 20 "$met"
"#;

/// A tune of a made-up kernel in a folder of its own.
struct Tune {
    place: Place,
}

impl Tune {
    fn new() -> Self {
        let place = Place::new();
        place.write_bytes("vmlinuz", &made_up::image());
        place.binary("image: {kernel: {path: ../vmlinuz}}");
        place.write("specs/campaign.yaml", &made_up::campaign());
        place.write("specs/small.yaml", SPEC);
        place.guest(GUEST);
        Self { place }
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.place.start(&[&["tune"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        self.place.run(&[&["tune"], arguments].concat())
    }

    fn run_dir(&self) -> PathBuf {
        self.place.run_dir()
    }

    fn trials(&self) -> usize {
        self.place.trials()
    }
}

fn best(report: &Value) -> &Value {
    let points = report["points"].as_array().unwrap();
    points.iter().find(|point| point["best"] == true).unwrap()
}

fn is_in(dir: &Path, trial: &str) -> bool {
    dir.join("trials").join(trial).join("agent.jsonl").exists()
}

#[test]
fn the_best_load_is_found_and_left_as_a_campaign() {
    let tune = Tune::new();
    let (code, report, errors) = tune.run(&["specs/small.yaml", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(best(&report)["values"][0], "8", "{report:#}");
    assert_eq!(best(&report)["rate"]["per_minute"], 180.0);
    let points = report["points"].as_array().unwrap();
    let refused = points
        .iter()
        .find(|point| point["values"][1] == "64")
        .unwrap();
    assert_eq!(refused["trials"], 0, "{refused:#}");
    assert!(
        refused["remarks"][0]
            .as_str()
            .unwrap()
            .contains("too small"),
        "{refused:#}"
    );
    assert!(
        errors.contains("best p") && errors.contains("along load.roamers.count"),
        "{errors}"
    );

    let dir = tune.run_dir();
    let text = fs::read_to_string(dir.join("tune.md")).unwrap();
    assert!(text.contains("load.roamers.count: 8 (was 5)"), "{text}");
    let tuned = fs::read_to_string(dir.join("tuned.yaml")).unwrap();
    assert!(
        tuned.starts_with("# The campaign migrate-swap, tuned by"),
        "{tuned}"
    );
    let tuned: Value = serde_yaml::from_str(&tuned).unwrap();
    assert_eq!(tuned["load"]["roamers"]["count"], 8);
    assert_eq!(tuned["policy"]["load_seconds"], 60, "a verification's own");

    // What has ended only says so again, as a table.
    let output = tune.start(&["--resume", dir.to_str().unwrap()]);
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim_end(),
        text.trim_end()
    );
}

#[test]
fn a_killed_tune_goes_on_to_the_same_result() {
    let whole = Tune::new();
    let (_, expected, errors) = whole.run(&["specs/small.yaml", "--json"]);
    assert!(!expected.is_null(), "{errors}");

    let tune = Tune::new();
    let hanging = "0004-fixed";
    tune.place.write("hang", hanging);
    let mut child = tune.start(&["specs/small.yaml"]);
    let end = Instant::now() + Duration::from_secs(120);
    while tune.trials() < 3 || !is_in(&tune.run_dir(), hanging) {
        assert!(Instant::now() < end, "the fourth trial never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(tune.trials(), 3, "the half trial is not recorded");
    let dir = tune.run_dir();
    // As if the kill had cut a line short.
    let list = dir.join("trials.jsonl");
    let before = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{before}{{\"point\":[0,")).unwrap();

    fs::remove_file(tune.place.path("hang")).unwrap();
    let (code, report, errors) = tune.run(&["--resume", dir.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["points"], expected["points"]);
    assert!(fs::read_to_string(&list).unwrap().starts_with(&before));
}

#[test]
fn a_subject_that_locks_up_is_told_loudly_and_fails() {
    let tune = Tune::new();
    tune.place.write("lockup", "");
    let (code, report, errors) = tune.run(&["specs/small.yaml", "--json"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("THIS KERNEL HAS THE BUG"), "{errors}");
    assert!(
        report["target_lockups"].as_array().unwrap().len() > 1,
        "{report:#}"
    );
}

#[test]
fn an_emulator_that_fails_ends_the_tune_until_it_is_mended() {
    let tune = Tune::new();
    let fails =
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo fake\necho 'no memory' >&2\nexit 1\n";
    tune.place.emulator(fails);
    let (code, _, errors) = tune.run(&["specs/small.yaml", "--json"]);
    assert_eq!(code, Some(131), "{errors}");
    assert!(
        errors.contains("no memory") && errors.contains("--resume"),
        "{errors}"
    );
    assert_eq!(tune.trials(), 3, "it gives up after three");
    tune.place.guest(GUEST);
    let dir = tune.run_dir();
    let (code, report, errors) = tune.run(&["--resume", dir.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(best(&report)["values"][0], "8");
}
