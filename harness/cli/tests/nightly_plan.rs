//! What `kverdict nightly` makes of its file and its arguments before anything runs.

mod made_up;
mod nights;
mod support;

use made_up::{Place, shell};
use nights::{Bench, NIGHT, text};
use serde_json::Value;

#[test]
fn a_dry_run_says_what_names_stand_for_and_leaves_nothing() {
    let bench = Bench::of(&NIGHT.replace(
        "  fixed: {kernel: tiny}\n",
        "  fixed: {kernel: tiny}\n  stable: {git: {repository: tree, ref: main}, kernel: tiny}\n  vendor: {package: 'k/kernel-*.rpm'}\n  gone: {git: {repository: tree, ref: no-such}, kernel: tiny}\n",
    ));
    let place = &bench.place;
    let script = "git init -q -b main . && git config user.name x && git config user.email x@x && git add . && git commit -qm first && git rev-parse HEAD";
    let commit = shell(&place.path("tree"), script);
    for version in ["3.10.0-514.el7", "3.10.0-1160.el7", "3.10.0-957.el7"] {
        let path = format!("k/kernel-{version}.x86_64.rpm");
        place.write_bytes(&path, &[0xed, 0xab, 0xee, 0xdb, 3, 0]);
    }
    let output = bench.output(&["nightly", "night.yaml", "--dry-run"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for words in [
        "night t: 5 cells, budget 30 minutes; one trial of each is 5.0 minutes under load",
        "unfixed, the control: tiny + /",
        "defect.patch",
        &format!("stable: tiny: now main is {:.12}", commit.trim()),
        "kernel-3.10.0-1160.el7.x86_64.rpm",
        "CANNOT BE HAD: the repository",
        "unfixed/migrate-swap/base/base, the control",
        "vendor/migrate-swap/base/base",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    assert!(!place.path("results").exists(), "something was left");
    let output = bench.output(&["nightly", "night.yaml", "--dry-run", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["cells"].as_array().unwrap().len(), 5);
}

/// What a night says to its file with these words in it instead, and that it begins nothing.
#[track_caller]
fn refused(from: &str, to: &str) -> String {
    assert!(NIGHT.contains(from), "{from}");
    let bench = Bench::of(&NIGHT.replace(from, to));
    bench.place.write(
        "issues.yaml",
        "schema: 1\nissues: [{link: x, expires: 2030-01-01, failure: sfot}]\n",
    );
    let output = bench.output(&["nightly", "night.yaml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(129), "{said}");
    assert!(!bench.place.path("results").exists(), "a night was begun");
    said
}

#[test]
fn mistakes_name_the_field_and_the_cure() {
    for (from, to, words) in [
        ("budget_minutes: 30", "budget: 30", "night.yaml: 2 problems"),
        (
            "campaign: campaign.yaml",
            "campaign: none.yaml",
            "campaign: cannot read the campaign",
        ),
        (
            "campaign: campaign.yaml",
            "campaign: no-such",
            "campaign: no campaign `no-such` comes with kverdict; there are:",
        ),
        (
            "fixed: {kernel: tiny}",
            "fixed: {kernel: tyni}",
            "kernels.fixed.kernel: there is no kernel `tyni`; known:",
        ),
        (
            "[defect.patch]",
            "[defcet]",
            "kernels.unfixed.apply: there is no patch `defcet`; known:",
        ),
        (
            "fixed: {kernel: tiny}",
            "fixed: {kernel: tiny, tree: nowhere}",
            "kernels.fixed.tree: ",
        ),
        (
            "fixed: {kernel: tiny}",
            "fixed: {kernel: tiny, git: {repository: kernels, ref: main}}",
            "kernels.fixed.git.repository: there is no git repository at",
        ),
        (
            "fixed: {kernel: tiny}",
            "fixed: {package: 'nowhere/*.rpm'}",
            "name a folder that is there",
        ),
        (
            "notify: cat > said.md",
            "known_issues: none.yaml",
            "known_issues: cannot read",
        ),
        (
            "notify: cat > said.md",
            "known_issues: issues.yaml",
            "issues.0.failure: `sfot` is no way for a trial to end; there are: target, clean,",
        ),
        (
            "notify: cat > said.md",
            "loads: {a: {amplifiers: [none]}}",
            "a: amplifiers: there is no amplifier `none`; known:",
        ),
        (", control: true", "", "kernels: none is a control"),
    ] {
        let said = refused(from, to);
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    let place = Place::new();
    for (arguments, words) in [
        (&["nightly", "--budget-minutes", "0"][..], "from 1 to 10080"),
        (
            &["nightly", "none"][..],
            "no night `none` comes with kverdict; there are: default",
        ),
        (
            &["nightly", "none.yaml"][..],
            "cannot read the night none.yaml",
        ),
        (
            &["nightly", "--resume", "none"][..],
            "is no run of this command",
        ),
        (
            &["nightly", "x", "--resume", "y"][..],
            "cannot be used with",
        ),
    ] {
        let output = place.kverdict(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{said}");
        assert!(said.contains(words), "{words}\n{said}");
    }
    for format in ["nightly", "known-issues"] {
        let output = place.kverdict(&["schema", format]);
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["properties"]["schema"].is_object(), "{schema:#}");
    }
}
