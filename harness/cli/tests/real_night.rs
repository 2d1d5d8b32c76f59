//! A night of real kernels. Slow, so ignored by default; `cargo xtask test` runs it alone, on the kernels that
//! other tests have built.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{qemu_processes, wait_until};

/// The same kernel with the defect and without, under the amplified load.
const NIGHT: &str = "
schema: 1
name: real
campaign: migrate-swap
kernels:
  unfixed: {kernel: debian-6.12, apply: [amplify, reintroduce-0b26351b910f], control: true}
  fixed: {kernel: debian-6.12, apply: [amplify]}
loads:
  short: {load_seconds: 20}
budget_minutes: 4
trials: {min: 2, max: 2}
alpha: 0.05
notify: touch notified
";

fn kverdict(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kverdict"));
    command.args(arguments).current_dir(dir);
    command
}

fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {errors}"))
}

/// The only night's folder; none before there is one.
fn run_of(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir.join("results")).ok()?;
    let mut runs = entries.map(|entry| entry.unwrap().path());
    runs.find(|path| path.join("night.json").is_file())
}

fn trials(dir: &Path) -> usize {
    let text = run_of(dir).and_then(|run| fs::read_to_string(run.join("trials.jsonl")).ok());
    text.unwrap_or_default().lines().count()
}

/// A night is killed after its first trial, is a smaller night then, and goes on with the rest of its budget.
#[test]
#[ignore = "builds and boots real kernels"]
fn n1_a_killed_night_is_judged_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("night.yaml"), NIGHT).unwrap();
    let mut night = kverdict(dir, &["nightly", "night.yaml"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // A cold cache has to build both kernels first.
    wait_until(Duration::from_secs(3600), "the first trial", || {
        trials(dir) > 0 || night.try_wait().unwrap().is_some()
    });
    night.kill().unwrap();
    night.wait().unwrap();
    let run = run_of(dir).unwrap();
    wait_until(Duration::from_secs(10), "the guest's end", || {
        qemu_processes(&run).is_empty()
    });

    let judged = kverdict(dir, &["report", run.to_str().unwrap(), "--json"])
        .output()
        .unwrap();
    let smaller = report(&judged);
    let control = &smaller["cells"][0];
    assert_eq!(control["control"], true);
    assert_eq!(
        control["trials"][0]["standing"], "target-lockup",
        "{control:#}"
    );

    // The kernels are in the cache by now; what it took to build them counted.
    let manifest = run.join("night.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    let spent = smaller["budget"]["spent"].as_f64().unwrap();
    changed["spec"]["budget_minutes"] = (spent + 4.0).into();
    fs::write(&manifest, changed.to_string()).unwrap();

    let resumed = kverdict(
        dir,
        &["nightly", "--resume", run.to_str().unwrap(), "--json"],
    )
    .output()
    .unwrap();
    let whole = report(&resumed);
    let text = fs::read_to_string(run.join("report.txt")).unwrap();
    eprintln!("{text}");
    assert_eq!(resumed.status.code(), Some(0), "{text}");
    assert_eq!(whole["conclusion"], "clean", "{text}");
    let fixed = &whole["cells"][1];
    assert_eq!(fixed["judged"]["change"], "new", "{fixed:#}");
    assert_eq!(fixed["failures"], Value::Array(Vec::new()), "{fixed:#}");
    // What survived was in danger, and would have been seen.
    assert!(fixed["meetings"].as_u64() > Some(0), "{fixed:#}");
    assert_eq!(text.matches("detectors proven:").count(), 2, "{text}");
    assert!(
        whole["budget"]["spent"].as_f64() < Some(spent + 4.0),
        "{text}"
    );
    assert!(!dir.join("notified").exists(), "a clean night was told");
    assert!(qemu_processes(&run).is_empty());
}
