//! `kverdict compare` without booting anything: wrong input, and reports of recorded trials.

mod made_up;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use made_up::Place;
use serde_json::{Value, json};

const CAMPAIGN: &str = include_str!("../../../configs/unmodified.yaml");

fn kverdict(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(args)
        .current_dir(dir)
        .env("KVERDICT_CACHE", dir.join("cache"))
        .output()
        .unwrap()
}

/// Checks that a comparison fails as wrong input without having started a run, and gives what it said.
#[track_caller]
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = kverdict(dir, &[&["compare"], args].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(129), "{text}");
    assert!(!dir.join("results").exists(), "a run was started");
    text
}

#[test]
fn sides_that_are_nothing_are_named_together() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.rpm"), "no package").unwrap();
    fs::create_dir(dir.path().join("linux")).unwrap();
    let text = refused(
        dir.path(),
        &["debian-9.9", "notes.rpm", "linux", "debian-6.12=nowhere"],
    );
    for words in [
        "there is no file `debian-9.9` either",
        "debian-6.12",
        "notes.rpm is no kernel that boots",
        "write KERNEL=linux",
        "there is no folder nowhere",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn one_side_is_no_comparison_and_error_rates_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refused(dir.path(), &["debian-6.12"]).contains("SIDE"));
    assert!(refused(dir.path(), &[]).contains("SIDE"));
    let two = ["debian-6.12", "debian-6.1"];
    for (option, value, words) in [
        ("--alpha", "1", "from 0.000001 to 0.2"),
        ("--beta", "x", "from 0.000001 to 0.2"),
        ("--ratio", "1", "above 1"),
        ("--rate", "-1", "above 0"),
        ("--max-trials", "0", "1..=100000"),
        ("--apply", "some.patch", "`@`"),
    ] {
        let argument = format!("{option}={value}");
        let text = refused(dir.path(), &[two[0], two[1], &argument]);
        assert!(text.contains(words), "{words}\n{text}");
    }
    let text = refused(dir.path(), &[two[0], two[1], "--apply", "some.patch@C"]);
    assert!(text.contains("they are A to B"), "{text}");
    let help = kverdict(dir.path(), &["compare", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("no difference shown")
    );
}

#[test]
fn what_the_campaign_cannot_do_with_a_side_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("k.rpm"), [0xed, 0xab, 0xee, 0xdb, 3, 0]).unwrap();
    let text = refused(
        dir.path(),
        &["debian-6.12", "k.rpm", "--campaign", "migrate-swap"],
    );
    assert!(
        text.contains("amplify cannot go into it") && text.contains("unmodified"),
        "{text}"
    );
    let unmodified = ["--campaign", "unmodified"];
    let with = |more: &[&'static str]| [&["debian-6.12", "k.rpm"], &unmodified, more].concat();
    let text = refused(
        dir.path(),
        &with(&["--apply", "reintroduce-0b26351b910f@B"]),
    );
    assert!(text.contains("cannot go into it"), "{text}");
    let text = refused(dir.path(), &with(&["--apply", "no-such@A"]));
    assert!(
        text.contains("arms.a.apply") && text.contains("no-such"),
        "{text}"
    );
    let text = refused(dir.path(), &with(&["--apply", "provoke@A"]));
    assert!(text.contains("no arm may carry it"), "{text}");
    let text = refused(
        dir.path(),
        &["debian-6.12", "k.rpm", "--campaign", "no-such"],
    );
    assert!(text.contains("no-such"), "{text}");
}

/// A side without a kernel is an answer, and one alone is no comparison: nothing is booted.
#[test]
fn sides_without_a_kernel_are_untestable() {
    let place = Place::new();
    place.write("a.rpm", "\u{0}");
    fs::write(place.path("a.rpm"), [0xed, 0xab, 0xee, 0xdb, 3, 0]).unwrap();
    fs::write(place.path("b.rpm"), [0xed, 0xab, 0xee, 0xdb, 3, 1]).unwrap();
    let output = kverdict(place.root(), &["compare", "a.rpm", "b.rpm"]);
    let (text, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(125), "{text}{error}");
    for words in [
        "comparison: COULD NOT TELL",
        "could not tell B from A: A is untestable: no kernel (source)",
        "a.rpm",
        "b.rpm",
    ] {
        assert!(text.contains(words), "{words}\n{text}{error}");
    }
}

/// A run of two sides, with so many seconds of load in each trial, and whether it locked up.
fn recorded(dir: &Path, trials: &[(&str, u32, bool)]) {
    let mut campaign: Value = serde_yaml::from_str(CAMPAIGN).unwrap();
    campaign["arms"] = json!({
        "a": {"role": "control", "kernel": "compare-a"},
        "b": {"role": "subject", "kernel": "debian-6.12"},
    });
    let side = |name: &str, label: &str, place: Value| json!({"name": name, "kernel": label, "place": place, "apply": [], "revert": [], "label": label});
    let manifest = json!({
        "schema": 1, "kverdict": "0", "argv": ["kverdict", "compare"], "started": "2026-01-01T00:00:00Z",
        "host": {"kernel": "x", "cores": 1, "memory_mib": 1}, "qemu": "x", "campaign": campaign,
        "demands": {"alpha": 0.01, "beta": 0.01, "rate": 0.5, "ratio": 4.0},
        "sides": [side("a", "kernel.rpm", json!({"file": "/kernel.rpm"})), side("b", "debian-6.12", json!("catalogue"))],
    });
    fs::write(dir.join("compare.json"), manifest.to_string()).unwrap();
    let known = |name: &str, label: &str, build: &str, state: &str| {
        json!({
            "side": {"name": name, "label": label, "untestable": null},
            "facts": {"release": format!("6.12-{state}"), "source": label, "compiler": null, "patches": [],
                      "fixes": [{"commit": "0b26351b910f", "state": state, "why": "read in its code"}]},
            "build": build,
        })
    };
    let sides = json!([
        known("a", "kernel.rpm", "ka", "fixed"),
        known("b", "debian-6.12", "kb", "affected")
    ]);
    fs::write(dir.join("sides.json"), sides.to_string()).unwrap();
    for (build, config) in [("ka", "CONFIG_HZ=250\n"), ("kb", "CONFIG_HZ=1000\n")] {
        fs::create_dir_all(dir.join("builds").join(build)).unwrap();
        fs::write(dir.join("builds").join(build).join("config"), config).unwrap();
    }
    let lines: Vec<String> = (1..)
        .zip(trials)
        .map(|(number, (arm, seconds, locked_up))| {
            record(number, arm, *seconds, *locked_up).to_string() + "\n"
        })
        .collect();
    fs::write(dir.join("trials.jsonl"), lines.concat()).unwrap();
    let armings: Vec<String> = ["a", "b"].map(|arm| arming(arm).to_string() + "\n").into();
    fs::write(dir.join("armings.jsonl"), armings.concat()).unwrap();
}

fn arming(arm: &str) -> Value {
    json!({
        "arm": arm, "build": "k", "how": "made to spin", "waited_ms": 3000, "silent": [], "trouble": null,
        "fired": [{"detector": "outside", "after_ms": 3000, "what": "hard lockup"}],
    })
}

fn record(number: u32, arm: &str, seconds: u32, locked_up: bool) -> Value {
    let outcome = if locked_up { "hard-lockup" } else { "clean" };
    json!({
        "schema": 1, "id": format!("{number:04}-{arm}"), "number": number, "arm": arm, "build": format!("k{arm}"),
        "accelerator": "TCG", "started": "2026-01-01T00:00:00Z", "outcome": outcome, "title": "",
        "signature": locked_up.then_some("target"),
        "exposure": {
            "load_ms": seconds * 1000, "heartbeats": seconds,
            "counters": {"packets": 1000, "node_busy_percent": []},
            "holder": {"swaps": 100, "balances": 50, "meetings": 10, "swaps_held": 0, "balances_held": 0,
                       "swaps_held_us": 0, "balances_held_us": 0},
        },
        "detectors": [], "refused_settings": [],
        "timing": {"hello_ms": 1000, "total_ms": 9000, "load_to_report_ms": null},
        "console": {
            "outcome": outcome, "reports": [], "reports_suppressed": 0, "first": null, "worst": null, "signature": null,
            "boot_markers": {"linux_version": null, "boots": 1, "init_ran": true, "powered_off": false, "last_kernel_line": null},
            "detectors": [], "quoted": [], "bytes": 1, "lines": 1,
        },
    })
}

#[test]
fn a_recorded_comparison_is_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut trials = vec![("a", 120, false), ("a", 120, false)];
    trials.extend([("b", 20, true)].repeat(9));
    recorded(dir.path(), &trials);
    let output = kverdict(dir.path(), &["report", "."]);
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for words in [
        "comparison: WORSE\n  B is worse than A: target lockup, B 9 times in 3.00 exposed minutes, A 0 times in 4.00",
        "A: 0b26351b910f fixed: read in its code",
        "B: 0b26351b910f affected",
        "CONFIG_HZ (scheduler): A 250 | B 1000",
        "near misses/min",
        "A did not lock up in 4.00 exposed minutes",
        "0003-b",
        "Ville's inequality",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let stored = fs::read_to_string(dir.path().join("report.txt")).unwrap();
    assert_eq!(stored.trim_end(), text.trim_end());

    let output = kverdict(dir.path(), &["report", ".", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["conclusion"], "some-worse");
    assert_eq!(report["pairs"][0]["judgement"], "worse");

    // Of fewer lockups nothing follows.
    recorded(dir.path(), &trials[..8]);
    let output = kverdict(dir.path(), &["report", "."]);
    assert_eq!(output.status.code(), Some(125));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("more exposed minutes of each would do"),
        "{text}"
    );
}
