//! Cases of runs, on made-up records.

mod made_up;

use std::collections::BTreeMap;

use kverdict_core::case::{Answer, Made, Results};
use kverdict_core::compare::report::{self as compare_report, Known, name_of};
use kverdict_core::compare::{Comparison, Demands, Side};
use kverdict_core::console::Outcome;
use kverdict_core::record::TrialRecord;
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
