//! Locks in the cache: who makes a thing while others wait for it.
//!
//! They are flock(2) locks, which end with the last process that has the file open: a process that
//! is killed keeps nobody waiting, and leaves nothing to be cleared away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use crate::process::{Interrupted, POLL_INTERVAL, interrupted};
use crate::progress::Progress;

/// Held while one process makes something; released when it and all copies of its file are gone.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
}

impl Lock {
    /// Waits until this process alone holds the file at `path`. `doing` says for those who wait what
    /// it is doing then, after "another kverdict (process 1)".
    ///
    /// # Errors
    /// [`Interrupted`], or when the file cannot be used.
    pub(super) fn wait_for(path: &Path, doing: &str, progress: &Progress) -> Result<Self> {
        let place = || format!("cannot lock {}", path.display());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(place)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(place),
            }
            if interrupted() {
                return Err(Interrupted.into());
            }
            if !told {
                let holder = fs::read_to_string(path).unwrap_or_default();
                progress.line(format!(
                    "another kverdict (process {}) {doing}: waiting for it",
                    holder.trim()
                ));
                told = true;
            }
            thread::sleep(POLL_INTERVAL);
        }
        write_over(&mut file, &std::process::id().to_string()).with_context(place)?;
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// For a child that has to hold the lock as well.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

fn write_over(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_free_again_after_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let progress = Progress::detect();
        let held = Lock::wait_for(&path, "makes x", &progress).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::wait_for(&path, "makes x", &progress).map(|_| ()));
            drop(held);
            waiter.join().unwrap().unwrap();
        });
    }
}
