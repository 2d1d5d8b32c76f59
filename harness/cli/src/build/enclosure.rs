//! Where a build runs, and what it can reach from there: a source tree's make is somebody's program.
//!
//! On this machine and in a root folder of another release bubblewrap encloses it, in a container the
//! engine: without network, with nobody's home, and with nothing to write but what it makes. Where
//! bubblewrap does not work, such as in many containers, a build runs as it is, and its record says so.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;

use super::failure::is_interrupt;
use super::tools::is_on_path;
use crate::process::Job;

/// Where Debian has its programs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// For programs that say their version, and the like.
const TRY_LIMIT: Duration = Duration::from_secs(60);
/// The first command in a container, which fetches its image.
const IMAGE_LIMIT: Duration = Duration::from_secs(3600);
/// What encloses.
pub const BUBBLEWRAP: &str = "bwrap";
/// Namespaces of its own for all but users, and none of root's rights. The session is one of its own already: with
/// `--new-session` there is a moment in which what it starts has left the group, and dies with nobody yet.
const ALONE: [&str; 8] = [
    BUBBLEWRAP,
    "--die-with-parent",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--cap-drop",
    "ALL",
];
/// Folders with what is none of a build's business, sockets of services among it. Programs and files
/// in them that a build needs are put back.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run", "/tmp", "/var/tmp"];

/// Where a build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enclosure {
    /// On this machine, by bubblewrap.
    Host {
        /// The folder of a compiler that is not on the PATH.
        tools: Option<PathBuf>,
    },
    /// On this machine as it is.
    None {
        /// Why it is not enclosed.
        why: String,
    },
    /// With this folder as the root, by bubblewrap, which needs no root rights.
    Chroot(PathBuf),
    /// In a container.
    Container {
        /// `podman` or `docker`.
        engine: &'static str,
        /// The image.
        image: String,
    },
}

/// What a build sees of the cache, each where it is.
#[derive(Debug, Default)]
pub struct Shared {
    /// To read. What is to be written may lie in it.
    pub read: Vec<PathBuf>,
    /// To write.
    pub write: Vec<PathBuf>,
}

impl Enclosure {
    /// On this machine, enclosed if that works here.
    pub fn host(tools: Option<PathBuf>) -> Self {
        match obstacle() {
            Some(why) => Self::None { why },
            None => Self::Host { tools },
        }
    }

    /// What it keeps from a build, for people.
    pub fn description(&self) -> String {
        match self {
            Self::Host { .. } => {
                "bubblewrap: no network, no home, nothing to write but the objects".to_owned()
            }
            Self::None { why } => format!("not enclosed: {why}"),
            Self::Chroot(root) => format!("bubblewrap: no network, in {}", root.display()),
            Self::Container { engine, image } => {
                format!("{engine}: no network, in a container of {image}")
            }
        }
    }

    /// What stands before a command, so that it runs in here and sees `shared` where it is.
    fn words(&self, shared: &Shared) -> Vec<String> {
        match self {
            Self::None { .. } => Vec::new(),
            Self::Host { tools } => {
                let mut words = owned(&ALONE);
                words.extend(owned(&["--ro-bind", "/", "/"]));
                let hidden = hidden();
                words.extend(hidden.iter().flat_map(|folder| owned(&["--tmpfs", folder])));
                let back = programs_in(&hidden).into_iter().chain(tools.clone());
                words.extend(back.flat_map(|folder| bind("--ro-bind", &folder)));
                words.extend(devices_and_shared(shared));
                words
            }
            Self::Chroot(root) => {
                let mut words = owned(&ALONE);
                words.extend(owned(&["--bind", root.to_str().unwrap_or_default(), "/"]));
                words.extend(owned(&["--tmpfs", "/tmp"]));
                words.extend(devices_and_shared(shared));
                // Last: places for what is shared have to be made in it.
                words.extend(owned(&["--remount-ro", "/"]));
                words
            }
            Self::Container { engine, image } => {
                let mut words = owned(&[engine, "run", "--rm", "--network=none"]);
                words.extend(owned(&[
                    "--cap-drop=all",
                    "--security-opt=no-new-privileges",
                ]));
                // Rootless podman maps its root to the caller; docker has to be told who that is.
                if *engine == "docker" {
                    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
                    let ids = format!("{}:{}", user.as_raw(), group.as_raw());
                    words.extend(["--user".to_owned(), ids]);
                }
                let read = shared.read.iter().map(|folder| (folder, ":ro"));
                let write = shared.write.iter().map(|folder| (folder, ""));
                words.extend(read.chain(write).flat_map(|(folder, rights)| {
                    let folder = folder.display();
                    ["--volume".to_owned(), format!("{folder}:{folder}{rights}")]
                }));
                words.push(image.clone());
                words
            }
        }
    }

    /// The job, run in here with nobody's variables but its own: gcc, ccache and make read dozens, and
    /// what they say is not in a build's key.
    pub fn around(&self, job: Job, shared: &Shared) -> Job {
        job.inside(self.words(shared), self.kept_variables())
    }

    /// What no build can do without: where the programs are.
    fn kept_variables(&self) -> Vec<(OsString, OsString)> {
        let own = |name: &str| Some((name.into(), std::env::var_os(name)?));
        let home = || ("HOME".into(), "/tmp".into());
        match self {
            Self::None { .. } => ["PATH", "HOME"].into_iter().filter_map(own).collect(),
            Self::Host { .. } => own("PATH").into_iter().chain([home()]).collect(),
            Self::Chroot(_) => vec![("PATH".into(), PATH.into()), home()],
            // Images of compilers have theirs in /usr/local.
            Self::Container { .. } => {
                vec![
                    ("PATH".into(), format!("/usr/local/bin:{PATH}").into()),
                    home(),
                ]
            }
        }
    }

    /// First line of `PROGRAM --version` as run in here; none when it cannot be run.
    ///
    /// # Errors
    /// An interrupt: nobody knows then whether it can.
    pub fn version_line(&self, program: &str) -> Result<Option<String>> {
        let limit = match self {
            Self::Container { .. } => IMAGE_LIMIT,
            Self::Host { .. } | Self::None { .. } | Self::Chroot(_) => TRY_LIMIT,
        };
        let job = Job::new(program, limit).args(["--version"]);
        let job = self.around(job.env("LC_ALL", "C"), &Shared::default());
        let output = match job.capture() {
            Ok(output) => output,
            Err(error) if is_interrupt(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().next().map(str::to_owned);
        Ok(line.filter(|_| output.status.success()))
    }
}

/// Why builds on this machine cannot be enclosed; none: they can. Found out once, by trying.
pub fn obstacle() -> Option<String> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE.get_or_init(try_out).clone()
}

fn try_out() -> Option<String> {
    if !is_on_path(BUBBLEWRAP) {
        return Some("bubblewrap is not installed".to_owned());
    }
    let job = Job::new("true", TRY_LIMIT);
    let tried = Enclosure::Host { tools: None }
        .around(job, &Shared::default())
        .capture();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it said nothing");
            Some(format!("bubblewrap does not work here ({last})"))
        }
        Err(error) => Some(format!("bubblewrap does not run ({error})")),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A folder that is seen where it is.
fn bind(manner: &str, folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    vec![manner.to_owned(), folder.clone(), folder]
}

fn devices_and_shared(shared: &Shared) -> Vec<String> {
    let mut words = owned(&["--dev", "/dev", "--proc", "/proc"]);
    words.extend(
        shared
            .read
            .iter()
            .flat_map(|folder| bind("--ro-bind", folder)),
    );
    words.extend(
        shared
            .write
            .iter()
            .flat_map(|folder| bind("--bind", folder)),
    );
    words
}

/// Folders of this machine that are not shown.
fn hidden() -> Vec<String> {
    let mut folders: Vec<String> = HIDDEN.map(str::to_owned).to_vec();
    let home = std::env::var("HOME").unwrap_or_default();
    let is_elsewhere = HIDDEN
        .iter()
        .all(|folder| !Path::new(&home).starts_with(folder));
    folders.extend((home.len() > 1 && is_elsewhere).then_some(home));
    folders.retain(|folder| std::fs::symlink_metadata(folder).is_ok_and(|data| data.is_dir()));
    folders
}

/// Folders of the PATH that lie in these.
fn programs_in(hidden: &[String]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lies_in =
        |folder: &Path, above: &str| folder.starts_with(above) && folder != Path::new(above);
    std::env::split_paths(&path)
        .filter(|folder| hidden.iter().any(|above| lies_in(folder, above)))
        .filter(|folder| folder.is_dir())
        .collect()
}
