//! Where the source of a kernel comes from: one kind of source per submodule's worth of steps, one
//! [`Source`] as the result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::kernel::{SourceSpec, TarballSource};
use kverdict_core::catalogue::key::{hex, sha256_hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::debian;
use super::download;
use super::listing::Listing;
use super::unpack;
use crate::progress::Progress;

/// A source tree that is only read, and what identifies it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The tree.
    pub root: PathBuf,
    /// What goes into records and keys.
    pub identity: SourceIdentity,
    /// Content digests of its files; only for a local tree, which may change between two builds.
    pub files: Option<BTreeMap<String, String>>,
}

/// What identifies a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// What it is, for people: package and version, path, or URL.
    pub about: String,
    /// SHA-256 of the package or tarball, or of all contents of a local tree.
    pub digest: String,
}

impl Source {
    /// What names the work place: a local tree keeps its place when its contents change, so that
    /// only what changed is compiled again.
    pub fn place(&self) -> String {
        match self.files {
            Some(_) => format!("tree:{}", self.root.display()),
            None => self.identity.digest.clone(),
        }
    }
}

/// Gets a source: fetches and unpacks it when the cache does not have it.
///
/// # Errors
/// When it is missing, cannot be fetched, or is not what its digest says.
pub fn obtain(
    spec: &SourceSpec,
    folder: Option<&Path>,
    cache: &Cache,
    progress: &Progress,
) -> Result<Source> {
    match spec {
        SourceSpec::DebianSource(debian) => debian::obtain(debian, cache, progress),
        SourceSpec::Tree(tree) => local_tree(&resolve(&tree.path, folder)?, cache, progress),
        SourceSpec::Tarball(tarball) => from_tarball(tarball, folder, cache, progress),
    }
}

/// A tree on this machine.
///
/// # Errors
/// When it is no kernel tree, or cannot be read.
pub fn local_tree(path: &Path, cache: &Cache, progress: &Progress) -> Result<Source> {
    let root = fs::canonicalize(path)
        .with_context(|| format!("there is no source tree at {}", path.display()))?;
    let name = sha256_hex(root.as_os_str().as_encoded_bytes());
    let _lock = cache.lock(&format!("tree-{name}"), progress)?;
    let task = progress.task(format!("reading {}", root.display()), 0);
    let listing = Listing::of(&root, &cache.tree_memo(&name))?;
    drop(task);
    Ok(Source {
        identity: SourceIdentity {
            about: format!("local tree {}", root.display()),
            digest: listing.digest(),
        },
        files: Some(listing.digests()),
        root,
    })
}

fn from_tarball(
    spec: &TarballSource,
    folder: Option<&Path>,
    cache: &Cache,
    progress: &Progress,
) -> Result<Source> {
    let about = spec.url.clone().or(spec.path.clone()).unwrap_or_default();
    let source = Source {
        root: cache.source(&spec.sha256),
        identity: SourceIdentity {
            about: format!("tarball {about}"),
            digest: spec.sha256.clone(),
        },
        files: None,
    };
    let _lock = cache.lock(&format!("source-{}", spec.sha256), progress)?;
    if source.root.is_dir() {
        return Ok(source);
    }
    let (file, downloaded) = match (&spec.url, &spec.path) {
        (Some(url), _) => (download::fetch(url, &spec.sha256, cache, progress)?, true),
        (None, Some(path)) => (resolve(path, folder)?, false),
        (None, None) => bail!("a tarball source needs a path or a URL"),
    };
    check_sha256(&file, &spec.sha256)?;
    unpack::tarball(&file, &source.root, cache, progress)?;
    if downloaded {
        // Unpacked it is kept for good; a second copy would only fill the disk.
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(source)
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
        "{} has another SHA-256 than the catalogue says:\n  wanted {wanted}\n  found  {found}\nthe file is damaged or not the one that was meant: remove it and fetch it again, or correct `sha256`",
        file.display()
    ))
}

fn file_sha256(file: &Path) -> Result<String> {
    let place = || format!("cannot read the tarball {}", file.display());
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

fn resolve(path: &str, folder: Option<&Path>) -> Result<PathBuf> {
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
