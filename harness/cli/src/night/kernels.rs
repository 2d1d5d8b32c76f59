//! The kernels of a night, as what they are when it begins: branches become commits, patterns become files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kverdict_core::catalogue::KernelSpec;
use kverdict_core::catalogue::kernel::Origin;
use kverdict_core::catalogue::source::{GitSource, SourceSpec};
use kverdict_core::night::cell::matches;
use kverdict_core::night::config::{GitHead, NightKernel};
use kverdict_core::night::judge::KnownKernel;
use kverdict_core::night::version;
use kverdict_core::yaml::Problem;
use serde::{Deserialize, Serialize};

use crate::build::cache::Cache;
use crate::build::git;
use crate::build::repository::Repository;
use crate::catalogue::Catalogue;
use crate::layout::RunDir;
use crate::process::Interrupted;
use crate::progress::Progress;
use crate::sides::{self, Place, SideSpec};
use crate::store;

/// One kernel of a night, as it was when the night began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NightSide {
    /// Its name in the night's file, where it comes from, and its patches.
    pub side: SideSpec,
    /// Whether it has the bug, and has to show it.
    pub control: bool,
    /// The commit that it is built of, if it is one of a repository on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// What a name that moves stood for; empty: nothing moves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stands_for: String,
    /// Why it could not be had; absent: it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A commit of a repository on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The repository's folder.
    pub repository: PathBuf,
    /// Its full id.
    pub id: String,
}

/// Looks up what the kernels of a night are now.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Folder that relative paths start from.
    pub folder: &'a Path,
    /// Kernels and patches.
    pub catalogue: &'a Catalogue,
    /// Mirrors of repositories.
    pub cache: &'a Cache,
    /// Where to say what happens.
    pub progress: &'a Progress,
}

/// A kernel that was looked up, and the entry of a catalogue that was made up for it.
#[derive(Debug)]
pub struct Found {
    /// The kernel.
    pub side: NightSide,
    /// Its entry, if no catalogue has it.
    pub entry: Option<KernelSpec>,
}

impl Lookup<'_> {
    /// What a kernel is now. What cannot be had tonight makes it untestable, and is no mistake of the file.
    ///
    /// # Errors
    /// What is wrong in the night's file, with its field; or an interrupt.
    pub fn find(&self, name: &str, asked: &NightKernel) -> Result<Result<Found, Vec<Problem>>> {
        let mut side = NightSide {
            side: SideSpec {
                name: name.to_owned(),
                kernel: asked.kernel.clone().unwrap_or_default(),
                place: Place::Catalogue,
                apply: self.patches(&asked.apply),
                revert: self.patches(&asked.revert),
                label: name.to_owned(),
            },
            control: asked.control,
            commit: None,
            stands_for: String::new(),
            missing: None,
        };
        let found = if let Some(package) = &asked.package {
            self.package(package, &mut side)
        } else if let Some(head) = &asked.git {
            self.git(head, &mut side)?
        } else if let Some(tree) = &asked.tree {
            self.tree(tree, &mut side)
        } else {
            Ok(None)
        };
        Ok(found.map(|entry| Found { side, entry }))
    }

    /// Patches that are paths, whole, so that a night can be gone on with from another folder.
    fn patches(&self, words: &[String]) -> Vec<String> {
        let whole = |word: &String| {
            let path = self.folder.join(word);
            let is_patch = path.is_file() || path.join("patch.yaml").is_file();
            let whole = is_patch.then(|| fs::canonicalize(path).ok()).flatten();
            whole.map_or_else(|| word.clone(), |path| path.display().to_string())
        };
        words.iter().map(whole).collect()
    }

    fn tree(&self, tree: &str, side: &mut NightSide) -> Result<Option<KernelSpec>, Vec<Problem>> {
        let path = self.there("tree", tree)?;
        side.stands_for = path.display().to_string();
        side.side.place = Place::Tree(path);
        Ok(None)
    }

    /// A folder that has to be there.
    fn there(&self, field: &str, word: &str) -> Result<PathBuf, Vec<Problem>> {
        let path = match self.folder.join(word) {
            // Both are this folder.
            empty if empty.as_os_str().is_empty() => PathBuf::from("."),
            path => path,
        };
        let whole = fs::canonicalize(&path).map_err(|error| {
            let text = format!("{}: {error}; name a folder that is there", path.display());
            vec![Problem::new(field, text)]
        })?;
        if whole.is_dir() {
            return Ok(whole);
        }
        let text = format!("{} is no folder", path.display());
        Err(vec![Problem::new(field, text)])
    }

    fn package(
        &self,
        pattern: &str,
        side: &mut NightSide,
    ) -> Result<Option<KernelSpec>, Vec<Problem>> {
        let path = Path::new(pattern);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let folder = self.there("package", &parent.display().to_string())?;
        let entry = newest(&folder, &name).map_err(|error| {
            vec![Problem::new(
                "package",
                format!("{}: {error}", folder.display()),
            )]
        })?;
        let Some(newest) = entry else {
            side.missing = Some(format!("there is no file {pattern}"));
            return Ok(None);
        };
        side.side.kernel = made_up(&side.side.name);
        side.stands_for = newest.display().to_string();
        match sides::file_kernel(&side.side.kernel, &newest) {
            Ok(entry) => {
                side.side.place = Place::File(newest);
                Ok(Some(entry))
            }
            Err(why) => {
                side.missing = Some(why);
                Ok(None)
            }
        }
    }

    fn git(
        &self,
        head: &GitHead,
        side: &mut NightSide,
    ) -> Result<Result<Option<KernelSpec>, Vec<Problem>>> {
        if head.is_remote() {
            return self.remote(head, side);
        }
        let folder = match self.there("git.repository", &head.repository) {
            Ok(folder) => folder,
            Err(problems) => return Ok(Err(problems)),
        };
        match Repository::open(&folder) {
            Err(error) => {
                let problem = Problem::new("git.repository", format!("{error:#}"));
                return Ok(Err(vec![problem]));
            }
            Ok(repository) => match repository.commit(&head.reference) {
                Ok(id) => {
                    side.stands_for = format!("{} is {id:.12}", head.reference);
                    side.commit = Some(Commit {
                        repository: folder,
                        id,
                    });
                }
                Err(error) => side.missing = Some(format!("{error:#}")),
            },
        }
        Ok(Ok(None))
    }

    /// A commit of a repository on another machine: the kernel that it is built like, with another source.
    fn remote(
        &self,
        head: &GitHead,
        side: &mut NightSide,
    ) -> Result<Result<Option<KernelSpec>, Vec<Problem>>> {
        let like = match self.catalogue.kernel(&side.side.kernel) {
            Ok(kernel) => kernel.spec,
            Err(error) => return Ok(Err(vec![Problem::new("kernel", format!("{error:#}"))])),
        };
        let Origin::Source(mut recipe) = like.origin else {
            let text = format!("`{}` is a binary: name one that is built", like.name);
            return Ok(Err(vec![Problem::new("kernel", text)]));
        };
        let found =
            git::remote_commit(&head.repository, &head.reference, self.cache, self.progress);
        let id = match found {
            Ok(id) => id,
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                side.missing = Some(format!("{error:#}"));
                return Ok(Ok(None));
            }
        };
        side.stands_for = format!("{} is {id:.12}", head.reference);
        side.side.kernel = made_up(&side.side.name);
        recipe.source = SourceSpec::Git(GitSource {
            path: None,
            url: Some(head.repository.clone()),
            reference: id,
        });
        Ok(Ok(Some(KernelSpec {
            name: side.side.kernel.clone(),
            about: format!("{} of {}", head.reference, head.repository),
            origin: Origin::Source(recipe),
            ..like
        })))
    }
}

/// Name of the entry that is made up for a kernel which no catalogue has.
fn made_up(name: &str) -> String {
    format!("night-{}", name.replace(['.', '_'], "-"))
}

/// The newest file of a folder whose name is what a pattern says.
fn newest(folder: &Path, pattern: &str) -> io::Result<Option<PathBuf>> {
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if matches(pattern, &name) && entry.path().is_file() {
            found.push(name);
        }
    }
    let newest = found.into_iter().max_by(|one, other| {
        // Names may differ where versions do not.
        version::compare(one, other).then_with(|| one.cmp(other))
    });
    Ok(newest.map(|name| folder.join(name)))
}

/// What is known of a night's kernels besides their trials: `kernels.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// By arm.
    pub kernels: BTreeMap<String, KnownKernel>,
    /// Why cells cannot be tested whose kernels can, by id.
    #[serde(default)]
    pub untestable: BTreeMap<String, String>,
}

impl Known {
    /// Reads it; before any kernel was built, there is nothing.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn read(dir: &RunDir) -> Result<Self> {
        let path = dir.night_kernels();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps it with the run.
    ///
    /// # Errors
    /// When the run's folder cannot be written.
    pub fn write(&self, dir: &RunDir) -> Result<()> {
        store::replace(&dir.night_kernels(), &serde_json::to_vec_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_files_the_newest_version_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "kernel-3.10.0-957.el7.x86_64.rpm",
            "kernel-3.10.0-1160.el7.x86_64.rpm",
            "kernel-3.10.0-514.el7.x86_64.rpm",
            "kernel-devel-4.0-1.el7.x86_64.rpm",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("kernel-9-1.x86_64.rpm")).unwrap();
        let name = |pattern| {
            let found = newest(dir.path(), pattern).unwrap()?;
            Some(found.file_name()?.to_str()?.to_owned())
        };
        assert_eq!(
            name("kernel-3*.rpm").unwrap(),
            "kernel-3.10.0-1160.el7.x86_64.rpm"
        );
        assert_eq!(
            name("kernel-3.10.0-514.el7.x86_64.rpm").unwrap(),
            "kernel-3.10.0-514.el7.x86_64.rpm"
        );
        assert_eq!(name("*.deb"), None);
    }
}
