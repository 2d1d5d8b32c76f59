//! Packages of apt's mirrors: of this machine's own release, or of another one by a private
//! configuration that leaves the system's as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::apt_sources::{self, PackageKind};
use kverdict_core::catalogue::source::AptPackage;
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::cache::{Cache, write_whole};
use super::download::{DOWNLOAD_LIMIT, watch};
use super::file::check_sha256;
use crate::process::{Ending, Job, describe, tail_of};
use crate::progress::Progress;

/// Refreshing the package lists takes seconds; a slow mirror minutes.
const UPDATE_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Package lists of another release are refreshed after this time.
const LISTS_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// A metapackage that leads further than this leads in a circle.
const MAX_METAPACKAGES: usize = 4;

/// What apt knows about a file that it would download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// File name, which carries the version.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// apt, for one release and one kind of package.
#[derive(Debug)]
pub struct Apt<'a> {
    cache: &'a Cache,
    progress: &'a Progress,
    kind: PackageKind,
    /// The folder of a private configuration; none: the system's own.
    private: Option<PathBuf>,
}

impl<'a> Apt<'a> {
    /// apt as this machine has it configured, or, when a suite is named or source packages are
    /// wanted (which few machines have lists of), one of our own.
    ///
    /// # Errors
    /// When the private configuration cannot be made from the system's.
    pub fn open(
        suite: Option<&str>,
        kind: PackageKind,
        cache: &'a Cache,
        progress: &'a Progress,
    ) -> Result<Self> {
        let codename = codename();
        let suite = match (suite, kind) {
            (Some(suite), PackageKind::Binary | PackageKind::Source) => Some(suite.to_owned()),
            (None, PackageKind::Source) => codename.clone(),
            (None, PackageKind::Binary) => None,
        };
        let private = match suite.filter(|suite| {
            kind == PackageKind::Source || Some(suite.as_str()) != codename.as_deref()
        }) {
            None => None,
            Some(suite) => {
                let codename = codename.context("/etc/os-release names no release of Debian: on another system give the kernel as a package file, a tree or a tarball")?;
                let folder = cache.apt(&format!("{suite}-{}", kind.word()));
                configure(&folder, &codename, &suite, kind)?;
                Some(folder)
            }
        };
        Ok(Self {
            cache,
            progress,
            kind,
            private,
        })
    }

    /// The file that apt would download: of a source package, its `.dsc`. When apt does not know
    /// the package now, the last one that it knew does if `usable` says that it is still here.
    ///
    /// # Errors
    /// When apt does not know the package.
    pub fn candidate(
        &self,
        package: &AptPackage,
        usable: impl Fn(&Candidate) -> bool,
    ) -> Result<Candidate> {
        if let Some(folder) = &self.private
            && is_older_than(&folder.join("updated"), LISTS_AGE)
        {
            self.update()?;
        }
        let first = match self.ask(package) {
            Ok(candidate) => return Ok(candidate),
            Err(error) => error,
        };
        if let Some(last) = self.remembered(package).filter(usable) {
            self.progress.line(format!(
                "apt does not know {} now; using {} from the cache",
                package.package, last.file
            ));
            return Ok(last);
        }
        if self.private.is_some() || rustix::process::geteuid().is_root() {
            self.update()?;
            return self.ask(package);
        }
        Err(first)
    }

    /// Remembers what a package was, for times without a network.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(&self, package: &AptPackage, candidate: &Candidate) -> Result<()> {
        write_whole(&self.memo(package), &serde_json::to_vec(candidate)?)
    }

    /// Downloads a package into a folder: the candidate's file, and with a source package the
    /// tarballs beside it.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not what apt said.
    pub fn fetch(
        &self,
        package: &AptPackage,
        candidate: &Candidate,
        folder: &Path,
    ) -> Result<PathBuf> {
        let log = folder.join("apt.log");
        let file = folder.join(&candidate.file);
        let verb: &[&str] = match self.kind {
            PackageKind::Binary => &["download", "-q"],
            PackageKind::Source => &["source", "--download-only", "-q"],
        };
        let child = Job::new("apt-get", DOWNLOAD_LIMIT)
            .args(self.options())
            .args(verb)
            .args([argument(package)])
            .dir(folder)
            .env("LC_ALL", "C")
            .log(&log)
            .start()?;
        let name = format!("downloading {}", candidate.file);
        let ending = watch(child, &file, candidate.bytes, &name, self.progress)?;
        if !matches!(ending, Ending::Exited(status) if status.success()) {
            bail!(
                "apt-get {} {} {}:\n{}",
                verb[0],
                argument(package),
                describe(ending, DOWNLOAD_LIMIT),
                tail_of(&log, 5)
            );
        }
        check_sha256(&file, &candidate.sha256)?;
        Ok(file)
    }

    /// The package that really has the kernel, when the named one only depends on it.
    ///
    /// # Errors
    /// When metapackages lead nowhere.
    pub fn image_of(&self, package: &AptPackage) -> Result<AptPackage> {
        let mut package = package.clone();
        for _ in 0..MAX_METAPACKAGES {
            let Some(next) = image_dependency(&self.description(&package)?) else {
                return Ok(package);
            };
            package.package = next.0;
            package.version = next.1;
        }
        bail!(
            "the metapackage {} leads to no kernel image",
            package.package
        )
    }

    /// Where the mirrors of another release are written down, in the form of apt's sources; none for
    /// this machine's own.
    pub fn sources(&self) -> Option<PathBuf> {
        Some(self.private.as_ref()?.join("suite.sources"))
    }

    fn description(&self, package: &AptPackage) -> Result<String> {
        let shell = Shell::new()?;
        let _language = shell.push_env("LC_ALL", "C");
        let (options, wanted) = (self.options(), argument(package));
        Ok(cmd!(
            shell,
            "apt-cache {options...} --no-all-versions show {wanted}"
        )
        .quiet()
        .ignore_status()
        .ignore_stderr()
        .read()?)
    }

    fn ask(&self, package: &AptPackage) -> Result<Candidate> {
        // A file of that name in the current folder is one that apt would not download.
        let empty = self.cache.scratch()?;
        let shell = Shell::new()?;
        shell.change_dir(empty.path());
        let _language = shell.push_env("LC_ALL", "C");
        let (options, wanted) = (self.options(), argument(package));
        let command = match self.kind {
            PackageKind::Binary => {
                cmd!(
                    shell,
                    "apt-get {options...} download --print-uris -qq {wanted}"
                )
            }
            PackageKind::Source => cmd!(
                shell,
                "apt-get {options...} source --download-only --print-uris -qq {wanted}"
            ),
        };
        let output = command.quiet().ignore_status().output().context(
            "apt-get is not here: on another system give the kernel as a package file, a tree or a tarball",
        )?;
        parse_uris(&String::from_utf8_lossy(&output.stdout), self.kind).ok_or_else(|| {
            anyhow!(
                "apt does not know the package {wanted}: {}\nrun `apt-get update` as root if its lists are missing, or check that the release has this package; `suite` names another release",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })
    }

    fn options(&self) -> Vec<String> {
        match &self.private {
            Some(folder) => vec![
                "-c".to_owned(),
                folder.join("apt.conf").display().to_string(),
            ],
            None => Vec::new(),
        }
    }

    fn update(&self) -> Result<()> {
        let scratch = self.cache.scratch()?;
        let log = scratch.path().join("apt.log");
        let _lock = match &self.private {
            Some(folder) => {
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                Some(self.cache.lock(
                    &format!("apt-{name}"),
                    "asks apt about the same release",
                    self.progress,
                )?)
            }
            None => None,
        };
        let task = self.progress.task("refreshing apt's package lists", 0);
        let job = Job::new("apt-get", UPDATE_LIMIT)
            .args(self.options())
            .args(["update"])
            .env("LC_ALL", "C")
            .log(&log);
        match &self.private {
            // A release need not have all suites that this one has; what is missing shows when a
            // package is asked for.
            Some(folder) => {
                job.run()?;
                write_whole(&folder.join("updated"), b"")?;
            }
            None => job.run_checked()?,
        }
        drop(task);
        Ok(())
    }

    fn memo(&self, package: &AptPackage) -> PathBuf {
        let of = match &self.private {
            Some(folder) => folder.file_name().unwrap_or_default().to_string_lossy(),
            None => "".into(),
        };
        let name = format!("{}{of}", argument(package)).replace(['/', '='], "_");
        self.cache.sources().join(format!("{name}.json"))
    }

    fn remembered(&self, package: &AptPackage) -> Option<Candidate> {
        serde_json::from_slice(&fs::read(self.memo(package)).ok()?).ok()
    }
}

/// `package=version`
fn argument(package: &AptPackage) -> String {
    match &package.version {
        Some(version) => format!("{}={version}", package.package),
        None => package.package.clone(),
    }
}

/// `'URL' FILE BYTES SHA256:DIGEST`
fn parse_uris(output: &str, kind: PackageKind) -> Option<Candidate> {
    let line = output.lines().find(|line| {
        let is_wanted = match kind {
            PackageKind::Binary => true,
            PackageKind::Source => line.contains(".dsc' "),
        };
        line.starts_with('\'') && is_wanted
    })?;
    let mut words = line.split_whitespace().skip(1);
    let candidate = Candidate {
        file: words.next()?.to_owned(),
        bytes: words.next()?.parse().ok()?,
        sha256: words.next()?.strip_prefix("SHA256:")?.to_owned(),
    };
    // It becomes a path; apt itself would not print another one.
    (!candidate.file.contains('/')).then_some(candidate)
}

/// The kernel image that a package depends on, with the version when it asks for one.
fn image_dependency(description: &str) -> Option<(String, Option<String>)> {
    let depends = description
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?;
    let dependency = depends
        .split([',', '|'])
        .map(str::trim)
        .find(|dependency| dependency.starts_with("linux-image-"))?;
    let (name, relation) = dependency.split_once(' ').unwrap_or((dependency, ""));
    let version = relation
        .trim()
        .strip_prefix("(=")
        .and_then(|rest| rest.strip_suffix(')'))
        .map(|version| version.trim().to_owned());
    Some((name.to_owned(), version))
}

/// The release of this machine.
fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// Writes the private configuration: the system's mirrors and keys, another release, folders of
/// our own.
fn configure(folder: &Path, codename: &str, suite: &str, kind: PackageKind) -> Result<()> {
    let mirrors = apt_sources::for_suite(&system_sources(), codename, suite, kind);
    if mirrors.is_empty() {
        bail!(
            "apt's sources name no mirror of {codename}, so there is none to ask for {suite}: add Debian's mirror to /etc/apt/sources.list.d"
        );
    }
    for inner in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(folder.join(inner))
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let place = folder.display();
    write_whole(&folder.join("suite.sources"), mirrors.as_bytes())?;
    write_whole(&folder.join("status"), b"")?;
    let text = format!(
        "Dir::Etc::sourcelist \"{place}/suite.sources\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::Etc::preferences \"-\";\n\
         Dir::Etc::preferencesparts \"-\";\n\
         Dir::State::lists \"{place}/lists\";\n\
         Dir::State::status \"{place}/status\";\n\
         Dir::Cache \"{place}\";\n\
         // The folders are ours, and apt's own user may not see them.\n\
         APT::Sandbox::User \"\";\n\
         // Lists of a release past its end are refreshed no more; what they say stays signed.\n\
         Acquire::Check-Valid-Until \"false\";\n\
         // Hooks are about the system's own lists.\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    );
    write_whole(&folder.join("apt.conf"), text.as_bytes())
}

/// The system's lists of package sources; the ones that cannot be read do not count for apt either.
fn system_sources() -> Vec<(String, String)> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d");
    paths.extend(
        parts
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| Some((path.display().to_string(), fs::read_to_string(&path).ok()?)))
        .filter(|(name, _)| name.ends_with(".list") || name.ends_with(".sources"))
        .collect()
}

fn is_older_than(stamp: &Path, age: Duration) -> bool {
    !fs::metadata(stamp)
        .and_then(|data| data.modified())
        .is_ok_and(|changed| changed + age > SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_lines_are_read() {
        let deb = "'http://h/linux-source-6.12_6.12.1%7edeb_all.deb' linux-source-6.12_6.12.1~deb_all.deb 153476148 SHA256:e849\n";
        assert_eq!(
            parse_uris(deb, PackageKind::Binary),
            Some(Candidate {
                file: "linux-source-6.12_6.12.1~deb_all.deb".to_owned(),
                bytes: 153_476_148,
                sha256: "e849".to_owned(),
            })
        );
        let source = "'http://h/l_1.orig.tar.xz' l_1.orig.tar.xz 9 SHA256:aa\n'http://h/l_1-1.dsc' l_1-1.dsc 7 SHA256:bb\n";
        let found = parse_uris(source, PackageKind::Source).unwrap();
        assert_eq!(found.file, "l_1-1.dsc");
        for (text, kind) in [
            ("E: Unable to locate package\n", PackageKind::Binary),
            ("'http://h/x' ../x 9 SHA256:aa\n", PackageKind::Binary),
        ] {
            assert_eq!(parse_uris(text, kind), None);
        }
    }

    #[test]
    fn a_metapackage_names_its_image() {
        let meta =
            "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n";
        assert_eq!(
            image_dependency(meta),
            Some((
                "linux-image-6.1.0-56-amd64".to_owned(),
                Some("6.1.192-2".to_owned())
            ))
        );
        let image = "Package: x\nDepends: kmod, linux-base (>= 4.3~), initramfs-tools | y\n";
        assert_eq!(image_dependency(image), None);
    }
}
