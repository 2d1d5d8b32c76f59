//! The page of the history.

mod support;

use std::time::Instant;

use kverdict_core::compare::failure::{Failure, Told};
use kverdict_core::history::change::Change;
use kverdict_core::history::{CellNight, PastTrial};
use kverdict_core::record::Standing;
use kverdict_page::history::{self, NIGHTS_MAX, Row};
use support::{at, check, keep};

fn night(run: usize, trials: usize, failed: usize) -> CellNight {
    CellNight {
        run: format!("2026-{run:04}-night"),
        started: format!("2026-{:02}-{:02}T01:00:00Z", 1 + run / 28, 1 + run % 28),
        kernel: "6.12.117 a1b2c3".to_owned(),
        conditions: "c1".to_owned(),
        trials: (0..trials)
            .map(|number| PastTrial {
                id: format!("{number:04}"),
                told: Told::Counted {
                    minutes: 1.0,
                    completed: number >= failed,
                    failure: (number < failed).then_some(Failure::Target),
                },
                standing: Standing::Survived,
                title: String::new(),
            })
            .collect(),
    }
}

#[test]
fn what_changed_stands_first_and_every_square_says_what_it_is() {
    let quiet = Some(Change::Unchanged);
    let mut rows: Vec<Row> = (0..10)
        .flat_map(|run| {
            [
                Row::new("stable/load/eight/all", &night(run, 4, 0), quiet, false),
                Row::new(
                    "control/load/eight/all",
                    &night(run, 4, 4),
                    Some(Change::StillFailing),
                    true,
                ),
                Row::new(
                    "flaky/load/eight/all",
                    &night(run, 4, run % 2),
                    Some(Change::Flake),
                    false,
                ),
            ]
        })
        .collect();
    for run in 0..10 {
        let (failed, change) = if run == 9 {
            (3, Change::Regression)
        } else {
            (0, Change::Unchanged)
        };
        rows.push(Row::new(
            "next/load/eight/all",
            &night(run, 4, failed),
            Some(change),
            false,
        ));
    }
    let html = history::page(&rows, "2026-01-11T06:00:00Z").unwrap();
    keep("history.html", &html);
    check(&html);
    at(&html, "1 regression");
    at(
        &html,
        "3 of 4 trials failed in 4.0 exposed minutes; 0 of 36 in the runs before",
    );
    assert!(at(&html, "#cell-next_2fload") < at(&html, "#cell-flaky_2fload"));
    at(
        &html,
        "<a class=\"bad strong\" href=\"2026-0009-night/report.html\"",
    );
    let control = &html[at(&html, "<tr id=\"cell-control")..];
    assert!(
        control[..control.find("</tr>").unwrap()].contains("class=\"good\""),
        "a control has to fail"
    );
    let stable = &html[at(&html, "<tr id=\"cell-stable")..];
    assert!(!stable[..stable.find("</tr>").unwrap()].contains("strong"));
}

#[test]
fn a_night_that_told_nothing_is_no_good_news() {
    let mut blind = night(1, 3, 0);
    for trial in &mut blind.trials {
        trial.told = Told::HostTrouble;
    }
    let row = |cell: &str, night: &CellNight, change| Row::new(cell, night, Some(change), false);
    let rows = [
        row("a/load/eight/all", &night(0, 3, 0), Change::Unchanged),
        row("a/load/eight/all", &blind, Change::Infrastructure),
    ];
    let html = history::page(&rows, "now").unwrap();
    at(&html, "<p class=\"word\">Nothing was learnt</p>");
    // Beside a cell that told something it is one of the things to read.
    let mut rows = rows.to_vec();
    rows.push(row("b/load/eight/all", &night(1, 3, 0), Change::Unchanged));
    let html = history::page(&rows, "now").unwrap();
    at(&html, "Nothing was learnt of 1 cell.");
    let changes = &html[at(&html, "id=\"changes\"")..at(&html, "id=\"grid\"")];
    assert!(changes.contains("a/load/eight/all") && !changes.contains("b/load"));
    at(
        changes,
        "nothing was learnt of its kernel in 3 trials; 0 of 3 in the runs before",
    );
}

#[test]
fn a_control_that_fails_no_more_is_bad_news() {
    let row = |run, failed, change| {
        Row::new(
            "control/load/eight/all",
            &night(run, 4, failed),
            Some(change),
            true,
        )
    };
    let rows = [row(0, 4, Change::StillFailing), row(1, 0, Change::Recovery)];
    let html = history::page(&rows, "now").unwrap();
    at(&html, "<td class=\"tone-bad\">recovery</td>");
    at(&html, "<p class=\"word\">A control did not lock up</p>");
}

#[test]
fn an_empty_history_says_so() {
    let html = history::page(&[], "now").unwrap();
    check(&html);
    at(&html, "No runs yet");
}

#[test]
fn hostile_names_stay_names() {
    let mut one = night(0, 1, 1);
    one.run = "..\"><script>alert(1)</script>".to_owned();
    one.kernel = "<img src=x>".to_owned();
    let row = Row::new("a<b>/c", &one, Some(Change::Suspicion), false);
    check(&history::page(&[row], "now").unwrap());
}

/// 100 000 trials: the page is small, and is made at once.
#[test]
fn a_long_history_makes_a_page_of_bounded_size() {
    let nights: Vec<CellNight> = (0..250).map(|run| night(run, 8, run % 3)).collect();
    let begin = Instant::now();
    let rows: Vec<Row> = nights
        .iter()
        .flat_map(|night| {
            (0..50).map(move |cell| {
                Row::new(
                    &format!("k{cell}/load/eight/all"),
                    night,
                    Some(Change::Flake),
                    false,
                )
            })
        })
        .collect();
    let trials: u32 = rows.iter().map(|row| row.trials).sum();
    assert_eq!(trials, 100_000);
    let html = history::page(&rows, "now").unwrap();
    println!(
        "100 000 trials: {:?}, {} bytes",
        begin.elapsed(),
        html.len()
    );
    check(&html);
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    at(&html, &format!("{} older runs", 250 - NIGHTS_MAX));
}
