//! Source rpms: the kernel tarball with the patches that the spec applies.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kverdict_core::catalogue::rpm_spec::{self, Prep, SpecPatch};

use super::cache::Cache;
use super::package::{Format, Package, compressed, rpm_release};
use super::patching::{self, Manner};
use super::unpack::{keep, name_of, source};
use crate::progress::Progress;

/// A patch of so few lines is one of the empty ones that `ApplyOptionalPatch` leaves out.
const EMPTY_PATCH_LINES: usize = 9;
/// A patch that is larger than this is no patch.
const PATCH_LIMIT: u64 = 1 << 30;

/// Unpacks the source of a source rpm and applies its spec's patches.
///
/// # Errors
/// When it is damaged, its spec is not understood, or a patch does not apply.
pub fn unpack(file: &Path, target: &Path, cache: &Cache, progress: &Progress) -> Result<()> {
    let scratch = cache.scratch()?;
    let sources = scratch.path().join("sources");
    fs::create_dir(&sources)?;
    // All files of a source rpm lie in one folder.
    let package = Package::open(Format::Rpm, file, scratch.path(), progress)?;
    let names = package
        .files()?
        .into_iter()
        .filter(|name| !name.contains('/'));
    let wanted = names
        .map(|name| (name.clone(), sources.join(name)))
        .collect();
    package.take(&wanted)?;
    let prep = read_spec(&sources, &rpm_release(file)?)
        .with_context(|| format!("the source rpm {}", name_of(file)))?;
    let tree = scratch.path().join("tree");
    let tarball = sources.join(&prep.tarball);
    if !tarball.is_file() {
        bail!("{} lacks its own source {}", name_of(file), prep.tarball);
    }
    source(&tarball, &tree, cache, progress)?;
    apply_patches(&tree, &sources, &prep, scratch.path(), progress)?;
    keep(&tree, target, &name_of(file))
}

fn read_spec(sources: &Path, release: &str) -> Result<Prep> {
    let mut specs = Vec::new();
    for entry in fs::read_dir(sources)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "spec")
        {
            specs.push(path);
        }
    }
    let [spec] = specs.as_slice() else {
        bail!(
            "it has {} spec files, and a source rpm has one",
            specs.len()
        );
    };
    let text = String::from_utf8_lossy(&fs::read(spec)?).into_owned();
    Ok(rpm_spec::parse(&name_of(spec), &text, release)?)
}

fn apply_patches(
    tree: &Path,
    sources: &Path,
    prep: &Prep,
    scratch: &Path,
    progress: &Progress,
) -> Result<()> {
    let task = progress.task("applying the spec's patches", prep.patches.len() as u64);
    let mut applied = 0;
    for (done, patch) in (0..).zip(&prep.patches) {
        task.set(done, &patch.file);
        let file = plain(&sources.join(&patch.file), scratch).with_context(|| {
            format!("the patch {} of the spec's line {}", patch.file, patch.line)
        })?;
        if is_left_out(patch, &file)? {
            continue;
        }
        let manner = Manner {
            strip: patch.strip,
            fuzz: patch.fuzz,
            reverse: patch.reverse,
        };
        patching::apply(tree, &file, manner, &scratch.join("patch.log"))?;
        applied += 1;
    }
    drop(task);
    let rest = match prep.not_run.as_slice() {
        [] => String::new(),
        words => format!("; not run in %prep: {}", words.join(", ")),
    };
    progress.line(format!("{applied} patches of the spec applied{rest}"));
    Ok(())
}

/// The patch without compression.
fn plain(file: &Path, scratch: &Path) -> Result<PathBuf> {
    if !file.is_file() {
        bail!("is not in the source rpm");
    }
    match compressed::kind_of(file)? {
        None => Ok(file.to_owned()),
        Some(kind) => {
            let copy = scratch.join("unpacked.patch");
            let packed = copy.with_extension(format!("patch.{}", kind.suffix()));
            fs::copy(file, &packed)?;
            compressed::decompress(&packed, kind, PATCH_LIMIT)
        }
    }
}

fn is_left_out(patch: &SpecPatch, file: &Path) -> Result<bool> {
    let lines = || -> Result<usize> {
        Ok(fs::read(file)?
            .iter()
            .filter(|byte| **byte == b'\n')
            .count())
    };
    Ok(patch.optional && lines()? <= EMPTY_PATCH_LINES)
}
