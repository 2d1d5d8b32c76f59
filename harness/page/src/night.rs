//! The page of a night: what changed, whether it is real, and what was seen.

use kverdict_core::history::change::{Change, Judged};
use kverdict_core::night::Conclusion;
use kverdict_core::night::report::{CellReport, NightReport};
use kverdict_core::record::{Standing, TrialRecord};
use kverdict_core::report::TrialLine;
use kverdict_core::statistics::Rate;
use serde::Serialize;

use crate::closeup::CloseUp;
use crate::figure::{Figure, Key};
use crate::ink::Ink;
use crate::left::Leftovers;
use crate::plot::interval;
use crate::run::{Answer, Cell, Table, Tone, TrialTable};
use crate::text::{counted, evidence};
use crate::{CLOSE_UPS_MAX, Error, anchor, template};

/// Changed cells whose rates are drawn.
const DRAWN_MAX: usize = 10;
/// Trials of one cell that are shown from near.
const NEAR_PER_CELL: usize = 2;

/// The page as its template wants it.
#[derive(Debug, Serialize)]
struct NightPage {
    title: String,
    run: String,
    answer: Answer,
    changes: Vec<CellLine>,
    rates: Option<Figure>,
    cells: Table,
    known: Vec<KnownLine>,
    near: Vec<CloseUp>,
    trials: TrialTable,
    environment: Vec<(String, String)>,
    methods: Vec<String>,
}

/// A cell that is not as it was.
#[derive(Debug, Serialize)]
struct CellLine {
    cell: String,
    anchor: String,
    kernel: String,
    change: String,
    tone: Tone,
    reasons: Vec<String>,
    failures: Vec<FailureLine>,
    /// Trials of it that are shown from near: id and place.
    near: Vec<(String, String)>,
}

/// A kind of failure in a cell.
#[derive(Debug, Serialize)]
struct FailureLine {
    text: String,
    known: Option<Known>,
}

/// Where a failure is filed.
#[derive(Debug, Serialize)]
struct Known {
    text: String,
    /// The same, if one may follow it.
    href: Option<String>,
}

/// What became of a filed failure.
#[derive(Debug, Serialize)]
struct KnownLine {
    what: &'static str,
    issue: Option<Known>,
    text: String,
}

/// Trials that a night's page shows from near, by their ids: those of cells that changed, the most urgent first.
pub fn close_ups(report: &NightReport) -> Vec<&str> {
    let mut cells: Vec<&CellReport> = report.cells.iter().collect();
    cells.sort_by_key(|cell| urgency(cell));
    let mut ids = Vec::new();
    for cell in cells {
        let failed = cell.trials.iter().filter(|line| failed(line.standing));
        ids.extend(failed.take(NEAR_PER_CELL).map(|line| line.id.as_str()));
    }
    ids.truncate(CLOSE_UPS_MAX);
    ids
}

/// The page of a night; `records` are its trials.
///
/// # Errors
/// When this crate is at fault.
pub fn page(
    report: &NightReport,
    records: &[&TrialRecord],
    leftovers: &Leftovers,
) -> Result<String, Error> {
    let lines: Vec<TrialLine> = report
        .cells
        .iter()
        .flat_map(|cell| cell.trials.iter().cloned())
        .collect();
    let near = close_ups(report)
        .into_iter()
        .filter_map(|id| {
            let record = records.iter().find(|record| record.id == id)?;
            let line = lines.iter().find(|line| line.id == id)?;
            Some(CloseUp::new(record, line.standing, leftovers))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut changed: Vec<&CellReport> = report.cells.iter().filter(|cell| is_news(cell)).collect();
    changed.sort_by_key(|cell| urgency(cell));
    let answer = answer(report, &changed);
    let page = NightPage {
        title: format!("{}: kverdict nightly", answer.word),
        run: report.run.clone(),
        answer,
        changes: changed.iter().map(|cell| line(cell, &near)).collect(),
        rates: rates(&changed)?,
        cells: cells(report),
        known: known(report),
        trials: TrialTable::new(&lines, &near),
        near,
        environment: report.environment.clone(),
        methods: report.methods.clone(),
    };
    template::render("night.html", &page)
}

fn answer(report: &NightReport, changed: &[&CellReport]) -> Answer {
    let (word, tone, sentence) = match report.conclusion {
        Conclusion::Regression => (
            "Regression",
            Tone::Bad,
            format!(
                "{} more often than in the nights before, beyond chance, and nobody has filed that.",
                worse(changed)
            ),
        ),
        Conclusion::Clean => (
            "Clean",
            Tone::Good,
            "No cell is known to fail more often, and the control showed that it would have been seen.".to_owned(),
        ),
        Conclusion::CouldNotTell => (
            "Could not tell",
            Tone::Unsure,
            "A control stayed silent, nothing could be tested, or something failed of which nobody can say whether that is chance."
                .to_owned(),
        ),
    };
    let count = |change| {
        let cells = changed.iter().filter(|cell| cell.judged.change == change);
        cells.count()
    };
    let budget = &report.budget;
    let cut = match budget.cut_short {
        true => "; more trials would have been made in more time",
        false => "",
    };
    Answer {
        asked: "What is not as it was in the nights before, and is that more than chance? A cell is a kernel under a load, in \
                a topology, watched by a set of detectors."
            .to_owned(),
        word: word.to_owned(),
        tone,
        sentence,
        reasons: report.reasons.clone(),
        sure: vec![
            format!(
                "Of {}: {} regressed, {} recovered, {} under suspicion, which means that it may still be chance.",
                counted(report.cells.len() as u64, "cell"),
                count(Change::Regression),
                count(Change::Recovery),
                count(Change::Suspicion)
            ),
            format!("{:.0} of {:.0} minutes were spent{cut}.", budget.spent, budget.minutes),
        ],
    }
}

/// Who got worse, as the beginning of a sentence.
fn worse(changed: &[&CellReport]) -> String {
    let regressed = changed
        .iter()
        .filter(|cell| !cell.control && cell.judged.change == Change::Regression);
    let names: Vec<String> = regressed.map(|cell| format!("`{}`", cell.cell)).collect();
    match names.as_slice() {
        [] => "Some cell fails".to_owned(),
        [one] => format!("{one} fails"),
        [one, rest @ ..] => format!(
            "{one} and {} fail",
            counted(rest.len() as u64, "other cell")
        ),
    }
}

/// Fewer is more urgent.
fn urgency(cell: &CellReport) -> u8 {
    match (cell.judged.change, cell.control) {
        (Change::Regression, _) => 0,
        (Change::Suspicion, _) => 1,
        (Change::Recovery, _) => 2,
        (Change::Flake, false) => 3,
        (Change::New, false) => 4,
        (Change::StillFailing, false) => 5,
        (Change::Infrastructure | Change::NotExposed | Change::NotRun, _) => 6,
        (Change::Flake | Change::New | Change::StillFailing, true) => 7,
        (Change::Unchanged, _) => 8,
    }
}

/// Whether a cell belongs to what one has to read in the morning.
fn is_news(cell: &CellReport) -> bool {
    match cell.judged.change {
        Change::Regression | Change::Recovery | Change::Suspicion => true,
        Change::Flake => !cell.control,
        Change::Infrastructure | Change::NotExposed | Change::NotRun => true,
        Change::New => !cell.control && (!cell.failures.is_empty() || cell.judged.begins_anew),
        Change::Unchanged | Change::StillFailing => cell.untestable.is_some(),
    }
}

/// A control that fails less often is worse: it is there to fail.
fn tone(cell: &CellReport) -> Tone {
    match (cell.judged.change, cell.control) {
        (Change::Regression, false) | (Change::Recovery, true) => Tone::Bad,
        (Change::Recovery | Change::Unchanged, false) | (Change::StillFailing, true) => Tone::Good,
        (Change::Regression | Change::Unchanged, true) => Tone::Unsure,
        (
            Change::New
            | Change::Suspicion
            | Change::Flake
            | Change::Infrastructure
            | Change::NotExposed
            | Change::NotRun,
            _,
        )
        | (Change::StillFailing, false) => Tone::Unsure,
    }
}

fn failed(standing: Standing) -> bool {
    match standing {
        Standing::TargetLockup | Standing::Suspect | Standing::OtherFailure => true,
        Standing::Survived | Standing::NotExposed | Standing::Infrastructure => false,
    }
}

fn line(cell: &CellReport, near: &[CloseUp]) -> CellLine {
    let mine = near
        .iter()
        .filter(|near| cell.trials.iter().any(|line| line.id == near.id));
    let mut reasons = cell.judged.reasons.clone();
    // Of a cell that was not tried it is the reason already.
    let more = cell.untestable.iter().filter(|why| !reasons.contains(why));
    let more: Vec<String> = more
        .map(|why| format!("it cannot be tested: {why}"))
        .collect();
    reasons.extend(more);
    CellLine {
        cell: cell.cell.to_string(),
        anchor: format!("cell-{}", anchor::slug(&cell.cell.to_string())),
        kernel: kernel(cell),
        change: cell.judged.change.to_string(),
        tone: tone(cell),
        reasons,
        failures: cell
            .failures
            .iter()
            .map(|(failure, count, known)| FailureLine {
                text: format!("{count} of {}: {failure}", cell.trials.len()),
                known: known.as_deref().map(issue),
            })
            .collect(),
        near: mine
            .map(|near| (near.id.clone(), near.anchor.clone()))
            .collect(),
    }
}

fn kernel(cell: &CellReport) -> String {
    match cell.kernel.is_empty() {
        true => "no kernel".to_owned(),
        false => cell.kernel.clone(),
    }
}

fn issue(link: &str) -> Known {
    Known {
        text: link.to_owned(),
        href: anchor::web(link).map(str::to_owned),
    }
}

/// Rates of changed cells, before and tonight.
fn rates(changed: &[&CellReport]) -> Result<Option<Figure>, Error> {
    let both = |judged: &Judged| Some((judged.before?, judged.tonight?));
    let known = changed.iter().filter_map(|cell| {
        let name = format!("{}/{}", cell.cell.kernel, cell.cell.load);
        Some((name, both(&cell.judged)?))
    });
    let rows: Vec<interval::Row> = known
        .take(DRAWN_MAX)
        .flat_map(|(cell, (before, tonight))| {
            let row = |name: String, ink, rate: Rate| interval::Row { name, ink, rate };
            [
                row(cell, Ink::Second, before),
                row("tonight".to_owned(), Ink::First, tonight),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let legend = vec![
        Key::new(Ink::Second, "nights before"),
        Key::new(Ink::First, "tonight"),
    ];
    Figure::new(
        "changed-rates",
        "How often changed cells fail, before and tonight",
        "For each cell two lines: the nights before above, tonight below. The dot is the rate that was seen, the line the 95% \
         interval of what it may be in truth.",
        legend,
        |width| interval::draw(&rows, "failures per minute (or trial)", width),
    )
    .map(Some)
}

/// All cells with what was seen of them.
fn cells(report: &NightReport) -> Table {
    let mut table = Table::new(
        "cells",
        "All cells",
        "Failed counts trials that failed, of all; a control has the bug and has to fail. Evidence says how many times better \
         a change of rate explains what was seen than none; from the number behind the stroke on it counts as supported.",
    )
    .with_head(&["cell", "is", "failed", "exposed minutes", "near misses", "evidence", "failures"]);
    table.rows = report
        .cells
        .iter()
        .map(|cell| {
            let lost = cell
                .trials
                .iter()
                .filter(|line| failed(line.standing))
                .count();
            let failures: Vec<String> = cell
                .failures
                .iter()
                .map(|(failure, count, _)| format!("{count}x {failure}"))
                .collect();
            let meetings = cell
                .meetings
                .map_or("-".to_owned(), |count| count.to_string());
            let role = if cell.control { ", control" } else { "" };
            vec![
                Cell::noted(&cell.cell.to_string(), &format!("{}{role}", kernel(cell))),
                Cell::toned(cell.judged.change.to_string(), Some(tone(cell))),
                Cell::number(format!("{lost}/{}", cell.trials.len())),
                Cell::number(format!("{:.1}", cell.exposed_minutes)),
                Cell::number(meetings),
                Cell::number(format!(
                    "{} / {}",
                    evidence(cell.judged.evidence),
                    evidence(cell.judged.needed)
                )),
                Cell::plain(failures.join("; ")),
            ]
        })
        .collect();
    table
}

fn known(report: &NightReport) -> Vec<KnownLine> {
    let known = &report.known;
    let mut lines: Vec<KnownLine> = Vec::new();
    lines.extend(known.new_signatures.iter().map(|new| KnownLine {
        what: "new",
        issue: None,
        text: format!(
            "{} in {} of {}, first in trial {}",
            new.failure,
            counted(new.count.into(), "trial"),
            new.cell,
            new.trial
        ),
    }));
    for (what, hits) in [
        ("expired, counts again", &known.expired),
        ("seen", &known.hits),
    ] {
        lines.extend(hits.iter().map(|hit| KnownLine {
            what,
            issue: Some(issue(&hit.link)),
            text: format!(
                "{} in {} of {}; filed until {}",
                hit.failure,
                counted(hit.count.into(), "trial"),
                hit.cell,
                hit.expires
            ),
        }));
    }
    lines.extend(known.never_hit.iter().map(|link| KnownLine {
        what: "not seen",
        issue: Some(issue(link)),
        text: String::new(),
    }));
    lines
}
