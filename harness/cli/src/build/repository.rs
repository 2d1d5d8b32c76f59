//! A git repository on this machine, which is only read: what its names mean and which commits lie
//! between two of them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use xshell::Shell;

use super::git::{git, quiet_shell, read};

/// A repository.
#[derive(Debug)]
pub struct Repository {
    shell: Shell,
    git_dir: PathBuf,
}

/// A commit of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its full id.
    pub id: String,
    /// First line of its message.
    pub subject: String,
    /// Places in the range of its parents, as far as they are in it.
    pub parents: Vec<usize>,
    /// Files that it changes; those of a merge are what it changes against its first parent.
    pub paths: BTreeSet<String>,
}

impl Repository {
    /// Finds the repository of a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let shell = quiet_shell()?;
        let found = read(git(&shell, folder).args(["rev-parse", "--absolute-git-dir"]));
        let git_dir =
            found.with_context(|| format!("there is no git repository at {}", folder.display()))?;
        Ok(Self {
            shell,
            git_dir: PathBuf::from(git_dir),
        })
    }

    /// Where git keeps it.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The commit that a name stands for.
    ///
    /// # Errors
    /// When it stands for none.
    pub fn commit(&self, name: &str) -> Result<String> {
        let wanted = format!("{name}^{{commit}}");
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
        read(git(&self.shell, &self.git_dir).args(words).arg(&wanted)).with_context(|| {
            format!(
                "the repository {} has no commit `{name}`: name a tag, branch or commit that `git rev-parse` knows",
                self.git_dir.display()
            )
        })
    }

    /// Whether `later` contains `earlier`.
    pub fn contains(&self, later: &str, earlier: &str) -> bool {
        let words = ["merge-base", "--is-ancestor", earlier, later];
        git(&self.shell, &self.git_dir)
            .args(words)
            .quiet()
            .ignore_stderr()
            .run()
            .is_ok()
    }

    /// The commits that `last` contains and `first` does not, parents before children.
    ///
    /// # Errors
    /// When git cannot list them.
    pub fn range(&self, first: &str, last: &str) -> Result<Vec<Commit>> {
        // NUL bytes stand in no subject and in no path.
        let listing = read(
            git(&self.shell, &self.git_dir)
                .args(["-c", "core.quotePath=false"])
                .args(["log", "--topo-order", "--reverse", "--name-only"])
                .args(["--diff-merges=first-parent", "--no-renames", "--no-notes"])
                .args(["--no-show-signature", "--no-color"])
                .args(["--format=%x00%H%x00%P%x00%s"])
                .arg(format!("{first}..{last}")),
        )
        .with_context(|| format!("cannot list the commits {first}..{last}"))?;
        parse(&listing).ok_or_else(|| anyhow!("git log wrote something else than was asked for"))
    }
}

/// `None`: not in the format of [`Repository::range`].
fn parse(listing: &str) -> Option<Vec<Commit>> {
    let mut fields = listing.split('\0').skip(1);
    let mut places = HashMap::new();
    let mut commits: Vec<Commit> = Vec::new();
    while let Some(id) = fields.next() {
        let parents = fields.next()?.split(' ');
        let parents = parents.filter_map(|id| places.get(id).copied()).collect();
        let mut lines = fields.next()?.lines();
        places.insert(id, commits.len());
        commits.push(Commit {
            id: id.to_owned(),
            subject: lines.next().unwrap_or_default().to_owned(),
            parents,
            paths: lines
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect(),
        });
    }
    Some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_becomes_commits_with_their_parents_places() {
        let listing = "\0aa\0outside\0first one\n\nkernel/sched/fair.c\nMakefile\n\
                       \0bb\0aa\0second\n\0cc\0aa bb\0Merge branch\n\nb.c\n";
        let commits = parse(listing).unwrap();
        let of = |index: usize| &commits[index];
        assert_eq!((of(0).id.as_str(), of(0).parents.len()), ("aa", 0));
        assert!(of(0).paths.contains("kernel/sched/fair.c") && of(0).paths.len() == 2);
        assert_eq!(
            (of(1).subject.as_str(), &of(1).parents),
            ("second", &vec![0])
        );
        assert!(of(1).paths.is_empty());
        assert_eq!(of(2).parents, [0, 1]);
        assert_eq!(parse("\0aa\0"), None);
        assert_eq!(parse(""), Some(Vec::new()));
    }
}
