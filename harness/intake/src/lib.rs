//! What comes from outside: packages of Debian and of rpm, read without the system's package manager.
//! Nothing in them is run, and only the files that are asked for by name are written, each to a place
//! of the caller's choice.
//!
//! Packages come from anywhere, so a member whose name leaves the package's folder damns the whole
//! package, links are neither made nor followed, owners and modes are left behind, and what goes on
//! without end is cut off.

mod cpio_members;
mod deb;
mod members;
mod name;
pub mod rpm;
mod tar_members;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use members::{Kind, Members};

/// The most that is unpacked of anything: a debug kernel with all its modules is 2 GB.
pub const UNPACKED_BYTES_MAX: u64 = 6 << 30;
/// How many times larger than the packed file the unpacked one may be; kernels and their sources are
/// 4 to 12 times as large.
const UNPACKED_RATIO_MAX: u64 = 200;
/// What may be unpacked of however small a file.
const UNPACKED_BYTES_MIN: u64 = 64 << 20;
/// The largest file that is taken out: a source tarball, not yet compressed.
const FILE_BYTES_MAX: u64 = 3 << 30;

/// The kind of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Debian's: a tar archive in an `ar` archive.
    Deb,
    /// rpm's: a cpio archive behind headers.
    Rpm,
}

impl Format {
    /// Copies the archive that holds a package's files, as it is compressed, to `target`.
    ///
    /// # Errors
    /// When it is no such package, or cut off.
    pub fn contents(self, package: impl Read + Seek, target: &mut dyn Write) -> Result<()> {
        match self {
            Self::Deb => deb::contents(package, target),
            Self::Rpm => rpm::contents(package, target),
        }
    }

    /// Names of all files in the decompressed archive of a package, without a leading `./`; links and
    /// folders are left out.
    ///
    /// # Errors
    /// When the archive is damaged, a name in it leaves its folder, or it goes on for too long.
    pub fn files(self, archive: impl Read + Seek) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.visit(archive, &mut |name, kind, _| {
            names.extend((kind == Kind::File).then(|| name.to_owned()));
            Ok(())
        })?;
        Ok(names)
    }

    /// Writes files of the decompressed archive of a package, each to its own place.
    ///
    /// # Errors
    /// As [`Format::files`]; and when one is missing, there twice, no file, or too large. What was
    /// written by then stays.
    pub fn take(self, archive: impl Read + Seek, wanted: &BTreeMap<String, PathBuf>) -> Result<()> {
        let mut missing = wanted.clone();
        self.visit(archive, &mut |name, kind, content| {
            let Some(target) = wanted.get(name) else {
                return Ok(());
            };
            match kind {
                Kind::File => {}
                Kind::Link => bail!("{name} is a link, and links are not followed"),
                Kind::Other => bail!("{name} is no file"),
            }
            if missing.remove(name).is_none() {
                bail!("{name} is in it twice");
            }
            write_limited(content, target)
        })?;
        match missing.into_keys().next() {
            Some(name) => bail!("there is no file {name} in it"),
            None => Ok(()),
        }
    }

    fn visit(self, archive: impl Read + Seek, visitor: &mut members::Visitor<'_>) -> Result<()> {
        let mut members = Members::new(visitor);
        match self {
            Self::Deb => tar_members::visit(archive, &mut members),
            Self::Rpm => cpio_members::visit(archive, &mut members),
        }
    }
}

/// How many bytes may be unpacked of a file of so many: more is no kernel, but a bomb.
pub fn unpacked_limit(packed_bytes: u64) -> u64 {
    packed_bytes
        .saturating_mul(UNPACKED_RATIO_MAX)
        .clamp(UNPACKED_BYTES_MIN, UNPACKED_BYTES_MAX)
}

fn write_limited(content: &mut dyn Read, target: &Path) -> Result<()> {
    let place = || format!("cannot write {}", target.display());
    let mut file = File::create(target).with_context(place)?;
    let count = io::copy(&mut content.take(FILE_BYTES_MAX), &mut file).with_context(place)?;
    if count == FILE_BYTES_MAX {
        bail!("a file in it is larger than {FILE_BYTES_MAX} bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_grows_with_the_file_and_has_ends() {
        assert_eq!(unpacked_limit(0), UNPACKED_BYTES_MIN);
        assert_eq!(unpacked_limit(1 << 20), 200 << 20);
        assert_eq!(unpacked_limit(u64::MAX), UNPACKED_BYTES_MAX);
    }
}
