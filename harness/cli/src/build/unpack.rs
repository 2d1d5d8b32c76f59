//! Unpacking into the cache: into a private folder first, then renamed, so that a source is there
//! whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::package::{Format, Package};
use crate::process::Job;
use crate::progress::Progress;

/// A kernel tarball takes a minute on a slow disk.
const UNPACK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Unpacks a source tarball, whose single top folder becomes `target`.
///
/// # Errors
/// When it is damaged, or is no kernel source.
pub fn tarball(file: &Path, target: &Path, cache: &Cache, progress: &Progress) -> Result<()> {
    let scratch = cache.scratch()?;
    let tree = scratch.path().join("tree");
    extract(file, &tree, 1, cache, progress)?;
    keep(&tree, target, &name_of(file))
}

/// Unpacks a tarball into a new folder, without the first `strip` folders of its names.
///
/// GNU tar itself refuses names and links that leave the folder, and owners in the archive are
/// ignored.
///
/// # Errors
/// When it is damaged.
pub fn extract(
    file: &Path,
    folder: &Path,
    strip: u32,
    cache: &Cache,
    progress: &Progress,
) -> Result<()> {
    let scratch = cache.scratch()?;
    fs::create_dir(folder)?;
    let task = progress.task(format!("unpacking {}", name_of(file)), 0);
    Job::new("tar", UNPACK_LIMIT)
        .args(["--extract", "--no-same-owner"])
        .args([format!("--strip-components={strip}")])
        .args(["--file".as_ref(), file.as_os_str()])
        .args(["--directory".as_ref(), folder.as_os_str()])
        // Decompression on all processors; other compressors ignore it.
        .env("XZ_DEFAULTS", "-T0")
        .log(scratch.path().join("tar.log"))
        .run_checked()
        .with_context(|| {
            format!(
                "cannot unpack {}: it is damaged or cut off; fetch it again",
                file.display()
            )
        })?;
    drop(task);
    Ok(())
}

/// Moves a finished source tree to where the cache keeps it.
///
/// # Errors
/// When it is no kernel source; `from` names what it was in.
pub fn keep(tree: &Path, target: &Path, from: &str) -> Result<()> {
    if !tree.join("Makefile").is_file() || !tree.join("Kconfig").is_file() {
        bail!("{from} holds no kernel source: there is no Makefile and Kconfig in its top folder");
    }
    fs::rename(tree, target)
        .with_context(|| format!("cannot move the source to {}", target.display()))
}

/// Takes one file out of a Debian package and hands it to `use_it`.
///
/// # Errors
/// When the package is damaged or lacks the file, or `use_it` fails.
pub fn from_package(
    file: &Path,
    inner: &str,
    cache: &Cache,
    progress: &Progress,
    use_it: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let scratch = cache.scratch()?;
    let found = scratch.path().join(name_of(Path::new(inner)));
    Package::open(Format::Deb, file, scratch.path(), progress)?
        .take(&BTreeMap::from([(inner.to_owned(), found.clone())]))
        .context("`dpkg-deb --contents` lists what it has; correct `tarball`")?;
    use_it(&found)
}

/// The last part of a path.
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
