//! Tables of a page.

use kverdict_core::bisect::observation::Reading;
use kverdict_core::bisect::report::BisectReport;
use kverdict_core::record::Standing;
use kverdict_core::report::TrialLine;
use serde::Serialize;

use super::Tone;
use crate::closeup::CloseUp;
use crate::{TRIALS_MAX, anchor};

/// Rows of a bisection's path.
const STEPS_MAX: usize = 400;

/// A table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    /// Name of its place in the page.
    pub id: String,
    /// What it is.
    pub title: String,
    /// What to see in it.
    pub caption: String,
    /// First row.
    pub head: Vec<Cell>,
    /// The others.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    text: String,
    /// Smaller, below.
    note: String,
    /// Whether it is a number.
    number: bool,
    /// How it is meant, if it is an answer.
    tone: Option<Tone>,
}

impl Cell {
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            note: String::new(),
            number: false,
            tone: None,
        }
    }

    pub fn noted(text: &str, note: &str) -> Self {
        Self {
            note: note.to_owned(),
            ..Self::plain(text)
        }
    }

    pub fn number(text: impl Into<String>) -> Self {
        Self {
            number: true,
            ..Self::plain(text)
        }
    }

    pub fn toned(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self {
            tone,
            ..Self::plain(text)
        }
    }
}

impl Table {
    /// One without rows.
    pub fn new(id: &str, title: &str, caption: &str) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            caption: caption.to_owned(),
            head: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// With these columns.
    pub fn with_head(mut self, head: &[&str]) -> Self {
        self.head = head.iter().map(|text| Cell::plain(*text)).collect();
        self
    }
}

/// All trials, a row for each.
#[derive(Debug, Serialize)]
pub(crate) struct TrialTable {
    rows: Vec<TrialRow>,
    /// Trials that are left out.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct TrialRow {
    id: String,
    standing: String,
    tone: Tone,
    outcome: String,
    title: String,
    load: String,
    remarks: Vec<String>,
    /// Where it is shown from near.
    near: Option<String>,
    /// Where its deciding line stands, in this page or in the console's file.
    line: Option<(u64, String)>,
}

impl TrialTable {
    pub fn new(lines: &[TrialLine], near: &[CloseUp]) -> Self {
        let row = |line: &TrialLine| {
            let near = near.iter().find(|one| one.id == line.id);
            let place = line.line.map(|number| {
                let here = near.and_then(|near| near.line(number));
                let href = match here {
                    Some(anchor) => format!("#{anchor}"),
                    None => anchor::file(&line.id, "console.log"),
                };
                (number, href)
            });
            TrialRow {
                id: line.id.clone(),
                standing: line.standing.to_string(),
                tone: tone(line.standing),
                outcome: line.outcome.clone(),
                title: line.title.clone(),
                load: format!("{:.1}", line.load_seconds),
                remarks: line.remarks.clone(),
                near: near.map(|near| near.anchor.clone()),
                line: place,
            }
        };
        Self {
            rows: lines.iter().take(TRIALS_MAX).map(row).collect(),
            left_out: lines.len().saturating_sub(TRIALS_MAX),
        }
    }
}

fn tone(standing: Standing) -> Tone {
    match standing {
        Standing::Survived => Tone::Good,
        Standing::TargetLockup | Standing::Suspect | Standing::OtherFailure => Tone::Bad,
        Standing::NotExposed | Standing::Infrastructure => Tone::Unsure,
    }
}

/// Who a bisection suspects.
pub(super) fn suspects(report: &BisectReport) -> Table {
    let mut table = Table::new(
        "suspects",
        "Suspects",
        "How probable each candidate is to have made the change, if one did; with what its own trials showed.",
    )
    .with_head(&["candidate", "probability", "lockups", "exposed minutes"]);
    table.rows = report
        .suspects
        .iter()
        .map(|one| {
            vec![
                Cell::plain(&one.candidate),
                Cell::number(format!("{:.2}%", one.posterior * 100.0)),
                Cell::number(one.lockups.to_string()),
                Cell::number(format!("{:.2}", one.exposed_minutes)),
            ]
        })
        .collect();
    table
}

/// What a bisection did, step by step.
pub(super) fn path(report: &BisectReport) -> Table {
    let mut table = Table::new(
        "path",
        "What was tried",
        "In order. \"Left\" counts the candidates that may still be the culprit after the step, but for a small rest.",
    )
    .with_head(&["#", "candidate", "came out", "left", "best guess", "probability"]);
    let steps = report.path.iter().enumerate().take(STEPS_MAX);
    table.rows = steps
        .map(|(index, step)| {
            let (words, tone) = reading(&step.reading);
            vec![
                Cell::number((index + 1).to_string()),
                Cell::plain(&step.candidate),
                Cell::toned(words, tone),
                Cell::number(step.left.to_string()),
                Cell::plain(&step.best),
                Cell::number(format!("{:.1}%", step.posterior * 100.0)),
            ]
        })
        .collect();
    table
}

fn reading(reading: &Reading) -> (String, Option<Tone>) {
    match reading {
        Reading::Counted {
            lockups: 0,
            exposed_minutes,
        } => (
            format!("survived {exposed_minutes:.2} min"),
            Some(Tone::Good),
        ),
        Reading::Counted {
            exposed_minutes, ..
        } => (
            format!("locked up after {exposed_minutes:.2} min"),
            Some(Tone::Bad),
        ),
        Reading::NoAnswer(why) => (format!("no answer: {why}"), None),
        Reading::Untestable(why) => (format!("cannot be tried: {why}"), None),
        Reading::HostTrouble(why) => (format!("host: {why}"), None),
    }
}
