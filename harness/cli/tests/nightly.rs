//! `kverdict nightly` and `kverdict watch` on a made-up kernel and guest.

mod made_up;
mod nights;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use made_up::{DEFECT, shell};
use nights::{Bench, NIGHT, change, text};
use serde_json::Value;
use support::wait_until;

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
fn cells_are_tried_side_by_side_and_what_a_kill_took_is_tried_again() {
    let bench = Bench::new();
    bench.place.write("hang", "0001");
    let arguments = ["nightly", "night.yaml", "--json", "--jobs", "2"];
    let mut first = bench.place.start(&arguments);
    wait_until(Duration::from_secs(60), "the other cell is tried", || {
        bench.trials() >= 2
    });
    first.kill().unwrap();
    first.wait().unwrap();
    let run = bench.runs().pop().unwrap();
    let list = fs::read_to_string(run.join("trials.jsonl")).unwrap();
    assert!(
        list.contains("0002-fixed") && !list.contains("0001-"),
        "{list}"
    );

    fs::remove_file(bench.place.path("hang")).unwrap();
    let arguments = ["nightly", "--resume", run.to_str().unwrap(), "--json"];
    let (code, report, errors) = bench
        .place
        .run(&[&arguments[..], &["--jobs", "2"]].concat());
    assert_eq!(code, Some(125), "{errors}");
    let trials = |cell: usize| report["cells"][cell]["trials"].as_array().unwrap();
    assert_eq!(trials(0)[0]["id"], "0001-unfixed", "{errors}");
    assert_eq!((trials(0).len(), trials(1).len()), (1, 8), "{errors}");
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

#[test]
fn a_branch_of_a_remote_repository_is_followed_from_night_to_night() {
    let bench = Bench::new();
    let tree = bench.place.path("tree");
    let url = format!("file://{}", tree.display());
    let night = NIGHT
        .replace(
            "  fixed: {kernel: tiny}\n",
            &format!("  fixed: {{git: {{repository: '{url}', ref: main}}, kernel: tiny}}\n"),
        )
        .replace("{min: 1, max: 8}", "{min: 2, max: 3}");
    bench.place.write("night.yaml", &night);
    let head = |script: &str| {
        let script = format!("{script} && git rev-parse HEAD");
        shell(&tree, &script).lines().last().unwrap().to_owned()
    };
    let stands_for = |report: &Value| {
        let mut lines = report["environment"].as_array().unwrap().iter();
        let line = lines.find(|line| line[0] == "kernel fixed").unwrap();
        line[1].as_str().unwrap().to_owned()
    };
    let kernel = |report: &Value| report["cells"][1]["kernel"].as_str().unwrap().to_owned();

    let first = head(
        "git init -q -b main . && git config user.name x && git config user.email x@x && git add . && git commit -qm first",
    );
    let (_, one, errors) = bench.night();
    assert_eq!(stands_for(&one), format!("main is {first:.12}"), "{errors}");
    // Nobody has moved it.
    let (_, same, errors) = bench.night();
    assert_eq!(kernel(&same), kernel(&one), "{errors}");
    assert!(!errors.contains("(a new kernel;"), "{errors}");

    let second = head("echo 'int more;' >> kernel/b.c && git commit -qam second");
    let (_, moved, errors) = bench.night();
    assert_eq!(stands_for(&moved), format!("main is {second:.12}"));
    assert_ne!(kernel(&moved), kernel(&one));
    assert!(
        errors.contains("fixed/migrate-swap/base/base (a new kernel;"),
        "{errors}"
    );
    assert_eq!(change(&moved, "fixed"), "unchanged");
    let nights = bench.runs();
    let diff = bench.place.kverdict(&[
        "diff",
        nights[1].to_str().unwrap(),
        nights[2].to_str().unwrap(),
    ]);
    let words = format!("{} -> {}: fixed/", kernel(&one), kernel(&moved));
    assert!(
        text(&diff.stdout).contains(&words),
        "{}",
        text(&diff.stdout)
    );

    // A branch that is gone makes its cells untestable, and no night fail.
    shell(&tree, "git checkout -q --detach && git branch -qD main");
    let (code, gone, errors) = bench.night();
    assert_eq!(code, Some(125), "{errors}");
    let why = gone["cells"][1]["untestable"].as_str().unwrap();
    assert!(why.contains("main"), "{why}");
    assert_eq!(
        gone["cells"][0]["failures"][0][1], 2,
        "the control was tried"
    );
}

/// A clock that was wrong for one night.
#[test]
fn a_night_of_the_future_is_not_the_last_one() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.night();
    }
    let wrong = bench.runs().pop().unwrap();
    let file = wrong.join("night.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(manifest["started"].is_string(), "{manifest:#}");
    manifest["started"] = "2099-01-01T00:00:00Z".into();
    fs::write(&file, manifest.to_string()).unwrap();
    let rebuilt = bench.place.kverdict(&["db", "rebuild"]);
    assert_eq!(rebuilt.status.code(), Some(0), "{}", text(&rebuilt.stderr));
    bench.night();
    let past = |run: &Path| fs::read_to_string(run.join("past.json")).unwrap();
    let runs = fs::read_dir(bench.place.path("results")).unwrap();
    let runs: Vec<PathBuf> = runs.map(|entry| entry.unwrap().path()).collect();
    let mut nights: Vec<&PathBuf> = runs.iter().filter(|path| path.is_dir()).collect();
    nights.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let last = past(nights[2]);
    assert!(last.contains(&name(nights[0])), "{last}");
    assert!(!last.contains(&name(&wrong)), "{last}");
}

#[test]
fn older_nights_keep_what_failed_and_what_was_said() {
    let night = NIGHT.replace("{min: 1, max: 8}", "{min: 1, max: 2}");
    let bench = Bench::of(&(night + "retention: {keep_nights: 1}\n"));
    let consoles = |run: usize| -> Vec<String> {
        let trials = fs::read_dir(bench.runs()[run].join("trials")).unwrap();
        let mut kept: Vec<String> = trials
            .map(|trial| trial.unwrap())
            .filter(|trial| trial.path().join("console.log").exists())
            .map(|trial| trial.file_name().into_string().unwrap())
            .collect();
        kept.sort();
        kept
    };
    let (_, first, errors) = bench.night();
    assert!(!errors.contains("files removed"), "{errors}");
    let all = ["0001-unfixed", "0002-fixed", "0003-fixed"];
    assert_eq!(consoles(0), all);
    let (_, _, errors) = bench.night();
    assert!(errors.contains("older nights: "), "{errors}");
    assert_eq!(consoles(0), ["0001-unfixed"], "it locked up");
    assert_eq!(consoles(1), all);
    bench.night();
    assert_eq!(consoles(1), ["0001-unfixed"]);
    assert_eq!(consoles(2), all);
    // What the night said can be said again.
    let run = &bench.runs()[0];
    let again = bench
        .place
        .kverdict(&["report", run.to_str().unwrap(), "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again, first);
    assert!(run.join("report.html").exists());
}

#[test]
fn what_a_killed_night_left_out_of_the_history_is_put_in_by_the_next_one() {
    let bench = Bench::new();
    bench.night();
    let path = bench.place.path("results/history.sqlite");
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute("DELETE FROM trial", []).unwrap();
    drop(database);
    let (_, report, errors) = bench.night();
    assert_eq!(change(&report, "fixed"), "unchanged", "{errors}");
}
