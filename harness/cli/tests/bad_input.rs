//! Wrong input: one clear error each, the right exit status, and nothing left behind.

use std::path::Path;
use std::process::{Command, Output};

const CAMPAIGN: &str = include_str!("../../../configs/migrate-swap.yaml");
const TUNE: &str = include_str!("../../../configs/tune/migrate-swap.yaml");

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
fn a_key_without_a_name_is_shown() {
    let text = refused("schema: 1\nname:", "schema: 1\n\"\": 2\nname:");
    assert!(text.contains("\n  \"\": unknown key"), "{text}");
}

#[test]
fn an_empty_file_is_called_that() {
    let text = refused(CAMPAIGN, "# nothing yet\n");
    assert!(
        text.contains("c.yaml: 1 problem") && text.contains("the file is empty"),
        "{text}"
    );
}

#[test]
fn what_is_no_mapping_is_called_that() {
    let text = refused(CAMPAIGN, "- schema: 1\n");
    let words = "the file is not a mapping (key: value)";
    assert!(
        text.contains("c.yaml: 1 problem") && text.contains(words),
        "{text}"
    );
}

/// What is put in the place of `from` is no YAML, so many lines further down.
fn not_yaml(from: &str, to: &str, further: usize, words: &str) {
    let text = refused(from, to);
    let at = CAMPAIGN.find(from).unwrap();
    let line = CAMPAIGN[..at].matches('\n').count() + 1 + further;
    let places = [format!(", line {line}\n"), format!(" line {line} ")];
    assert!(
        text.contains("not valid YAML") && text.contains(words),
        "{text}"
    );
    assert!(places.iter().any(|place| text.contains(place)), "{text}");
}

#[test]
fn what_is_no_yaml_is_named_with_its_line() {
    not_yaml("distance: 20", "distance: [20", 1, "expected");
    not_yaml(
        "distance: 20",
        "distance: \u{1b}20",
        0,
        "control characters",
    );
    not_yaml(
        "distance: 20",
        "distance: 20\n--- # again\n",
        1,
        "more than one document",
    );
    // Of three documents, the second; and other line breaks count, too.
    not_yaml(
        "distance: 20",
        "distance: 20\n--- # again\na: 1\n---\n",
        1,
        "more than one document",
    );
    not_yaml(
        "distance: 20",
        "distance: 20\u{2028}--- # again\n",
        1,
        "more than one document",
    );
    let setting = "    kernel.numa_balancing: 1\n";
    not_yaml(setting, &setting.repeat(2), 0, "duplicate");
    // serde_yaml by itself takes the rest for another document.
    not_yaml(
        "schema: 1\nname:",
        "  schema: 1\nname:",
        1,
        "document start",
    );
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
    for args in [
        ["report", "."].as_slice(),
        &["verify", "--resume", "."],
        &["tune", "--resume", "."],
        &["compare", "--resume", "."],
    ] {
        let output = kverdict(dir.path(), args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{text}");
        assert!(text.contains("is no run"), "{text}");
    }
}

/// Runs `kverdict tune` on the tune that comes with kverdict, with text replaced and on that campaign, and
/// checks that it fails as wrong input without having started a run.
fn tune_refused(from: &str, to: &str) -> String {
    assert!(TUNE.contains(from), "{from} is not in the tune");
    let dir = tempfile::tempdir().unwrap();
    let specs = dir.path().join("specs");
    std::fs::create_dir(&specs).unwrap();
    std::fs::write(specs.join("c.yaml"), CAMPAIGN).unwrap();
    std::fs::write(specs.join("t.yaml"), TUNE.replace(from, to)).unwrap();
    let output = kverdict(dir.path(), &["tune", "specs/t.yaml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(129), "{text}");
    assert!(!dir.path().join("results").exists(), "a run was started");
    text
}

#[test]
fn what_is_wrong_in_a_tune_is_reported_together() {
    let text = tune_refused(
        "at: [load, roamers, count]",
        "where: [load, roamers, count]\n  - at: [load]",
    );
    assert!(text.contains("parameters.0.where: unknown key"), "{text}");
    assert!(text.contains("parameters.0.at: missing"), "{text}");
    let text = tune_refused("steps: 5, scale: log", "steps: 1, scale: exp");
    assert!(
        text.contains("parameters.2.range.steps: 1 is out of range"),
        "{text}"
    );
    assert!(text.contains("parameters.2.range.scale"), "{text}");
    let text = tune_refused("at: [load, roamers, count]", "at: [arms, fixed]");
    assert!(text.contains("parameters.0.at: `arms.fixed`"), "{text}");
}

#[test]
fn values_that_do_not_fit_the_campaign_are_named_with_their_field() {
    let text = tune_refused("values: [3, 7, 10]", "values: [3, many, 9000]");
    assert!(text.contains("specs/t.yaml: 2 problems"), "{text}");
    assert!(
        text.contains("load.roamers.count: \"many\" is not a whole number"),
        "{text}"
    );
    assert!(
        text.contains("load.roamers.count: 9000 is out of range"),
        "{text}"
    );
    let text = tune_refused(
        "at: [load, shuffler, interval_us]",
        "at: [load, swappers, hop_us]",
    );
    assert!(
        text.contains("the campaign has no `load.swappers`"),
        "{text}"
    );
    let text = tune_refused(
        "at: [load, roamers, count]\n    values: [3, 7, 10]",
        "at: [amplifiers]\n    values: [[fast-numa-scans], [no-such]]",
    );
    assert!(
        text.contains("amplifiers[0]: there is no amplifier `no-such`"),
        "{text}"
    );
    let text = tune_refused("load_seconds: 20", "arm: mended\nload_seconds: 20");
    assert!(text.contains("arm: no arm of the campaign"), "{text}");
}

#[test]
fn a_tunes_campaign_is_found_from_its_folder_and_checked() {
    let text = tune_refused("campaign: migrate-swap", "campaign: nowhere.yaml");
    assert!(
        text.contains("cannot read the campaign specs/nowhere.yaml"),
        "{text}"
    );
    let text = tune_refused("campaign: migrate-swap", "campaign: no-such");
    assert!(text.contains("no campaign `no-such`"), "{text}");
    // The one beside it is found, so that only what was made wrong is wrong.
    let text = tune_refused("campaign: migrate-swap", "arm: mended\ncampaign: c.yaml");
    assert!(text.contains("specs/t.yaml: 1 problem"), "{text}");
}

#[test]
fn a_tune_that_does_not_exist_or_is_not_named_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| {
        let output = kverdict(dir.path(), args);
        assert_eq!(output.status.code(), Some(129), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["tune"]).contains("SPEC"));
    assert!(said(&["tune", "no-such"]).contains("there are: el7-unmodified, migrate-swap"));
    assert!(said(&["tune", "nowhere/t.yaml"]).contains("cannot read the tune nowhere/t.yaml"));
    let help = kverdict(dir.path(), &["tune", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("near misses")
    );
    let schema = kverdict(dir.path(), &["schema", "tune"]);
    assert!(
        String::from_utf8(schema.stdout)
            .unwrap()
            .contains("max_trials")
    );
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
