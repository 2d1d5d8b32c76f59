//! Packages of Debian and of rpm, read without the system's package manager: nothing in them is
//! run, and only the files that are asked for by name are written, each to a place of our choice.
//!
//! Packages come from anywhere, so a member whose name leaves the package's folder damns the whole
//! package, links are neither made nor followed, and what unpacks without end is cut off.

pub mod compressed;
mod cpio_members;
mod deb;
pub mod rpm;
mod tar_members;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::unpack::name_of;
use crate::progress::Progress;

/// A debug kernel with all its modules is 2 GB.
const UNPACKED_LIMIT: u64 = 6 << 30;
/// The largest file that is taken out: a source tarball, not yet compressed.
const FILE_LIMIT: u64 = 3 << 30;
/// A kernel package has some thousand files, a source package some ten thousand.
const MEMBER_LIMIT: usize = 500_000;
/// Longest file name.
const NAME_LIMIT: u64 = 4096;

/// The kind of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Debian's.
    Deb,
    /// rpm's.
    Rpm,
}

/// A package whose contents are decompressed in a scratch folder.
#[derive(Debug)]
pub struct Package {
    format: Format,
    /// Its file name, for people.
    name: String,
    /// The tar or cpio archive with its files.
    archive: PathBuf,
}

/// What a member of a package is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    /// Folders, devices and the like.
    Other,
}

/// Called for each member: its name, what it is, and what it holds.
type Visitor<'a> = dyn FnMut(&str, Kind, &mut dyn Read) -> Result<()> + 'a;

/// The same, with a name as the archive has it.
type RawVisitor<'a> = dyn FnMut(&[u8], Kind, &mut dyn Read) -> Result<()> + 'a;

impl Package {
    /// Opens a package, decompressing its contents into `scratch`.
    ///
    /// # Errors
    /// When it is no such package, damaged, cut off, or unpacks to more than a kernel would.
    pub fn open(format: Format, file: &Path, scratch: &Path, progress: &Progress) -> Result<Self> {
        let name = name_of(file);
        let task = progress.task(format!("opening {name}"), 0);
        let packed = scratch.join("contents");
        let archive = match format {
            Format::Deb => deb::contents(file, &packed),
            Format::Rpm => rpm::contents(file, &packed),
        }
        .and_then(|()| decompressed(packed))
        .with_context(|| damaged(&name))?;
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
        let mut names = Vec::new();
        self.visit(&mut |name, kind, _| {
            names.extend((kind == Kind::File).then(|| name.to_owned()));
            Ok(())
        })?;
        Ok(names)
    }

    /// Writes files of the package, each to its own place.
    ///
    /// # Errors
    /// When the package is damaged, lacks one, has a link in its place, or it is too large.
    pub fn take(&self, wanted: &BTreeMap<String, PathBuf>) -> Result<()> {
        let mut missing = wanted.clone();
        self.visit(&mut |name, kind, content| {
            let Some(target) = wanted.get(name) else {
                return Ok(());
            };
            match kind {
                Kind::File => {}
                Kind::Link => bail!("{name} is a link, and links are not followed"),
                Kind::Other => bail!("{name} is no file"),
            }
            missing.remove(name);
            write_limited(content, target)
        })?;
        match missing.into_keys().next() {
            Some(name) => bail!("the package {} has no file {name}", self.name),
            None => Ok(()),
        }
    }

    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let file = File::open(&self.archive)
            .with_context(|| format!("cannot read {}", self.archive.display()))?;
        let mut count = 0;
        let mut checked = |name: &[u8], kind: Kind, content: &mut dyn Read| {
            count += 1;
            if count > MEMBER_LIMIT {
                bail!("it has more than {MEMBER_LIMIT} files");
            }
            visitor(&inner_name(name)?, kind, content)
        };
        match self.format {
            Format::Deb => tar_members::visit(file, &mut checked),
            Format::Rpm => cpio_members::visit(file, &mut checked),
        }
        .with_context(|| damaged(&self.name))
    }
}

fn damaged(name: &str) -> String {
    format!("cannot use the package {name}: if it is damaged or cut off, fetch it again")
}

fn decompressed(packed: PathBuf) -> Result<PathBuf> {
    let Some(kind) = compressed::kind_of(&packed)? else {
        return Ok(packed);
    };
    let named = packed.with_extension(kind.suffix());
    fs::rename(&packed, &named)?;
    compressed::decompress(&named, kind, UNPACKED_LIMIT)
}

/// A name without its leading `./`.
fn inner_name(name: &[u8]) -> Result<String> {
    let text =
        String::from_utf8(name.to_vec()).map_err(|_| anyhow!("a file name in it is not UTF-8"))?;
    let inner = text.strip_prefix("./").unwrap_or(&text);
    if inner.starts_with('/') || inner.split('/').any(|part| part == "..") {
        bail!("the name `{text}` in it leads out of its folder: this is no package to trust");
    }
    Ok(inner.trim_end_matches('/').to_owned())
}

fn write_limited(content: &mut dyn Read, target: &Path) -> Result<()> {
    let place = || format!("cannot write {}", target.display());
    let mut file = File::create(target).with_context(place)?;
    let count = io::copy(&mut content.take(FILE_LIMIT), &mut file).with_context(place)?;
    if count == FILE_LIMIT {
        bail!("a file in it is larger than {FILE_LIMIT} bytes");
    }
    Ok(())
}

/// Reads something short, such as a long file name.
fn read_short(reader: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(NAME_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > NAME_LIMIT {
        bail!("a file name in it is longer than {NAME_LIMIT} bytes");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_or_damn_the_package() {
        for (name, inner) in [
            ("./boot/x", "boot/x"),
            ("boot/x", "boot/x"),
            ("./", ""),
            (".", "."),
            (".hidden/a..b", ".hidden/a..b"),
            ("lib/", "lib"),
        ] {
            assert_eq!(inner_name(name.as_bytes()).unwrap(), inner, "{name}");
        }
        for name in ["/etc/passwd", "../x", "./a/../../x", ".//etc/x", "a/.."] {
            assert!(inner_name(name.as_bytes()).is_err(), "{name}");
        }
    }
}
