//! `kverdict nightly` and `kverdict watch` on a made-up kernel, with a program in QEMU's place that plays the
//! guest: a kernel with the defect locks up in every trial, and every kernel does while `broken` is there.

mod made_up;
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

use made_up::{Place, shell};
use serde_json::Value;
use support::wait_until;

const TARGET_LOCKUP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../core/tests/logs/target-6.12-reintroduced.log"
);

/// `hang` names a trial that does not end.
const GUEST: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "QEMU emulator version 9.9"; exit 0; }
while [ $# -gt 0 ]; do [ "$1" = -kernel ] && kernel=$2; shift; done
say() { echo "$1" >> agent.jsonl; }
counters() { echo "{\"packets\":$1,\"node_busy_percent\":[],\"swaps\":$1,\"amplifier\":{\"kv_met\":$2}}"; }
: > console.log
say '{"type":"hello","protocol":1,"release":"6.99","version":"x","uptime_ms":9,"nodes":[],"cmdline":""}'
say '{"type":"armed","detectors":[],"tracing":true}'
say '{"type":"load-started","uptime_ms":1000,"processes":1,"hugepages":false}'
say "{\"type\":\"heartbeat\",\"seq\":0,\"uptime_ms\":1000,\"counters\":$(counters 0 0)}"
case "$PWD" in *"/$(cat "$TEST/hang" 2>/dev/null || echo none)-"*) exec sleep 1000 ;; esac
if grep -q DEFECT "$kernel" || [ -e "$TEST/broken" ]; then
    cat "$TEST/lockup.log" > console.log
    say "{\"type\":\"heartbeat\",\"seq\":1,\"uptime_ms\":13000,\"counters\":$(counters 900 1)}"
    exec sleep 1000
fi
say "{\"type\":\"heartbeat\",\"seq\":1,\"uptime_ms\":61000,\"counters\":$(counters 900 60)}"
say '{"type":"end","uptime_ms":61001}'
"#;

const DEFECT: &str = "\
--- a/kernel/a.c
+++ b/kernel/a.c
@@ -1,4 +1,5 @@
+const char mark[] = \"DEFECT\";
 int a(void)
 {
 \treturn 1;
 }
";

const NIGHT: &str = "
schema: 1
name: t
campaign: campaign.yaml
kernels:
  unfixed: {kernel: tiny, apply: [defect.patch], control: true}
  fixed: {kernel: tiny}
budget_minutes: 30
trials: {min: 1, max: 8}
alpha: 0.2
notify: cat > said.md
";

/// A made-up kernel in a folder of its own, and a night's file.
struct Bench {
    place: Place,
}

impl Bench {
    fn new() -> Self {
        Self::of(NIGHT)
    }

    fn of(night: &str) -> Self {
        let place = Place::new();
        // A made-up guest cannot be locked up on purpose, so that no survival of it counts.
        let quick = "policy:\n  prove_detectors: false\n";
        let campaign = made_up::campaign().replace("policy:\n", quick);
        place.write("campaign.yaml", &campaign);
        place.write("defect.patch", DEFECT);
        place.write("night.yaml", night);
        place.guest(GUEST);
        fs::copy(TARGET_LOCKUP, place.path("lockup.log")).unwrap();
        Self { place }
    }

    fn night(&self) -> (Option<i32>, Value, String) {
        self.place.run(&["nightly", "night.yaml", "--json"])
    }

    fn start(&self) -> Child {
        self.place.start(&["nightly", "night.yaml", "--json"])
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.place.start(arguments).wait_with_output().unwrap()
    }

    /// Folders of all runs, the oldest first.
    fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.place.path("results")) else {
            return Vec::new();
        };
        let mut runs: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        runs.sort_by_key(|run| {
            fs::metadata(run.join("night.json"))
                .unwrap()
                .modified()
                .unwrap()
        });
        runs
    }

    fn trials(&self) -> usize {
        let Some(run) = self.runs().pop() else {
            return 0;
        };
        let text = fs::read_to_string(run.join("trials.jsonl"));
        text.unwrap_or_default().lines().count()
    }

    /// Starts a night that hangs in this trial, and waits until it does.
    fn hanging(&self, trial: usize) -> Child {
        self.place.write("hang", &format!("{trial:04}"));
        let child = self.start();
        wait_until(Duration::from_secs(60), "the trial that hangs", || {
            let hangs = |run: PathBuf| {
                let events = fs::read_to_string(run.join("events.jsonl"));
                let began = format!("\"id\":\"{trial:04}-");
                events.is_ok_and(|text| text.contains(&began))
            };
            self.runs().pop().is_some_and(hangs)
        });
        child
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn change<'a>(report: &'a Value, kernel: &str) -> &'a str {
    let cells = report["cells"].as_array().unwrap();
    let cell = cells
        .iter()
        .find(|cell| cell["cell"]["kernel"] == kernel)
        .unwrap();
    cell["judged"]["change"].as_str().unwrap()
}

#[test]
fn a_regression_is_told_with_a_summary_and_nothing_else_is() {
    let bench = Bench::new();
    for night in 0..3 {
        let (code, report, errors) = bench.night();
        assert_eq!(code, Some(125), "{errors}");
        assert_eq!(report["conclusion"], "could-not-tell");
        assert!(
            report["reasons"][0]
                .as_str()
                .unwrap()
                .contains("no detector is proven"),
            "{report:#}"
        );
        let expected = if night == 0 { "new" } else { "unchanged" };
        assert_eq!(change(&report, "fixed"), expected, "{report:#}");
        assert_eq!(report["cells"][0]["control"], true);
        assert_eq!(report["cells"][0]["failures"][0][1], 1, "{report:#}");
        assert!(!bench.place.path("said.md").exists(), "the command was run");
    }
    bench.place.write("broken", "");
    let (code, report, errors) = bench.night();
    assert_eq!(code, Some(1), "{errors}{report:#}");
    assert_eq!(change(&report, "fixed"), "regression");
    let said = fs::read_to_string(bench.place.path("said.md")).unwrap();
    assert!(
        said.starts_with("# Night ") && said.contains(": REGRESSION"),
        "{said}"
    );
    assert!(
        said.contains("| fixed/migrate-swap/base/base | regression |"),
        "{said}"
    );

    // What is stored says the same, and runs no command.
    fs::remove_file(bench.place.path("said.md")).unwrap();
    let run = bench.runs().pop().unwrap();
    let again = bench
        .place
        .kverdict(&["report", run.to_str().unwrap(), "--json"]);
    assert_eq!(again.status.code(), Some(1));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again, report);
    assert!(!bench.place.path("said.md").exists());
    let written = fs::read_to_string(run.join("report.txt")).unwrap();
    assert!(
        written.starts_with("night: REGRESSION\n  fixed/"),
        "{written}"
    );
}

#[test]
fn a_command_that_fails_is_told_and_changes_nothing() {
    let bench = Bench::of(&NIGHT.replace("cat > said.md", "echo no mail today; exit 3"));
    for _ in 0..3 {
        bench.night();
    }
    bench.place.write("broken", "");
    let (code, _, errors) = bench.night();
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("NOT NOTIFIED") && errors.contains("no mail today"),
        "{errors}"
    );
}

#[test]
fn a_kernel_that_does_not_build_makes_its_cells_untestable() {
    let bench = Bench::of(&NIGHT.replace(
        "  fixed: {kernel: tiny}\n",
        "  fixed: {kernel: tiny}\n  bad: {kernel: tiny, apply: [bad.patch]}\n  gone: {package: 'none-*.rpm'}\n",
    ));
    let bad = DEFECT.replace("const char mark[] = \"DEFECT\";", "broken(");
    bench.place.write("bad.patch", &bad);
    let (code, report, errors) = bench.night();
    assert_eq!(code, Some(125), "{errors}");
    for (cell, words) in [(2, "no kernel"), (3, "there is no file none-*.rpm")] {
        let why = report["cells"][cell]["untestable"].as_str().unwrap();
        assert!(why.contains(words), "{why}");
        assert_eq!(report["cells"][cell]["judged"]["change"], "not-run");
    }
    assert_eq!(report["cells"][1]["trials"].as_array().unwrap().len(), 8);
}

#[test]
fn two_nights_of_one_name_do_not_collide() {
    let bench = Bench::new();
    let mut first = bench.hanging(2);
    let (code, _, errors) = bench.night();
    assert_eq!(code, Some(131), "{errors}");
    let holder = format!("process {} since 20", first.id());
    assert!(
        errors.contains("another night `t` is running") && errors.contains(&holder),
        "{errors}"
    );
    assert_eq!(bench.runs().len(), 1, "nothing is left of the second");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_killed_night_is_a_smaller_one_and_goes_on() {
    let bench = Bench::new();
    let mut first = bench.hanging(3);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(bench.trials(), 2);
    let run = bench.runs().pop().unwrap();
    let report = bench.place.kverdict(&["report", run.to_str().unwrap()]);
    assert_eq!(report.status.code(), Some(125));
    assert!(
        text(&report.stdout).contains("fixed    new, 0/1"),
        "{}",
        text(&report.stdout)
    );

    fs::remove_file(bench.place.path("hang")).unwrap();
    let arguments = ["nightly", "--resume", run.to_str().unwrap(), "--json"];
    let (code, report, errors) = bench.place.run(&arguments);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(bench.runs().len(), 1);
    let ids: Vec<&str> = report["cells"][1]["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| trial["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 8);
    assert_eq!(ids[..3], ["0002-fixed", "0003-fixed", "0004-fixed"]);
    // There is nothing left to do.
    let (code, again, errors) = bench.place.run(&arguments);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(again, report);
}

#[test]
fn a_night_that_is_asked_to_stop_says_how_to_go_on() {
    let bench = Bench::new();
    let first = bench.hanging(2);
    let status = Command::new("kill")
        .args(["-TERM", &first.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("1 trials are kept. Go on with: kverdict nightly --resume"),
        "{errors}"
    );
}

#[test]
fn a_night_is_watched_from_another_terminal() {
    let bench = Bench::new();
    let mut night = bench.hanging(2);
    let run = bench.runs().pop().unwrap();
    let watch = bench.place.start_alone(&["watch", run.to_str().unwrap()]);
    fs::write(bench.place.path("hang"), "none").unwrap();
    // The guest that hangs is killed with its night.
    night.kill().unwrap();
    night.wait().unwrap();
    let output = watch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for words in [
        "trial 0001-unfixed began",
        "trial 0001-unfixed: target-lockup (hard-lockup)",
        "trial 0002-fixed began",
        "1 trial: 1 target lockup; could not tell; 1 of 2 cells tried, ",
        "nobody writes into it any more. night: COULD NOT TELL; more by: kverdict report",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let output = bench.place.kverdict(&["watch", "results"]);
    assert_eq!(output.status.code(), Some(129));
    assert!(text(&output.stderr).contains("there is no events.jsonl in it"));
}

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

#[test]
fn a_branch_is_built_as_it_is_when_the_night_begins() {
    let bench = Bench::of(&NIGHT.replace(
        "  fixed: {kernel: tiny}\n",
        "  fixed: {git: {repository: tree, ref: main}, kernel: tiny}\n",
    ));
    let tree = bench.place.path("tree");
    shell(
        &tree,
        "git init -q -b main . && git config user.name x && git config user.email x@x && git add . && git commit -qm first",
    );
    let (code, report, errors) = bench.night();
    assert_eq!(code, Some(125), "{errors}");
    let first = report["cells"][1]["kernel"].as_str().unwrap().to_owned();
    let state = "git status --porcelain; git worktree list";
    assert_eq!(
        shell(&tree, state).lines().count(),
        1,
        "the repository was changed"
    );
    shell(
        &tree,
        "echo 'int more;' >> kernel/b.c && git commit -qam second",
    );
    let (_, report, errors) = bench.night();
    let second = report["cells"][1]["kernel"].as_str().unwrap();
    assert_ne!(first, second, "{errors}");
    assert_eq!(change(&report, "fixed"), "unchanged");
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
