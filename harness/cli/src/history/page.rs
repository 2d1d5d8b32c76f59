//! `history.html`: the newest nights to look at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kverdict_core::history::change::Past;
use kverdict_page::history::{NIGHTS_MAX, Row, page};

use super::LOOK_BACK;
use super::database::{Database, Selection, Series};
use super::recorded::{self, Kind, Run};
use crate::layout::{self, RunDir};
use crate::store;

/// Writes the page of all nights, and says where.
///
/// # Errors
/// When there is no history, it cannot be read, or the page cannot be written.
pub fn write(results: &Path) -> Result<PathBuf> {
    let database = Database::existing(results)?;
    let runs = database.runs(Some(Kind::Night), usize::MAX)?;
    let selection = Selection {
        limit: NIGHTS_MAX + LOOK_BACK,
        ..Selection::default()
    };
    let all = database.nights(&selection)?;
    let names: BTreeSet<&String> = all.iter().map(|series| &series.name).collect();
    let mut rows = Vec::new();
    for name in &names {
        // The newest come first.
        let Some(newest) = runs.iter().find(|run| run.series == **name) else {
            continue;
        };
        // A folder that is gone says nothing of them.
        let dir = RunDir::new(results.join(&newest.name))?;
        let controls = recorded::controls(&dir).unwrap_or_default();
        for series in all.iter().filter(|series| series.name == **name) {
            let control = controls.contains(&series.cell);
            let cell = match names.len() {
                1 => series.cell.clone(),
                _ => format!("{name}: {}", series.cell),
            };
            rows.extend(rows_of(series, newest, &cell, control));
        }
    }
    let path = layout::history_page(results);
    store::replace(&path, page(&rows, &store::now())?.as_bytes())?;
    Ok(path)
}

/// A cell's nights, each held against those before it.
fn rows_of(series: &Series, newest: &Run, cell: &str, control: bool) -> Vec<Row> {
    let demands = newest.demands();
    let mut past = Past::of(&[], &demands);
    let judged = series.nights.iter().map(|night| {
        let change = past.add(night).change;
        Row::new(cell, night, Some(change), control)
    });
    judged.collect()
}
