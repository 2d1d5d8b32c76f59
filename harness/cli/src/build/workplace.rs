//! A place where kernels of one source, config and compiler are built one after the other.
//!
//! The arms of a campaign differ in a few files. They share one source path and one output folder:
//! the files that differ are swapped in with a fresh mtime, and make itself finds out what that
//! means. The source side starts as hard links to the unpacked source and is only ever changed by
//! renaming, so the original stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::cache::{Cache, write_whole};
use super::inventory::Kind;
use super::lock::{Hold, Lock};
use super::overlay::{Content, Overlay, put};
use super::source::Source;
use crate::process::Job;
use crate::progress::Progress;

/// Linking a kernel tree takes seconds.
const LINK_LIMIT: Duration = Duration::from_secs(10 * 60);
/// After a crash, files written in the last seconds before it may be half-written.
const DOUBT_SECONDS: i64 = 60;
/// The folder of the source.
const TREE: &str = "tree";

/// A work place, held by this process alone.
#[derive(Debug)]
pub struct WorkPlace {
    dir: PathBuf,
    state: State,
    lock: Lock,
    hold: Hold,
}

/// Objects of a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Objects {
    /// All of them.
    pub all: u64,
    /// Those that the last build found compiled.
    pub reused: u64,
}

/// What is known about a work place between two builds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Paths that may differ from the source.
    overlaid: BTreeSet<String>,
    /// Content digests of the local tree that was copied last.
    copied: BTreeMap<String, String>,
    /// What the present `.config` was made from.
    configured: Option<String>,
    /// Number of objects after the last build that went through.
    objects: Option<u64>,
    /// The latest time at which make began.
    #[serde(default)]
    made: Option<SystemTime>,
}

impl WorkPlace {
    /// Opens or makes the work place of that name.
    ///
    /// # Errors
    /// When it cannot be made, or the user interrupts the wait for it.
    pub fn open(name: &str, source: &Source, cache: &Cache, progress: &Progress) -> Result<Self> {
        let lock = cache.lock(
            &format!("work-{name}"),
            "builds in the same place",
            progress,
        )?;
        let hold = cache.hold(Kind::Work, name, &source.identity.about)?;
        let dir = cache.work(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let state = match State::read(&dir)? {
            Some(state) => state,
            None => {
                // Nobody knows what is in it.
                remove_folder(&dir.join(TREE))?;
                State::default()
            }
        };
        let place = Self {
            dir,
            state,
            lock,
            hold,
        };
        if !place.tree().is_dir() {
            place.make_tree(source, progress)?;
        }
        fs::create_dir_all(place.out())
            .with_context(|| format!("cannot create {}", place.out().display()))?;
        Ok(place)
    }

    /// Files for make to have open, whose compilers outlive it when it is killed: as long as one of
    /// them may still write here, nobody else builds here or removes this place.
    pub fn held_files(&self) -> [Arc<File>; 2] {
        [self.lock.file(), self.hold.file()]
    }

    /// All of it.
    pub fn root(&self) -> &Path {
        &self.dir
    }

    /// The source as make sees it.
    pub fn tree(&self) -> PathBuf {
        self.dir.join(TREE)
    }

    /// Where make writes: a folder of the tree itself, because only then does Kbuild name sources by
    /// relative paths, and commands and objects are the same in every work place.
    pub fn out(&self) -> PathBuf {
        self.tree().join("kverdict-out")
    }

    /// Where ccache says what it did: where a build may write.
    pub fn ccache_log(&self) -> PathBuf {
        self.out().join("ccache.log")
    }

    /// What ccache said since [`Self::forget_ccache_log`]; none: nothing.
    pub fn said_by_ccache(&self) -> Option<String> {
        fs::read_to_string(self.ccache_log()).ok()
    }

    /// Removes what ccache said.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_ccache_log(&self) -> Result<()> {
        match fs::remove_file(self.ccache_log()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.ccache_log().display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A file for Kconfig beside the output.
    pub fn wishes(&self) -> PathBuf {
        self.dir.join("wishes.config")
    }

    /// Number of objects of a whole build here, when there was one.
    pub fn objects(&self) -> Option<u64> {
        self.state.objects
    }

    /// What the present `.config` was made from.
    pub fn configured(&self) -> Option<&str> {
        self.state.configured.as_deref()
    }

    /// Makes the source side equal to `source` with `overlay` on top, and returns how many files
    /// had to be written.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn put_on(&mut self, source: &Source, overlay: &Overlay) -> Result<usize> {
        let mut paths: BTreeSet<String> = self.state.overlaid.clone();
        paths.extend(overlay.keys().cloned());
        if let Some(files) = &source.files {
            paths.extend(differing(&self.state.copied, files));
        }
        // Recorded before the first write: a killed run must not forget what it changed.
        self.state.overlaid.clone_from(&paths);
        self.save()?;
        let mut written = 0;
        for path in &paths {
            let wanted = match overlay.get(path) {
                Some(content) => content.clone(),
                None => original(source, path)?,
            };
            let target = self.tree().join(path);
            if Content::at(&target)? != wanted {
                put(&target, &wanted)?;
                written += 1;
            }
        }
        self.state.overlaid = overlay.keys().cloned().collect();
        if let Some(files) = &source.files {
            self.state.copied.clone_from(files);
        }
        self.save()?;
        Ok(written)
    }

    /// Records what the `.config` was made from; `None` before it is made anew.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn set_configured(&mut self, made_from: Option<String>) -> Result<()> {
        self.state.configured = made_from;
        self.save()
    }

    /// Marks that make is about to run; if the mark of an earlier run is still there, that run was
    /// killed, and what it wrote last is removed, because make would take it as finished. Where the clock
    /// was set back since make ran, nothing that it made is kept: make would take all of it for newer than sources
    /// that have changed. Returns the time of the mark by the clock of the file system.
    ///
    /// # Errors
    /// When files cannot be listed or removed.
    pub fn begin(&mut self) -> Result<SystemTime> {
        if self.mark().exists() {
            remove_doubtful(&self.out())?;
            self.state.configured = None;
        }
        write_whole(&self.mark(), b"")?;
        let now = fs::metadata(self.mark())?.modified()?;
        if self.state.made.is_some_and(|made| made > now) {
            remove_folder(&self.out())?;
            fs::create_dir_all(self.out())
                .with_context(|| format!("cannot create {}", self.out().display()))?;
            self.state.configured = None;
        }
        self.state.made = Some(now);
        self.save()?;
        Ok(now)
    }

    /// Takes the mark away: make came to its own end, good or bad.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn end(&mut self) -> Result<()> {
        fs::remove_file(self.mark())
            .with_context(|| format!("cannot remove {}", self.mark().display()))
    }

    /// Records that a build went through, and counts its objects.
    ///
    /// # Errors
    /// When the record cannot be written, or the mark's time cannot be read.
    pub fn finish(&mut self, began: SystemTime) -> Result<Objects> {
        let mut objects = Objects::default();
        for changed in self.object_times() {
            objects.all += 1;
            objects.reused += u64::from(changed < began);
        }
        self.state.objects = Some(objects.all);
        self.save()?;
        Ok(objects)
    }

    /// Objects that are there.
    pub fn count_objects(&self) -> u64 {
        self.object_times().count() as u64
    }

    /// When each object was compiled. Kbuild writes a command file beside each; those of the
    /// build's own tools are no part of the kernel.
    fn object_times(&self) -> impl Iterator<Item = SystemTime> {
        let out = self.out();
        let tools = [out.join("scripts"), out.join("tools")];
        WalkDir::new(out)
            .into_iter()
            .filter_entry(move |entry| !tools.iter().any(|tool| tool == entry.path()))
            .filter_map(Result::ok)
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy();
                let linked = name.contains("built-in") || name.starts_with(".vmlinux");
                name.ends_with(".o.cmd") && !linked
            })
            .filter_map(|entry| entry.metadata().ok()?.modified().ok())
    }

    fn mark(&self) -> PathBuf {
        self.dir.join("make-is-running")
    }

    fn save(&self) -> Result<()> {
        write_whole(
            &self.dir.join("state.json"),
            &serde_json::to_vec(&self.state)?,
        )
    }

    fn make_tree(&self, source: &Source, progress: &Progress) -> Result<()> {
        if source.files.is_some() {
            // A local tree may be written in place by its owner, so its files are copied by
            // `put_on` and never linked.
            return fs::create_dir(self.tree()).context("cannot create a source folder");
        }
        let making = self.dir.join("tree.making");
        if making.exists() {
            fs::remove_dir_all(&making)?;
        }
        let task = progress.task("linking a private source tree", 0);
        let log = self.dir.join("link.log");
        Job::new("cp", LINK_LIMIT)
            .args([
                "--archive".as_ref(),
                "--link".as_ref(),
                source.root.as_os_str(),
                making.as_os_str(),
            ])
            .log(log)
            .run_checked()?;
        drop(task);
        fs::rename(&making, self.tree()).context("cannot rename the private source tree")
    }
}

impl State {
    /// What is known about the work place in a folder. `None`: nothing, though there may be something in it.
    fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("state.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn differing(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let changed = new
        .iter()
        .filter(|(path, digest)| old.get(*path) != Some(digest));
    let gone = old.iter().filter(|(path, _)| !new.contains_key(*path));
    changed.chain(gone).map(|(path, _)| path.clone()).collect()
}

/// The source's own file; one that a local tree's listing leaves out is not part of it.
fn original(source: &Source, path: &str) -> Result<Content> {
    match &source.files {
        Some(files) if !files.contains_key(path) => Ok(Content::Absent),
        Some(_) | None => Content::at(&source.root.join(path)),
    }
}

fn remove_doubtful(out: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in WalkDir::new(out) {
        let entry = entry?;
        if entry.file_type().is_file() {
            files.push((entry.metadata()?.mtime(), entry.into_path()));
        }
    }
    let newest = files.iter().map(|(mtime, _)| *mtime).max().unwrap_or(0);
    for (mtime, path) in files {
        if mtime >= newest - DOUBT_SECONDS {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
