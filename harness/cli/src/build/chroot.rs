//! Root folders of Debian releases, for compilers that this machine's release does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kverdict_core::catalogue::BuildKey;
use kverdict_core::catalogue::apt_sources::PackageKind;
use kverdict_core::catalogue::toolchain::Chroot;

use super::apt::Apt;
use super::cache::Cache;
use super::enclosure::{self, BUBBLEWRAP};
use super::inventory::Kind;
use super::tools::{is_on_path, missing_text, tools_named};
use crate::process::{Ending, Job, describe, tail_of};
use crate::progress::Progress;

/// A fast mirror takes one minute.
const MAKE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What nobody reads in a folder that only compiles.
const LEFT_OUT: [&str; 4] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
];
/// What makes such folders.
const MAKES: &str = "mmdebstrap";
/// What that needs when it is not run by root.
const MAPS_USERS: &str = "newuidmap";

/// Why no folder of that kind can be had here; none when it is there or can be made.
pub fn obstacle(chroot: &Chroot, cache: &Cache) -> Option<String> {
    let mut needed = vec![BUBBLEWRAP];
    if !folder(chroot, cache).is_dir() {
        needed.push(MAKES);
        needed.extend((!rustix::process::geteuid().is_root()).then_some(MAPS_USERS));
    }
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|name| !is_on_path(name))
        .collect();
    match missing.is_empty() {
        true => enclosure::obstacle(),
        false => Some(missing_text(&tools_named(&missing))),
    }
}

/// The folder, made when the cache does not have it. It has no root's files: neither making it nor
/// using it needs root rights.
///
/// # Errors
/// When packages cannot be fetched or installed.
pub fn obtain(chroot: &Chroot, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let root = folder(chroot, cache);
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let about = format!("{} with {}", chroot.suite, chroot.packages.join(", "));
    cache.keep(Kind::Toolchain, &name, &about)?;
    let _lock = cache.lock(&format!("chroot-{name}"), "makes the same chroot", progress)?;
    if root.is_dir() {
        return Ok(root);
    }
    // apt's private configuration knows this machine's mirror of that release.
    let apt = Apt::open(Some(&chroot.suite), PackageKind::Binary, cache, progress)?;
    let sources = apt.sources().with_context(|| {
        format!(
            "{} is this machine's own release, which needs no chroot: name a toolchain with `place: host`",
            chroot.suite
        )
    })?;
    let scratch = cache.scratch()?;
    let (tarball, tree) = (scratch.path().join("root.tar"), scratch.path().join("root"));
    let task = progress.task(format!("making a chroot of {}", chroot.suite), 0);
    task.set(0, "downloading and installing packages");
    install(chroot, &sources, &tarball, &cache.toolchain_log(&name))?;
    fs::create_dir(&tree)?;
    Job::new("tar", MAKE_LIMIT)
        // Devices need root rights; whoever runs in there gets a /dev of their own.
        .args(["--extract", "--no-same-owner", "--exclude=./dev/*"])
        .args(["--file".as_ref(), tarball.as_os_str()])
        .args(["--directory".as_ref(), tree.as_os_str()])
        .run_checked()?;
    fs::rename(&tree, &root).with_context(|| format!("cannot keep {}", root.display()))?;
    task.finish("made");
    Ok(root)
}

fn install(chroot: &Chroot, sources: &Path, tarball: &Path, log: &Path) -> Result<()> {
    let _ = fs::remove_file(log);
    let ending = Job::new("mmdebstrap", MAKE_LIMIT)
        .args(["--variant=essential", "--format=tar"])
        .args([format!("--include={}", chroot.packages.join(","))])
        .args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
        // A release past its end is refreshed no more; what its lists say stays signed.
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\""])
        .args([
            chroot.suite.as_ref(),
            tarball.as_os_str(),
            sources.as_os_str(),
        ])
        .env("LC_ALL", "C")
        .log(log)
        .guarded()
        .run()?;
    if matches!(ending, Ending::Exited(status) if status.success()) {
        return Ok(());
    }
    Err(anyhow!(
        "the chroot of {} could not be made: mmdebstrap {}:\n{}\nthe whole log: {}",
        chroot.suite,
        describe(ending, MAKE_LIMIT),
        tail_of(log, 5),
        log.display()
    ))
}

fn folder(chroot: &Chroot, cache: &Cache) -> PathBuf {
    let key = BuildKey::of([
        ("suite", chroot.suite.as_str()),
        ("packages", chroot.packages.join(" ").as_str()),
    ]);
    cache.toolchain(&format!("{}-{}", chroot.suite, key.as_str()))
}
