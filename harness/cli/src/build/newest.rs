//! Which version of a package apt would take now, for kernels whose catalogue entry names none.

use anyhow::Result;
use kverdict_core::catalogue::apt_sources::PackageKind;
use kverdict_core::catalogue::binary::BinarySpec;
use kverdict_core::catalogue::kernel::Origin;
use kverdict_core::catalogue::source::{AptPackage, SourceSpec};

use super::apt::Apt;
use super::cache::Cache;
use crate::progress::Progress;

/// The package file that a kernel would be made of; `None`: it comes from no package of apt's.
///
/// # Errors
/// When apt does not know the package.
pub fn newest(origin: &Origin, cache: &Cache, progress: &Progress) -> Result<Option<String>> {
    let (package, kind) = match origin {
        Origin::Source(recipe) => match &recipe.source {
            SourceSpec::DebianSource(debian) => (debian.as_package(), PackageKind::Binary),
            SourceSpec::DebianDsc(package) => (package.clone(), PackageKind::Source),
            SourceSpec::Dsc(_)
            | SourceSpec::SourceRpm(_)
            | SourceSpec::Git(_)
            | SourceSpec::Tarball(_)
            | SourceSpec::Tree(_) => return Ok(None),
        },
        Origin::Binary(BinarySpec::DebianImage(package)) => {
            let apt = open(package, PackageKind::Binary, cache, progress)?;
            (apt.image_of(package)?, PackageKind::Binary)
        }
        Origin::Binary(BinarySpec::Deb(_) | BinarySpec::Rpm(_) | BinarySpec::Image(_)) => {
            return Ok(None);
        }
    };
    let apt = open(&package, kind, cache, progress)?;
    Ok(Some(apt.candidate(&package, |_| true)?.file))
}

fn open<'a>(
    package: &AptPackage,
    kind: PackageKind,
    cache: &'a Cache,
    progress: &'a Progress,
) -> Result<Apt<'a>> {
    Apt::open(package.suite.as_deref(), kind, cache, progress)
}
