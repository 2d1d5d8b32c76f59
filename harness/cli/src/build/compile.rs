//! Running make: configuration, then the image, with progress and a log that can be read alone.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kverdict_core::catalogue::BuildKey;
use kverdict_core::catalogue::key::sha256_hex;
use kverdict_core::catalogue::make_log::{
    first_errors, is_compile_line, says_disk_full, says_no_memory,
};

use super::cache::{Cache, full_disk_text, write_whole};
use super::ccache;
use super::enclosure::Shared;
use super::toolchain::Toolchain;
use super::workplace::WorkPlace;
use crate::process::{Ending, Job, describe, tail_of};
use crate::progress::Progress;

/// An allnoconfig kernel takes 6 minutes on two processors; a machine that needs longer than this
/// is stuck.
const BUILD_LIMIT: Duration = Duration::from_secs(3 * 60 * 60);
const CONFIG_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How many objects a kernel of the base fragment has, for the first progress bar ever.
pub const USUAL_OBJECTS: u64 = 1150;
/// Errors that are shown; the rest is in the log.
const SHOWN_ERRORS: usize = 5;

/// What everyone's environment could change in a build, set to what it is without.
///
/// Makes builds repeatable: what is not in the key must not get in.
const NEUTRAL_ENVIRONMENT: [(&str, &str); 13] = [
    ("LC_ALL", "C"),
    ("MAKEFLAGS", ""),
    ("KCFLAGS", ""),
    ("KAFLAGS", ""),
    ("KCPPFLAGS", ""),
    ("CROSS_COMPILE", ""),
    ("LLVM", ""),
    ("LOCALVERSION", ""),
    ("KBUILD_VERBOSE", "0"),
    ("KCONFIG_CONFIG", ".config"),
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_USER", "kverdict"),
    ("KBUILD_BUILD_VERSION", "1"),
];

/// A kernel that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("the kernel does not build: make {ending}\n{errors}\nthe whole log: {}", log.display())]
pub struct CompileError {
    /// How make ended.
    pub ending: String,
    /// The first errors, one per line.
    pub errors: String,
    /// Where the log is.
    pub log: PathBuf,
    /// Whether make was killed, and may have left half a file behind.
    pub killed: bool,
}

/// One run of make for one key in one work place.
#[derive(Debug)]
pub struct Make<'a> {
    /// Where.
    pub place: &'a WorkPlace,
    /// What compiles.
    pub toolchain: &'a Toolchain,
    /// `VARIABLE=value` for make.
    pub variables: &'a [String],
    /// For ccache's folder.
    pub cache: &'a Cache,
    /// Stands in the kernel's version line as its build host, so that a console names its build.
    pub key: &'a BuildKey,
    /// Parallel jobs.
    pub jobs: usize,
    /// Where everything is logged.
    pub log: &'a Path,
}

impl Make<'_> {
    fn job(&self, goal: &str, limit: Duration) -> Job {
        let mut job = Job::new("make", limit)
            .args(["-C".as_ref(), self.place.tree().as_os_str()])
            .args([format!("O={}", self.place.out().display())])
            .args([format!("-j{}", self.jobs)])
            .args(["ARCH=x86_64"])
            .args(self.variables)
            .args([goal])
            .env("KBUILD_BUILD_HOST", self.key.as_str())
            .holding(self.place.held_files())
            .log(self.log);
        for (name, value) in NEUTRAL_ENVIRONMENT {
            job = job.env(name, value);
        }
        let (log, used) = (self.place.ccache_log(), self.toolchain.compiler.ccache);
        for (name, value) in ccache::environment(self.cache, &log, used) {
            job = job.env(name, value);
        }
        job
    }

    /// Variables that a step sets come before.
    fn enclosed(&self, job: Job) -> Result<Job> {
        let ccache = self.cache.ccache();
        std::fs::create_dir_all(&ccache)
            .with_context(|| format!("cannot create {}", ccache.display()))?;
        let shared = Shared {
            read: vec![self.place.root().to_owned()],
            write: vec![self.place.out(), ccache],
        };
        Ok(self.toolchain.enclosure.around(job, &shared))
    }

    /// Makes the `.config` from nothing but the wishes.
    ///
    /// # Errors
    /// [`CompileError`] when Kconfig fails.
    pub fn configure(&self, wishes: &str, progress: &Progress) -> Result<()> {
        write_whole(&self.place.wishes(), wishes.as_bytes())?;
        let task = progress.task("configuring", 0);
        let job = self
            .job("allnoconfig", CONFIG_LIMIT)
            .env("KCONFIG_ALLCONFIG", self.place.wishes());
        let ending = self.enclosed(job)?.run()?;
        drop(task);
        self.judge(ending, CONFIG_LIMIT)
    }

    /// Compiles and links the image.
    ///
    /// # Errors
    /// [`CompileError`] when it fails; [`crate::process::Interrupted`].
    pub fn compile(&self, name: &str, usual_objects: u64, progress: &Progress) -> Result<()> {
        let job = self.enclosed(self.job("bzImage", BUILD_LIMIT))?;
        // A second build in a place compiles few files, and nobody can say how many.
        let length = match self.place.objects() {
            Some(_) => 0,
            None => usual_objects.saturating_sub(self.place.count_objects()),
        };
        let task = progress.task(format!("compiling {name}"), length);
        let child = job.start()?;
        let mut counter = Counter::new(self.log)?;
        let ending = child.wait_with(|| {
            counter.read_on()?;
            task.set(counter.objects, &counter.last);
            Ok(())
        })?;
        counter.read_on()?;
        self.judge(ending, BUILD_LIMIT)?;
        task.finish(format!("{} files compiled", counter.objects));
        Ok(())
    }

    fn judge(&self, ending: Ending, limit: Duration) -> Result<()> {
        if matches!(ending, Ending::Exited(status) if status.success()) {
            return Ok(());
        }
        let log = std::fs::read(self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        let log = String::from_utf8_lossy(&log);
        if says_disk_full(&log) {
            return Err(anyhow!(full_disk_text(self.cache.root())));
        }
        if says_no_memory(&log) {
            return Err(anyhow!(
                "this machine has too little memory to build the kernel with {} jobs at a time; ask for fewer, or see who takes it\n{}",
                self.jobs,
                tail_of(self.log, SHOWN_ERRORS)
            ));
        }
        // Kbuild names files from where it writes, which is a folder of the tree.
        let tree = format!("{}/", self.place.tree().display());
        let in_tree = |text: String| {
            let text = text.replace(&tree, "");
            text.strip_prefix("../").map_or(text.clone(), str::to_owned)
        };
        let mut errors: Vec<String> = first_errors(&log, SHOWN_ERRORS)
            .iter()
            .map(|error| format!("  {}", in_tree(error.to_string())))
            .collect();
        if errors.is_empty() {
            errors.push(tail_of(self.log, SHOWN_ERRORS));
        }
        Err(CompileError {
            ending: describe(ending, limit),
            errors: errors.join("\n"),
            log: self.log.to_owned(),
            killed: ending.is_cut_off(),
        }
        .into())
    }
}

/// Counts compiled files in a log that is being written.
struct Counter {
    log: BufReader<File>,
    /// A line whose end is not written yet.
    rest: String,
    objects: u64,
    last: String,
}

impl Counter {
    fn new(log: &Path) -> Result<Self> {
        let file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(Self {
            log: BufReader::new(file),
            rest: String::new(),
            objects: 0,
            last: String::new(),
        })
    }

    fn read_on(&mut self) -> Result<()> {
        loop {
            let mut bytes = Vec::new();
            if self.log.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            self.rest += &String::from_utf8_lossy(&bytes);
            if !self.rest.ends_with('\n') {
                continue;
            }
            if is_compile_line(&self.rest) {
                self.objects += 1;
                self.last = self
                    .rest
                    .split_whitespace()
                    .last()
                    .unwrap_or_default()
                    .to_owned();
            }
            self.rest.clear();
        }
    }
}

/// What a `.config` is made from: the wishes and the Kconfig files.
pub fn made_from(wishes: &str, source: &str, kconfig: &[(String, String)]) -> String {
    let mut text = format!("{wishes}\0{source}");
    for (path, digest) in kconfig {
        text += &format!("\0{path}\0{digest}");
    }
    sha256_hex(text.as_bytes())
}
