//! Simulated nights: what is tried, and what is said of it.

mod made_up;
mod nights;

use std::collections::BTreeSet;

use kverdict_core::compare::failure::Failure;
use kverdict_core::history::change::Change;
use kverdict_core::night::judge;
use kverdict_core::night::known::{KnownIssue, KnownIssues};
use kverdict_core::night::report::{CellReport, NightReport};
use kverdict_core::night::schedule::{self, Next, Why};
use kverdict_core::night::{Conclusion, NightTrial};
use nights::{
    Nights, SPEC, healthy, host_fails, nothing_locks_up, vendor_fails_twice_as_often,
    vendor_has_host_trouble, vendor_has_two_defects, vendor_is_always_soft, vendor_is_flaky,
    vendor_is_not_exposed, vendor_locks_up, vendor_locks_up_once,
};

fn numbers(trials: &[NightTrial]) -> BTreeSet<u32> {
    trials.iter().map(|one| one.trial.number).collect()
}

#[track_caller]
fn cell<'a>(report: &'a NightReport, kernel: &str) -> &'a CellReport {
    let mut cells = report.cells.iter();
    cells.find(|cell| cell.cell.kernel == kernel).unwrap()
}

#[track_caller]
fn change(report: &NightReport, kernel: &str, expected: Change) {
    let cell = cell(report, kernel);
    assert_eq!(cell.judged.change, expected, "{report}");
}

#[test]
fn a_regression_is_told_the_same_night_and_a_recovery_when_it_is_mended() {
    let mut nights = Nights::new(SPEC);
    let report = nights.run(healthy);
    assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
    change(&report, "vendor", Change::New);
    for _ in 0..3 {
        let report = nights.run(healthy);
        assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
        change(&report, "vendor", Change::Unchanged);
    }

    let report = nights.run(vendor_locks_up);
    assert_eq!(report.conclusion, Conclusion::Regression, "{report}");
    change(&report, "vendor", Change::Regression);
    change(&report, "fixed", Change::Unchanged);
    let judged = &cell(&report, "vendor").judged;
    assert_eq!(judged.failure, Some(Failure::Target));
    assert!(judged.evidence >= judged.needed, "{judged:?}");
    let text = report.to_string();
    assert!(text.starts_with("night: REGRESSION\n  vendor/"), "{text}");
    assert!(
        report
            .summary_markdown()
            .contains("| vendor/test/base/base | regression |"),
        "{}",
        report.summary_markdown()
    );

    // A regression is told once; from then on it is what the past is like.
    for _ in 0..6 {
        let report = nights.run(vendor_locks_up);
        change(&report, "vendor", Change::StillFailing);
        assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
        let said = |reason: &String| reason.contains("still failing");
        assert!(report.reasons.iter().any(said), "{report}");
    }

    let report = nights.run(healthy);
    change(&report, "vendor", Change::Recovery);
    assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
}

#[test]
fn one_failure_is_a_suspicion_that_gets_more_trials_and_no_regression() {
    let mut nights = Nights::new(SPEC);
    for _ in 0..3 {
        nights.run(healthy);
    }
    let (_, order, _) = nights.trials(vendor_locks_up_once);
    let suspicions: Vec<&(String, Why)> = order
        .iter()
        .filter(|(_, why)| *why == Why::Suspicion)
        .collect();
    assert!(!suspicions.is_empty(), "{order:?}");
    assert!(suspicions.iter().all(|(kernel, _)| kernel == "vendor"));
    let report = nights.run(vendor_locks_up_once);
    change(&report, "vendor", Change::Suspicion);
}

#[test]
fn a_suspicion_that_stays_is_no_clean_night_and_the_next_one_begins_with_it() {
    let mut nights = Nights::new(SPEC);
    for _ in 0..3 {
        nights.run(healthy);
    }
    let report = nights.run(vendor_locks_up_once);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
    let said = "vendor/test/base/base: a suspicion is not resolved: target lockup: 1 time in ";
    assert!(report.reasons[0].starts_with(said), "{report}");
    assert_eq!(report.reasons.len(), 1, "it is said once: {report}");

    let (_, order, _) = nights.trials(healthy);
    let first: Vec<(&str, Why)> = order
        .iter()
        .take(4)
        .map(|(kernel, why)| (kernel.as_str(), *why))
        .collect();
    let expected = [
        ("unfixed", Why::Control),
        ("vendor", Why::InDoubt),
        ("vendor", Why::InDoubt),
        ("fixed", Why::First),
    ];
    assert_eq!(first, expected);
    // A night that told nothing resolves nothing.
    nights.run(host_fails);
    assert_eq!(nights.trials(healthy).1[1], ("vendor".into(), Why::InDoubt));
    let report = nights.run(healthy);
    change(&report, "vendor", Change::Unchanged);
    assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
    assert_eq!(nights.trials(healthy).1[1], ("fixed".into(), Why::First));
}

#[test]
fn a_suspicion_that_the_budget_left_open_is_no_clean_night() {
    let mut nights = Nights::new(SPEC);
    for _ in 0..3 {
        nights.run(vendor_is_flaky);
    }
    // As often as flakes look in one night of ten, and all trials were made that may be.
    let report = nights.run(vendor_fails_twice_as_often);
    change(&report, "vendor", Change::Suspicion);
    assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
    let said = |reason: &String| reason.starts_with("vendor/test/base/base: suspicion: ");
    assert!(report.reasons.iter().any(said), "{report}");
    // The same, and there was no time for them.
    nights.past.values_mut().for_each(|past| past.truncate(3));
    nights.spec.budget_minutes = 7.0;
    let report = nights.run(vendor_fails_twice_as_often);
    change(&report, "vendor", Change::Suspicion);
    assert!(report.budget.cut_short);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
}

#[test]
fn what_fails_on_its_first_night_is_not_clean_unless_somebody_has_filed_it() {
    let mut nights = Nights::new(SPEC);
    nights.known = issue("2026-01-10");
    let filed = nights.run(vendor_is_always_soft);
    change(&filed, "vendor", Change::New);
    assert_eq!(filed.conclusion, Conclusion::Clean, "{filed}");
    nights.past.clear();
    nights.known.clear();
    let report = nights.run(vendor_is_always_soft);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
    assert!(
        report.reasons[0].contains("it fails, and has no past to be held against: soft lockup"),
        "{report}"
    );
}

#[test]
fn what_fails_sometimes_is_a_flake() {
    let mut nights = Nights::new(SPEC);
    for _ in 0..4 {
        nights.run(vendor_is_flaky);
    }
    let report = nights.run(vendor_is_flaky);
    change(&report, "vendor", Change::Flake);
    assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
    let vendor = cell(&report, "vendor");
    let (failure, count, issue) = &vendor.failures[0];
    assert!(failure.to_string().contains("soft lockup"), "{failure}");
    assert!(*count >= 1 && issue.is_none());
}

#[test]
fn the_hosts_trouble_is_no_kernels() {
    let mut nights = Nights::new(SPEC);
    nights.run(healthy);
    let (trials, _, next) = nights.trials(host_fails);
    assert_eq!((trials.len(), next), (3, Next::HostTrouble));
    let report = nights.run(host_fails);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
    change(&report, "fixed", Change::Infrastructure);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains("look at the machine")),
        "{report}"
    );
    // It changes nothing either.
    let report = nights.run(healthy);
    change(&report, "fixed", Change::Unchanged);
    // A process that goes on afterwards has a host of which nothing is known.
    let night = nights.night("run");
    let next = schedule::next(&night, &trials, &numbers(&trials), 1.0, &[]);
    assert!(matches!(next, Next::Trial { .. }), "{next:?}");
}

#[test]
fn trouble_with_one_cell_costs_the_others_no_trial_and_says_nothing_of_its_kernel() {
    let mut nights = Nights::new(SPEC);
    nights.run(healthy);
    let (trials, order, next) = nights.trials(vendor_has_host_trouble);
    let count = |kernel: &str| order.iter().filter(|(one, _)| one == kernel).count();
    assert_eq!(count("fixed"), 14, "{order:?}");
    // Nothing but the trouble was left.
    assert_eq!(next, Next::HostTrouble);
    let report = judge::judge(&nights.night("run"), &trials, Vec::new());
    change(&report, "vendor", Change::Infrastructure);
    let said = |words: &str| report.reasons.iter().any(|reason| reason.contains(words));
    assert!(said("no regression: 1 of 2 cells were tested"), "{report}");
    assert!(
        said("vendor/test/base/base: infrastructure, which says nothing about its kernel: 0"),
        "{report}"
    );
    assert!(report.known.new_signatures.is_empty(), "{report}");
}

#[test]
fn a_cell_in_which_the_race_does_not_run_is_given_up() {
    let nights = Nights::new(SPEC);
    let (trials, _, _) = nights.trials(vendor_is_not_exposed);
    let of_vendor = trials.iter().filter(|one| one.cell.starts_with("vendor"));
    assert_eq!(of_vendor.count(), 5);
    let report = judge::judge(&nights.night("run"), &trials, Vec::new());
    let vendor = cell(&report, "vendor");
    assert!(
        vendor
            .untestable
            .as_ref()
            .unwrap()
            .contains("the race hardly runs"),
        "{report}"
    );
    assert_eq!(vendor.judged.change, Change::NotExposed);
}

#[test]
fn without_a_lockup_of_the_control_a_night_is_blind() {
    let mut nights = Nights::new(SPEC);
    nights.run(healthy);
    let (trials, order, _) = nights.trials(nothing_locks_up);
    let of_control = trials.iter().filter(|one| one.cell.starts_with("unfixed"));
    assert_eq!(of_control.count(), 14, "it is tried as often as may be");
    assert!(order.contains(&("unfixed".into(), Why::SilentControl)));
    let report = nights.run(nothing_locks_up);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
    assert!(
        report.reasons[0].contains("did not lock up in 14 trials"),
        "{report}"
    );
}

#[test]
fn survival_without_a_detector_that_works_proves_nothing() {
    let mut nights = Nights::new(SPEC);
    nights.armings.retain(|arming| arming.arm != "fixed");
    let report = nights.run(healthy);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
    assert!(
        report.reasons[0].contains("no detector is proven to work on fixed"),
        "{report}"
    );
    // What could not be tried is tried again.
    let mut failed = made_up::arming("fixed", &[]);
    failed.trouble = Some("the agent was not ready in time".into());
    nights.armings.push(failed.clone());
    assert!(
        nights
            .trials(healthy)
            .1
            .iter()
            .any(|(kernel, _)| kernel == "fixed")
    );
    nights.armings.push(failed);
    // One that is known not to work makes no trials.
    nights.armings.push(made_up::arming("fixed", &[]));
    let report = nights.run(healthy);
    change(&report, "fixed", Change::NotRun);
    assert!(cell(&report, "fixed").trials.is_empty());
    let minutes = cell(&report, "fixed").exposed_minutes;
    assert_eq!(format!("{minutes:.1}"), "0.0");
}

#[test]
fn a_kernel_that_does_not_build_ends_no_night() {
    let mut nights = Nights::new(SPEC);
    nights.kernels.get_mut("vendor").unwrap().untestable =
        Some("no kernel: it does not build".into());
    let report = nights.run(healthy);
    assert_eq!(report.conclusion, Conclusion::Clean, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("vendor/test/base/base: no kernel: it does not build"),
        "{text}"
    );
    assert!(text.contains("1 cell cannot be tested"), "{text}");
    nights.kernels.get_mut("fixed").unwrap().untestable = Some("neither does this".into());
    let report = nights.run(healthy);
    assert_eq!(report.conclusion, Conclusion::CouldNotTell, "{report}");
}

#[test]
fn the_control_comes_first_then_one_trial_of_each_cell() {
    let nights = Nights::new(SPEC);
    let (_, order, next) = nights.trials(healthy);
    let first: Vec<(&str, Why)> = order
        .iter()
        .take(3)
        .map(|(kernel, why)| (kernel.as_str(), *why))
        .collect();
    let expected = [
        ("unfixed", Why::Control),
        ("fixed", Why::First),
        ("vendor", Why::First),
    ];
    assert_eq!(first, expected);
    assert_eq!(next, Next::Done);
    let count = |kernel: &str| order.iter().filter(|(one, _)| one == kernel).count();
    assert_eq!((count("fixed"), count("vendor")), (14, 14));
    assert_eq!(count("unfixed"), 2, "it has shown what it had to");
}

#[test]
fn no_trial_begins_that_cannot_end_in_time() {
    let nights = Nights::new(&SPEC.replace("budget_minutes: 90", "budget_minutes: 5"));
    let (trials, _, next) = nights.trials(healthy);
    assert_eq!(next, Next::OutOfTime);
    let report = judge::judge(&nights.night("run"), &trials, Vec::new());
    assert!(report.budget.cut_short);
    assert!(report.budget.spent <= 5.0, "{:?}", report.budget);
    // Another one would have ended after 5 minutes, at the length that trials have.
    assert!(
        report.budget.spent > 5.0 - 1.2 - 0.01,
        "{:?}",
        report.budget
    );
    assert!(
        report
            .to_string()
            .contains("the budget of 5 minutes ended the night")
    );
}

#[test]
fn cells_side_by_side_get_the_same_trials_and_the_same_answer_in_less_time() {
    for world in [
        healthy,
        vendor_locks_up,
        vendor_locks_up_once,
        vendor_is_flaky,
    ] {
        let night = |jobs: usize| {
            let mut nights = Nights::new(SPEC);
            for _ in 0..3 {
                nights.run(healthy);
            }
            nights.jobs = jobs;
            let (trials, order, next) = nights.trials(world);
            assert_eq!(next, Next::Done, "{order:?}");
            let mut kernels: Vec<String> = order.into_iter().map(|(kernel, _)| kernel).collect();
            kernels.sort();
            let minutes = trials.iter().map(|one| one.spent_minutes);
            (nights.run(world), kernels, minutes.fold(0.0, f64::max))
        };
        let (alone, tried, minutes) = night(1);
        for jobs in [2, 3, 8] {
            let (report, tried_now, minutes_now) = night(jobs);
            assert_eq!(tried_now, tried, "{jobs}");
            assert!(minutes_now < minutes, "{jobs}: {minutes_now} {minutes}");
            assert_eq!(report.conclusion, alone.conclusion, "{jobs}: {report}");
            for kernel in ["fixed", "vendor"] {
                change(&report, kernel, cell(&alone, kernel).judged.change);
            }
        }
    }
}

#[test]
fn a_killed_night_goes_on_where_it_stopped() {
    let nights = Nights::new(SPEC);
    let (trials, order, _) = nights.trials(healthy);
    for kept in [0, 1, 7, trials.len() - 1] {
        let spent = trials[..kept].last().map_or(0.0, |one| one.spent_minutes);
        let next = schedule::next(
            &nights.night("run"),
            &trials[..kept],
            &numbers(&trials[..kept]),
            spent,
            &[],
        );
        let Next::Trial { cell, why } = next else {
            panic!("{next:?}");
        };
        assert_eq!((nights.cells[cell].id.kernel.clone(), why), order[kept]);
        let report = judge::judge(&nights.night("run"), &trials[..kept], Vec::new());
        assert_eq!(
            report.conclusion == Conclusion::CouldNotTell,
            kept < 2,
            "{report}"
        );
    }
}

fn issue(expires: &str) -> Vec<KnownIssue> {
    let text = format!(
        "schema: 1\nissues:\n  - {{link: bug-1, expires: {expires}, failure: soft-lockup, title: 'soft lockup', cell: 'vendor/*'}}\n  \
         - {{link: bug-2, expires: 2030-01-01, failure: target, cell: 'vendor/*'}}\n"
    );
    KnownIssues::parse("k.yaml", &text).unwrap().issues
}

#[test]
fn a_filed_failure_makes_no_night_red_until_it_expires() {
    let mut nights = Nights::new(SPEC);
    for _ in 0..3 {
        nights.run(healthy);
    }
    let (trials, _, _) = nights.trials(vendor_is_always_soft);
    let judged = |nights: &Nights| judge::judge(&nights.night("run"), &trials, Vec::new());

    let unknown = judged(&nights);
    change(&unknown, "vendor", Change::Regression);
    assert_eq!(unknown.conclusion, Conclusion::Regression);
    let new = &unknown.known.new_signatures[0];
    assert_eq!(new.cell.kernel, "vendor");
    assert!(
        unknown
            .to_string()
            .contains("nobody has filed and no earlier night has seen")
    );

    nights.known = issue("2026-01-10");
    let hit = judged(&nights);
    assert_eq!(hit.conclusion, Conclusion::Clean, "{hit}");
    change(&hit, "vendor", Change::Regression);
    assert_eq!(hit.known.hits[0].link, "bug-1");
    assert_eq!(hit.known.never_hit, ["bug-2"]);
    assert!(hit.known.new_signatures.is_empty() && hit.known.expired.is_empty());
    assert_eq!(cell(&hit, "vendor").failures[0].2.as_deref(), Some("bug-1"));
    assert!(
        hit.reasons
            .iter()
            .any(|reason| reason.contains("filed as bug-1")),
        "{hit}"
    );

    nights.known = issue("2026-01-09");
    let expired = judged(&nights);
    assert_eq!(expired.conclusion, Conclusion::Regression, "{expired}");
    assert_eq!(expired.known.expired[0].link, "bug-1");
    assert!(expired.known.hits.is_empty());
}

#[test]
fn what_is_filed_hides_no_other_regression() {
    let mut nights = Nights::new(SPEC);
    for _ in 0..3 {
        nights.run(healthy);
    }
    nights.known = issue("2026-01-10");
    nights.known.retain(|issue| issue.link == "bug-1");
    let report = nights.run(vendor_has_two_defects);
    change(&report, "vendor", Change::Regression);
    assert_eq!(report.known.hits[0].link, "bug-1", "{report}");
    assert_eq!(report.conclusion, Conclusion::Regression, "{report}");
    assert!(report.reasons[0].contains("target lockup"), "{report}");
}

#[test]
fn a_controls_lockup_is_no_news_and_excuses_nobody() {
    let mut nights = Nights::new(SPEC);
    let report = nights.run(healthy);
    assert!(report.known.new_signatures.is_empty(), "{report}");
    let report = nights.run(vendor_locks_up_once);
    assert_eq!(
        report.known.new_signatures[0].failure,
        Failure::Target,
        "{report}"
    );
}
