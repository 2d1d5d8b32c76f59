//! Keeping results small: what survived in old nights loses its bulk, what failed keeps all of its evidence.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kverdict_core::record::Standing;

use super::recorded::{self, Kind, Recorded};
use crate::layout::{self, RunDir};

/// What was freed, or would be.
#[derive(Debug, Default)]
pub struct Freed {
    /// Nights that lost something.
    pub nights: usize,
    /// Files.
    pub files: usize,
    /// Bytes.
    pub bytes: u64,
    /// Nights that were left alone, and why.
    pub left: Vec<(String, String)>,
}

/// Frees what nights have that are older than the newest `keep` of their name: of trials that survived without a
/// failure the console, the agent's words and samples of the vCPUs, and the initramfs of nights in which nothing
/// failed. Records and reports stay. With `dry_run` nothing is done but counted.
///
/// # Errors
/// When the folder of results cannot be read, or a file cannot be removed.
pub fn prune(results: &Path, keep: usize, dry_run: bool) -> Result<Freed> {
    let mut freed = Freed::default();
    let mut nights: BTreeMap<String, Vec<(RunDir, Recorded)>> = BTreeMap::new();
    for dir in layout::runs(results)? {
        if Kind::of_run(&dir) != Some(Kind::Night) {
            continue;
        }
        match recorded::read(&dir) {
            Ok(Some(recorded)) => {
                let same = nights.entry(recorded.run.series.clone()).or_default();
                same.push((dir, recorded));
            }
            Ok(None) => {}
            Err(error) => freed.left.push((dir.id(), format!("{error:#}"))),
        }
    }
    for (_, mut same) in nights {
        same.sort_by(|one, other| other.1.run.started.cmp(&one.1.run.started));
        for (dir, recorded) in same.into_iter().skip(keep) {
            thin_out(&dir, &recorded, dry_run, &mut freed)?;
        }
    }
    Ok(freed)
}

fn thin_out(dir: &RunDir, recorded: &Recorded, dry_run: bool, freed: &mut Freed) -> Result<()> {
    let lock = File::open(dir.lock());
    if lock.as_ref().is_ok_and(|lock| lock.try_lock().is_err()) {
        let why = "a kverdict is writing into it".to_owned();
        freed.left.push((dir.id(), why));
        return Ok(());
    }
    let before = freed.files;
    for path in bulk(dir, recorded)? {
        // A link is no bulk, and what it names is none of ours.
        let Ok(about) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !about.is_file() {
            continue;
        }
        if !dry_run {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        freed.files += 1;
        freed.bytes += about.len();
    }
    freed.nights += usize::from(freed.files > before);
    Ok(())
}

/// Files of a night that nobody will look at again.
fn bulk(dir: &RunDir, recorded: &Recorded) -> Result<Vec<PathBuf>> {
    let trials = recorded.cells.values().flat_map(|night| &night.trials);
    let (passed, failed): (Vec<_>, Vec<_>) = trials.partition(|trial| trial.passed());
    let mut files = Vec::new();
    // An id names a folder in the run's own.
    for trial in passed.iter().filter(|trial| !trial.id.contains('/')) {
        let trial = dir.trial(&trial.id);
        files.extend([trial.console(), trial.agent(), trial.vcpus()]);
    }
    let evidence = failed
        .iter()
        .any(|trial| trial.standing != Standing::NotExposed);
    if !evidence {
        files.extend(dir.all_initramfs()?);
    }
    Ok(files)
}
