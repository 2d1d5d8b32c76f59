//! What a night is held against: kept with the night, so that its report can be made again whatever becomes of
//! the history.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use anyhow::{Context, Result};
use kverdict_core::history::CellNight;

use crate::layout::RunDir;
use crate::store;

/// Earlier nights of each cell, by its id, oldest first.
pub type Past = BTreeMap<String, Vec<CellNight>>;

/// Reads it from a night's folder; a night that began without has none.
///
/// # Errors
/// When the file is damaged or cannot be read.
pub fn read(dir: &RunDir) -> Result<Past> {
    let path = dir.past();
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Past::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Keeps it with a night.
///
/// # Errors
/// When the night's folder cannot be written.
pub fn write(dir: &RunDir, past: &Past) -> Result<()> {
    store::replace(&dir.past(), &serde_json::to_vec(past)?)
}
