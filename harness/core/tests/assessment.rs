//! One kernel by itself, on made-up records.

mod made_up;

use kverdict_core::assessment::{Assessment, Enough, Known, State, assess};
use kverdict_core::console::Outcome;
use kverdict_core::record::TrialRecord;
use made_up::{arming, campaign, lockup, record, survival};

/// A control that locked up three times in half a minute: with that, 1.8 minutes are enough.
const AGAINST: Enough = Enough::Against(Known {
    lockups: 3,
    minutes: 0.5,
});

fn judge(enough: &Enough, records: &[TrialRecord]) -> Assessment {
    let arming = arming("fixed", &["outside"]);
    assess(&campaign().policy, enough, Some(&arming), records)
}

#[test]
fn one_target_lockup_is_proof_whatever_survived_before() {
    let records = [
        survival(1, "fixed"),
        survival(2, "fixed"),
        lockup(3, "fixed", 5),
    ];
    let found = judge(&AGAINST, &records);
    assert_eq!((found.state, found.lockups), (State::HasBug, 1));
    assert_eq!(found.minutes_to_go, 0.0);
    assert_eq!(found.rate_below, None);
}

#[test]
fn survival_is_worth_what_the_controls_rate_makes_it() {
    let one = judge(&AGAINST, &[survival(1, "fixed")]);
    assert_eq!(one.state, State::Unknown);
    // 0.5 min x (0.01^(-1/3) - 1) - 1 min
    assert!((one.minutes_to_go - 0.8208).abs() < 1e-3, "{one:?}");
    let two = judge(&AGAINST, &[survival(1, "fixed"), survival(2, "fixed")]);
    assert_eq!(two.state, State::NoBugShown);
    assert!(two.reasons[0].contains("8.0e-3"), "{}", two.reasons[0]);
    // -ln(0.025) / 2 min
    assert!((two.rate_below.unwrap() - 1.844).abs() < 1e-2, "{two:?}");
    // A control that took ten times as long makes the same survival worth little.
    let slow = Enough::Against(Known {
        lockups: 3,
        minutes: 5.0,
    });
    let doubted = judge(&slow, &[survival(1, "fixed"), survival(2, "fixed")]);
    assert_eq!(doubted.state, State::Unknown);
}

#[test]
fn what_says_nothing_counts_as_nothing() {
    let unexposed = record(1, "fixed", Outcome::Clean, 600, 0);
    let failed = record(2, "fixed", Outcome::Infrastructure, 600, 900);
    let found = judge(&Enough::Minutes(1.0), &[unexposed, failed]);
    assert_eq!((found.state, found.minutes), (State::Unknown, 0.0));
    assert!(found.reasons[0].contains("not exposed"), "{found:?}");
    // Once others said enough, they are no doubt.
    let failed = record(1, "fixed", Outcome::Infrastructure, 600, 900);
    let found = judge(&Enough::Minutes(1.0), &[failed, survival(2, "fixed")]);
    assert_eq!(found.state, State::NoBugShown);
}

#[test]
fn a_hang_of_another_kind_stays_a_doubt() {
    let hang = record(1, "fixed", Outcome::SilentHang, 10, 100);
    let found = judge(&Enough::Minutes(1.0), &[hang, survival(2, "fixed")]);
    assert_eq!(found.state, State::Unknown);
}

#[test]
fn nothing_survives_where_no_detector_works() {
    let policy = campaign().policy;
    let records = [survival(1, "fixed"), survival(2, "fixed")];
    let silent = arming("fixed", &[]);
    for arming in [None, Some(&silent)] {
        let found = assess(&policy, &AGAINST, arming, &records);
        assert_eq!(found.state, State::Unknown, "{found:?}");
        assert_eq!(found.minutes_to_go, 0.0, "more trials would not help");
    }
}
