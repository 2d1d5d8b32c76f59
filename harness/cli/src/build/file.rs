//! Files that a kernel comes from: local ones are read where they are, others are downloaded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::file::FileSource;
use kverdict_core::catalogue::key::hex;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::download;
use crate::progress::Progress;

/// A file that is wanted, known by its digest before it is fetched.
#[derive(Debug)]
pub struct Wanted {
    /// SHA-256, in hex.
    pub sha256: String,
    /// Path or URL, for people.
    pub about: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(PathBuf),
    There(String),
}

impl Wanted {
    /// What a catalogue file wants. A digest that is not given is worked out, for which a file that is
    /// not here is downloaded.
    ///
    /// # Errors
    /// When a local file cannot be read, or another one not be had.
    pub fn new(
        spec: &FileSource,
        folder: Option<&Path>,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Self> {
        let place = match (&spec.url, &spec.path) {
            (Some(url), _) => Place::There(url.clone()),
            (None, Some(path)) => Place::Here(resolve(path, folder)?),
            (None, None) => bail!("neither a path nor a URL is given"),
        };
        let sha256 = match (&spec.sha256, &place) {
            (Some(digest), _) => digest.clone(),
            (None, Place::Here(path)) => file_sha256(path)?,
            (None, Place::There(url)) => download::digest_of_first_use(url, cache, progress)?,
        };
        Ok(Self {
            sha256,
            about: spec.location(),
            place,
        })
    }

    /// A file that lies beside this one.
    ///
    /// # Errors
    /// None for a checked name; a digest is always known.
    pub fn beside(&self, name: &str, sha256: &str) -> Self {
        let place = match &self.place {
            Place::Here(path) => Place::Here(path.with_file_name(name)),
            Place::There(url) => {
                let base = url.rsplit_once('/').map_or("", |(base, _)| base);
                Place::There(format!("{base}/{name}"))
            }
        };
        Self {
            sha256: sha256.to_owned(),
            about: name.to_owned(),
            place,
        }
    }

    /// The file on this machine, checked against its digest.
    ///
    /// # Errors
    /// When it cannot be had, or is another one.
    pub fn fetch(&self, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
        match &self.place {
            Place::Here(path) => {
                check_sha256(path, &self.sha256)?;
                Ok(path.clone())
            }
            Place::There(url) => download::fetch(url, &self.sha256, cache, progress),
        }
    }

    /// Removes the download: unpacked it is kept for good, and a second copy would only fill the
    /// disk. A local file is left alone.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, cache: &Cache) -> Result<()> {
        match &self.place {
            Place::Here(_) => Ok(()),
            Place::There(_) => download::discard(&self.sha256, cache),
        }
    }
}

/// A path of a catalogue file.
///
/// # Errors
/// When an embedded file has a relative one.
pub fn resolve(path: &str, folder: Option<&Path>) -> Result<PathBuf> {
    let path = Path::new(path);
    match folder {
        Some(folder) => Ok(folder.join(path)),
        None if path.is_absolute() => Ok(path.to_owned()),
        None => bail!(
            "an embedded kernel cannot have the relative path {}",
            path.display()
        ),
    }
}

/// Compares a file with the digest it must have.
///
/// # Errors
/// When it cannot be read, or differs: names both digests.
pub fn check_sha256(file: &Path, wanted: &str) -> Result<()> {
    let found = file_sha256(file)?;
    if found == wanted {
        return Ok(());
    }
    Err(anyhow!(
        "{} has another SHA-256 than it should:\n  wanted {wanted}\n  found  {found}\nthe file is damaged, cut off or not the one that was meant: remove it and fetch it again, or correct `sha256`",
        file.display()
    ))
}

/// SHA-256 of a file, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn file_sha256(file: &Path) -> Result<String> {
    let place = || format!("cannot read {}", file.display());
    let mut reader = fs::File::open(file).with_context(place)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = std::io::Read::read(&mut reader, &mut buffer).with_context(place)?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}
