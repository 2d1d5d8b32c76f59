//! The cache of sources and builds; the only module that joins paths in it.
//!
//! ```text
//! downloads/            packages and tarballs, by digest
//! git/<name>.git/       what was fetched of git repositories
//! apt/<suite>/          lists of packages of other releases
//! sources/<digest>/     unpacked sources, never written to again
//! trees/<name>.json     what is known about the files of local trees
//! checkouts/<name>/     one commit after the other of a git repository: tree/, index
//! work/<name>/          one work place per source, config and compiler: tree/, in it kverdict-out/
//! builds/<key>/         finished builds; one without manifest.json is not finished
//! advised/<digest>/     diffs of commits, as advice was given with them
//! rules/                what semantic patch rules made of files
//! locks/                one file per thing that only one process may make at a time
//! ccache/               compiler results
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use kverdict_core::catalogue::BuildKey;

use super::lock::Lock;
use crate::progress::Progress;

/// The cache's root folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in `$KVERDICT_CACHE`, else in `kverdict` of the XDG cache folder.
    ///
    /// # Errors
    /// When no place can be named, or it cannot be created.
    pub fn from_environment() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = set("KVERDICT_CACHE")
            .map(PathBuf::from)
            .or_else(|| set("XDG_CACHE_HOME").map(|base| PathBuf::from(base).join("kverdict")))
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache/kverdict")))
            .ok_or_else(|| anyhow!("no place for the cache: set KVERDICT_CACHE or HOME"))?;
        Self::at(&root)
    }

    /// The cache in a given folder.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        // Absolute, because make runs in other folders; resolved, because compilers record it.
        let root = fs::canonicalize(root)?;
        for folder in [
            "downloads",
            "sources",
            "trees",
            "work",
            "builds",
            "locks",
            "git",
            "apt",
            "toolchains",
        ] {
            let path = root.join(folder);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create the cache folder {}", path.display()))?;
        }
        Ok(Self { root })
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where downloads go.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Where unpacked sources go.
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// The unpacked source of that digest.
    pub fn source(&self, digest: &str) -> PathBuf {
        self.sources().join(digest)
    }

    /// What is known about the files of a local tree.
    pub fn tree_memo(&self, name: &str) -> PathBuf {
        self.root.join("trees").join(format!("{name}.json"))
    }

    /// Where the commits of a git repository are checked out, one after the other.
    pub fn checkout(&self, name: &str) -> PathBuf {
        self.root.join("checkouts").join(name)
    }

    /// A work place.
    pub fn work(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    /// All finished and unfinished builds.
    pub fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// The folder of one build.
    pub fn build(&self, key: &BuildKey) -> PathBuf {
        self.builds().join(key.as_str())
    }

    /// The mirror of a git repository.
    pub fn git_mirror(&self, name: &str) -> PathBuf {
        self.root.join("git").join(format!("{name}.git"))
    }

    /// The folder of a toolchain that does not belong to this machine.
    pub fn toolchain(&self, name: &str) -> PathBuf {
        self.root.join("toolchains").join(name)
    }

    /// What was said while that toolchain was made.
    pub fn toolchain_log(&self, name: &str) -> PathBuf {
        self.root.join("toolchains").join(format!("{name}.log"))
    }

    /// The folder of a private apt configuration.
    pub fn apt(&self, name: &str) -> PathBuf {
        self.root.join("apt").join(name)
    }

    /// What a probe boot under KVM said.
    pub fn kvm_probe(&self) -> PathBuf {
        self.root.join("kvm-probe.json")
    }

    /// Image of the kernel that was built last; `None` before any was.
    pub fn newest_kernel(&self) -> Option<PathBuf> {
        let finished = fs::read_dir(self.builds())
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let built = entry
                    .path()
                    .join("manifest.json")
                    .metadata()
                    .ok()?
                    .modified()
                    .ok()?;
                Some((built, entry.path().join("bzImage")))
            });
        finished.max().map(|(_, image)| image)
    }

    /// Where diffs of that digest are kept, so that builds and runs made with them can be made again.
    pub fn advised(&self, digest: &str) -> PathBuf {
        self.root.join("advised").join(digest)
    }

    /// What semantic patch rules made of files.
    pub fn rule_results(&self) -> PathBuf {
        self.root.join("rules")
    }

    /// Where ccache keeps its results.
    pub fn ccache(&self) -> PathBuf {
        self.root.join("ccache")
    }

    /// A private folder that vanishes when dropped, on the cache's file system, so that what is
    /// made in it can be renamed into place.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(".making-")
            .tempdir_in(self.sources())
            .with_context(|| format!("cannot make a folder in {}", self.root.display()))
    }

    /// Waits until this process alone may make the thing called `name`. `doing` says for those who
    /// wait what it is doing then, such as "unpacks the same source".
    ///
    /// # Errors
    /// [`crate::process::Interrupted`], or when the lock file cannot be used.
    pub fn lock(&self, name: &str, doing: &str, progress: &Progress) -> Result<Lock> {
        Lock::wait_for(&self.root.join("locks").join(name), doing, progress)
    }
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    let place = || format!("cannot write {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(place)?;
    file.write_all(bytes).with_context(place)?;
    file.as_file().sync_all().with_context(place)?;
    file.persist(path)
        .map_err(|error| error.error)
        .with_context(place)?;
    Ok(())
}

/// Whether an error comes from a full disk, ours or a tool's.
pub fn is_full_disk(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::StorageFull)
            || cause.to_string().contains("No space left on device")
    })
}

/// What to do when the cache's disk is full.
pub fn full_disk_text(root: &Path) -> String {
    format!(
        "the disk that holds the cache {0} is full: free some space there (remove {0}/work or old folders of {0}/builds) or set KVERDICT_CACHE to another disk; a first kernel needs about 3 GB",
        root.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let ours = anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("x");
        assert!(is_full_disk(&ours));
        assert!(is_full_disk(&anyhow!("apt: No space left on device")));
        assert!(!is_full_disk(&anyhow!("y")));
    }
}
