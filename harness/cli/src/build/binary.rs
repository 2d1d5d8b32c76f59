//! Kernels that somebody else built: taken out of their packages and kept like built ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kverdict_core::catalogue::BuildKey;
use kverdict_core::catalogue::apt_sources::PackageKind;
use kverdict_core::catalogue::binary::{BinarySpec, ImageSource};
use kverdict_core::catalogue::boot_files::{BootFiles, image_release, is_stub_map};
use kverdict_core::catalogue::file::FileSource;
use kverdict_core::catalogue::pvh;
use kverdict_core::catalogue::source::AptPackage;

use super::apt::{Apt, Candidate};
use super::cache::{Cache, write_whole};
use super::file::Wanted;
use super::inventory::Kind;
use super::package::{Format, Package};
use super::record::{BuildRecord, BuiltKernel, UNPACKED};
use super::source::SourceIdentity;
use super::unpack::name_of;
use crate::catalogue::Kernel;
use crate::inspected;
use crate::process::Interrupted;
use crate::progress::Progress;

/// Raised when what is taken out of packages changes.
const KEY_SCHEMA: &str = "1";

/// Where a binary kernel's files are, before they are kept.
#[derive(Debug)]
struct Found {
    kernel: PathBuf,
    system_map: Option<PathBuf>,
    config: Option<PathBuf>,
    /// What was taken for what, for the log.
    notes: Vec<String>,
}

/// Finds a binary kernel in the cache, or puts it there.
///
/// # Errors
/// When it cannot be had, or holds no kernel.
pub fn obtain(
    kernel: &Kernel,
    spec: &BinarySpec,
    cache: &Cache,
    progress: &Progress,
) -> Result<BuiltKernel> {
    let folder = kernel.folder.as_deref();
    let taker = Taker {
        kernel,
        cache,
        progress,
        started: Instant::now(),
    };
    match spec {
        BinarySpec::DebianImage(package) => taker.take_apt(package),
        BinarySpec::Deb(file) => taker.take_file(Format::Deb, file, folder),
        BinarySpec::Rpm(file) => taker.take_file(Format::Rpm, file, folder),
        BinarySpec::Image(image) => taker.take_image(image, folder),
    }
}

struct Taker<'a> {
    kernel: &'a Kernel,
    cache: &'a Cache,
    progress: &'a Progress,
    started: Instant,
}

impl Taker<'_> {
    fn take_apt(&self, package: &AptPackage) -> Result<BuiltKernel> {
        let (cache, progress) = (self.cache, self.progress);
        let suite = package.suite.as_deref();
        let apt = Apt::open(suite, PackageKind::Binary, cache, progress)?;
        let is_kept = |candidate: &Candidate| {
            let dir = cache.build(&key_of(&[&candidate.sha256]));
            matches!(BuildRecord::read(&dir), Ok(Some(_)))
        };
        // Asked first, because it refreshes lists that are too old to know what it depends on.
        let named = apt.candidate(package, is_kept)?;
        let image = apt.image_of(package)?;
        let candidate = if image == *package {
            named
        } else {
            apt.candidate(&image, is_kept)?
        };
        let identity = SourceIdentity {
            about: format!("Debian package {}", candidate.file),
            digest: candidate.sha256.clone(),
        };
        let built = self.keep(&[&candidate.sha256], identity, |scratch| {
            let file = apt.fetch(&image, &candidate, scratch)?;
            from_package(Format::Deb, &file, scratch, progress)
        })?;
        apt.remember(package, &candidate)?;
        Ok(built)
    }

    fn wanted(&self, file: &FileSource, folder: Option<&Path>) -> Result<Wanted> {
        Wanted::new(file, folder, self.cache, self.progress)
    }

    fn take_file(
        &self,
        format: Format,
        file: &FileSource,
        folder: Option<&Path>,
    ) -> Result<BuiltKernel> {
        let wanted = self.wanted(file, folder)?;
        let identity = SourceIdentity {
            about: format!("package {}", wanted.about),
            digest: wanted.sha256.clone(),
        };
        let built = self.keep(&[&wanted.sha256], identity, |scratch| {
            let file = wanted.fetch(self.cache, self.progress)?;
            from_package(format, &file, scratch, self.progress)
        })?;
        wanted.discard(self.cache)?;
        Ok(built)
    }

    fn take_image(&self, image: &ImageSource, folder: Option<&Path>) -> Result<BuiltKernel> {
        let kernel = self.wanted(&image.kernel, folder)?;
        let other = |file: &Option<FileSource>| -> Result<Option<Wanted>> {
            file.as_ref()
                .map(|file| self.wanted(file, folder))
                .transpose()
        };
        let (system_map, config) = (other(&image.system_map)?, other(&image.config)?);
        let digest = |file: &Option<Wanted>| {
            file.as_ref()
                .map_or(String::new(), |file| file.sha256.clone())
        };
        let digests = [kernel.sha256.clone(), digest(&system_map), digest(&config)];
        let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
        let identity = SourceIdentity {
            about: format!("image {}", kernel.about),
            digest: kernel.sha256.clone(),
        };
        let fetch = |file: &Wanted| file.fetch(self.cache, self.progress);
        let built = self.keep(&digests, identity, |_| {
            Ok(Found {
                kernel: fetch(&kernel)?,
                system_map: system_map.as_ref().map(fetch).transpose()?,
                config: config.as_ref().map(fetch).transpose()?,
                notes: Vec::new(),
            })
        })?;
        for file in [Some(&kernel), system_map.as_ref(), config.as_ref()] {
            file.map_or(Ok(()), |file| file.discard(self.cache))?;
        }
        Ok(built)
    }

    /// The kernel of these digests out of the cache, or what `find` finds, which is then kept.
    fn keep(
        &self,
        digests: &[&str],
        identity: SourceIdentity,
        find: impl FnOnce(&Path) -> Result<Found>,
    ) -> Result<BuiltKernel> {
        let key = key_of(digests);
        let dir = self.cache.build(&key);
        let name = &self.kernel.spec.name;
        self.cache.keep(Kind::Build, key.as_str(), name)?;
        let _lock = self.cache.lock(
            &format!("build-{key}"),
            "takes the same kernel out of its package",
            self.progress,
        )?;
        if let Some(record) = BuildRecord::find(&dir, self.progress)? {
            return Ok(BuiltKernel::new(record, dir, self.started.elapsed(), true));
        }
        let scratch = self.cache.scratch()?;
        let mut found = find(scratch.path())?;
        let image = fs::read(&found.kernel)
            .with_context(|| format!("cannot read {}", found.kernel.display()))?;
        let release = image_release(&image)
            .map_err(anyhow::Error::msg)
            .with_context(|| identity.about.clone())?;
        let record = BuildRecord {
            schema: 1,
            key,
            kernel: name.clone(),
            release,
            source: identity,
            compiler: None,
            enclosure: String::new(),
            patches: Vec::new(),
            config_notes: Vec::new(),
            objects: 0,
            objects_compiled: 0,
            objects_reused: 0,
            ccache: None,
            build_seconds: self.started.elapsed().as_secs_f64(),
            files: BTreeMap::new(),
        };
        let elf = self.unpacked(&image, &mut found, scratch.path())?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        write_whole(&dir.join("build.log"), log_of(&record, &found).as_bytes())?;
        let mut files = vec![(found.kernel.as_path(), "bzImage")];
        files.extend(elf.as_deref().map(|path| (path, UNPACKED)));
        files.extend(found.config.as_deref().map(|path| (path, "config")));
        if let Some(map) = &found.system_map
            && !is_stub_map(&String::from_utf8_lossy(&fs::read(map)?))
        {
            files.push((map, "System.map"));
        }
        let record = record.store(&files, &dir)?;
        Ok(BuiltKernel::new(record, dir, self.started.elapsed(), false))
    }

    /// The ELF file in an image, if QEMU can start the kernel by that. One that cannot be unpacked here
    /// boots all the same, only slower.
    fn unpacked(&self, image: &[u8], found: &mut Found, scratch: &Path) -> Result<Option<PathBuf>> {
        let elf = match inspected::unpack(image, &found.kernel, scratch, self.progress) {
            Ok(elf) => elf,
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                found.notes.push(format!("left packed: {error:#}"));
                return Ok(None);
            }
        };
        if pvh::entry(&elf).is_none() {
            return Ok(None);
        }
        let path = scratch.join(UNPACKED);
        fs::write(&path, elf).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(path))
    }
}

/// Digest of everything that a binary kernel is taken from.
fn key_of(digests: &[&str]) -> BuildKey {
    let files = digests.iter().map(|digest| ("file", *digest));
    BuildKey::of([("binary", KEY_SCHEMA)].into_iter().chain(files))
}

fn from_package(format: Format, file: &Path, scratch: &Path, progress: &Progress) -> Result<Found> {
    let package = Package::open(format, file, scratch, progress)?;
    let names = package.files()?;
    let boot = match BootFiles::among(&names) {
        Ok(boot) => boot,
        Err(message) => bail!("the package {} {message}", name_of(file)),
    };
    let place = |name: &str| scratch.join(name);
    let mut wanted = BTreeMap::from([(boot.kernel.clone(), place("kernel"))]);
    for (name, to) in [(&boot.system_map, "map"), (&boot.config, "config")] {
        wanted.extend(name.clone().map(|name| (name, place(to))));
    }
    package.take(&wanted)?;
    let parts = [
        Some(&boot.kernel),
        boot.system_map.as_ref(),
        boot.config.as_ref(),
    ];
    Ok(Found {
        kernel: place("kernel"),
        system_map: boot.system_map.as_ref().map(|_| place("map")),
        config: boot.config.as_ref().map(|_| place("config")),
        notes: parts.into_iter().flatten().cloned().collect(),
    })
}

fn log_of(record: &BuildRecord, found: &Found) -> String {
    let mut text = format!(
        "# kverdict build {}\ntaken as it is, not built: {}\n",
        record.kernel, record.source.about
    );
    for note in &found.notes {
        text += &format!("  {note}\n");
    }
    text
}
