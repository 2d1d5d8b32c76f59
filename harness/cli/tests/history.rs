//! The history: made of nights' folders by the real program, and asked by it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// How a made-up trial ends.
#[derive(Clone, Copy)]
enum Ending {
    Passes,
    LocksUp,
    HostFails,
}
use Ending::{HostFails, LocksUp, Passes};

const FIXED: &str = "fixed/base/base/base";
const CONTROL: &str = "unfixed/base/base/base";

/// A folder of results.
struct Results {
    dir: tempfile::TempDir,
}

impl Results {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Ten nights in which the control locks up and the other kernel does not.
    fn ten_nights() -> Self {
        let results = Self::new();
        for day in 1..=10 {
            results.night(day, "k1", &[Passes; 3]);
        }
        results
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("results").join(path)
    }

    /// A night of that day of January whose kernel `fixed` does this; gives its name.
    fn night(&self, day: u32, kernel: &str, endings: &[Ending]) -> String {
        self.night_under("load-1", day, kernel, endings)
    }

    /// The same, under a load of that digest.
    fn night_under(&self, load: &str, day: u32, kernel: &str, endings: &[Ending]) -> String {
        let name = format!("202601{day:02}T020000Z-night-default-1");
        let cell = |name: &str, control: bool| {
            json!({
                "id": {"kernel": name, "load": "base", "topology": "base", "detectors": "base"},
                "control": control, "arm": name, "conditions": load,
                "campaign": {"name": "base", "policy": {"min_exposure": {"swaps_per_minute": 6.0}}},
            })
        };
        let manifest = json!({
            "schema": 1, "kverdict": "0", "argv": [], "started": format!("2026-01-{day:02}T02:00:00Z"),
            "spec": {"schema": 1, "name": "default", "alpha": 0.05, "reach": 5},
            "cells": [cell("fixed", false), cell("unfixed", true)],
        });
        let mut trials = vec![(CONTROL, "k0", LocksUp); 2];
        trials.extend(endings.iter().map(|ending| (FIXED, kernel, *ending)));
        let dir = self.path(&name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("night.json"), manifest.to_string()).unwrap();
        fs::write(dir.join("initramfs-load.cpio"), "i").unwrap();
        let mut lines = String::new();
        for (number, (cell, kernel, ending)) in (1..).zip(trials) {
            let arm = cell.split('/').next().unwrap();
            let trial = record(number, arm, kernel, ending);
            let own = dir.join("trials").join(trial["id"].as_str().unwrap());
            fs::create_dir_all(&own).unwrap();
            for file in ["console.log", "agent.jsonl", "vcpus.jsonl", "trial.json"] {
                fs::write(own.join(file), "x".repeat(1000)).unwrap();
            }
            lines +=
                &(json!({"cell": cell, "trial": trial, "spent_minutes": 1.0}).to_string() + "\n");
        }
        fs::write(dir.join("trials.jsonl"), lines).unwrap();
        name
    }

    fn kverdict(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }

    /// What it prints; it has to end with this exit status.
    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.kverdict(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}{errors}");
        text + &errors
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.kverdict(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn rebuild(&self) -> String {
        self.says(0, &["db", "rebuild"])
    }
}

fn record(number: u32, arm: &str, build: &str, ending: Ending) -> Value {
    let (outcome, title, seconds) = match ending {
        Passes => ("clean", "", 60),
        LocksUp => ("hard-lockup", "hard LOCKUP on cpu 4", 12),
        HostFails => ("infrastructure", "QEMU did not start", 0),
    };
    json!({
        "schema": 1, "id": format!("{number:04}-{arm}"), "number": number, "arm": arm, "build": build,
        "accelerator": "TCG", "started": "2026-01-01T00:00:00Z", "outcome": outcome, "title": title,
        "signature": matches!(ending, LocksUp).then_some("target"),
        "exposure": {"load_ms": seconds * 1000, "heartbeats": seconds,
                     "counters": {"packets": 1000, "node_busy_percent": [], "swaps": 1000}},
    })
}

/// The cell of a run, as `kverdict history --json` has it.
fn cell<'a>(history: &'a Value, run: &str, cell: &str) -> &'a Value {
    let find = |list: &'a Value, key: &str, wanted: &str| {
        let mut list = list.as_array().unwrap().iter();
        list.find(|one| one[key] == wanted)
            .unwrap_or_else(|| panic!("no {wanted} in {history:#}"))
    };
    find(&find(&history["runs"], "run", run)["cells"], "cell", cell)
}

#[test]
fn nights_are_held_against_those_before_them() {
    let results = Results::ten_nights();
    let bad = results.night(11, "k2", &[LocksUp; 4]);
    let said = results.rebuild();
    assert!(
        said.contains("56 trials of 11 runs, 0 skipped"),
        "10 x 5 and 6 trials: {said}"
    );
    let history = results.json(&["history"]);
    assert_eq!(history["runs"].as_array().unwrap().len(), 7);
    let regressed = cell(&history, &bad, FIXED);
    assert_eq!(regressed["judged"]["change"], "regression", "{regressed:#}");
    assert_eq!(regressed["failed"], 4);
    let control = cell(&history, &bad, CONTROL);
    assert_eq!(control["judged"]["change"], "still-failing");
    let text = results.says(0, &["history", "--limit", "2"]);
    assert!(
        text.contains("target lockup: more often than before: 4 times in 0.80 exposed minutes"),
        "{text}"
    );
    assert!(text.contains("the kernel was k1 and is k2"), "{text}");
    assert!(text.starts_with("2026-01-11T02:00:00Z  night default"));
    // A night of the same, and one of the host's.
    let same = results.night(12, "k2", &[LocksUp; 3]);
    let blind = results.night(13, "k2", &[HostFails; 3]);
    results.rebuild();
    let history = results.json(&["history", "--cell", "fixed/*"]);
    assert_eq!(
        cell(&history, &same, FIXED)["judged"]["change"],
        "still-failing"
    );
    assert_eq!(
        cell(&history, &blind, FIXED)["judged"]["change"],
        "infrastructure"
    );
    assert!(!history.to_string().contains(CONTROL));
    let error = results.says(129, &["history", "--cell", "nobody/*"]);
    assert!(error.contains("`nobody/*`"), "{error}");
}

#[test]
fn another_load_under_the_same_name_is_no_change_of_the_kernel() {
    let results = Results::ten_nights();
    let heavier = results.night_under("load-2", 11, "k1", &[LocksUp; 4]);
    let same = results.night_under("load-2", 12, "k1", &[LocksUp; 4]);
    results.rebuild();
    let history = results.json(&["history"]);
    let first = &cell(&history, &heavier, FIXED)["judged"];
    assert_eq!(first["change"], "new", "{first:#}");
    assert_eq!(first["begins_anew"], true);
    let second = &cell(&history, &same, FIXED)["judged"];
    assert_eq!(second["change"], "still-failing", "{second:#}");
    assert_eq!(second["begins_anew"], false);
    let text = results.says(0, &["history", "--limit", "2"]);
    assert!(
        text.contains("the load changed on 2026-01-11, and with that its history began anew"),
        "{text}"
    );
    let text = results.says(125, &["diff", "20260110", "20260111"]);
    assert!(
        text.contains("the load is not the same, so that rates say nothing about the kernel"),
        "{text}"
    );
    let text = results.says(0, &["flakes"]);
    assert!(text.contains("nothing fails sometimes"), "{text}");
    // Nights of which nobody knows the load are held against each other, and not against those.
    let unknown = Results::new();
    for day in 1..=9 {
        unknown.night_under("", day, "k1", &[Passes; 3]);
    }
    let bad = unknown.night_under("", 10, "k2", &[LocksUp; 4]);
    let known = unknown.night_under("load-1", 11, "k1", &[Passes; 3]);
    unknown.rebuild();
    let history = unknown.json(&["history"]);
    assert_eq!(
        cell(&history, &bad, FIXED)["judged"]["change"],
        "regression"
    );
    let known = &cell(&history, &known, FIXED)["judged"];
    assert_eq!(known["change"], "new");
    assert!(
        known["reasons"][0]
            .as_str()
            .unwrap()
            .contains("nobody knows which load they had"),
        "{known:#}"
    );
}

#[test]
fn nights_have_a_page() {
    let results = Results::ten_nights();
    let bad = results.night(11, "k2", &[LocksUp; 4]);
    results.rebuild();
    let said = results.says(0, &["history", "--html"]);
    let page = results.path("history.html");
    assert_eq!(said.trim_end(), "results/history.html");
    let text = fs::read_to_string(&page).unwrap();
    let (_, changes) = text.split_once("id=\"changes\"").unwrap();
    let changes = changes.split("<h2").next().unwrap();
    assert!(changes.contains(FIXED), "{changes}");
    assert!(text.contains(&format!("{bad}/report.html")));
    // The control locks up each night, as it should: nobody is told of it.
    assert!(!changes.contains(CONTROL), "{changes}");
    assert!(text.contains(CONTROL));
    let error = results.says(129, &["history", "--html", "--cell", "fixed/*"]);
    assert!(error.contains("--cell"), "{error}");
}

#[test]
fn two_nights_are_held_against_each_other() {
    let results = Results::new();
    let before = results.night(1, "k1", &[Passes; 12]);
    let after = results.night(2, "k2", &[LocksUp; 12]);
    let short = results.night(3, "k2", &[Passes; 2]);
    results.rebuild();
    let text = results.says(1, &["diff", &before, &after]);
    for words in [
        "WORSE: 20260102T020000Z-night-default-1 against 20260101T020000Z-night-default-1",
        "worse                fixed/base/base/base  ",
        "12 of 12 trials failed, 0 of 12 before",
        "k1 -> k2: fixed/base/base/base",
        "evidence",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    // The other way round it is better; the control was tried too little for more than that.
    let text = results.says(125, &["diff", "20260102", &format!("results/{before}/")]);
    assert!(text.contains("better "), "{text}");
    let diff = results.json(&["diff", "20260102", "20260103"]);
    assert_eq!(diff["conclusion"], "could-not-tell");
    assert_eq!(diff["runs"][1], *short);
    let error = results.says(129, &["diff", "2026", &after]);
    assert!(error.contains("part of the names of 3 runs"), "{error}");
    let error = results.says(129, &["diff", "2025", &after]);
    assert!(error.contains("the history has no run `2025`"), "{error}");
}

#[test]
fn flakes_are_listed_with_how_often_and_when_last() {
    let results = Results::new();
    for day in 1..=9 {
        let second = if day % 3 == 0 { LocksUp } else { Passes };
        results.night(day, "k1", &[Passes, second, Passes]);
    }
    results.rebuild();
    let text = results.says(0, &["flakes"]);
    for words in [
        "default  fixed/base/base/base",
        "target lockup",
        "3 of 27 trials (11.1 %)",
        "in 3 of 9 nights since 2026-01-01, last 2026-01-09",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains(CONTROL), "what always fails is no flake");
    let stable = Results::ten_nights();
    stable.rebuild();
    let text = stable.says(0, &["flakes"]);
    assert!(text.contains("nothing fails sometimes"), "{text}");
}

#[test]
fn what_is_missing_or_damaged_is_said_with_its_cure() {
    let results = Results::ten_nights();
    for command in [&["history"][..], &["flakes"], &["diff", "a", "b"]] {
        let error = results.says(129, command);
        assert!(
            error.contains("no history in results") && error.contains("kverdict db rebuild"),
            "{error}"
        );
    }
    let error = results.says(129, &["db", "rebuild", "--results", "nowhere"]);
    assert!(error.contains("there is no folder nowhere"), "{error}");
    // A run that is damaged, one of another version, and a line that was cut short by a kill.
    let damaged = results.night(11, "k1", &[Passes]);
    fs::write(results.path(&damaged).join("trials.jsonl"), "{}\n").unwrap();
    let newer = results.night(12, "k1", &[Passes]);
    let manifest = results.path(&newer).join("night.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"schema\":1", "\"schema\":9", 2)).unwrap();
    let torn = results.night(13, "k1", &[Passes]);
    let trials = results.path(&torn).join("trials.jsonl");
    let text = fs::read_to_string(&trials).unwrap();
    fs::write(&trials, text + "{\"cell\":\"fix").unwrap();
    let said = results.rebuild();
    assert!(
        said.contains(&format!("skipped {damaged}")) && said.contains("trials.jsonl:1:"),
        "{said}"
    );
    assert!(
        said.contains(&format!("skipped {newer}")) && said.contains("has schema 9"),
        "{said}"
    );
    assert!(said.contains("53 trials of 11 runs, 2 skipped"), "{said}");

    let database = results.path("history.sqlite");
    fs::write(
        &database,
        "this is no database, but long enough to be read as one".repeat(20),
    )
    .unwrap();
    let error = results.says(129, &["history"]);
    assert!(
        error.contains("history.sqlite is damaged") && error.contains("kverdict db rebuild"),
        "{error}"
    );
    results.rebuild();
    results.says(0, &["history"]);

    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = results.says(129, &["history"]);
    assert!(
        error.contains("has schema 99, this kverdict reads 2"),
        "{error}"
    );
    results.rebuild();
    results.says(0, &["history"]);
}

#[test]
fn making_it_again_gives_the_same() {
    let results = Results::ten_nights();
    results.rebuild();
    let mode = fs::metadata(results.path("history.sqlite"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o444, 0o444, "results are shared");
    let first = results.says(0, &["history", "--json"]);
    results.rebuild();
    assert_eq!(results.says(0, &["history", "--json"]), first);
    let left: Vec<String> = fs::read_dir(results.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains("-night-") && !name.starts_with("history."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn files(dir: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        count += if path.is_dir() { files(&path) } else { 1 };
    }
    count
}

#[test]
fn old_nights_lose_what_nobody_looks_at_and_keep_what_failed() {
    let results = Results::new();
    let old = results.night(1, "k1", &[Passes, LocksUp, HostFails]);
    let held = results.night(2, "k1", &[Passes]);
    let linked = results.night(3, "k1", &[Passes]);
    let kept = results.night(4, "k1", &[Passes; 3]);
    let trial =
        |run: &str, id: &str, file: &str| results.path(run).join("trials").join(id).join(file);
    // What a link names is not of the run, and a run that is being written is left alone.
    let precious = results.dir.path().join("precious");
    fs::write(&precious, "x").unwrap();
    let console = trial(&linked, "0003-fixed", "console.log");
    fs::remove_file(&console).unwrap();
    symlink(&precious, &console).unwrap();
    let lock = fs::File::create(results.path(&held).join("lock")).unwrap();
    lock.lock().unwrap();

    let before = files(&results.path(""));
    let prune = ["db", "prune", "--keep-nights", "1"];
    let would = results.says(0, &[&prune[..], &["--dry-run"]].concat());
    assert!(
        would.contains("would free 0.0 MiB in 5 files of 2 nights"),
        "{would}"
    );
    assert!(would.contains(&format!("left alone {held}")), "{would}");
    assert_eq!(files(&results.path("")), before);
    let freed = results.says(0, &prune);
    assert!(
        freed.contains("freed 0.0 MiB in 5 files of 2 nights"),
        "{freed}"
    );
    assert_eq!(files(&results.path("")), before - 5);

    assert!(!trial(&old, "0003-fixed", "console.log").exists());
    assert!(!trial(&old, "0003-fixed", "vcpus.jsonl").exists());
    assert!(trial(&old, "0003-fixed", "trial.json").exists());
    assert!(
        trial(&old, "0004-fixed", "console.log").exists(),
        "it locked up"
    );
    assert!(
        trial(&old, "0005-fixed", "console.log").exists(),
        "nobody knows why"
    );
    assert!(results.path(&old).join("initramfs-load.cpio").exists());
    assert!(results.path(&old).join("trials.jsonl").exists());
    assert!(trial(&held, "0003-fixed", "console.log").exists());
    assert!(trial(&kept, "0003-fixed", "console.log").exists());
    assert!(precious.exists() && console.exists());
    // The history does not need what was freed.
    results.rebuild();
    let history = results.json(&["history"]);
    assert_eq!(cell(&history, &old, FIXED)["trials"], 3);
    results.says(129, &["db", "prune", "--keep-nights", "0"]);
}
