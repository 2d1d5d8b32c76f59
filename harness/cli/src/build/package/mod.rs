//! Packages of Debian and of rpm on this machine's disk: opened, which needs the programs that
//! decompress them, and then read by `kverdict_intake`, which trusts nothing in them.

pub mod compressed;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
pub use kverdict_intake::Format;

use super::unpack::name_of;
use crate::progress::Progress;

/// A package whose contents are decompressed in a scratch folder.
#[derive(Debug)]
pub struct Package {
    format: Format,
    /// Its file name, for people.
    name: String,
    /// The tar or cpio archive with its files.
    archive: PathBuf,
}

impl Package {
    /// Opens a package, decompressing its contents into `scratch`.
    ///
    /// # Errors
    /// When it is no such package, damaged, cut off, or unpacks to more than a kernel would.
    pub fn open(format: Format, file: &Path, scratch: &Path, progress: &Progress) -> Result<Self> {
        let name = name_of(file);
        let task = progress.task(format!("opening {name}"), 0);
        let archive = contents(format, file, scratch).with_context(|| damaged(&name))?;
        drop(task);
        Ok(Self {
            format,
            name,
            archive,
        })
    }

    /// Names of all files, without a leading `./`; links and folders are left out.
    ///
    /// # Errors
    /// When the package is damaged, or a name in it leaves its folder.
    pub fn files(&self) -> Result<Vec<String>> {
        let names = open(&self.archive).and_then(|archive| self.format.files(archive));
        names.with_context(|| damaged(&self.name))
    }

    /// Writes files of the package, each to its own place.
    ///
    /// # Errors
    /// When the package is damaged, lacks one, has a link in its place, or it is too large.
    pub fn take(&self, wanted: &BTreeMap<String, PathBuf>) -> Result<()> {
        let taken = open(&self.archive).and_then(|archive| self.format.take(archive, wanted));
        taken.with_context(|| damaged(&self.name))
    }
}

fn damaged(name: &str) -> String {
    format!("cannot use the package {name}: if it is damaged or cut off, fetch it again")
}

fn open(file: &Path) -> Result<File> {
    File::open(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The release of an rpm package, such as `514.el7`.
///
/// # Errors
/// When it is no rpm package, or cut off.
pub fn rpm_release(file: &Path) -> Result<String> {
    kverdict_intake::rpm::release(open(file)?)
}

/// The archive with the files of a package, decompressed.
fn contents(format: Format, file: &Path, scratch: &Path) -> Result<PathBuf> {
    let packed = scratch.join("contents");
    format.contents(open(file)?, &mut File::create(&packed)?)?;
    let Some(kind) = compressed::kind_of(&packed)? else {
        return Ok(packed);
    };
    let named = packed.with_extension(kind.suffix());
    fs::rename(&packed, &named)?;
    compressed::decompress(&named, kind, kverdict_intake::UNPACKED_BYTES_MAX)
}
