//! How long the history takes with 100 000 trials of records as real ones are: making it again, showing it, and
//! holding two nights against each other. `cargo bench -p kverdict --bench history`; needs 1 GB in the temporary
//! folder.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

const NIGHTS: u32 = 500;
const CELLS: u32 = 20;
/// Trials of a cell in a night.
const TRIALS: u32 = 10;

fn main() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let results = place.path().join("results");
    let began = Instant::now();
    let mut bytes = 0;
    for night in 0..NIGHTS {
        bytes += write_night(&results, night);
    }
    println!(
        "{} trials of {NIGHTS} nights, {:.1} KB each, written in {:.1} s",
        NIGHTS * CELLS * TRIALS,
        bytes as f64 / f64::from(NIGHTS * CELLS * TRIALS) / 1000.0,
        began.elapsed().as_secs_f64()
    );
    let name = |night: u32| run_name(night);
    for arguments in [
        vec!["db".to_owned(), "rebuild".to_owned()],
        vec!["history".to_owned()],
        vec!["history".to_owned(), "--html".to_owned()],
        vec!["diff".to_owned(), name(NIGHTS - 2), name(NIGHTS - 1)],
        vec!["flakes".to_owned()],
    ] {
        let began = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(&arguments)
            .current_dir(place.path())
            .stdout(Stdio::null())
            .status()
            .expect("kverdict starts");
        let seconds = began.elapsed().as_secs_f64();
        println!("{:<40} {seconds:>7.2} s, {status}", arguments.join(" "));
    }
}

fn run_name(night: u32) -> String {
    format!("{:04}0101T020000Z-night-default-1", 2000 + night)
}

/// Writes a night's folder; gives the bytes of its trials.
fn write_night(results: &Path, night: u32) -> u64 {
    let dir = results.join(run_name(night));
    fs::create_dir_all(&dir).expect("a folder");
    let cells: Vec<Value> = (0..CELLS)
        .map(|cell| {
            json!({
                "id": {"kernel": format!("kernel-{cell}"), "load": "base", "topology": "base", "detectors": "base"},
                "control": false, "arm": format!("kernel-{cell}"),
                "campaign": {"name": "base", "policy": {"min_exposure": {"swaps_per_minute": 6.0}}},
            })
        })
        .collect();
    let manifest = json!({
        "schema": 1, "kverdict": "0", "argv": [], "started": format!("{:04}-01-01T02:00:00Z", 2000 + night),
        "spec": {"schema": 1, "name": "default", "alpha": 0.01, "reach": 14}, "cells": cells,
    });
    fs::write(dir.join("night.json"), manifest.to_string()).expect("a manifest");
    let file = File::create(dir.join("trials.jsonl")).expect("a list of trials");
    let mut file = BufWriter::new(file);
    let mut bytes = 0;
    for number in 0..CELLS * TRIALS {
        let cell = number % CELLS;
        // A quarter of the cells fails sometimes, one always does.
        let fails = cell == 0 || (cell % 4 == 1 && (number + night * 7).is_multiple_of(11));
        let line = line(night, number + 1, cell, fails).to_string() + "\n";
        file.write_all(line.as_bytes()).expect("a line");
        bytes += line.len() as u64;
    }
    file.flush().expect("a list of trials");
    bytes
}

fn line(night: u32, number: u32, cell: u32, fails: bool) -> Value {
    let arm = format!("kernel-{cell}");
    let seconds = if fails { 12 } else { 60 };
    let frames: Vec<Value> = (0..60)
        .map(|frame| {
            json!({"address": format!("ffffffff81{frame:06x}"), "symbol": format!("some_function_{frame}"), "offset": 245,
                   "stack_low": format!("ffff8880{frame:08x}"), "origin": "chained"})
        })
        .collect();
    let trial = json!({
        "schema": 1, "id": format!("{number:04}-{arm}"), "number": number, "arm": arm,
        "build": format!("key-{cell}-{}", night / 5), "accelerator": "TCG", "started": "2026-01-01T00:00:00Z",
        "outcome": if fails { "hard-lockup" } else { "clean" },
        "title": if fails { format!("watchdog: Watchdog detected hard LOCKUP on cpu {}", number % 8) } else { String::new() },
        "signature": fails.then_some("target"),
        "outside": {"state": "stuck", "stuck": [{"vcpu": 0, "kind": "hard-lockup", "stack": {"frames": frames}}]},
        "exposure": {"load_ms": seconds * 1000, "heartbeats": seconds, "counters": {
            "packets": 1_000_000, "node_busy_percent": [97, 98], "swaps": 900, "active_balances": 4000,
            "amplifier": {"kv_met": 60, "kv_a_windows": 1200}}},
        "detectors": [{"name": "nmi_watchdog", "state": "off"}], "refused_settings": [],
        "timing": {"hello_ms": 1000, "total_ms": 9000, "load_to_report_ms": null},
        "console": {"outcome": "clean", "reports": [], "quoted": vec!["[   12.345678] a line of a console as long as they are"; 40],
                    "bytes": 100_000, "lines": 1500},
    });
    json!({"cell": format!("kernel-{cell}/base/base/base"), "trial": trial, "spent_minutes": f64::from(number)})
}
