//! A finished build, or a binary kernel that is kept like one: its files, and the manifest that says that they are all there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kverdict_core::catalogue::BuildKey;
use serde::{Deserialize, Serialize};

use super::cache::write_whole;
use super::ccache::Hits;
use super::compiler::Compiler;
use super::file::file_sha256;
use super::overlay::AppliedPatch;
use super::source::SourceIdentity;
use crate::progress::Progress;

/// Written last; a folder without it is not a finished build.
const MANIFEST: &str = "manifest.json";
/// What is kept of a build: where make puts it, and its name in the build's folder.
const KEPT: [(&str, &str); 4] = [
    ("arch/x86/boot/bzImage", "bzImage"),
    ("vmlinux", "vmlinux"),
    ("System.map", "System.map"),
    (".config", "config"),
];

/// What a binary kernel's image unpacks to, in its folder.
pub(super) const UNPACKED: &str = "kernel.elf";

/// What a finished build was made of and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// Version of this record.
    pub schema: u32,
    /// Digest of everything that went in.
    pub key: BuildKey,
    /// Name of the kernel in the catalogue.
    pub kernel: String,
    /// What `uname -r` says.
    pub release: String,
    /// The source.
    pub source: SourceIdentity,
    /// The compiler and linker; none: somebody else built it.
    pub compiler: Option<Compiler>,
    /// What kept the source's make from this machine, or why nothing did; empty: nothing was made, or an
    /// older kverdict did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub enclosure: String,
    /// The patches, in the order in which they were run.
    pub patches: Vec<AppliedPatch>,
    /// Optional config wishes that did not hold.
    pub config_notes: Vec<String>,
    /// Objects of the kernel.
    pub objects: u64,
    /// Those that this build compiled.
    pub objects_compiled: u64,
    /// Those that an earlier build in the same place had left.
    pub objects_reused: u64,
    /// What ccache did for it; none: it was not asked, or does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ccache: Option<Hits>,
    /// How long the build took, with fetching and patching.
    pub build_seconds: f64,
    /// SHA-256 of each file that is kept.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// A kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuiltKernel {
    /// What it was made of.
    #[serde(flatten)]
    pub record: BuildRecord,
    /// The build's folder.
    pub dir: PathBuf,
    /// The image.
    pub bzimage: PathBuf,
    /// The ELF file with symbols; a binary kernel has none.
    pub vmlinux: Option<PathBuf>,
    /// The ELF file that the image unpacks to; of binary kernels only those have it that QEMU can
    /// start by it.
    pub elf: Option<PathBuf>,
    /// Addresses of symbols; not every binary kernel comes with them.
    pub system_map: Option<PathBuf>,
    /// The configuration; not every binary kernel comes with it.
    pub config: Option<PathBuf>,
    /// The log.
    pub log: PathBuf,
    /// How long this request took.
    pub seconds: f64,
    /// Whether it was there already.
    pub from_cache: bool,
}

impl BuiltKernel {
    pub(super) fn new(record: BuildRecord, dir: PathBuf, took: Duration, from_cache: bool) -> Self {
        let there = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
        Self {
            bzimage: dir.join("bzImage"),
            elf: there("vmlinux").or_else(|| there(UNPACKED)),
            vmlinux: there("vmlinux"),
            system_map: there("System.map"),
            config: there("config"),
            log: dir.join("build.log"),
            seconds: took.as_secs_f64(),
            record,
            dir,
            from_cache,
        }
    }

    /// What documents it, with the name that each file has in a run's folder.
    pub fn papers(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        [
            (self.config.as_deref(), "config"),
            (self.system_map.as_deref(), "System.map"),
            (Some(self.log.as_path()), "build.log"),
        ]
        .into_iter()
        .filter_map(|(path, name)| Some((path?, name)))
    }
}

impl BuildRecord {
    /// The record of a build whose files are all there as they were kept; none when the build is not
    /// finished, or is damaged, which is said.
    ///
    /// # Errors
    /// When its manifest cannot be read.
    pub(super) fn find(dir: &Path, progress: &Progress) -> Result<Option<Self>> {
        let why = match Self::read(dir) {
            Ok(None) => return Ok(None),
            Ok(Some(record)) => match record.damage(dir) {
                None => return Ok(Some(record)),
                Some(why) => why,
            },
            Err(error) if error.is::<io::Error>() => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        progress.line(format!("{why}: this kernel is made again"));
        Ok(None)
    }

    /// The kernel and its patches in a line.
    pub fn about(&self) -> String {
        let patches: Vec<&str> = self
            .patches
            .iter()
            .map(|patch| patch.name.as_str())
            .collect();
        let with = if patches.is_empty() { "" } else { " with " };
        format!(
            "{} {}{with}{}",
            self.kernel,
            self.release,
            patches.join(", ")
        )
    }

    /// What is wrong with the first kept file that is not as it was.
    fn damage(&self, dir: &Path) -> Option<String> {
        self.files.iter().find_map(|(name, wanted)| {
            let path = dir.join(name);
            match file_sha256(&path) {
                Ok(found) if found == *wanted => None,
                Ok(_) => Some(format!("{} has changed since it was kept", path.display())),
                Err(error) => Some(format!("{error:#}")),
            }
        })
    }

    /// The record of a build's folder; none when the build is not finished.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(MANIFEST);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let record = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged or of another version", path.display()))?;
        Ok(Some(record))
    }

    /// Copies what is kept out of make's output and writes the manifest last.
    ///
    /// # Errors
    /// When a file is missing or cannot be written.
    pub(super) fn store_built(self, out: &Path, dir: &Path) -> Result<Self> {
        let files = KEPT.map(|(from, name)| (out.join(from), name));
        let files: Vec<(&Path, &str)> = files
            .iter()
            .map(|(from, name)| (from.as_path(), *name))
            .collect();
        self.store(&files, dir)
    }

    /// Copies files under their names into the build's folder and writes the manifest last.
    ///
    /// # Errors
    /// When a file is missing or cannot be written.
    pub(super) fn store(mut self, files: &[(&Path, &str)], dir: &Path) -> Result<Self> {
        for (from, name) in files {
            let staged = tempfile::NamedTempFile::new_in(dir)
                .with_context(|| format!("cannot write in {}", dir.display()))?;
            // A copy and no link: the next build in the same place writes to the original.
            fs::copy(from, staged.path())
                .and_then(|_| staged.as_file().sync_all())
                .with_context(|| format!("cannot keep {}", from.display()))?;
            self.files
                .insert((*name).to_owned(), file_sha256(staged.path())?);
            staged
                .persist(dir.join(name))
                .map_err(|error| error.error)
                .with_context(|| format!("cannot keep {name} in {}", dir.display()))?;
        }
        let mut json = serde_json::to_vec_pretty(&self)?;
        json.push(b'\n');
        write_whole(&dir.join(MANIFEST), &json)?;
        Ok(self)
    }
}

/// Number of objects of some finished build of that kernel, to tell how long another one is.
pub(super) fn last_object_count(builds: &Path, kernel: &str) -> Option<u64> {
    fs::read_dir(builds)
        .ok()?
        .filter_map(|entry| BuildRecord::read(&entry.ok()?.path()).ok()?)
        .find(|record| record.kernel == kernel)
        .map(|record| record.objects)
}
