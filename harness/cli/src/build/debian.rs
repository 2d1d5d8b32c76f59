//! Sources in Debian packages, fetched with apt's own download and opened without installing
//! anything.

use anyhow::Result;
use kverdict_core::catalogue::apt_sources::PackageKind;
use kverdict_core::catalogue::source::{AptPackage, DebianSource};

use super::apt::{Apt, Candidate};
use super::cache::Cache;
use super::source::{Source, unpacked};
use super::{dsc, unpack};
use crate::progress::Progress;

/// The source of a binary package that carries a tarball.
///
/// # Errors
/// When apt does not know or cannot fetch the package, or it lacks the tarball.
pub fn from_package(spec: &DebianSource, cache: &Cache, progress: &Progress) -> Result<Source> {
    let package = spec.as_package();
    let apt = Apt::open(spec.suite.as_deref(), PackageKind::Binary, cache, progress)?;
    let candidate = apt.candidate(&package, is_unpacked(cache))?;
    let about = format!("Debian package {}", candidate.file);
    let source = unpacked(&candidate.sha256, about, cache, progress, |target| {
        let scratch = cache.scratch()?;
        let file = apt.fetch(&package, &candidate, scratch.path())?;
        unpack::from_package(&file, &spec.tarball, cache, progress, |tarball| {
            unpack::tarball(tarball, target, cache, progress)
        })
    })?;
    apt.remember(&package, &candidate)?;
    Ok(source)
}

/// The source of a source package.
///
/// # Errors
/// When apt does not know or cannot fetch the package, or its patches do not apply.
pub fn from_source_package(
    package: &AptPackage,
    cache: &Cache,
    progress: &Progress,
) -> Result<Source> {
    let suite = package.suite.as_deref();
    let apt = Apt::open(suite, PackageKind::Source, cache, progress)?;
    let candidate = apt.candidate(package, is_unpacked(cache))?;
    let about = format!("Debian source package {}", candidate.file);
    let source = unpacked(&candidate.sha256, about, cache, progress, |target| {
        let scratch = cache.scratch()?;
        let file = apt.fetch(package, &candidate, scratch.path())?;
        dsc::unpack(&file, target, cache, progress, |beside| {
            Ok(scratch.path().join(beside))
        })
    })?;
    apt.remember(package, &candidate)?;
    Ok(source)
}

fn is_unpacked(cache: &Cache) -> impl Fn(&Candidate) -> bool {
    |candidate| cache.source(&candidate.sha256).is_dir()
}
