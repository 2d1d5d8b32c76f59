//! Where the source of a kernel comes from: one module per kind of source, one [`Source`] as the
//! result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kverdict_core::catalogue::file::FileSource;
use kverdict_core::catalogue::key::sha256_hex;
use kverdict_core::catalogue::source::SourceSpec;
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::file::{Wanted, resolve};
use super::inventory::Kind;
use super::listing::Listing;
use super::{debian, dsc, git, source_rpm, unpack};
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

/// What identifies a source, or a binary kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// What it is, for people: package and version, path, or URL.
    pub about: String,
    /// SHA-256 of the package or tarball, or of all contents of a local tree; of a git repository
    /// the commit's id.
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
        SourceSpec::DebianSource(debian) => debian::from_package(debian, cache, progress),
        SourceSpec::DebianDsc(package) => debian::from_source_package(package, cache, progress),
        SourceSpec::Dsc(file) => dsc::obtain((file, folder), cache, progress),
        SourceSpec::SourceRpm(file) => {
            let place = (file, folder);
            from_file("source rpm", place, cache, progress, |_, file, target| {
                source_rpm::unpack(file, target, cache, progress)
            })
        }
        SourceSpec::Git(git) => git::obtain(git, folder, cache, progress),
        SourceSpec::Tarball(file) => {
            let place = (file, folder);
            from_file("tarball", place, cache, progress, |_, file, target| {
                unpack::tarball(file, target, cache, progress)
            })
        }
        SourceSpec::Tree(tree) => local_tree(&resolve(&tree.path, folder)?, cache, progress),
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
    let _lock = cache.lock(&format!("tree-{name}"), "reads the same tree", progress)?;
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

/// A source that the cache keeps under its digest: `make` puts it there when it is not, whole or
/// not at all.
///
/// # Errors
/// What `make` returns, or an interrupted wait for another process that makes it.
pub fn unpacked(
    digest: &str,
    about: String,
    cache: &Cache,
    progress: &Progress,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<Source> {
    cache.keep(Kind::Source, digest, &about)?;
    let root = cache.source(digest);
    let _lock = cache.lock(
        &format!("source-{digest}"),
        "unpacks the same source",
        progress,
    )?;
    if !root.is_dir() {
        make(&root)?;
    }
    Ok(Source {
        root,
        identity: SourceIdentity {
            about,
            digest: digest.to_owned(),
        },
        files: None,
    })
}

/// A source that is unpacked from one file. `unpack` gets the file as it is wanted and as it is
/// here, and where the tree goes.
///
/// # Errors
/// When the file cannot be had, or what `unpack` returns.
pub fn from_file(
    kind: &str,
    (spec, folder): (&FileSource, Option<&Path>),
    cache: &Cache,
    progress: &Progress,
    unpack: impl FnOnce(&Wanted, &Path, &Path) -> Result<()>,
) -> Result<Source> {
    let wanted = Wanted::new(spec, folder, cache, progress)?;
    let about = format!("{kind} {}", wanted.about);
    unpacked(&wanted.sha256, about, cache, progress, |target| {
        unpack(&wanted, &wanted.fetch(cache, progress)?, target)?;
        wanted.discard(cache)
    })
}
