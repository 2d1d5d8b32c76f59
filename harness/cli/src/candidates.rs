//! Which kernels a bisection is about: the commits between two of a repository, a base with ever more
//! patches of a series, or kernels in order: of the catalogue, packages, images or trees.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kverdict_core::assessment::Known;
use kverdict_core::bisect::range::{Candidate, Direction, Range};
use kverdict_core::campaign::Arm;
use kverdict_core::catalogue::diff::touched_files;
use serde::{Deserialize, Serialize};

use crate::build::repository::Repository;
use crate::commands::Usage;
use crate::sides::{Place, SideSpec};

/// What the first candidate of a series is called: no patch of it is in.
const BASE: &str = "base";
/// How much more probable a change is the culprit that touches a file that the bug is about.
const LIKELY: f64 = 20.0;
/// And one that only touches what is not compiled into a kernel.
const UNLIKELY: f64 = 0.05;
/// Nothing below these is in a kernel.
const NOT_COMPILED: [&str; 5] = [
    "Documentation/",
    "tools/",
    "samples/",
    "LICENSES/",
    "MAINTAINERS",
];
/// Minutes that a commit or a patch takes to build on top of another one's objects, before any was built.
const NEXT_BUILD_MINUTES: f64 = 0.5;
/// And a kernel of its own.
const WHOLE_BUILD_MINUTES: f64 = 6.0;

/// The kernels, in order, as the run's manifest keeps them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Candidates {
    /// What is looked for.
    pub direction: Direction,
    /// Repository that commits are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<PathBuf>,
    /// What a control showed of the rate at which kernels with the bug lock up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Known>,
    /// One per kernel.
    pub entries: Vec<Entry>,
}

/// One kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// How it stands in the range.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// What it is, for people: a commit's subject, a patch's file.
    pub about: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a candidate's kernel comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A commit of the repository, by its full id.
    Commit(String),
    /// The base with these patches, in this order.
    Patches(Vec<String>),
    /// A kernel of its own.
    Kernel(SideSpec),
}

impl Candidates {
    /// The commits from `good` to `bad`, or from `bad` to `good`: what is looked for follows from which of
    /// them contains the other. A change to files below `likely` paths is the more probable culprit.
    ///
    /// # Errors
    /// When there is no such repository or commit, or neither contains the other.
    pub fn of_commits(folder: &Path, good: &str, bad: &str, likely: &[String]) -> Result<Self> {
        let repository = Repository::open(folder)?;
        let commit = |name: &str| {
            repository
                .commit(name)
                .map_err(|error| Usage(format!("{error:#}")))
        };
        let (good_id, bad_id) = (commit(good)?, commit(bad)?);
        let (direction, first, last) = if good_id == bad_id {
            return Err(Usage(format!("`{good}` and `{bad}` are the same commit")).into());
        } else if repository.contains(&bad_id, &good_id) {
            (Direction::Broke, good_id, bad_id)
        } else if repository.contains(&good_id, &bad_id) {
            (Direction::Fixed, bad_id, good_id)
        } else {
            return Err(Usage(format!(
                "neither of `{good}` and `{bad}` contains the other; bisect from their merge base: `git merge-base {good} {bad}`"
            ))
            .into());
        };
        let mut entries = vec![Entry {
            candidate: candidate(short(&first), Vec::new(), 1.0, NEXT_BUILD_MINUTES),
            about: String::new(),
            origin: Origin::Commit(first.clone()),
        }];
        for commit in repository.range(&first, &last)? {
            // The first end is before all of the range.
            let mut parents: Vec<usize> = commit.parents.iter().map(|place| place + 1).collect();
            if parents.is_empty() {
                parents.push(0);
            }
            let weight = weight(&commit.paths, likely);
            entries.push(Entry {
                candidate: candidate(short(&commit.id), parents, weight, NEXT_BUILD_MINUTES),
                about: commit.subject,
                origin: Origin::Commit(commit.id),
            });
        }
        Ok(Self {
            direction,
            repository: Some(repository.git_dir().to_owned()),
            control: None,
            entries,
        })
    }

    /// A base, then with one patch more each: those that a quilt `series` file names, or the .patch and .diff
    /// files of a folder by name.
    ///
    /// # Errors
    /// When there are none, or one is no diff.
    pub fn of_series(path: &Path, direction: Direction, likely: &[String]) -> Result<Self> {
        let files = series(path)?;
        let mut applied = Vec::new();
        let mut entries = vec![Entry {
            candidate: candidate(BASE.to_owned(), Vec::new(), 1.0, NEXT_BUILD_MINUTES),
            about: "no patch of the series".to_owned(),
            origin: Origin::Patches(Vec::new()),
        }];
        for (number, file) in (1..).zip(&files) {
            let shown = file.display().to_string();
            let text =
                fs::read(file).map_err(|error| Usage(format!("cannot read {shown}: {error}")))?;
            let paths = touched_files(&String::from_utf8_lossy(&text))
                .map_err(|why| Usage(format!("{shown} {why}")))?;
            applied.push(shown.clone());
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            entries.push(Entry {
                candidate: candidate(
                    format!("{number:02}-{}", word(&stem)),
                    vec![number - 1],
                    weight(&paths, likely),
                    NEXT_BUILD_MINUTES,
                ),
                about: shown,
                origin: Origin::Patches(applied.clone()),
            });
        }
        Ok(Self {
            direction,
            repository: None,
            control: None,
            entries,
        })
    }

    /// Kernels, each later than the one before: of the catalogue, packages, images or trees.
    pub fn of_kernels(kernels: Vec<SideSpec>, direction: Direction) -> Self {
        let entries = (0_usize..).zip(kernels).map(|(index, kernel)| {
            let build_minutes = match kernel.place {
                Place::Catalogue | Place::Tree(_) => WHOLE_BUILD_MINUTES,
                Place::File(_) => 0.0,
            };
            let file = Path::new(&kernel.label).file_name().unwrap_or_default();
            let parents = index.checked_sub(1).into_iter().collect();
            let label = format!("{:02}-{}", index + 1, word(&file.to_string_lossy()));
            Entry {
                candidate: candidate(label, parents, 1.0, build_minutes),
                about: kernel.label.clone(),
                origin: Origin::Kernel(kernel),
            }
        });
        Self {
            direction,
            repository: None,
            control: None,
            entries: entries.collect(),
        }
    }

    /// The candidates that are kernels of their own, with the names of their arms.
    pub fn kernels(&self) -> impl Iterator<Item = (&str, &SideSpec)> {
        self.entries.iter().filter_map(|entry| match &entry.origin {
            Origin::Kernel(kernel) => Some((entry.candidate.label.as_str(), kernel)),
            Origin::Commit(_) | Origin::Patches(_) => None,
        })
    }

    /// The range to search.
    ///
    /// # Errors
    /// When it is none.
    pub fn range(&self) -> Result<Range> {
        let candidates = self.entries.iter().map(|entry| entry.candidate.clone());
        let range = Range::new(self.direction, candidates.collect())
            .map_err(|error| Usage(format!("this cannot be bisected: {error}")))?;
        Ok(match self.control {
            Some(known) => range.with_control(known),
            None => range,
        })
    }

    /// The arm that runs a candidate's kernel: `template` with what the candidate is. `tree` holds its
    /// commit, if it is one.
    pub fn arm(&self, index: usize, template: &Arm, tree: Option<&Path>) -> Arm {
        let mut arm = template.clone();
        match &self.entries[index].origin {
            Origin::Commit(_) => arm.tree = tree.map(|tree| tree.display().to_string()),
            // The amplifier goes on top of what is bisected.
            Origin::Patches(patches) => {
                arm.apply.splice(0..0, patches.iter().cloned());
            }
            Origin::Kernel(kernel) => {
                arm.kernel.clone_from(&kernel.kernel);
                arm.tree = match &kernel.place {
                    Place::Tree(tree) => Some(tree.display().to_string()),
                    Place::Catalogue | Place::File(_) => None,
                };
            }
        }
        arm
    }
}

fn candidate(label: String, parents: Vec<usize>, weight: f64, build_minutes: f64) -> Candidate {
    Candidate {
        label,
        parents,
        weight,
        build_minutes,
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

/// Of characters that file names and QEMU's options take.
fn word(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    text.chars().map(kept).take(40).collect()
}

/// How probable a change to these files is the culprit.
fn weight(paths: &BTreeSet<String>, likely: &[String]) -> f64 {
    let is_in = |path: &String, folder: &str| path.starts_with(folder);
    if paths
        .iter()
        .any(|path| likely.iter().any(|folder| is_in(path, folder)))
    {
        return LIKELY;
    }
    let compiled = |path: &&String| !NOT_COMPILED.iter().any(|folder| is_in(path, folder));
    match paths.is_empty() || paths.iter().any(|path| compiled(&path)) {
        true => 1.0,
        false => UNLIKELY,
    }
}

/// Files of a series, in order.
fn series(path: &Path) -> Result<Vec<PathBuf>> {
    let is_patch = |file: &Path| {
        let ending = file.extension().unwrap_or_default();
        ending == "patch" || ending == "diff"
    };
    let (folder, list) = if path.is_dir() {
        (path, path.join("series"))
    } else {
        (path.parent().unwrap_or(Path::new(".")), path.to_owned())
    };
    let folder = fs::canonicalize(folder)
        .map_err(|error| Usage(format!("there is no series at {}: {error}", path.display())))?;
    let files: Vec<PathBuf> = if list.is_file() {
        let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        listed(&text, &list)?
            .iter()
            .map(|name| folder.join(name))
            .collect()
    } else {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut files: Vec<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| is_patch(file));
        files.sort();
        files
    };
    if let Some(other) = files.iter().find(|file| !is_patch(file)) {
        let text = format!(
            "{}: a patch's name ends with .patch or .diff",
            other.display()
        );
        return Err(Usage(text).into());
    }
    if files.is_empty() {
        let text = format!("{}: there is no patch in it", path.display());
        return Err(Usage(text).into());
    }
    Ok(files)
}

/// Names in a quilt series; see quilt(1).
fn listed(text: &str, file: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        if let Some(option) = words.find(|option| *option != "-p1") {
            return Err(Usage(format!(
                "{}:{number}: `{option}` is not understood: patches are applied with -p1",
                file.display()
            ))
            .into());
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn what_touches_the_bugs_files_is_suspected_first() {
        let likely = ["kernel/sched/".to_owned()];
        assert_eq!(
            weight(&paths(&["mm/slub.c", "kernel/sched/fair.c"]), &likely),
            LIKELY
        );
        assert_eq!(
            weight(&paths(&["mm/slub.c", "Documentation/x"]), &likely),
            1.0
        );
        assert_eq!(
            weight(&paths(&["Documentation/x", "tools/y"]), &likely),
            UNLIKELY
        );
        assert_eq!(
            weight(&paths(&[]), &likely),
            1.0,
            "nobody knows what it touches"
        );
    }

    #[test]
    fn a_series_is_a_list_or_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";
        for name in ["b.patch", "a.diff", "notes.txt"] {
            fs::write(root.join(name), diff).unwrap();
        }
        assert_eq!(
            series(&root).unwrap(),
            [root.join("a.diff"), root.join("b.patch")]
        );
        fs::write(
            root.join("series"),
            "# first\nb.patch -p1\n\na.diff # last\n",
        )
        .unwrap();
        let in_order = [root.join("b.patch"), root.join("a.diff")];
        assert_eq!(series(&root).unwrap(), in_order);
        assert_eq!(series(&root.join("series")).unwrap(), in_order);
        let found = Candidates::of_series(&root, Direction::Broke, &[]).unwrap();
        let labels: Vec<&str> = found
            .entries
            .iter()
            .map(|one| one.candidate.label.as_str())
            .collect();
        assert_eq!(labels, ["base", "01-b", "02-a"]);
        let Origin::Patches(last) = &found.entries[2].origin else {
            panic!("{found:?}");
        };
        assert_eq!(last.len(), 2);
        found.range().unwrap();
    }

    #[test]
    fn a_series_that_is_none_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let error = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(dir.path().join("series"), text).unwrap();
            }
            let found = Candidates::of_series(dir.path(), Direction::Broke, &[]);
            found.unwrap_err().to_string()
        };
        assert!(error(None).contains("no patch"));
        assert!(error(Some("a.patch\nb.patch -p0\n")).contains("series:2: `-p0`"));
        assert!(error(Some("a\n")).contains(".patch or .diff"));
        assert!(error(Some("a.patch\n")).contains("cannot read"));
    }
}
