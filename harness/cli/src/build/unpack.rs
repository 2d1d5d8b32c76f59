//! Unpacking into the cache: into a private folder first, then renamed, so that a source is there
//! whole or not at all.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use crate::process::Job;
use crate::progress::Progress;

/// A kernel tarball takes a minute on a slow disk.
const UNPACK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Unpacks a source tarball, whose single top folder becomes `target`.
///
/// GNU tar itself refuses names that leave the folder, and owners in the archive are ignored.
///
/// # Errors
/// When it is damaged, or is no kernel source.
pub fn tarball(file: &Path, target: &Path, cache: &Cache, progress: &Progress) -> Result<()> {
    let scratch = cache.scratch()?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    let task = progress.task(format!("unpacking {}", name_of(file)), 0);
    Job::new("tar", UNPACK_LIMIT)
        .args([
            "--extract",
            "--no-same-owner",
            "--strip-components=1",
            "--file",
        ])
        .args([file])
        .args(["--directory".as_ref(), tree.as_os_str()])
        // Decompression on all processors; other compressors ignore it.
        .env("XZ_DEFAULTS", "-T0")
        .log(scratch.path().join("tar.log"))
        .run_checked()
        .with_context(|| format!("cannot unpack {}", file.display()))?;
    if !tree.join("Makefile").is_file() || !tree.join("Kconfig").is_file() {
        bail!(
            "{} holds no kernel source: there is no Makefile and Kconfig in its top folder",
            file.display()
        );
    }
    drop(task);
    fs::rename(&tree, target)
        .with_context(|| format!("cannot move the source to {}", target.display()))
}

/// Takes one file out of a Debian package and hands it to `use_it`.
///
/// # Errors
/// When the package is damaged or lacks the file, or `use_it` fails.
pub fn from_package(
    package: &Path,
    inner: &str,
    cache: &Cache,
    progress: &Progress,
    use_it: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let scratch = cache.scratch()?;
    let contents = scratch.path().join("package");
    let task = progress.task(format!("opening {}", name_of(package)), 0);
    Job::new("dpkg-deb", UNPACK_LIMIT)
        .args([
            "--extract".as_ref(),
            package.as_os_str(),
            contents.as_os_str(),
        ])
        .log(scratch.path().join("dpkg-deb.log"))
        .run_checked()
        .with_context(|| format!("cannot open {}", package.display()))?;
    drop(task);
    let file = contents.join(inner);
    if !file.is_file() {
        bail!(
            "the package {} has no file {inner}: `dpkg-deb --contents` lists what it has; correct `tarball`",
            name_of(package)
        );
    }
    use_it(&file)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
