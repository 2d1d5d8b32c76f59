//! Locks in the cache: who makes a thing while others wait for it, and who uses it while nobody may
//! remove it.
//!
//! They are flock(2) locks, which end with the last process that has the file open: a process that
//! is killed keeps nobody waiting, and leaves nothing to be cleared away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

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
        // For whoever waits to read; on a full disk one can prune all the same.
        let _ = write_over(&mut file, &std::process::id().to_string());
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// For a child that has to hold the lock as well.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

/// Kept by everybody who uses a thing of the cache. Its file says what the thing is, and by its time
/// when it was used last.
#[derive(Debug)]
pub struct Hold {
    file: Arc<File>,
}

impl Hold {
    /// Takes part in holding the file at `path`; `about` says what the thing is, for people.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn take(path: &Path, about: &str) -> io::Result<Self> {
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            file.lock_shared()?;
            // Whoever removed the thing in the meantime removed the file with it.
            if !is_at(&file, path)? {
                continue;
            }
            write_over(&mut file, about)?;
            file.set_modified(SystemTime::now())?;
            return Ok(Self::with(file));
        }
    }

    fn with(file: File) -> Self {
        Self {
            file: Arc::new(file),
        }
    }

    /// For a child that uses the thing as well.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Takes the file at `path` alone, so that nobody begins to use the thing; none: somebody does.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn take_alone(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().create_new(true).write(true).open(path)?
            }
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, path)? => Ok(Some(Self::with(file))),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether somebody holds the file at `path`. Nothing is written.
pub(super) fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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

    #[test]
    fn a_thing_is_used_by_many_and_removed_by_nobody_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(!is_held(&path));
        let (one, other) = (Hold::take(&path, "x"), Hold::take(&path, "x"));
        assert!(is_held(&path));
        assert!(Hold::take_alone(&path).unwrap().is_none());
        drop((one.unwrap(), other.unwrap()));
        assert!(!is_held(&path));
        assert!(Hold::take_alone(&path).unwrap().is_some());
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    }

    #[test]
    fn who_waited_for_a_removal_holds_a_file_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let alone = Hold::take_alone(&path).unwrap();
        thread::scope(|scope| {
            let user = scope.spawn(|| Hold::take(&path, "again"));
            fs::remove_file(&path).unwrap();
            drop(alone);
            let _held = user.join().unwrap().unwrap();
            assert!(is_held(&path));
        });
    }
}
