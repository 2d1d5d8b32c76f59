//! The page of a night.

mod support;

use kverdict_core::compare::failure::{Clock, Failure};
use kverdict_core::console::Outcome;
use kverdict_core::history::change::{Change, Judged};
use kverdict_core::night::Conclusion;
use kverdict_core::night::cell::CellId;
use kverdict_core::night::report::{
    Budget, CellReport, Hit, KnownReport, NewSignature, NightReport,
};
use kverdict_core::record::TrialRecord;
use kverdict_core::report::trial_line;
use kverdict_core::statistics;
use support::{Recorded, at, check, keep};

fn cell(kernel: &str) -> CellId {
    CellId {
        kernel: kernel.to_owned(),
        load: "default".to_owned(),
        topology: "two-nodes".to_owned(),
        detectors: "all".to_owned(),
    }
}

/// A cell whose trials are those of an arm.
fn of(run: &Recorded, arm: &str, kernel: &str, change: Change, reasons: &[&str]) -> CellReport {
    let mine = run.records.iter().filter(|record| record.arm == arm);
    let trials: Vec<_> = mine
        .map(|record| trial_line(&run.campaign, record))
        .collect();
    let failed = if arm == "unfixed" { 3 } else { 0 };
    CellReport {
        cell: cell(kernel),
        control: false,
        kernel: "6.12.117 42bf0d".to_owned(),
        judged: Judged {
            change,
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
            failure: None,
            before: None,
            tonight: None,
            evidence: 1.0,
            needed: 200.0,
            begins_anew: false,
        },
        failures: (failed > 0)
            .then_some((Failure::Target, failed, None))
            .into_iter()
            .collect(),
        trials,
        exposed_minutes: 0.65,
        meetings: Some(2),
        untestable: None,
    }
}

fn soft_lockup() -> Failure {
    Failure::Other {
        clock: Clock::Exposed,
        outcome: Outcome::SoftLockup,
        title: "watchdog: BUG: soft lockup - CPU## stuck for #s!".to_owned(),
    }
}

/// A regression, a control, a flake that is filed, a cell of which nothing is known, and one that is as it was.
fn night(run: &Recorded) -> NightReport {
    let regression = "target lockup: more often than before: 3 times in 0.65 exposed minutes tonight, 0 times in 40.00 \
                      exposed minutes before; evidence 412.3 against equal rates, 200.0 is asked for";
    let mut next = of(run, "unfixed", "next", Change::Regression, &[regression]);
    next.judged.failure = Some(Failure::Target);
    next.judged.before = statistics::rate(0, 40.0);
    next.judged.tonight = statistics::rate(3, 0.65);
    next.judged.evidence = 412.3;
    // A trial is of one cell only.
    let control = CellReport {
        control: true,
        trials: Vec::new(),
        ..of(run, "unfixed", "unfixed", Change::StillFailing, &[])
    };
    let mut flaky = of(
        run,
        "fixed",
        "vendor",
        Change::Flake,
        &[
            "soft lockup: 1 time in 3.10 exposed minutes tonight, 9 times in 40.00 exposed minutes before",
        ],
    );
    let link = "https://issues.example/7".to_owned();
    flaky.failures = vec![(soft_lockup(), 1, Some(link.clone()))];
    let blind = CellReport {
        exposed_minutes: 0.0,
        meetings: None,
        ..of(
            run,
            "nobody",
            "stable",
            Change::Infrastructure,
            &["0009-stable: QEMU ended with status 1: cannot allocate memory"],
        )
    };
    NightReport {
        schema: 1,
        run: "20261127T010000Z-night-default-7".to_owned(),
        conclusion: Conclusion::Regression,
        reasons: vec![
            format!("next/default/two-nodes/all: {regression}"),
            "stable/default/two-nodes/all: infrastructure, which says nothing about its kernel: 0009-stable: QEMU ended \
             with status 1: cannot allocate memory"
                .to_owned(),
        ],
        cells: vec![
            control,
            of(run, "fixed", "fixed", Change::Unchanged, &["none of 3 trials failed tonight"]),
            next,
            flaky,
            blind,
        ],
        budget: Budget {
            minutes: 240.0,
            spent: 181.0,
            cut_short: false,
        },
        known: KnownReport {
            hits: vec![Hit {
                link,
                expires: "2027-01-01".to_owned(),
                cell: cell("vendor"),
                failure: soft_lockup(),
                count: 1,
            }],
            expired: Vec::new(),
            never_hit: vec!["javascript:alert(1)".to_owned()],
            new_signatures: vec![NewSignature {
                cell: cell("next"),
                failure: Failure::Target,
                count: 3,
                trial: "0001-unfixed".to_owned(),
            }],
        },
        environment: run.environment.clone(),
        methods: vec!["as always".to_owned()],
    }
}

#[test]
fn a_night_says_what_changed_and_shows_it() {
    let run = Recorded::verified();
    let report = night(&run);
    let records: Vec<&TrialRecord> = run.records.iter().collect();
    let html = kverdict_page::night::page(&report, &records, &run.leftovers).unwrap();
    keep("night.html", &html);
    check(&html);
    let places = [
        "<p class=\"word\">Regression</p>",
        "<h2 id=\"changes\">",
        "before and tonight",
        "<h2 id=\"cells\">",
        "<h2 id=\"known\">",
        "<details id=\"trial-0001-unfixed\">",
        "<h2 id=\"trials\">",
    ]
    .map(|text| at(&html, text));
    assert!(places.is_sorted(), "{places:?}");
    at(&html, "href=\"https://issues.example/7\"");
    at(
        &html,
        "next/default/two-nodes/all</code> fails more often than in the nights before",
    );
    assert!(
        !html.contains("href=\"javascript"),
        "only the web is linked"
    );
    assert!(!html.contains("id=\"cell-fixed"), "nothing new is no news");
}

#[test]
fn a_night_without_news_shows_none() {
    let run = Recorded::verified();
    let mut report = night(&run);
    report.conclusion = Conclusion::Clean;
    report.cells.truncate(2);
    report.known = KnownReport::default();
    let html = kverdict_page::night::page(&report, &[], &run.leftovers).unwrap();
    check(&html);
    assert!(!html.contains("id=\"changes\"") && !html.contains("id=\"known\""));
}
