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
//! used/                 one file per thing that can be pruned: what it is, and by its time, when it was used
//! ccache/               compiler results
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use rustix::fs::Access;

use kverdict_core::catalogue::BuildKey;

use super::inventory::Kind;
use super::limit::Limit;
use super::lock::{Hold, Lock};
use crate::progress::Progress;

/// What a private folder's name begins with.
const MAKING: &str = ".making-";

/// The cache's root folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    limit: Limit,
    /// What is kept from being pruned until this process ends.
    kept: Arc<Mutex<BTreeMap<(Kind, String), Hold>>>,
}

/// A private folder, which nobody takes for a killed process's. It vanishes when dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    _lock: File,
}

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Removes it now.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn close(self) -> io::Result<()> {
        self.dir.close()
    }
}

impl Cache {
    /// The cache in `$KVERDICT_CACHE`, else in `kverdict` of the XDG cache folder.
    ///
    /// # Errors
    /// When no place can be named, or it cannot be created.
    pub fn from_environment() -> Result<Self> {
        let limit = Limit::from_environment()?;
        Ok(Self {
            limit,
            ..Self::at(&root_in_environment()?)?
        })
    }

    /// The same, only to look at: nothing is created, so that it need not be there.
    ///
    /// # Errors
    /// When no place can be named.
    pub fn to_look_at() -> Result<Self> {
        let limit = Limit::from_environment()?;
        Ok(Self::new(root_in_environment()?, limit))
    }

    fn new(root: PathBuf, limit: Limit) -> Self {
        Self {
            root,
            limit,
            kept: Arc::default(),
        }
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
            "used",
            "git",
            "apt",
            "toolchains",
        ] {
            let path = root.join(folder);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create the cache folder {}", path.display()))?;
        }
        rustix::fs::access(root.as_path(), Access::WRITE_OK).with_context(|| {
            format!(
                "the cache folder {} cannot be written to: set KVERDICT_CACHE to one that can",
                root.display()
            )
        })?;
        Ok(Self::new(root, Limit::None))
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How large it may become, in bytes; none: as large as the disk.
    ///
    /// # Errors
    /// When the disk's size cannot be read.
    pub fn limit(&self) -> Result<Option<u64>> {
        self.limit.bytes(&self.root)
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
    pub fn scratch(&self) -> Result<Scratch> {
        let place = || format!("cannot make a folder in {}", self.root.display());
        let dir = tempfile::Builder::new()
            .prefix(MAKING)
            .tempdir_in(self.sources())
            .with_context(place)?;
        let lock = File::open(dir.path()).with_context(place)?;
        lock.lock_shared().with_context(place)?;
        Ok(Scratch { dir, _lock: lock })
    }

    /// Where something can be moved to be removed, when there is no room for a [`Scratch`]: whoever prunes next
    /// takes what a kill leaves there for a leftover.
    pub fn leftover(&self, name: &str) -> PathBuf {
        self.sources()
            .join(format!("{MAKING}{}-{name}", std::process::id()))
    }

    /// The things of a kind that are here: the name and the files or folders of each.
    ///
    /// # Errors
    /// When a folder cannot be read; one that is not there is empty.
    pub fn things(&self, kind: Kind) -> Result<BTreeMap<String, Vec<PathBuf>>> {
        let folder = match kind {
            Kind::Source | Kind::Leftover => self.sources(),
            Kind::Checkout => self.root.join("checkouts"),
            Kind::Git => self.root.join("git"),
            Kind::Toolchain => self.root.join("toolchains"),
            Kind::Download => self.downloads(),
            Kind::Work => self.root.join("work"),
            Kind::Build => self.builds(),
            Kind::Ccache => self.root.clone(),
        };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", folder.display()));
            }
        };
        let mut things: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for entry in entries {
            let path = entry?.path();
            if let Some(name) = thing_name(kind, &path) {
                things.entry(name).or_default().push(path);
            }
        }
        Ok(things)
    }

    /// The file that says what a thing is, and when it was used last.
    pub fn use_note(&self, kind: Kind, name: &str) -> PathBuf {
        match kind {
            // It is locked itself by who makes something in it.
            Kind::Leftover => self.sources().join(name),
            Kind::Source
            | Kind::Checkout
            | Kind::Git
            | Kind::Toolchain
            | Kind::Download
            | Kind::Work
            | Kind::Build
            | Kind::Ccache => self.root.join("used").join(format!("{kind}-{name}")),
        }
    }

    /// Uses a thing, which need not be there yet: it is not pruned as long as it is held. `about`
    /// says what it is, for people.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn hold(&self, kind: Kind, name: &str, about: &str) -> Result<Hold> {
        let note = self.use_note(kind, name);
        Hold::take(&note, about).with_context(|| format!("cannot use {}", note.display()))
    }

    /// The same until this process ends.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn keep(&self, kind: Kind, name: &str, about: &str) -> Result<()> {
        let hold = self.hold(kind, name, about)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((kind, name.to_owned()), hold);
        Ok(())
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

fn root_in_environment() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("KVERDICT_CACHE")
        .map(PathBuf::from)
        .or_else(|| set("XDG_CACHE_HOME").map(|base| PathBuf::from(base).join("kverdict")))
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache/kverdict")))
        .ok_or_else(|| anyhow!("no place for the cache: set KVERDICT_CACHE or HOME"))
}

/// The name of the thing that a file or folder is, or is part of; none: it is no such thing.
fn thing_name(kind: Kind, path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = (path.file_stem()?.to_str()?, path.extension());
    let name = match kind {
        Kind::Source => (!name.starts_with(MAKING)).then_some(name)?,
        Kind::Leftover => name.starts_with(MAKING).then_some(name)?,
        Kind::Git => (extension == Some(OsStr::new("git"))).then_some(stem)?,
        Kind::Toolchain | Kind::Checkout | Kind::Work | Kind::Build => {
            path.is_dir().then_some(name)?
        }
        // A digest that was believed when it was first seen has to be remembered.
        Kind::Download => (extension != Some(OsStr::new("first-use"))).then_some(stem)?,
        Kind::Ccache => (name == "ccache").then_some(name)?,
    };
    Some(name.to_owned())
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
        "the disk that holds the cache {} is full: free some space there (`kverdict cache` shows what the cache takes, `kverdict cache prune --to 5GiB` frees what was not used for longest) or set KVERDICT_CACHE to another disk; a first kernel needs about 3 GB",
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
