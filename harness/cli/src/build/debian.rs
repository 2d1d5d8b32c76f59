//! Kernel source out of a Debian package, fetched with apt's own download and opened without
//! installing anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::kernel::DebianSource;
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::cache::{Cache, write_whole};
use super::download::{DOWNLOAD_LIMIT, watch};
use super::source::{Source, SourceIdentity, check_sha256};
use super::unpack;
use crate::process::{Ending, Job, describe, tail_of};
use crate::progress::Progress;

/// Refreshing the package lists takes seconds; a slow mirror minutes.
const UPDATE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What apt knows about a package that it would download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Candidate {
    /// File name, which carries the version.
    file: String,
    bytes: u64,
    sha256: String,
}

/// Gets the source, from the cache when the very package is there.
///
/// # Errors
/// When apt does not know or cannot fetch the package, or it lacks the tarball.
pub fn obtain(spec: &DebianSource, cache: &Cache, progress: &Progress) -> Result<Source> {
    let candidate = candidate(spec, cache, progress)?;
    let source = Source {
        root: cache.source(&candidate.sha256),
        identity: SourceIdentity {
            about: format!("Debian package {}", candidate.file),
            digest: candidate.sha256.clone(),
        },
        files: None,
    };
    let _lock = cache.lock(&format!("source-{}", candidate.sha256), progress)?;
    if !source.root.is_dir() {
        let package = fetch(spec, &candidate, cache, progress)?;
        unpack::from_package(&package, &spec.tarball, cache, progress, |tarball| {
            unpack::tarball(tarball, &source.root, cache, progress)
        })?;
        // Unpacked it is kept for good; a second copy would only fill the disk.
        fs::remove_file(&package)
            .with_context(|| format!("cannot remove {}", package.display()))?;
    }
    remember(spec, &candidate, cache)?;
    Ok(source)
}

/// Asks apt; without lists root refreshes them, and without apt's help the version used last does.
fn candidate(spec: &DebianSource, cache: &Cache, progress: &Progress) -> Result<Candidate> {
    let first = match ask_apt(spec) {
        Ok(candidate) => return Ok(candidate),
        Err(error) => error,
    };
    if let Some(last) = remembered(spec, cache) {
        progress.line(format!(
            "apt does not know {} now; using {} from the cache",
            spec.package, last.file
        ));
        return Ok(last);
    }
    if rustix::process::geteuid().is_root() {
        update_lists(cache, progress)?;
        return ask_apt(spec);
    }
    Err(first)
}

fn ask_apt(spec: &DebianSource) -> Result<Candidate> {
    let shell = Shell::new()?;
    let _language = shell.push_env("LC_ALL", "C");
    let wanted = package_argument(spec);
    let output = cmd!(shell, "apt-get download --print-uris -qq {wanted}")
        .quiet()
        .ignore_status()
        .output()
        .context("apt-get is not here: on another system give the kernel as a tree or a tarball")?;
    parse_uris(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
        anyhow!(
            "apt does not know the package {wanted}: {}\nrun `apt-get update` as root if its lists are missing, or check that the release has this package",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })
}

/// `'URL' FILE BYTES SHA256:DIGEST`
fn parse_uris(output: &str) -> Option<Candidate> {
    let line = output.lines().find(|line| line.starts_with('\''))?;
    let mut words = line.split_whitespace().skip(1);
    Some(Candidate {
        file: words.next()?.to_owned(),
        bytes: words.next()?.parse().ok()?,
        sha256: words.next()?.strip_prefix("SHA256:")?.to_owned(),
    })
}

fn package_argument(spec: &DebianSource) -> String {
    match &spec.version {
        Some(version) => format!("{}={version}", spec.package),
        None => spec.package.clone(),
    }
}

fn update_lists(cache: &Cache, progress: &Progress) -> Result<()> {
    let scratch = cache.scratch()?;
    let task = progress.task("refreshing apt's package lists", 0);
    Job::new("apt-get", UPDATE_LIMIT)
        .args(["update"])
        .log(scratch.path().join("apt.log"))
        .run_checked()?;
    drop(task);
    Ok(())
}

fn fetch(
    spec: &DebianSource,
    candidate: &Candidate,
    cache: &Cache,
    progress: &Progress,
) -> Result<PathBuf> {
    let target = cache.downloads().join(&candidate.file);
    if target.is_file() && check_sha256(&target, &candidate.sha256).is_ok() {
        return Ok(target);
    }
    let scratch = cache.scratch()?;
    let log = scratch.path().join("apt.log");
    let file = scratch.path().join(&candidate.file);
    let child = Job::new("apt-get", DOWNLOAD_LIMIT)
        .args(["download", "-q", &package_argument(spec)])
        .dir(scratch.path())
        .env("LC_ALL", "C")
        .log(&log)
        .start()?;
    let name = format!("downloading {}", candidate.file);
    let ending = watch(child, &file, candidate.bytes, &name, progress)?;
    if !matches!(ending, Ending::Exited(status) if status.success()) {
        bail!(
            "apt-get download {} {}:\n{}",
            package_argument(spec),
            describe(ending, DOWNLOAD_LIMIT),
            tail_of(&log, 5)
        );
    }
    check_sha256(&file, &candidate.sha256)?;
    fs::rename(&file, &target)
        .with_context(|| format!("cannot keep the package as {}", target.display()))?;
    Ok(target)
}

fn memo(spec: &DebianSource, cache: &Cache) -> PathBuf {
    let name = package_argument(spec).replace(['/', '='], "_");
    cache.sources().join(format!("{name}.json"))
}

fn remember(spec: &DebianSource, candidate: &Candidate, cache: &Cache) -> Result<()> {
    write_whole(&memo(spec, cache), &serde_json::to_vec(candidate)?)
}

fn remembered(spec: &DebianSource, cache: &Cache) -> Option<Candidate> {
    let candidate: Candidate = serde_json::from_slice(&fs::read(memo(spec, cache)).ok()?).ok()?;
    Path::is_dir(&cache.source(&candidate.sha256)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_line_is_read() {
        let line = "'http://h/linux-source-6.12_6.12.1%7edeb_all.deb' linux-source-6.12_6.12.1~deb_all.deb 153476148 SHA256:e849\n";
        assert_eq!(
            parse_uris(line),
            Some(Candidate {
                file: "linux-source-6.12_6.12.1~deb_all.deb".to_owned(),
                bytes: 153_476_148,
                sha256: "e849".to_owned(),
            })
        );
        assert_eq!(parse_uris("E: Unable to locate package\n"), None);
    }
}
