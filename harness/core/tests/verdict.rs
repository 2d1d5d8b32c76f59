//! Verdict and schedule, on made-up records.

mod made_up;

use std::collections::BTreeSet;

use kverdict_core::arming::Arming;
use kverdict_core::campaign::Role;
use kverdict_core::console::Outcome;
use kverdict_core::record::{Standing, TrialRecord};
use kverdict_core::schedule::{self, Next};
use kverdict_core::verdict::{Conclusion, judge};
use made_up::{arming, campaign, lockup, proven, record, survival};

#[test]
fn a_control_that_locks_up_and_a_subject_that_survives_long_enough_is_verified() {
    let mut records: Vec<_> = (0..3)
        .flat_map(|i| {
            [
                lockup(2 * i + 1, "unfixed", 10),
                survival(2 * i + 2, "fixed"),
            ]
        })
        .collect();
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(
        verdict.conclusion,
        Conclusion::Verified,
        "{:?}",
        verdict.reasons
    );
    // (0.5 / 3.5)^3
    assert!((verdict.luck - 0.002_915).abs() < 1e-5, "{}", verdict.luck);
    assert_eq!(
        schedule::next(&campaign(), &proven(), &records, &[], &BTreeSet::new()),
        Next::Decided
    );

    // The same with a control that took three times as long: the survival is worth less.
    records
        .iter_mut()
        .filter(|r| r.arm == "unfixed")
        .for_each(|r| r.exposure.load_ms *= 3);
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(verdict.conclusion, Conclusion::Inconclusive);
    let needed = verdict.still_needed.unwrap();
    assert_eq!(needed.control_lockups, 0);
    // 1.5 min × (0.01^(-1/3) - 1) - 3 min
    assert!(
        (needed.subject_minutes.unwrap() - 2.4624).abs() < 1e-3,
        "{needed:?}"
    );
    assert_eq!(needed.subject_trials, Some(3));
}

#[test]
fn a_suspect_trial_is_not_outweighed_and_ends_the_run_when_the_rest_is_there() {
    let trials = |count: u32| -> Vec<TrialRecord> {
        let pairs = (0..count).flat_map(|i| {
            [
                lockup(2 * i + 1, "unfixed", 10),
                survival(2 * i + 2, "fixed"),
            ]
        });
        pairs.collect()
    };
    let next =
        |records: &[_]| schedule::next(&campaign(), &proven(), records, &[], &BTreeSet::new());
    // It is not counted as survival, so that one minute is not enough.
    let mut records = trials(2);
    records[1].outcome = Outcome::SoftLockup;
    assert_eq!(next(&records), Next::Trial("unfixed".to_owned()));
    let mut records = trials(4);
    records[1].outcome = Outcome::SoftLockup;
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(verdict.conclusion, Conclusion::Inconclusive);
    assert!(verdict.reasons[0].contains("look at those trials"));
    assert_eq!(next(&records), Next::InDoubt);
}

#[test]
fn a_silent_control_proves_nothing_however_long_the_subject_survived() {
    let records: Vec<_> = (0..4)
        .flat_map(|i| [survival(2 * i + 1, "unfixed"), survival(2 * i + 2, "fixed")])
        .collect();
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(verdict.conclusion, Conclusion::Inconclusive);
    assert_eq!(verdict.conclusion.exit_code(), 125);
    assert_eq!(verdict.still_needed.unwrap().subject_minutes, None);
    assert_eq!(
        schedule::next(&campaign(), &proven(), &records, &[], &BTreeSet::new()),
        Next::Exhausted
    );
}

#[test]
fn a_subject_that_locks_up_is_refuted_and_swapped_kernels_are_named() {
    let records = [survival(1, "unfixed"), lockup(2, "fixed", 20)];
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(verdict.conclusion, Conclusion::Refuted);
    assert_eq!(verdict.conclusion.exit_code(), 1);
    assert!(
        verdict
            .reasons
            .iter()
            .any(|reason| reason.contains("look swapped")),
        "{:?}",
        verdict.reasons
    );

    let records = [lockup(1, "unfixed", 20), lockup(2, "fixed", 20)];
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(verdict.conclusion, Conclusion::Refuted);
    assert!(
        !verdict
            .reasons
            .iter()
            .any(|reason| reason.contains("swapped")),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn survival_without_exposure_does_not_count() {
    let mut records: Vec<_> = (1..=3).map(|i| lockup(i, "unfixed", 10)).collect();
    records.extend((4..=9).map(|i| record(i, "fixed", Outcome::Clean, 60, 2)));
    let verdict = judge(&campaign(), &proven(), &records);
    assert_eq!(verdict.conclusion, Conclusion::Inconclusive);
    assert_eq!(verdict.arms[1].not_exposed, 6);
    assert_eq!(verdict.arms[1].exposed_minutes, 0.0);
}

#[test]
fn a_hang_of_the_subject_blocks_a_good_verdict() {
    let mut records: Vec<_> = (1..=3).map(|i| lockup(i, "unfixed", 5)).collect();
    records.extend((4..=9).map(|i| survival(i, "fixed")));
    assert_eq!(
        judge(&campaign(), &proven(), &records).conclusion,
        Conclusion::Verified
    );
    records.push(record(10, "fixed", Outcome::SilentHang, 30, 100));
    assert_eq!(
        judge(&campaign(), &proven(), &records).conclusion,
        Conclusion::Inconclusive
    );
}

#[test]
fn infrastructure_never_counts_and_stops_a_campaign_when_it_persists() {
    let campaign = campaign();
    let broken = |i| {
        record(
            i,
            if i % 2 == 1 { "unfixed" } else { "fixed" },
            Outcome::Infrastructure,
            0,
            0,
        )
    };
    assert_eq!(
        broken(1).standing(&campaign.policy.min_exposure),
        Standing::Infrastructure
    );
    assert_eq!(
        schedule::next(
            &campaign,
            &proven(),
            &[broken(1), broken(2)],
            &[],
            &BTreeSet::new()
        ),
        Next::Trial("unfixed".into())
    );
    let records = [broken(1), broken(2), broken(3)];
    let next =
        |earlier: &BTreeSet<u32>| schedule::next(&campaign, &proven(), &records, &[], earlier);
    assert_eq!(next(&BTreeSet::new()), Next::HostTrouble);
    // Another process goes on, on a host that was mended.
    assert_eq!(next(&[1, 2, 3].into()), Next::Trial("fixed".into()));
}

#[test]
fn arms_take_turns_beginning_with_the_control() {
    let campaign = campaign();
    assert_eq!(campaign.arm_with(Role::Control), "unfixed");
    let mut records = Vec::new();
    let mut order = Vec::new();
    while let Next::Trial(arm) =
        schedule::next(&campaign, &proven(), &records, &[], &BTreeSet::new())
    {
        order.push(arm.clone());
        records.push(survival(u32::try_from(records.len()).unwrap() + 1, &arm));
    }
    assert_eq!(order, ["unfixed", "fixed"].repeat(4));
}

#[test]
fn without_a_detector_that_is_proven_to_work_nothing_passes() {
    let mut records: Vec<_> = (1..=3).map(|i| lockup(i, "unfixed", 10)).collect();
    records.extend((4..=8).map(|i| survival(i, "fixed")));
    let verdict = |armings: &[Arming]| judge(&campaign(), armings, &records);
    assert_eq!(verdict(&proven()).conclusion, Conclusion::Verified);

    let silent = [arming("unfixed", &["outside"]), arming("fixed", &[])];
    let judged = verdict(&silent);
    assert_eq!(judged.conclusion, Conclusion::Inconclusive);
    assert!(
        judged.reasons[0].contains("`fixed`: no detector noticed"),
        "{:?}",
        judged.reasons
    );
    assert_eq!(
        schedule::next(&campaign(), &silent, &[], &[], &BTreeSet::new()),
        Next::Unproven
    );

    let judged = verdict(&[arming("unfixed", &["outside"])]);
    assert_eq!(judged.conclusion, Conclusion::Inconclusive);
    assert!(
        judged.reasons[0].contains("no lockup was made on purpose"),
        "{:?}",
        judged.reasons
    );

    let mut failed = arming("fixed", &[]);
    failed.trouble = Some("the stub did not answer".into());
    let judged = verdict(&[arming("unfixed", &["console"]), failed]);
    assert!(
        judged.reasons[0].contains("the stub did not answer"),
        "{:?}",
        judged.reasons
    );
}

#[test]
fn near_misses_are_modelled_only_where_nobody_counts_them() {
    let mut records = vec![survival(1, "fixed"), survival(2, "fixed")];
    let modelled = |records: &[TrialRecord]| {
        let verdict = judge(&campaign(), &proven(), records);
        let subject = verdict
            .arms
            .into_iter()
            .find(|arm| arm.role == Role::Subject);
        subject.unwrap().modelled_meetings_per_minute
    };
    // No balances counted: nothing to model from.
    assert_eq!(modelled(&records), None);
    records[0].exposure.counters.active_balances = Some(4800);
    // Of 60 s the windows are open for 0.24 s, and 100 swaps fall on 32 pairs.
    let expected = 4800.0 * 50e-6 / 60.0 * 100.0 / 32.0;
    let found = modelled(&records).unwrap();
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    // The amplifier counts both, and says itself how often they met.
    let amplifier = &mut records[0].exposure.counters.amplifier;
    amplifier.insert("kv_met".into(), 0);
    assert_eq!(modelled(&records), None);
}
