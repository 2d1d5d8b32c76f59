//! The real thing: Debian's 6.12 with the defect put back, advised on, built, and read again.
//!
//! Slow, so ignored by default; `cargo xtask test` runs it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const DEFECT: &str = "reintroduce-0b26351b910f";
const FIX: &str = "fix-0b26351b910f";

fn kverdict(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
}

#[test]
#[ignore = "builds a real kernel"]
fn a1_the_semantic_fix_mends_a_real_kernel_in_source_and_in_code() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().to_str().unwrap();
    let advised = kverdict(
        folder.path(),
        &[
            "advise",
            "debian-6.12",
            "--apply",
            DEFECT,
            "--patches",
            none,
            "--build",
            "--json",
        ],
    );
    let advice = json(&advised);
    assert_eq!(advised.status.code(), Some(0), "{advice:#}");
    assert_eq!(advice["before"]["state"], "affected");
    assert_eq!(advice["set"], serde_json::json!([FIX]));
    assert_eq!(advice["build"]["is"], "builds", "{advice:#}");

    let with = ["--apply", DEFECT, "--apply", FIX, "--json"];
    let source = kverdict(
        folder.path(),
        &[&["inspect", "debian-6.12"], &with[..]].concat(),
    );
    let built = kverdict(
        folder.path(),
        &[&["build", "debian-6.12"], &with[..]].concat(),
    );
    let built = json(&built);
    assert_eq!(
        built["key"], advice["build"]["key"],
        "another kernel was advised on"
    );
    let vmlinux = built["vmlinux"].as_str().unwrap();
    let code = kverdict(folder.path(), &["inspect", vmlinux, "--json"]);
    for output in [source, code] {
        let finding = &json(&output)["findings"][0];
        assert_eq!(finding["state"], "fixed", "{finding:#}");
        assert_eq!(finding["missing"], serde_json::json!([]), "{finding:#}");
    }
}
