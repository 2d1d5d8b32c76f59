//! `kverdict flakes`: what fails sometimes.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::history::flake::{Flake, flakes};
use serde::Serialize;

use crate::commands::{HistoryPlace, print};
use crate::history::LOOK_BACK;
use crate::history::database::{Database, Selection};
use crate::history::recorded::Kind;

/// Arguments of `kverdict flakes`.
#[derive(Debug, Args)]
pub struct FlakesArgs {
    /// Cells to look at, with `*` for any characters; quote it
    #[arg(long, value_name = "GLOB")]
    cell: Option<String>,
    #[command(flatten)]
    place: HistoryPlace,
}

/// All that fails sometimes, the most frequent first.
#[derive(Debug, Serialize)]
struct List {
    flakes: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    night: String,
    cell: String,
    #[serde(flatten)]
    flake: Flake,
}

/// Runs the command.
///
/// # Errors
/// When there is no history, or it cannot be read.
pub fn run(args: &FlakesArgs) -> Result<ExitCode> {
    let database = Database::existing(&args.place.results)?;
    let newest = database.runs(Some(Kind::Night), 1)?.pop();
    let mut list = List { flakes: Vec::new() };
    if let Some(newest) = newest {
        let demands = newest.demands();
        let selection = Selection {
            cell: args.cell.as_deref(),
            limit: LOOK_BACK,
            ..Selection::default()
        };
        for series in database.nights(&selection)? {
            let found = flakes(&series.nights, &demands).into_iter();
            list.flakes.extend(found.map(|flake| Line {
                night: series.name.clone(),
                cell: series.cell.clone(),
                flake,
            }));
        }
    }
    let share = |line: &Line| f64::from(line.flake.failed) / f64::from(line.flake.trials.max(1));
    list.flakes
        .sort_by(|one, other| share(other).total_cmp(&share(one)));
    print(&list, args.place.json)?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flakes.is_empty() {
            return writeln!(f, "nothing fails sometimes in the last {LOOK_BACK} nights");
        }
        for Line { night, cell, flake } in &self.flakes {
            writeln!(f, "{night}  {cell}\n  {}", flake.failure)?;
            let share = f64::from(flake.failed) / f64::from(flake.trials.max(1));
            let rate = flake.rate.map_or(String::new(), |rate| {
                format!(
                    "; {:.3} [{:.3}, {:.3}] per {}",
                    rate.per_minute,
                    rate.low,
                    rate.high,
                    singular(&flake.unit)
                )
            });
            writeln!(
                f,
                "  {} of {} trials ({:.1} %){rate}",
                flake.failed,
                flake.trials,
                share * 100.0
            )?;
            writeln!(
                f,
                "  in {} of {} nights since {}, last {} ({})",
                flake.nights_failed,
                flake.nights,
                day(&flake.since),
                day(&flake.last_seen),
                flake.last_run
            )?;
        }
        Ok(())
    }
}

/// One of a clock's units.
fn singular(unit: &str) -> String {
    let (first, rest) = unit.split_once(' ').unwrap_or((unit, ""));
    match (first, rest) {
        ("trials", rest) => format!("trial {rest}"),
        (first, "") => first.trim_end_matches('s').to_owned(),
        (first, rest) => format!("{first} {}", rest.trim_end_matches('s')),
    }
}

fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}
