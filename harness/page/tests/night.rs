//! The page of a night.

mod support;

use kverdict_core::compare::failure::Failure;
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

fn night(run: &Recorded) -> NightReport {
    let of = |arm: &str, kernel: &str, control: bool, change: Change| {
        let mine = run.records.iter().filter(|record| record.arm == arm);
        let lines: Vec<_> = mine
            .map(|record| trial_line(&run.campaign, record))
            .collect();
        CellReport {
            cell: cell(kernel),
            control,
            kernel: "6.12.117 42bf0d".to_owned(),
            judged: Judged {
                change,
                reasons: vec!["it locks up in 3 of 3 trials, in none of 40 before".to_owned()],
                failure: Some(Failure::Target),
                before: statistics::rate(0, 40.0),
                tonight: statistics::rate(3, 0.65),
                evidence: 412.3,
                needed: 200.0,
                begins_anew: false,
            },
            failures: match arm {
                "unfixed" => vec![(
                    Failure::Target,
                    3,
                    Some("https://issues.example/7".to_owned()),
                )],
                _ => Vec::new(),
            },
            trials: lines,
            exposed_minutes: 0.65,
            meetings: Some(2),
            untestable: None,
        }
    };
    let failure = Failure::Target;
    NightReport {
        schema: 1,
        run: "20261127T010000Z-night-default-7".to_owned(),
        conclusion: Conclusion::Regression,
        reasons: vec!["`next` locks up, which it did not before".to_owned()],
        cells: vec![
            of("fixed", "stable", false, Change::Unchanged),
            of("unfixed", "next", false, Change::Regression),
        ],
        budget: Budget {
            minutes: 240.0,
            spent: 181.0,
            cut_short: false,
        },
        known: KnownReport {
            hits: vec![Hit {
                link: "https://issues.example/7".to_owned(),
                expires: "2027-01-01".to_owned(),
                cell: cell("next"),
                failure: failure.clone(),
                count: 3,
            }],
            expired: Vec::new(),
            never_hit: vec!["javascript:alert(1)".to_owned()],
            new_signatures: vec![NewSignature {
                cell: cell("next"),
                failure,
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
    assert!(
        !html.contains("href=\"javascript"),
        "only the web is linked"
    );
    assert!(!html.contains("id=\"cell-stable"), "nothing new is no news");
}

#[test]
fn a_night_without_news_shows_none() {
    let run = Recorded::verified();
    let mut report = night(&run);
    report.conclusion = Conclusion::Clean;
    report.cells.truncate(1);
    report.known = KnownReport::default();
    let html = kverdict_page::night::page(&report, &[], &run.leftovers).unwrap();
    check(&html);
    assert!(!html.contains("id=\"changes\"") && !html.contains("id=\"known\""));
}
