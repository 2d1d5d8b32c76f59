//! Every log in `tests/logs` has to be classified as `expected.yaml` says, however it is fed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kverdict_core::console::{ConsoleFindings, Match, Outcome, Scanner};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    provenance: String,
    outcome: Outcome,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    worst_line: Option<u64>,
    #[serde(default)]
    signature: Option<Match>,
    #[serde(default)]
    inconclusive: Option<String>,
    #[serde(default)]
    quoted: usize,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs")
}

fn table() -> BTreeMap<String, Expected> {
    let text = fs::read_to_string(folder().join("expected.yaml")).expect("the table is there");
    serde_yaml::from_str(&text).expect("the table is well-formed")
}

fn log(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.log"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn scan(console: &[u8], chunk_bytes: usize) -> ConsoleFindings {
    let mut scanner = Scanner::new();
    console
        .chunks(chunk_bytes)
        .for_each(|chunk| scanner.feed(chunk));
    scanner.finish()
}

#[test]
fn every_log_is_read_right() {
    for (name, expected) in table() {
        let findings = scan(&log(&name), 4096);
        let line = findings.first_report().map(|r| r.line);
        let worst_line = findings.worst_report().map(|r| r.line);
        assert_eq!(findings.outcome, expected.outcome, "{name}: outcome");
        assert_eq!(findings.title(), expected.title.as_deref(), "{name}: title");
        assert_eq!(line, expected.line, "{name}: line of the title");
        assert_eq!(
            worst_line,
            expected.worst_line.or(expected.line),
            "{name}: most severe line"
        );
        assert_eq!(findings.matched(), expected.signature, "{name}: signature");
        assert_eq!(
            findings.inconclusive(),
            expected.inconclusive.as_deref(),
            "{name}: inconclusive"
        );
        assert_eq!(
            findings.quoted.len(),
            expected.quoted,
            "{name}: {:?}",
            findings.quoted
        );
    }
}

#[test]
fn the_table_and_the_folder_agree() {
    let table = table();
    let files = fs::read_dir(folder()).expect("the folder is there");
    let paths = files.map(|entry| entry.expect("it can be read").path());
    let mut logs: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .map(|path| {
            path.file_stem()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    logs.sort();
    assert_eq!(logs, table.keys().cloned().collect::<Vec<_>>());
    for (name, expected) in &table {
        let known = ["recorded: ", "written: "]
            .iter()
            .any(|p| expected.provenance.starts_with(p));
        assert!(known, "{name} does not say where it comes from");
    }
    let recorded = table
        .values()
        .filter(|e| e.provenance.starts_with("recorded"))
        .count();
    assert!(
        table.len() >= 40 && recorded >= 30,
        "{recorded} of {} are real",
        table.len()
    );
}

#[test]
fn lines_and_offsets_point_at_the_report() {
    for name in table().keys() {
        let console = log(name);
        for report in &scan(&console, usize::MAX).reports {
            let offset = usize::try_from(report.offset).expect("it fits");
            let newlines = console[..offset].iter().filter(|b| **b == b'\n').count();
            assert_eq!(newlines as u64 + 1, report.line, "{name}: {}", report.title);
            let needle: String = report.title.chars().take(12).collect();
            let piece = &console[offset..console.len().min(offset + 9000)];
            let found = String::from_utf8_lossy(piece).contains(&needle);
            assert!(found, "{name}: {} is not at {offset}", report.title);
        }
    }
}

#[test]
fn chunks_do_not_matter() {
    for name in table().keys() {
        let console = log(name);
        let whole = scan(&console, usize::MAX);
        for chunk_bytes in [1, 2, 7, 61, 4096, 8191, 8192, 8193] {
            assert_eq!(
                scan(&console, chunk_bytes),
                whole,
                "{name} by {chunk_bytes}"
            );
        }
    }
}

#[test]
fn no_split_point_matters() {
    for name in [
        "target-el7-glued",
        "target-el7-shared-console",
        "quoted-tools",
        "garbage-then-panic",
    ] {
        let console = log(name);
        let whole = scan(&console, usize::MAX);
        // Noise is the same everywhere: every split point of what is short, many of what is long.
        for at in (0..console.len()).step_by(console.len() / 10_000 + 1) {
            let mut scanner = Scanner::new();
            scanner.feed(&console[..at]);
            scanner.feed(&console[at..]);
            assert_eq!(scanner.finish(), whole, "{name} split at {at}");
        }
    }
}

#[test]
fn findings_survive_storage() {
    for name in ["target-6.12-reintroduced", "quoted-tools", "empty"] {
        let findings = scan(&log(name), usize::MAX);
        let text = serde_json::to_string(&findings).expect("it can be written");
        assert_eq!(
            serde_json::from_str::<ConsoleFindings>(&text).expect("it can be read"),
            findings
        );
    }
}

#[test]
fn both_sides_are_named_with_their_cpus() {
    for (name, a, b) in [
        ("target-6.12-reintroduced", 2, 7),
        ("target-el7-glued", 6, 3),
        ("target-el7-notime", 6, 3),
        ("target-el7-syslog", 6, 3),
        ("target-el7-shared-console", 6, 3),
        ("soft-lockup-el7-target", 6, 3),
    ] {
        let signature = scan(&log(name), usize::MAX)
            .signature
            .expect("something got stuck");
        let sides: Vec<_> = signature
            .sides
            .iter()
            .map(|s| (s.side.as_str(), s.stack.cpu))
            .collect();
        assert_eq!(sides, [("A", Some(a)), ("B", Some(b))], "{name}");
    }
}

#[test]
fn all_cpus_are_in_the_report() {
    let findings = scan(&log("target-6.12-reintroduced"), usize::MAX);
    let report = findings.worst_report().expect("it has one");
    let mut cpus: Vec<_> = report.stacks.iter().filter_map(|s| s.cpu).collect();
    cpus.sort_unstable();
    assert_eq!(cpus, (0..8).collect::<Vec<_>>());
    let a = report
        .stacks
        .iter()
        .find(|s| s.cpu == Some(2))
        .expect("it is there");
    assert_eq!(
        (a.line, a.comm.as_deref(), a.pid),
        (277, Some("migration/2"), Some(25))
    );
    assert_eq!(a.frames[0].symbol, "queued_spin_lock_slowpath");
    let unreliable: Vec<_> = a
        .frames
        .iter()
        .filter(|f| !f.reliable)
        .map(|f| f.base())
        .collect();
    assert!(
        unreliable.contains(&"sort_range") && !unreliable.contains(&"schedule"),
        "{unreliable:?}"
    );
}

#[test]
fn a_live_trial_knows_when_to_stop() {
    let console = log("target-6.12-reintroduced");
    let mut scanner = Scanner::new();
    let mut first_terminal = None;
    let mut first_target = None;
    for (number, line) in console.split_inclusive(|b| *b == b'\n').enumerate() {
        scanner.feed(line);
        let number = number + 1;
        if scanner.terminal().is_some() {
            first_terminal.get_or_insert(number);
        }
        if scanner.target_complete() {
            first_target.get_or_insert(number);
        }
    }
    assert_eq!(first_terminal, Some(274), "the detection line");
    let migrate_swap_of_cpu_7 = 574;
    let target = first_target.expect("it gets there");
    assert!((563..=migrate_swap_of_cpu_7).contains(&target), "{target}");
    assert!(scanner.terminal().expect("it was reported").complete);
}

#[test]
fn a_panic_is_complete_at_its_last_line() {
    let mut scanner = Scanner::new();
    scanner.feed(b"[    9.000000] Kernel panic - not syncing: no reason\n[    9.000001] CPU: 0 PID: 1 Comm: init\n");
    assert!(!scanner.terminal().expect("it is fatal").complete);
    scanner.feed(b"[    9.000002] ---[ end Kernel panic - not syncing: no reason ]---\n");
    assert!(scanner.terminal().expect("it is fatal").complete);
    let findings = scanner.finish();
    assert_eq!(findings.reports.len(), 1);
}

#[test]
fn reports_without_end_are_bounded() {
    let mut scanner = Scanner::new();
    for second in 0..10_000 {
        scanner.feed(
            format!(
                "[{second:5}.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]\n"
            )
            .as_bytes(),
        );
    }
    scanner.feed(b"[10001.000000] Kernel panic - not syncing: Hard LOCKUP\n");
    let findings = scanner.finish();
    assert_eq!(
        findings.outcome,
        Outcome::HardLockup,
        "the worst one is kept, even as the last"
    );
    assert!(findings.reports.len() <= 64);
    assert_eq!(
        findings.reports.len() as u64 + findings.reports_suppressed,
        10_001
    );
}

#[test]
fn truncated_anywhere_is_still_read() {
    let console = log("target-el7-shared-console");
    for end in (0..console.len()).step_by(13) {
        let findings = scan(&console[..end], usize::MAX);
        assert!(findings.reports.len() <= 3);
    }
}
