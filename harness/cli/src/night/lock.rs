//! One night of a name at a time.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::layout;
use crate::store;

/// Held as long as a night runs, also when its process is killed.
#[derive(Debug)]
pub struct NightLock {
    _file: File,
}

impl NightLock {
    /// Takes the lock of the nights of this name.
    ///
    /// # Errors
    /// When another process has it (says which, and since when), or the folder cannot be written.
    pub fn take(results: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(results).with_context(|| {
            format!(
                "cannot create {}; choose another place with --results",
                results.display()
            )
        })?;
        let path = layout::night_lock(results, name);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "another night `{name}` is running in {}: {}; wait for it or stop it",
                results.display(),
                holder.trim()
            );
        }
        file.set_len(0)?;
        write!(
            file,
            "process {} since {}",
            std::process::id(),
            store::now()
        )
        .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}
