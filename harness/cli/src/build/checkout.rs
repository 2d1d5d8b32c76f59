//! One commit after the other of a git repository, in one folder of the cache: only what differs between
//! two of them is written, so that only that is compiled again.
//!
//! The repository is only read: index and work tree are the cache's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kverdict_core::catalogue::key::sha256_hex;

use super::cache::Cache;
use super::git::NEUTRAL;
use super::inventory::Kind;
use super::lock::{Hold, Lock};
use super::repository::Repository;
use crate::process::Job;
use crate::progress::Progress;

/// A whole kernel is some 80 000 files.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The folder, held by this process alone.
#[derive(Debug)]
pub struct Checkout {
    git_dir: PathBuf,
    dir: PathBuf,
    _lock: Lock,
    _hold: Hold,
}

impl Checkout {
    /// Opens or makes the folder of a repository; it holds no particular commit yet.
    ///
    /// # Errors
    /// When it cannot be made, or the user interrupts the wait for another process that has it.
    pub fn open(repository: &Repository, cache: &Cache, progress: &Progress) -> Result<Self> {
        let name = sha256_hex(repository.git_dir().as_os_str().as_encoded_bytes());
        let lock = cache.lock(
            &format!("checkout-{name}"),
            "tries commits of the same repository",
            progress,
        )?;
        let about = format!("commits of {}", repository.git_dir().display());
        let hold = cache.hold(Kind::Checkout, &name, &about)?;
        let dir = cache.checkout(&name);
        let tree = dir.join("tree");
        fs::create_dir_all(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
        Ok(Self {
            git_dir: repository.git_dir().to_owned(),
            dir,
            _lock: lock,
            _hold: hold,
        })
    }

    /// Makes the folder hold this commit, and gives it.
    ///
    /// # Errors
    /// When git cannot write it.
    pub fn at(&self, commit: &str, progress: &Progress) -> Result<PathBuf> {
        let tree = self.dir.join("tree");
        let task = progress.task(format!("checking out {commit:.12}"), 0);
        // What a killed git left behind; nobody else works here.
        let _ = fs::remove_file(self.dir.join("index.lock"));
        Job::new("git", LIMIT)
            .args(NEUTRAL)
            .args(["-c", "core.sparseCheckout=false"])
            .args(["--git-dir".as_ref(), self.git_dir.as_os_str()])
            .args(["--work-tree".as_ref(), tree.as_os_str()])
            .args(["read-tree", "--reset", "-u", commit])
            .env("GIT_INDEX_FILE", self.dir.join("index"))
            // What a partial clone lacks would be fetched into it.
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("LC_ALL", "C")
            .dir(&tree)
            .log(self.log())
            .run_checked()?;
        drop(task);
        Ok(tree)
    }

    fn log(&self) -> PathBuf {
        Path::new(&self.dir).join("git.log")
    }
}
