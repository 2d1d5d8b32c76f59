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
use super::inventory::Kind;
use super::lock::{Hold, Lock};
use super::repository::{Contents, Repository};
use crate::progress::Progress;

/// A whole kernel is some 80 000 files.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The folder, held by this process alone.
#[derive(Debug)]
pub struct Checkout {
    contents: Contents,
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
            contents: repository.contents(cache)?,
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
        let write = self
            .contents
            .git(LIMIT)
            .args(["read-tree", "--reset", "-u", commit])
            .env("GIT_WORK_TREE", &tree)
            .env("GIT_INDEX_FILE", self.dir.join("index"))
            .dir(&tree)
            .log(self.log());
        self.contents.run(&write, commit)?;
        drop(task);
        Ok(tree)
    }

    fn log(&self) -> PathBuf {
        Path::new(&self.dir).join("git.log")
    }
}

#[cfg(test)]
mod tests {
    use super::super::repository::tests::Hostile;
    use super::*;

    #[test]
    fn a_checkout_runs_none_of_the_repositorys_programs() {
        let hostile = Hostile::new("sha1");
        let repository = Repository::open(&hostile.path("here")).unwrap();
        let cache = Cache::at(&hostile.path("cache")).unwrap();
        let progress = Progress::detect();
        let checkout = Checkout::open(&repository, &cache, &progress).unwrap();
        let commit = repository.commit("HEAD").unwrap();
        let tree = checkout.at(&commit, &progress).unwrap();
        hostile.assert_none_ran();
        let read = |name| fs::read_to_string(tree.join(name)).unwrap();
        assert_eq!(read("sub/file"), "text\n");
        assert_eq!(read("secret"), "secret\n");
        assert!(read("id").starts_with("$Id: "), "{}", read("id"));
    }
}
