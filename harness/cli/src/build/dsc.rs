//! Debian source packages: upstream's tarball with Debian's folder, and its patches applied.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use kverdict_core::catalogue::dsc::{Dsc, parse, series};
use kverdict_core::catalogue::file::FileSource;

use super::cache::Cache;
use super::file::check_sha256;
use super::patching::{self, Manner};
use super::source::{Source, from_file};
use super::unpack::{keep, name_of, source};
use crate::progress::Progress;

/// Gets the source that a `.dsc` file describes; the tarballs are fetched from beside it.
///
/// # Errors
/// When a file is missing or damaged, or a patch does not apply.
pub fn obtain(
    place: (&FileSource, Option<&Path>),
    cache: &Cache,
    progress: &Progress,
) -> Result<Source> {
    let kind = "Debian source package";
    from_file(kind, place, cache, progress, |wanted, file, target| {
        let described = read(file)?;
        let tarballs = [&described.orig, &described.debian]
            .map(|file| (file.name.clone(), wanted.beside(&file.name, &file.sha256)));
        unpack(file, target, cache, progress, |name| {
            let (_, tarball) = tarballs
                .iter()
                .find(|(known, _)| known == name)
                .context("the .dsc names it")?;
            tarball.fetch(cache, progress)
        })?;
        tarballs
            .iter()
            .try_for_each(|(_, tarball)| tarball.discard(cache))
    })
}

/// Unpacks the source that a `.dsc` describes and applies its series. `beside` gives the file of
/// that name.
///
/// # Errors
/// When a file is missing or damaged, or a patch does not apply.
pub fn unpack(
    file: &Path,
    target: &Path,
    cache: &Cache,
    progress: &Progress,
    beside: impl Fn(&str) -> Result<PathBuf>,
) -> Result<()> {
    let described = read(file)?;
    let scratch = cache.scratch()?;
    let (tree, debian) = (scratch.path().join("tree"), scratch.path().join("debian"));
    for (part, folder) in [(&described.orig, &tree), (&described.debian, &debian)] {
        let tarball = beside(&part.name)?;
        check_sha256(&tarball, &part.sha256)?;
        // Both have one top folder: upstream's, and `debian`.
        source(&tarball, folder, cache, progress)?;
    }
    apply_series(&tree, &debian.join("patches"), scratch.path(), progress)?;
    keep(&tree, target, &described.about)
}

fn read(file: &Path) -> Result<Dsc> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).map_err(|message| anyhow!("{} {message}", name_of(file)))
}

fn apply_series(tree: &Path, patches: &Path, scratch: &Path, progress: &Progress) -> Result<()> {
    let list = match fs::read_to_string(patches.join("series")) {
        Ok(text) => series(&text).map_err(|message| anyhow!("debian/patches/series: {message}"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context("cannot read debian/patches/series"),
    };
    let task = progress.task("applying Debian's patches", list.len() as u64);
    for (done, (name, strip)) in (0..).zip(&list) {
        task.set(done, name);
        let manner = Manner {
            strip: Some(*strip),
            fuzz: 0,
            reverse: false,
        };
        patching::apply(
            tree,
            &patches.join(name),
            manner,
            &scratch.join("patch.log"),
        )?;
    }
    drop(task);
    Ok(())
}
