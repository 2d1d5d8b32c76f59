//! Wrong input: one clear error each, the right exit status, and nothing left behind.

use std::path::Path;
use std::process::{Command, Output};

const CAMPAIGN: &str = include_str!("../../../configs/migrate-swap.yaml");

fn kverdict(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(args)
        .current_dir(dir)
        .env("KVERDICT_CACHE", dir.join("cache"))
        .output()
        .unwrap()
}

/// Runs `kverdict verify` on a campaign made by replacing text in the one that comes with it, and
/// checks that it fails as wrong input without having started a run.
fn refused(from: &str, to: &str) -> String {
    assert!(CAMPAIGN.contains(from), "{from} is not in the campaign");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.yaml"), CAMPAIGN.replace(from, to)).unwrap();
    let output = kverdict(dir.path(), &["verify", "c.yaml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(129), "{text}");
    assert!(!dir.path().join("results").exists(), "a run was started");
    text
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let text = refused("load_seconds: 60", "load_secs: 90");
    assert!(text.contains("c.yaml: 2 problems"), "{text}");
    assert!(text.contains("policy.load_secs: unknown key"), "{text}");
    assert!(text.contains("policy.load_seconds: missing"), "{text}");
}

#[test]
fn a_wrong_type_and_a_value_out_of_range_are_reported_together() {
    let text = refused("distance: 20", "distance: 5\n  machine: [pc]");
    assert!(
        text.contains("guest.distance:") && text.contains("guest.machine:"),
        "{text}"
    );
}

#[test]
fn an_unknown_kernel_and_an_unknown_patch_are_reported_together() {
    let text = refused(
        "kernel: debian-6.12\n    apply: [amplify]",
        "kernel: debian-9.9\n    apply: [amplfy]",
    );
    assert!(
        text.contains("arms.fixed.kernel") && text.contains("debian-9.9"),
        "{text}"
    );
    assert!(
        text.contains("arms.fixed.apply") && text.contains("amplfy"),
        "{text}"
    );
    assert!(
        text.contains("debian-6.12"),
        "known kernels are listed: {text}"
    );
}

#[test]
fn a_missing_campaign_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = kverdict(dir.path(), &["verify", "nowhere/c.yaml"]);
    assert_eq!(output.status.code(), Some(129));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere/c.yaml"));
    let output = kverdict(dir.path(), &["verify", "no-such"]);
    assert_eq!(output.status.code(), Some(129));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("migrate-swap"),
        "known campaigns are listed"
    );
}

#[test]
fn wrong_usage_is_129_and_help_is_0() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        kverdict(dir.path(), &["verify", "--no-such-flag"])
            .status
            .code(),
        Some(129)
    );
    assert_eq!(kverdict(dir.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for args in [["report", "."].as_slice(), &["verify", "--resume", "."]] {
        let output = kverdict(dir.path(), args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{text}");
        assert!(text.contains("is no run"), "{text}");
    }
}

#[test]
fn a_damaged_record_is_named_with_its_line_and_a_torn_one_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let campaign: serde_json::Value = serde_yaml::from_str(CAMPAIGN).unwrap();
    let manifest = serde_json::json!({
        "schema": 1, "kverdict": "0", "argv": [], "started": "2026-01-01T00:00:00Z",
        "host": {"kernel": "x", "cores": 1, "memory_mib": 1}, "qemu": "x", "campaign": campaign,
    });
    std::fs::write(dir.path().join("run.json"), manifest.to_string()).unwrap();
    std::fs::write(
        dir.path().join("trials.jsonl"),
        "{\"schema\":1,\"id\":\"0001-fi",
    )
    .unwrap();
    let output = kverdict(dir.path(), &["report", "."]);
    assert_eq!(
        output.status.code(),
        Some(125),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::write(dir.path().join("trials.jsonl"), "{}\n").unwrap();
    let output = kverdict(dir.path(), &["report", "."]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("trials.jsonl:1"), "{text}");
}

#[test]
fn a_missing_qemu_is_named_with_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .arg("verify")
        .current_dir(dir.path())
        .env("KVERDICT_CACHE", dir.path().join("cache"))
        .env("PATH", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(131), "{text}");
    assert!(text.contains("qemu-system-x86"), "{text}");
    assert!(!dir.path().join("results").exists(), "a run was started");
}
