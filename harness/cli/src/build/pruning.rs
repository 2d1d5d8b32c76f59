//! Removing what was not used for longest from the cache.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use jiff::Timestamp;
use kverdict_core::pruning::{Aim, plan};
use serde::Serialize;

use super::cache::{Cache, is_full_disk};
use super::inventory::{Inventory, Item, Kind, now};
use super::limit::VARIABLE;
use super::lock::Hold;
use super::unpack::name_of;
use crate::progress::Progress;

/// Whether things are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// They are.
    Really,
    /// It is only said which would be.
    DryRun,
}

/// What was removed.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    /// Whether it really was.
    pub manner: Manner,
    /// What, in this order.
    pub removed: Vec<Removed>,
    /// Disk space that is free now, in bytes.
    pub freed_bytes: u64,
    /// Disk space of what stays, in bytes.
    pub left_bytes: u64,
}

/// A thing that is not there any more.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// Its kind.
    pub kind: Kind,
    /// Its name among those of its kind.
    pub name: String,
    /// What it was.
    pub about: String,
    /// When it was used last.
    pub last_used: Timestamp,
    /// Disk space that it freed, in bytes.
    pub bytes: u64,
    #[serde(skip)]
    last_use: String,
}

/// Removes what an aim asks for. What a process uses stays, also one that began to a moment ago.
///
/// # Errors
/// When the cache cannot be read, or something cannot be removed.
pub fn prune(cache: &Cache, aim: Aim, manner: Manner, progress: &Progress) -> Result<Pruned> {
    let _lock = match manner {
        Manner::Really => Some(cache.lock("prune", "prunes the cache", progress)?),
        Manner::DryRun => None,
    };
    let inventory = Inventory::of(cache)?;
    let aim = Aim {
        at_most: aim
            .at_most
            .map(|bytes| bytes.saturating_sub(inventory.rest_bytes)),
        ..aim
    };
    let plan = plan(&inventory.entries(), aim);
    let mut pruned = Pruned {
        manner,
        removed: Vec::new(),
        freed_bytes: 0,
        left_bytes: plan.left + inventory.rest_bytes,
    };
    let now = now();
    for (index, bytes) in plan.removals {
        let item = &inventory.items[index];
        if manner == Manner::Really && !remove(cache, item)? {
            pruned.left_bytes += bytes;
            continue;
        }
        pruned.freed_bytes += bytes;
        pruned.removed.push(Removed {
            kind: item.kind,
            name: item.name.clone(),
            about: item.about.clone(),
            last_used: Timestamp::from_second(i64::try_from(item.entry.last_used)?)?,
            bytes,
            last_use: item.last_use(now),
        });
    }
    Ok(pruned)
}

/// Brings the cache back to its limit, and says so when anything was removed or it cannot be kept.
///
/// # Errors
/// Those of [`prune`].
pub fn keep_to_limit(cache: &Cache, progress: &Progress) -> Result<()> {
    let Some(limit) = cache.limit()? else {
        return Ok(());
    };
    let aim = Aim {
        at_most: Some(limit),
        not_used_since: None,
    };
    let pruned = prune(cache, aim, Manner::Really, progress)?;
    let limit_text = ByteSize(limit).display().iec();
    if !pruned.removed.is_empty() {
        progress.line(format!(
            "the cache was over its limit of {limit_text}\n{pruned}"
        ));
    }
    if pruned.left_bytes > limit {
        progress.line(format!(
            "the cache has {}, over its limit of {limit_text}, and all of it is in use; {VARIABLE} sets another limit",
            ByteSize(pruned.left_bytes).display().iec()
        ));
    }
    Ok(())
}

/// Removes a thing unless somebody uses it; whether it was removed.
fn remove(cache: &Cache, item: &Item) -> Result<bool> {
    let note = cache.use_note(item.kind, &item.name);
    let place = || format!("cannot remove {} `{}` of the cache", item.kind, item.name);
    let Some(alone) = Hold::take_alone(&note).with_context(place)? else {
        return Ok(false);
    };
    // Away at once, so that nobody finds half of it and nobody waits; a killed prune leaves a leftover.
    let away = match cache.scratch() {
        Ok(away) => Some(away),
        // There is no room for a folder, which is why somebody prunes.
        Err(error) if is_full_disk(&error) => None,
        Err(error) => return Err(error),
    };
    let mut gone = Vec::new();
    for path in &item.paths {
        let target = match &away {
            Some(away) => away.path().join(name_of(path)),
            None => cache.leftover(&name_of(path)),
        };
        fs::rename(path, &target).with_context(place)?;
        gone.push(target);
    }
    if note.is_file() {
        fs::remove_file(&note).with_context(place)?;
    }
    drop(alone);
    match away {
        Some(away) => away.close().with_context(place)?,
        None => gone
            .iter()
            .try_for_each(|path| remove_all(path))
            .with_context(place)?,
    }
    Ok(true)
}

fn remove_all(path: &Path) -> io::Result<()> {
    match path.is_dir() && !path.is_symlink() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (removed, freed) = match self.manner {
            Manner::Really => ("removed", "freed"),
            Manner::DryRun => ("would remove", "would free"),
        };
        for item in &self.removed {
            writeln!(
                f,
                "{removed} {:<9} {:>10}  {:<12} {} {}",
                item.kind,
                ByteSize(item.bytes).display().iec().to_string(),
                item.last_use,
                item.name,
                item.about
            )?;
        }
        write!(
            f,
            "{freed} {}, {} stay",
            ByteSize(self.freed_bytes).display().iec(),
            ByteSize(self.left_bytes).display().iec()
        )
    }
}
