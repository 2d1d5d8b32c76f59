//! Making the history again of all runs' records.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result};

use super::database::{self, Database};
use super::recorded::{self, Recorded};
use crate::layout::{self, RunDir};

/// So many runs are read ahead of the one that is written.
const AHEAD: usize = 32;

/// What a history was made of.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Runs that are in it.
    pub runs: usize,
    /// Their trials.
    pub trials: usize,
    /// Runs that are not, and why.
    pub skipped: Vec<(String, String)>,
}

/// Makes the history of a folder of results again: beside the old one, which then gives its place to it. A run
/// that is damaged is left out.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn rebuild(results: &Path) -> Result<Rebuilt> {
    let lock = database::lock_file(results)?;
    // Whoever is adding a run goes first: it and its records are there by now, and are read.
    lock.lock().context("cannot lock the history")?;
    let runs = layout::runs(results)?;
    let temporary = tempfile::Builder::new()
        .prefix(".history-")
        // Readable by others, as far as the umask allows: results are shared.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(results)
        .with_context(|| format!("cannot write into {}", results.display()))?
        .into_temp_path();
    let mut database = Database::unknown(temporary.to_path_buf())?;
    let rebuilt = fill(&mut database, &runs)?;
    database.settle()?;
    let path = layout::history(results);
    let replace = || -> std::io::Result<()> {
        File::open(&temporary)?.sync_all()?;
        // They belong to the old one.
        for old in layout::beside_history(results) {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        temporary.persist(&path).map_err(|error| error.error)
    };
    replace().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(rebuilt)
}

/// Reads runs on all cores, and writes them on this one.
fn fill(database: &mut Database, runs: &[RunDir]) -> Result<Rebuilt> {
    let readers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(AHEAD);
        for _ in 0..readers {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(dir) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more: the writer has failed.
                    if sender.send((dir, recorded::read(dir))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(database, receiver)
    })
}

fn collect(
    database: &mut Database,
    read: mpsc::Receiver<(&RunDir, Result<Option<Recorded>>)>,
) -> Result<Rebuilt> {
    let mut rebuilt = Rebuilt::default();
    for (dir, recorded) in read {
        match recorded {
            Ok(Some(recorded)) => {
                database.feed(&recorded)?;
                rebuilt.runs += 1;
                let nights = recorded.cells.values();
                rebuilt.trials += nights.map(|night| night.trials.len()).sum::<usize>();
            }
            Ok(None) => {}
            Err(error) => rebuilt.skipped.push((dir.id(), format!("{error:#}"))),
        }
    }
    rebuilt.skipped.sort();
    Ok(rebuilt)
}
