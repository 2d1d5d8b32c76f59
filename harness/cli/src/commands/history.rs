//! `kverdict history`: the newest nights, and what changed in each.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::history::CellNight;
use kverdict_core::history::change::{Change, Judged, Past};
use kverdict_core::statistics::{Rate, rate};
use serde::Serialize;

use crate::commands::{HistoryPlace, Usage, print};
use crate::history::database::{Database, Selection};
use crate::history::recorded::{Kind, Run};
use crate::history::{LOOK_BACK, page};

const HELP: &str = "\
Each night stands against the nights before it, as they are in results/history.sqlite: what is called a regression \
or a recovery is a change of rate that statistics support, not a red cell after a green one. Other runs are listed \
too; nothing is claimed of them.

  kverdict history --limit 1
  kverdict history --cell 'vendor/*'";

/// Arguments of `kverdict history`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct HistoryArgs {
    /// Cells to show, with `*` for any characters; quote it
    #[arg(long, value_name = "GLOB")]
    cell: Option<String>,
    /// Runs to show, the newest first
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Write history.html, the nights to look at, into the folder of results, and say where
    #[arg(long, conflicts_with = "cell")]
    html: bool,
    #[command(flatten)]
    place: HistoryPlace,
}

/// The newest runs, as they are printed.
#[derive(Debug, Serialize)]
struct Table {
    runs: Vec<RunLine>,
}

#[derive(Debug, Serialize)]
struct RunLine {
    run: String,
    kind: &'static str,
    series: String,
    started: String,
    cells: Vec<CellLine>,
}

#[derive(Debug, Serialize)]
struct CellLine {
    cell: String,
    kernel: String,
    trials: usize,
    failed: usize,
    exposed_minutes: f64,
    /// Failures of any kind per exposed minute.
    rate: Option<Rate>,
    /// What it is against the nights before; absent: the run is no night.
    judged: Option<Judged>,
}

/// Runs the command.
///
/// # Errors
/// When there is no history, or it cannot be read.
pub fn run(args: &HistoryArgs) -> Result<ExitCode> {
    if args.html {
        println!("{}", page::write(&args.place.results)?.display());
        return Ok(ExitCode::SUCCESS);
    }
    let database = Database::existing(&args.place.results)?;
    let runs = database.runs(None, args.limit as usize)?;
    let mut lines = BTreeMap::new();
    for kind in Kind::ALL {
        if let Some(newest) = runs.iter().find(|run| run.kind == kind) {
            collect(args, &database, newest, &mut lines)?;
        }
    }
    let mut table = Table { runs: Vec::new() };
    for run in runs {
        let cells = lines.remove(&run.name).unwrap_or_default();
        if cells.is_empty() && args.cell.is_some() {
            continue;
        }
        table.runs.push(RunLine {
            kind: run.kind.word(),
            run: run.name,
            series: run.series,
            started: run.started,
            cells,
        });
    }
    if let (Some(cell), true) = (&args.cell, table.runs.is_empty()) {
        return Err(Usage(format!(
            "no cell of the last {} runs is called `{cell}`; `kverdict history` shows their names",
            args.limit
        ))
        .into());
    }
    print(&table, args.place.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Cells of all runs that are of the newest one's kind, by the run's name.
fn collect(
    args: &HistoryArgs,
    database: &Database,
    newest: &Run,
    lines: &mut BTreeMap<String, Vec<CellLine>>,
) -> Result<()> {
    let is_night = newest.kind == Kind::Night;
    let before = if is_night { LOOK_BACK } else { 0 };
    let selection = Selection {
        kind: newest.kind,
        cell: args.cell.as_deref(),
        limit: args.limit as usize + before,
        ..Selection::default()
    };
    let demands = newest.demands();
    for series in database.nights(&selection)? {
        let mut past = Past::of(&[], &demands);
        for night in &series.nights {
            let judged = is_night.then(|| past.add(night));
            let line = line(&series.cell, night, judged);
            lines.entry(night.run.clone()).or_default().push(line);
        }
    }
    Ok(())
}

fn line(cell: &str, night: &CellNight, judged: Option<Judged>) -> CellLine {
    let failed = night.trials.iter().filter(|one| one.failure().is_some());
    let failed = failed.count();
    let trials = night.trials.iter();
    let exposed_minutes = trials.fold(0.0, |sum, one| sum + one.minutes());
    CellLine {
        cell: cell.to_owned(),
        kernel: night.kernel.clone(),
        trials: night.trials.len(),
        failed,
        exposed_minutes,
        rate: rate(u32::try_from(failed).unwrap_or(u32::MAX), exposed_minutes),
        judged,
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.runs.iter().flat_map(|run| &run.cells);
        let width = cells.map(|cell| cell.cell.len()).max().unwrap_or(0).max(4);
        for run in &self.runs {
            writeln!(
                f,
                "{}  {} {}  {}",
                run.started, run.kind, run.series, run.run
            )?;
            if run.cells.is_empty() {
                writeln!(f, "  no trials\n")?;
                continue;
            }
            writeln!(
                f,
                "  {:<width$} {:>6} {:>6} {:>8}  {:<24} change",
                "cell", "trials", "failed", "minutes", "failures/min [95 %]"
            )?;
            for cell in &run.cells {
                cell.write(f, width)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl CellLine {
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let rate = self.rate.map_or("-".to_owned(), |rate| {
            format!("{:.2} [{:.2}, {:.2}]", rate.per_minute, rate.low, rate.high)
        });
        let change = self.judged.as_ref().map(|judged| judged.change);
        writeln!(
            f,
            "  {:<width$} {:>6} {:>6} {:>8.2}  {rate:<24} {}",
            self.cell,
            self.trials,
            self.failed,
            self.exposed_minutes,
            change.map_or("-".to_owned(), |change| change.to_string())
        )?;
        let told = self.judged.iter().filter(|judged| is_news(judged));
        for reason in told.flat_map(|judged| &judged.reasons) {
            writeln!(f, "      {reason}")?;
        }
        Ok(())
    }
}

/// Whether somebody will ask why.
fn is_news(judged: &Judged) -> bool {
    match judged.change {
        Change::Regression
        | Change::Recovery
        | Change::Suspicion
        | Change::Infrastructure
        | Change::NotExposed => true,
        Change::New => judged.begins_anew,
        Change::Unchanged | Change::Flake | Change::StillFailing | Change::NotRun => false,
    }
}
