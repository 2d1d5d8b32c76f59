//! What is in the cache: each thing that can be removed by itself, its size, and when it was used.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use kverdict_core::pruning::{Entry, FileId};
use serde::{Serialize, Serializer};
use walkdir::WalkDir;

use super::cache::Cache;
use super::lock::is_held;
use super::record::BuildRecord;

/// `st_blocks` counts in these, whatever the file system's own blocks are; see stat(2).
const BLOCK: u64 = 512;

/// A kind of thing that the cache keeps, and can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An unpacked source. Work places have hard links to its files.
    Source,
    /// A commit of a git repository.
    Checkout,
    /// What was fetched of a git repository.
    Git,
    /// A toolchain that does not belong to this machine.
    Toolchain,
    /// A package or tarball, or its beginning.
    Download,
    /// A place where kernels are built, with its objects.
    Work,
    /// A kernel, or the log of one that could not be built.
    Build,
    /// Results of compilers.
    Ccache,
    /// What a killed process was making.
    Leftover,
}

impl Kind {
    /// All of them; those that others share files with come before these.
    pub const ALL: [Self; 9] = [
        Self::Source,
        Self::Checkout,
        Self::Git,
        Self::Toolchain,
        Self::Download,
        Self::Work,
        Self::Build,
        Self::Ccache,
        Self::Leftover,
    ];

    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Checkout => "checkout",
            Self::Git => "git",
            Self::Toolchain => "toolchain",
            Self::Download => "download",
            Self::Work => "work",
            Self::Build => "build",
            Self::Ccache => "ccache",
            Self::Leftover => "leftover",
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// One thing in the cache.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its kind.
    pub kind: Kind,
    /// Its name among those of its kind.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Its folder, or its files.
    pub paths: Vec<PathBuf>,
    /// What decides about its removal.
    pub entry: Entry,
}

/// All that is in the cache.
#[derive(Debug)]
pub struct Inventory {
    /// What can be removed.
    pub items: Vec<Item>,
    /// Disk space of what cannot: notes about sources and packages, which are small, in bytes.
    pub rest_bytes: u64,
}

impl Inventory {
    /// Looks through the cache; nothing is written.
    ///
    /// # Errors
    /// When a folder cannot be read. What vanishes meanwhile is not there.
    pub fn of(cache: &Cache) -> Result<Self> {
        let mut items = Vec::new();
        let mut known = BTreeSet::new();
        for kind in Kind::ALL {
            for (name, paths) in cache.things(kind)? {
                known.extend(paths.iter().cloned());
                items.extend(Item::of(cache, kind, name, paths)?);
            }
        }
        let mut rest = Space::default();
        rest.add(cache.root(), &|path| !known.contains(path))?;
        Ok(Self {
            items,
            rest_bytes: rest.own_bytes + rest.shared.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        })
    }

    /// What decides about removals, item by item.
    pub fn entries(&self) -> Vec<Entry> {
        self.items.iter().map(|item| item.entry.clone()).collect()
    }
}

impl Item {
    /// When it was used last, in words; `now` in seconds since 1970.
    pub fn last_use(&self, now: u64) -> String {
        if self.entry.in_use {
            return "in use".to_owned();
        }
        let age = now.saturating_sub(self.entry.last_used);
        match age {
            0..60 => "just now".to_owned(),
            60..3600 => format!("{} min ago", age / 60),
            3600..172_800 => format!("{} h ago", age / 3600),
            172_800.. => format!("{} days ago", age / 86_400),
        }
    }

    fn of(cache: &Cache, kind: Kind, name: String, paths: Vec<PathBuf>) -> Result<Option<Self>> {
        let mut space = Space::default();
        for path in &paths {
            space.add(path, &|_| true)?;
        }
        let note = cache.use_note(kind, &name);
        // Older than the notes: when it was made is the best that is known.
        let Some(used) = [&note]
            .into_iter()
            .chain(&paths)
            .find_map(|path| Some(seconds(&fs::symlink_metadata(path).ok()?)))
        else {
            return Ok(None);
        };
        let about = fs::read_to_string(&note).unwrap_or_default();
        let about = match kind {
            Kind::Build => about_build(&about, &paths),
            Kind::Leftover => "what a killed process was making".to_owned(),
            Kind::Ccache => "results of compilers; bounded by ccache itself".to_owned(),
            Kind::Source
            | Kind::Checkout
            | Kind::Git
            | Kind::Toolchain
            | Kind::Download
            | Kind::Work => about.trim().to_owned(),
        };
        Ok(Some(Self {
            kind,
            about,
            entry: Entry {
                last_used: used,
                // A private folder is locked a moment after it was made.
                in_use: is_held(&note) || kind == Kind::Leftover && now() < used + 60,
                own_bytes: space.own_bytes,
                shared: space.shared.into_iter().collect(),
            },
            name,
            paths,
        }))
    }
}

/// What a build's own record says, else what was asked for.
fn about_build(asked: &str, paths: &[PathBuf]) -> String {
    let record = paths.iter().find_map(|dir| BuildRecord::read(dir).ok()?);
    match record {
        Some(record) => record.about(),
        None => format!("not finished {}", asked.trim()).trim().to_owned(),
    }
}

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    seconds_of(SystemTime::now())
}

fn seconds(data: &Metadata) -> u64 {
    seconds_of(data.modified().unwrap_or(UNIX_EPOCH))
}

fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Disk space of files, each counted once.
#[derive(Debug, Default)]
struct Space {
    own_bytes: u64,
    shared: BTreeSet<(FileId, u64)>,
}

impl Space {
    /// Adds a file, or a folder with all in it that `wanted` lets in.
    fn add(&mut self, path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
        let entries = WalkDir::new(path)
            .into_iter()
            .filter_entry(|entry| wanted(entry.path()));
        for entry in entries {
            let data = match entry.and_then(|entry| entry.metadata()) {
                Ok(data) => data,
                Err(error) if is_gone(&error) => continue,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot look through {}", path.display()));
                }
            };
            let bytes = data.blocks() * BLOCK;
            if data.is_dir() || data.nlink() == 1 {
                self.own_bytes += bytes;
            } else {
                self.shared.insert(((data.dev(), data.ino()), bytes));
            }
        }
        Ok(())
    }
}

fn is_gone(error: &walkdir::Error) -> bool {
    let error = error.io_error();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
