//! Where a build runs: on this machine, in a root folder of another release, or in a container.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::tools::first_line;
use crate::process::Job;

/// Where Debian has its programs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enclosure {
    /// On this machine as it is.
    None,
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

impl Enclosure {
    /// What stands before a command, so that it runs in here and sees `shared` where it is.
    fn words(&self, shared: &Path) -> Vec<String> {
        let shared = shared.display().to_string();
        let owned = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        match self {
            Self::None => Vec::new(),
            Self::Chroot(root) => owned(
                &[
                    &["bwrap", "--die-with-parent", "--unshare-pid"][..],
                    &["--bind", root.to_str().unwrap_or_default(), "/"],
                    &["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"],
                    &["--bind", &shared, &shared],
                ]
                .concat(),
            ),
            Self::Container { engine, image } => {
                let mut words = owned(&[engine, "run", "--rm", "--network=none"]);
                // Rootless podman maps its root to the caller; docker has to be told who that is.
                if *engine == "docker" {
                    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
                    let ids = format!("{}:{}", user.as_raw(), group.as_raw());
                    words.extend(["--user".to_owned(), ids]);
                }
                let volume = format!("{shared}:{shared}");
                words.extend(["--volume".to_owned(), volume, image.clone()]);
                words
            }
        }
    }

    /// The job, run in here with nobody's variables but its own: gcc, ccache and make read dozens, and
    /// what they say is not in a build's key.
    pub fn around(&self, job: Job, shared: &Path) -> Job {
        job.inside(self.words(shared), self.kept_variables())
    }

    /// What no build can do without: where the programs are.
    fn kept_variables(&self) -> Vec<(OsString, OsString)> {
        let of = |name: &str| Some((name.into(), std::env::var_os(name)?));
        match self {
            Self::None => ["PATH", "HOME"].into_iter().filter_map(of).collect(),
            Self::Chroot(_) => vec![("PATH".into(), PATH.into()), ("HOME".into(), "/tmp".into())],
            // Images of compilers have theirs in /usr/local.
            Self::Container { .. } => vec![
                ("PATH".into(), format!("/usr/local/bin:{PATH}").into()),
                ("HOME".into(), "/tmp".into()),
            ],
        }
    }

    /// First line of `PROGRAM --version` as run in here; none when it cannot be run.
    pub fn version_line(&self, program: &str, shared: &Path) -> Option<String> {
        let words = self.words(shared);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(["env", "LC_ALL=C", program, "--version"]);
        first_line(&words)
    }
}
