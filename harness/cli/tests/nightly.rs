//! `kverdict nightly` and `kverdict watch` on a made-up kernel and guest.

mod made_up;
mod nights;
mod support;

use std::fs;
use std::process::Command;

use made_up::{DEFECT, shell};
use nights::{Bench, NIGHT, change, text};
use serde_json::Value;

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
