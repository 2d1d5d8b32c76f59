//! What all runs said, in `results/history.sqlite`: fed from their records, and made again from them whenever
//! asked.
//!
//! Two calls are enough for who runs trials. [`keep`] puts into the history what a run's folder holds, as often as
//! one likes; it never fails a run. [`past`] gives the earlier nights of each cell.
//!
//! The history is whole or absent: where there is none yet, it is made of all runs. It is held only while it is
//! read or written, so that `kverdict db rebuild` has to wait for nobody for long.

pub mod database;
pub mod page;
pub mod prune;
pub mod rebuild;
pub mod recorded;
mod rows;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use kverdict_core::history::CellNight;

use crate::commands::Usage;
use crate::layout::{self, RunDir};
use crate::progress::Progress;
use database::{Database, Selection};
use recorded::{Kind, Run};

/// So many earlier nights of a cell are looked at.
pub const LOOK_BACK: usize = 100;

/// Puts what a run's folder holds into the history of its results. What goes wrong is said and no more: the
/// records are there, and `kverdict db rebuild` reads them again.
pub fn keep(dir: &RunDir, progress: &Progress) {
    if let Err(error) = try_to_keep(dir) {
        progress.line(format!(
            "warning: the history has not got this run: {error:#}"
        ));
    }
}

fn try_to_keep(dir: &RunDir) -> Result<()> {
    if !layout::history(dir.results()).exists() {
        return rebuild::rebuild(dir.results()).map(|_| ());
    }
    match recorded::read(dir)? {
        Some(recorded) => Database::open(dir.results())?.feed(&recorded),
        None => Ok(()),
    }
}

/// The run that a word means: its name, its folder, or a part of its name that no other has.
///
/// # Errors
/// When that is none, or several.
pub fn find(database: &Database, word: &str) -> Result<Run> {
    let name = Path::new(word).file_name();
    let name = name.context("a run has a name")?.to_string_lossy();
    if let Some(run) = database.run(&name)? {
        return Ok(run);
    }
    let mut runs = database.runs(None, usize::MAX)?;
    let newest: Vec<String> = runs.iter().take(5).map(|run| run.name.clone()).collect();
    runs.retain(|run| run.name.contains(&*name));
    match runs.len() {
        1 => Ok(runs.remove(0)),
        0 => Err(Usage(format!(
            "the history has no run `{name}`; the newest are: {}. If its folder is there, `kverdict db rebuild` puts it in",
            newest.join(", ")
        ))
        .into()),
        count => Err(Usage(format!(
            "`{name}` is part of the names of {count} runs, such as {} and {}; write more of it",
            runs[0].name, runs[1].name
        ))
        .into()),
    }
}

/// Puts in what the last night of this name has and the history not yet: it was killed before it could. A folder that
/// is gone or damaged adds nothing.
fn complete(database: &mut Database, results: &Path, night: &str) -> Result<()> {
    let runs = database.runs(Some(Kind::Night), usize::MAX)?;
    let Some(last) = runs.into_iter().find(|run| run.series == night) else {
        return Ok(());
    };
    match recorded::read(&RunDir::new(results.join(last.name))?) {
        Ok(Some(recorded)) => database.feed(&recorded),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Nights of this name that began before `now`, by cell, oldest first, without the run `but`. Where there is no
/// history yet, it is made. Nights of the future are those of a clock that was wrong; they would stay last night
/// until their day has come.
///
/// # Errors
/// When the history cannot be read or made: it is damaged, or of a newer kverdict.
pub fn past(
    results: &Path,
    night: &str,
    but: &str,
    now: &str,
) -> Result<BTreeMap<String, Vec<CellNight>>> {
    if !results.exists() {
        return Ok(BTreeMap::new());
    }
    if !layout::history(results).exists() {
        rebuild::rebuild(results)?;
    }
    let mut database = Database::open(results)?;
    complete(&mut database, results, night)?;
    let selection = Selection {
        night: Some(night),
        limit: LOOK_BACK,
        ..Selection::default()
    };
    let mut cells = BTreeMap::new();
    for series in database.nights(&selection)? {
        let mut nights = series.nights;
        nights.retain(|one| one.run != but && *one.started <= *now);
        if !nights.is_empty() {
            cells.insert(series.cell, nights);
        }
    }
    Ok(cells)
}
