//! The page of the history: `history.html` in the folder of all results.

use std::collections::{BTreeMap, BTreeSet};

use kverdict_core::compare::failure::Told;
use kverdict_core::history::CellNight;
use kverdict_core::history::change::Change;
use kverdict_core::statistics::{self, Rate};
use serde::Serialize;

use crate::figure::Figure;
use crate::plot::nights;
use crate::run::{Answer, Tone};
use crate::text::{counted, cut};
use crate::{Error, anchor, template};

/// Nights, the newest ones, that the page shows.
pub const NIGHTS_MAX: usize = 45;
/// Cells that it shows: those that changed or failed last come first.
pub const CELLS_MAX: usize = 150;
/// Cells whose rates are drawn.
const PLOTS_MAX: usize = 16;
/// Letters that a square says when it is pointed at.
const ABOUT_MAX: usize = 200;

/// One night (or run) of one cell, its trials added up.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of the run, which is that of its folder.
    pub run: String,
    /// When the run was started, RFC 3339.
    pub started: String,
    /// The cell.
    pub cell: String,
    /// Release and build of its kernel.
    pub kernel: String,
    /// Finished trials.
    pub trials: u32,
    /// Those of them that said something about the kernel.
    pub told: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Exposed minutes.
    pub minutes: f64,
    /// What failed, each kind once.
    pub failures: Vec<String>,
    /// What it was against its past; absent: not judged.
    pub change: Option<Change>,
    /// Whether failing is what it is there for.
    pub control: bool,
}

impl Row {
    /// Adds up a cell's night.
    pub fn new(cell: &str, night: &CellNight, change: Option<Change>, control: bool) -> Self {
        let mut row = Self {
            run: night.run.clone(),
            started: night.started.clone(),
            cell: cell.to_owned(),
            kernel: night.kernel.clone(),
            trials: u32::try_from(night.trials.len()).unwrap_or(u32::MAX),
            told: 0,
            failed: 0,
            minutes: 0.0,
            failures: Vec::new(),
            change,
            control,
        };
        let mut kinds = BTreeSet::new();
        for trial in &night.trials {
            match &trial.told {
                Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => {}
                Told::Counted {
                    minutes, failure, ..
                } => {
                    row.told += 1;
                    row.minutes += minutes;
                    if let Some(failure) = failure {
                        row.failed += 1;
                        kinds.insert(failure);
                    }
                }
            }
        }
        row.failures = kinds.into_iter().map(ToString::to_string).collect();
        row
    }

    fn rate(&self) -> Option<Rate> {
        statistics::rate(self.failed, self.minutes)
    }

    fn tone(&self) -> Tone {
        match (self.told, self.failed > 0, self.control) {
            (0, _, _) => Tone::Unsure,
            (_, failed, control) if failed == control => Tone::Good,
            (_, _, _) => Tone::Bad,
        }
    }

    /// Fewer is more urgent.
    fn urgency(&self) -> u8 {
        match self.change {
            Some(Change::Regression) => 0,
            Some(Change::Suspicion) => 1,
            Some(Change::Recovery) => 2,
            Some(Change::Flake) => 3,
            Some(Change::Infrastructure | Change::NotExposed | Change::NotRun) => 4,
            Some(Change::StillFailing) => 5,
            Some(Change::New) => 6,
            Some(Change::Unchanged) | None => 7,
        }
    }
}

/// The page as its template wants it.
#[derive(Debug, Serialize)]
struct HistoryPage {
    title: String,
    answer: Answer,
    changes: Vec<ChangeLine>,
    nights: Vec<NightHead>,
    cells: Vec<CellLine>,
    plots: Vec<Figure>,
    left_out: Vec<String>,
}

/// A cell that is not as it was.
#[derive(Debug, Serialize)]
struct ChangeLine {
    cell: String,
    anchor: String,
    change: String,
    tone: Tone,
    kernel: String,
    counts: String,
    failures: Vec<String>,
    report: String,
}

/// A night at the head of the grid.
#[derive(Debug, Serialize)]
struct NightHead {
    day: String,
    run: String,
    report: String,
}

/// A cell's row of the grid.
#[derive(Debug, Serialize)]
struct CellLine {
    cell: String,
    anchor: String,
    squares: Vec<Option<Square>>,
}

/// A cell's night in the grid.
#[derive(Debug, Serialize)]
struct Square {
    text: String,
    tone: Tone,
    /// Whether it changed for certain.
    strong: bool,
    about: String,
    report: String,
}

/// The page of all nights. `updated` says when the history was read, in words.
///
/// # Errors
/// When this crate is at fault.
pub fn page(rows: &[Row], updated: &str) -> Result<String, Error> {
    let all = Nights::new(rows);
    let cells = all.cells();
    let shown = &cells[..cells.len().min(CELLS_MAX)];
    let mut left_out = Vec::new();
    if all.older > 0 {
        left_out.push(format!("{} older runs", all.older));
    }
    if cells.len() > shown.len() {
        left_out.push(format!("{} quieter cells", cells.len() - shown.len()));
    }
    let page = HistoryPage {
        title: "kverdict: history".to_owned(),
        answer: all.answer(updated),
        changes: all.changes(),
        nights: all.heads(),
        cells: shown
            .iter()
            .map(|(cell, rows)| all.line(cell, rows))
            .collect(),
        plots: all.plots(shown)?,
        left_out,
    };
    template::render("history.html", &page)
}

/// Rows by night and cell.
struct Nights<'a> {
    /// When each run was started, and its name; the newest first, as many as are shown.
    runs: Vec<(&'a str, &'a str)>,
    /// Runs that are not shown.
    older: usize,
    rows: BTreeMap<&'a str, BTreeMap<&'a str, &'a Row>>,
}

type Cell<'a> = (&'a str, &'a BTreeMap<&'a str, &'a Row>);

impl<'a> Nights<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let runs: BTreeSet<(&str, &str)> = rows
            .iter()
            .map(|row| (row.started.as_str(), row.run.as_str()))
            .collect();
        let older = runs.len().saturating_sub(NIGHTS_MAX);
        let runs: Vec<(&str, &str)> = runs.into_iter().rev().take(NIGHTS_MAX).collect();
        let names: BTreeSet<&str> = runs.iter().map(|(_, run)| *run).collect();
        let mut by_cell: BTreeMap<&str, BTreeMap<&str, &Row>> = BTreeMap::new();
        for row in rows.iter().filter(|row| names.contains(row.run.as_str())) {
            by_cell.entry(&row.cell).or_default().insert(&row.run, row);
        }
        Self {
            runs,
            older,
            rows: by_cell,
        }
    }

    /// Cells, the most urgent ones first: by what the newest run that had them says.
    fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells: Vec<Cell<'_>> = self.rows.iter().map(|(cell, rows)| (*cell, rows)).collect();
        cells.sort_by_cached_key(|(cell, rows)| {
            let mut there = self.runs.iter().enumerate();
            let newest = there.find_map(|(age, (_, run))| Some((age, rows.get(run)?)));
            match newest {
                Some((age, row)) => (row.urgency(), row.failed == 0, age, *cell),
                None => (u8::MAX, true, usize::MAX, *cell),
            }
        });
        cells
    }

    /// Rows of the newest run, the most urgent first.
    fn newest(&self) -> Vec<&Row> {
        let Some((_, run)) = self.runs.first() else {
            return Vec::new();
        };
        let cells = self.rows.values();
        let mut rows: Vec<&Row> = cells.filter_map(|rows| rows.get(run).copied()).collect();
        rows.sort_by_key(|row| row.urgency());
        rows
    }

    fn answer(&self, updated: &str) -> Answer {
        let rows = self.newest();
        let count = |change| {
            let subjects = rows.iter().filter(|row| !row.control);
            subjects.filter(|row| row.change == Some(change)).count() as u64
        };
        let (regressions, suspicions) = (count(Change::Regression), count(Change::Suspicion));
        let recoveries = count(Change::Recovery);
        let told = rows.iter().filter(|row| row.told > 0).count() as u64;
        let is_silent = |row: &&Row| row.control && row.failed == 0;
        let (word, tone) = if rows.is_empty() {
            ("No runs yet".to_owned(), Tone::Unsure)
        } else if regressions > 0 {
            (counted(regressions, "regression"), Tone::Bad)
        } else if told == 0 {
            ("Nothing was learnt".to_owned(), Tone::Unsure)
        } else if rows.iter().any(is_silent) {
            ("A control did not lock up".to_owned(), Tone::Unsure)
        } else if suspicions > 0 {
            (counted(suspicions, "suspicion"), Tone::Unsure)
        } else {
            ("Nothing got worse".to_owned(), Tone::Good)
        };
        let silent = match rows.len() as u64 - told {
            0 => String::new(),
            some => format!(" Nothing was learnt of {}.", counted(some, "cell")),
        };
        let run = self.runs.first();
        let sentence = run.map_or(String::new(), |(started, run)| {
            format!(
                "The newest run, `{run}` of {started}: {}, {}, {} of {}.{silent}",
                counted(regressions, "regression"),
                counted(suspicions, "suspicion"),
                if recoveries == 1 {
                    "1 recovery".to_owned()
                } else {
                    format!("{recoveries} recoveries")
                },
                counted(rows.len() as u64, "cell")
            )
        });
        Answer {
            asked: format!(
                "What changed in the newest run against those before it, cell by cell? A cell is a kernel under a load in a \
                 guest. Read at {updated}."
            ),
            word,
            tone,
            sentence,
            reasons: Vec::new(),
            sure: vec![
                "A regression is a rate of failures that rose, as far as statistics support that; a red square after a green \
                 one alone is none. A suspicion is one that may still be chance."
                    .to_owned(),
            ],
        }
    }

    fn changes(&self) -> Vec<ChangeLine> {
        let changed = |row: &&&Row| row.urgency() <= 4;
        let line = |row: &Row| ChangeLine {
            cell: row.cell.clone(),
            anchor: format!("cell-{}", anchor::slug(&row.cell)),
            change: row
                .change
                .map_or(String::new(), |change| change.to_string()),
            // A control that fails less often is worse: it is there to fail.
            tone: match (row.change, row.control) {
                (Some(Change::Regression), false) | (Some(Change::Recovery), true) => Tone::Bad,
                (Some(Change::Recovery), false) => Tone::Good,
                (_, _) => Tone::Unsure,
            },
            kernel: row.kernel.clone(),
            counts: counts(row) + &self.before(row),
            failures: row.failures.clone(),
            report: report(&row.run),
        };
        let rows = self.newest();
        let rows = rows.iter().filter(changed).take(CELLS_MAX);
        rows.map(|row| line(row)).collect()
    }

    /// What the runs before one that are shown said of its cell.
    fn before(&self, row: &Row) -> String {
        let cells = self.rows.get(row.cell.as_str()).into_iter();
        let all = cells.flat_map(BTreeMap::values);
        let before = all.filter(|one| one.started < row.started);
        let (failed, told) = before.fold((0, 0), |(failed, told), one| {
            (failed + one.failed, told + one.told)
        });
        match told {
            0 => String::new(),
            _ => format!("; {failed} of {told} in the runs before"),
        }
    }

    fn heads(&self) -> Vec<NightHead> {
        let head = |(started, run): &(&str, &str)| NightHead {
            day: day(started),
            run: (*run).to_owned(),
            report: report(run),
        };
        self.runs.iter().map(head).collect()
    }

    fn line(&self, cell: &str, rows: &BTreeMap<&str, &Row>) -> CellLine {
        let square = |row: &Row| Square {
            text: match row.told {
                0 => "?".to_owned(),
                told => format!("{}/{told}", row.failed),
            },
            tone: row.tone(),
            strong: matches!(row.change, Some(Change::Regression | Change::Recovery)),
            about: about(row),
            report: report(&row.run),
        };
        let of = |(_, run): &(&str, &str)| rows.get(run).map(|row| square(row));
        CellLine {
            cell: cell.to_owned(),
            anchor: format!("cell-{}", anchor::slug(cell)),
            squares: self.runs.iter().map(of).collect(),
        }
    }

    /// Rates of cells that failed at all.
    fn plots(&self, cells: &[Cell<'_>]) -> Result<Vec<Figure>, Error> {
        let days: Vec<String> = self
            .runs
            .iter()
            .rev()
            .map(|(started, _)| day(started))
            .collect();
        let failing = cells
            .iter()
            .filter(|(_, rows)| rows.values().any(|row| row.failed > 0));
        failing
            .take(PLOTS_MAX)
            .map(|(cell, rows)| {
                let runs = self.runs.iter().rev().enumerate();
                let rates: Vec<(usize, Rate)> = runs
                    .filter_map(|(night, (_, run))| Some((night, rows.get(run)?.rate()?)))
                    .collect();
                let failed: u32 = rows.values().map(|row| row.failed).sum();
                let told: u32 = rows.values().map(|row| row.told).sum();
                let caption = format!(
                    "{failed} of {told} trials failed. Failures per exposed minute, the oldest run on the left; the line is the \
                     95% interval."
                );
                let id = format!("rate-{}", anchor::slug(cell));
                Figure::new(id, *cell, caption, Vec::new(), |width| {
                    nights::draw(days.len(), &rates, &days, width)
                })
            })
            .collect()
    }
}

fn counts(row: &Row) -> String {
    if row.told == 0 {
        let trials = counted(row.trials.into(), "trial");
        return format!("nothing was learnt of its kernel in {trials}");
    }
    let silent = row.trials - row.told.min(row.trials);
    let silent = match silent {
        0 => String::new(),
        some => format!(", {some} more said nothing"),
    };
    format!(
        "{} of {} failed in {:.1} exposed minutes{silent}",
        row.failed,
        counted(row.told.into(), "trial"),
        row.minutes
    )
}

fn about(row: &Row) -> String {
    let change = row
        .change
        .map_or(String::new(), |change| format!("{change}: "));
    let failures = match row.failures.is_empty() {
        true => String::new(),
        false => format!(" ({})", row.failures.join("; ")),
    };
    let counts = counts(row);
    let about = format!("{}, {}: {change}{counts}{failures}", row.run, row.kernel);
    cut(&about, ABOUT_MAX)
}

/// Month and day of a time stamp.
fn day(started: &str) -> String {
    started.get(5..10).unwrap_or_default().to_owned()
}

/// Link to a run's page, from the folder of all results.
fn report(run: &str) -> String {
    format!("{}/report.html", anchor::percent(run))
}
