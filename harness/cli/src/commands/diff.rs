//! `kverdict diff`: a night against an earlier one.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::history::diff::diff;

use crate::commands::{HistoryPlace, print};
use crate::history::database::Database;
use crate::history::find;

const HELP: &str = "\
Nights are named as `kverdict history` prints them, by their folders, or by a part of the name that no other has. \
Each cell of the later night is worse or better only where statistics support that; with a few trials of each, most \
could not be told.

Exit status:
  0    no cell is worse than before
  1    some cell is worse
  125  could not tell";

/// Arguments of `kverdict diff`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct DiffArgs {
    /// The earlier night
    before: String,
    /// The later night
    after: String,
    /// Probability, at most, that any cell is called worse or better wrongly
    #[arg(long, default_value_t = 0.01, value_parser = probability)]
    alpha: f64,
    /// Probability, at most, that a difference that matters is denied in a cell
    #[arg(long, default_value_t = 0.01, value_parser = probability)]
    beta: f64,
    #[command(flatten)]
    place: HistoryPlace,
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        Ok(_) | Err(_) => Err("write a probability between 0 and 1, such as 0.01".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// When there is no history, it cannot be read, or it has no such night.
pub fn run(args: &DiffArgs) -> Result<ExitCode> {
    let database = Database::existing(&args.place.results)?;
    let before = find(&database, &args.before)?.name;
    let after = find(&database, &args.after)?.name;
    let nights = [database.cells(&before)?, database.cells(&after)?];
    let found = diff(
        [before, after],
        [&nights[0], &nights[1]],
        args.alpha,
        args.beta,
    );
    print(&found, args.place.json)?;
    Ok(ExitCode::from(found.conclusion.exit_code()))
}
