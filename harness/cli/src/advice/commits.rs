//! Where the commits of a fix are taken from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;

use crate::build::git::{self, CommitDiff};
use crate::commands::Usage;

/// Shorter runs of these digits are dates, numbers and words.
const SHORTEST_ID: &str = "[0-9a-f]{12,40}";

/// A repository, or a folder of patches; both are only read.
#[derive(Debug)]
pub enum Origin {
    /// A git repository on this machine.
    Repository(PathBuf),
    /// A folder with one patch per commit.
    Folder(PathBuf, Vec<PatchFile>),
}

/// A file of the folder.
#[derive(Debug)]
pub struct PatchFile {
    path: PathBuf,
    /// In its `From` line, and in its name.
    ids: Vec<String>,
}

impl Origin {
    /// A repository.
    ///
    /// # Errors
    /// When there is none.
    pub fn repository(path: &Path) -> Result<Self> {
        if path.is_dir() && git::is_repository(path)? {
            return Ok(Self::Repository(path.to_owned()));
        }
        Err(Usage(format!(
            "--upstream: {} is no git repository: give one on this machine",
            path.display()
        ))
        .into())
    }

    /// A folder's patches, known by their ids.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn folder(path: &Path) -> Result<Self> {
        let wrong = |error| Usage(format!("--patches: {}: {error}", path.display()));
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(wrong)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|word| word == "patch" || word == "diff")
            {
                let text = read(&path)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let ids = ids_of(&name, &String::from_utf8_lossy(&text));
                files.push(PatchFile { path, ids });
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self::Folder(path.to_owned(), files))
    }

    /// In words.
    pub fn about(&self) -> String {
        match self {
            Self::Repository(path) => format!("the repository {}", path.display()),
            Self::Folder(path, _) => format!("the folder {}", path.display()),
        }
    }

    /// What a commit changes.
    ///
    /// # Errors
    /// When it cannot be read, or the folder has it twice.
    pub fn diff(&self, id: &str) -> Result<CommitDiff> {
        let (path, files) = match self {
            Self::Repository(path) => return git::commit_diff(path, id),
            Self::Folder(path, files) => (path, files),
        };
        let found: Vec<&PatchFile> = files.iter().filter(|file| has(file, id)).collect();
        match found[..] {
            [] => Ok(CommitDiff::Lacking(
                "the folder does not have it".to_owned(),
            )),
            [file] => Ok(CommitDiff::Diff(read(&file.path)?)),
            [one, other, ..] => {
                let name = |file: &PatchFile| {
                    file.path
                        .file_name()
                        .unwrap_or_default()
                        .display()
                        .to_string()
                };
                let text = format!(
                    "--patches: {} has {id} twice, in {} and {}: leave one",
                    path.display(),
                    name(one),
                    name(other)
                );
                Err(Usage(text).into())
            }
        }
    }
}

fn has(file: &PatchFile, id: &str) -> bool {
    let same = |own: &String| own.starts_with(id) || id.starts_with(own.as_str());
    file.ids.iter().any(same)
}

fn ids_of(name: &str, text: &str) -> Vec<String> {
    #[allow(clippy::expect_used)]
    static FROM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!("(?m)^From ({SHORTEST_ID}) ")).expect("a constant pattern")
    });
    #[allow(clippy::expect_used)]
    static ID: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(&format!(r"\b{SHORTEST_ID}\b")).expect("a constant pattern"));
    let from = FROM.captures(text).map(|caught| caught[1].to_owned());
    let name = name.replace('_', " ");
    let in_name = ID.find_iter(&name).map(|found| found.as_str().to_owned());
    from.into_iter().chain(in_name).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_known_by_its_from_line_or_its_name() {
        let id = "0b26351b910fb8fe6a056f8a1bbccabe50c0e19f";
        let text = format!("From {id} Mon Sep 17 00:00:00 2001\nSubject: x\n");
        assert_eq!(ids_of("0001-x.patch", &text), [id]);
        assert_eq!(ids_of("0b26351b910f.patch", "--- a/x\n"), ["0b26351b910f"]);
        assert_eq!(ids_of("1_0b26351b910f_x.patch", ""), ["0b26351b910f"]);
        assert_eq!(ids_of("20180503-x.patch", "From me\n"), [""; 0]);
        let file = PatchFile {
            path: PathBuf::new(),
            ids: vec![id.to_owned()],
        };
        assert!(has(&file, "0b26351b910f") && !has(&file, "9fb8d5dc4b64"));
    }
}
