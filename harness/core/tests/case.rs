//! Cases of runs, on made-up records.

mod made_up;

use std::collections::BTreeMap;

use kverdict_core::case::{Answer, Made, Results};
use kverdict_core::compare::failure::{Clock, Failure};
use kverdict_core::compare::report::{self as compare_report, Known, name_of};
use kverdict_core::compare::{Comparison, Demands, Side};
use kverdict_core::console::Outcome;
use kverdict_core::history::change::{Change, Judged};
use kverdict_core::night::report::{Budget, CellReport, KnownReport, NightReport};
use kverdict_core::night::{Conclusion, NightTrial};
use kverdict_core::record::{Standing, TrialRecord};
use kverdict_core::report::TrialLine;
use kverdict_core::{report, verdict};
use made_up::{campaign, campaign_of, lockup, proven, record, survival};

fn made() -> Made {
    Made {
        started: "2026-01-01T00:00:00Z".into(),
        kverdict: "0.1.0".into(),
        kernels: BTreeMap::from([("fixed".into(), "6.12 k1".into())]),
    }
}

fn verified(records: &[TrialRecord]) -> Results {
    let campaign = campaign();
    let verdict = verdict::judge(&campaign, &proven(), records);
    let report = report::report("run", &campaign, Vec::new(), &proven(), records, verdict);
    Results::of_verify(&made(), &campaign, records, &report)
}

fn answers(results: &Results, case: usize) -> Vec<Answer> {
    let trials = results.cases[case].trials.iter();
    trials.map(|trial| trial.answer).collect()
}

#[test]
fn a_control_should_lock_up_and_a_subject_survive() {
    let mut records = vec![survival(1, "unfixed"), survival(2, "fixed")];
    records.extend((3..6).map(|number| lockup(number, "unfixed", 5)));
    records.extend((6..10).map(|number| survival(number, "fixed")));
    let results = verified(&records);
    assert_eq!(results.answer, Answer::Passed, "{:?}", results.reasons);
    let (control, subject) = (&results.cases[0], &results.cases[1]);
    assert_eq!(
        (control.name.as_str(), control.about.as_str()),
        ("unfixed", "k")
    );
    assert_eq!(
        (subject.name.as_str(), subject.about.as_str()),
        ("fixed", "6.12 k1")
    );
    assert_eq!(
        (control.answer, subject.answer),
        (Answer::Passed, Answer::Passed)
    );
    // That a control once survives proves nothing.
    use Answer::{CouldNotTell, Passed};
    assert_eq!(answers(&results, 0), [CouldNotTell, Passed, Passed, Passed]);
    assert_eq!(answers(&results, 1), [Passed; 5]);
}

#[test]
fn a_subject_that_locks_up_fails_and_a_silent_control_has_not_failed() {
    let results = verified(&[survival(1, "unfixed"), lockup(2, "fixed", 5)]);
    assert_eq!(results.answer, Answer::Failed);
    assert_eq!(results.cases[0].answer, Answer::CouldNotTell);
    assert_eq!(results.cases[1].answer, Answer::Failed);
    let failed: Vec<&str> = results.cases[1]
        .failed_trials()
        .map(|one| one.line.id.as_str())
        .collect();
    assert_eq!(failed, ["0002-fixed"]);

    // Neither a hang nor trouble of the host says anything of the bug.
    let hang = record(2, "fixed", Outcome::SilentHang, 5, 100);
    let trouble = record(3, "fixed", Outcome::Infrastructure, 0, 0);
    let results = verified(&[survival(1, "unfixed"), hang, trouble]);
    assert_eq!(results.answer, Answer::CouldNotTell);
    assert_eq!(answers(&results, 1), [Answer::CouldNotTell; 2]);
}

#[test]
fn a_side_should_be_no_worse_than_the_first() {
    let campaign = campaign_of(["a", "b"], 20);
    let side = |index: usize, untestable: Option<&str>| Side {
        name: name_of(index),
        label: format!("kernel {index}"),
        untestable: untestable.map(str::to_owned),
    };
    let results = |sides: &[Side], records: &[TrialRecord]| {
        let comparison = Comparison {
            campaign: &campaign,
            demands: &Demands::of_trials(1.0, 0.01, 0.01),
            sides,
            armings: &[],
        };
        let report =
            compare_report::report("run", &comparison, records, Vec::new(), &Known::default());
        Results::of_compare(&made(), &campaign, records, &report)
    };
    let sides = [side(0, None), side(1, None)];
    let worse: Vec<TrialRecord> = (0..12)
        .flat_map(|i| [survival(2 * i + 1, "a"), lockup(2 * i + 2, "b", 5)])
        .collect();
    let found = results(&sides, &worse);
    assert_eq!(found.answer, Answer::Failed, "{:?}", found.reasons);
    assert_eq!(found.cases[0].name, "A kernel 0");
    assert_eq!(found.cases[0].answer, Answer::Passed);
    assert_eq!(found.cases[1].answer, Answer::Failed);
    assert_eq!(found.cases[1].failed_trials().count(), 12);
    assert_eq!(found.cases[1].reasons, found.reasons);

    let found = results(&sides, &worse[..2]);
    assert_eq!(found.answer, Answer::CouldNotTell);
    assert_eq!(found.cases[1].answer, Answer::CouldNotTell);

    let found = results(&[side(0, Some("no kernel")), side(1, None)], &[]);
    assert_eq!(found.cases[0].answer, Answer::CouldNotTell);
    assert!(found.cases[0].reasons[0].contains("no kernel"));
}

/// A cell with one trial for each of these standings.
fn cell(kernel: &str, change: Change, standings: &[Standing]) -> CellReport {
    let line = |(number, standing): (usize, &Standing)| TrialLine {
        id: format!("{number:04}-{kernel}"),
        standing: *standing,
        outcome: "x".into(),
        title: String::new(),
        line: None,
        load_seconds: 60.0,
        load_to_report_seconds: None,
        hello_seconds: None,
        remarks: Vec::new(),
    };
    let lockups = standings
        .iter()
        .filter(|one| **one == Standing::TargetLockup);
    let lockups = lockups.count() as u32;
    let failure = (lockups > 0).then_some(Failure::Target);
    CellReport {
        cell: format!("{kernel}/load/two/all").parse().unwrap(),
        control: false,
        kernel: "6.12 k1".into(),
        failures: failure
            .iter()
            .map(|one| (one.clone(), lockups, None))
            .collect(),
        judged: Judged {
            change,
            reasons: vec!["so it is".into()],
            failure,
            before: None,
            tonight: None,
            evidence: 1.0,
            needed: 100.0,
            begins_anew: false,
        },
        trials: (1..).zip(standings).map(line).collect(),
        exposed_minutes: standings.len() as f64,
        meetings: None,
        untestable: None,
    }
}

fn night(cells: Vec<CellReport>) -> Results {
    let trials: Vec<NightTrial> = cells
        .iter()
        .flat_map(|cell| cell.trials.iter().map(move |line| (cell, line)))
        .map(|(cell, line)| NightTrial {
            cell: cell.cell.to_string(),
            trial: TrialRecord {
                id: line.id.clone(),
                started: format!("of {}", cell.cell),
                ..record(1, "arm", Outcome::Clean, 60, 100)
            },
            spent_minutes: 1.0,
        })
        .collect();
    let report = NightReport {
        schema: 1,
        run: "run".into(),
        conclusion: Conclusion::Clean,
        reasons: vec!["nothing changed".into()],
        cells,
        budget: Budget {
            minutes: 60.0,
            spent: 5.0,
            cut_short: false,
        },
        known: KnownReport::default(),
        environment: Vec::new(),
        methods: Vec::new(),
    };
    Results::of_night(&made(), "nightly", &trials, &report)
}

#[test]
fn a_cell_should_be_as_it_was() {
    use Standing::{Survived, TargetLockup};
    let flaky = [Survived, TargetLockup, Survived];
    for (change, standings, answer) in [
        (Change::Regression, &flaky[..], Answer::Failed),
        (Change::Recovery, &flaky[..], Answer::Passed),
        (Change::Flake, &flaky[..], Answer::Passed),
        (Change::StillFailing, &[TargetLockup][..], Answer::Passed),
        (Change::Unchanged, &[Survived][..], Answer::Passed),
        (Change::New, &[Survived][..], Answer::Passed),
        (Change::New, &flaky[..], Answer::CouldNotTell),
        (Change::Suspicion, &flaky[..], Answer::CouldNotTell),
        (
            Change::NotExposed,
            &[Standing::NotExposed][..],
            Answer::CouldNotTell,
        ),
        (Change::NotRun, &[][..], Answer::CouldNotTell),
    ] {
        let results = night(vec![cell("k", change, standings)]);
        let found = &results.cases[0];
        assert_eq!(found.answer, answer, "{change}");
        assert_eq!(found.reasons[0], change.to_string());
        assert_eq!(found.trials.len(), standings.len());
        let failed = standings.iter().filter(|one| **one == TargetLockup).count();
        assert_eq!(found.failed_trials().count(), failed, "{change}");
    }
}

#[test]
fn trials_are_found_by_their_cell_and_a_control_should_lock_up() {
    let mut control = cell(
        "bad",
        Change::StillFailing,
        &[Standing::TargetLockup, Standing::Survived],
    );
    control.control = true;
    let results = night(vec![
        cell("good", Change::Unchanged, &[Standing::Survived]),
        control.clone(),
    ]);
    assert_eq!(
        (results.campaign.as_str(), results.answer),
        ("nightly", Answer::Passed)
    );
    assert_eq!(results.cases[1].trials[0].started, "of bad/load/two/all");
    assert_eq!(results.cases[1].answer, Answer::Passed);
    assert_eq!(answers(&results, 1), [Answer::Passed, Answer::CouldNotTell]);
    control.trials.remove(0);
    assert_eq!(night(vec![control]).cases[0].answer, Answer::CouldNotTell);
}

#[test]
fn a_regression_that_is_filed_is_known() {
    let mut filed = cell("k", Change::Regression, &[Standing::TargetLockup]);
    let link = Some("https://bugs.example/1".to_owned());
    filed.failures[0].2.clone_from(&link);
    let results = night(vec![filed.clone()]);
    assert_eq!(results.cases[0].answer, Answer::Passed);
    assert_eq!(results.cases[0].known, link);
    // Beside something that nobody knows, the link does not stand for the cell.
    let other = Failure::Other {
        clock: Clock::Exposed,
        outcome: Outcome::Oops,
        title: String::new(),
    };
    filed.failures.push((other, 1, None));
    assert_eq!(night(vec![filed]).cases[0].known, None);
}
