//! A git repository on this machine, which is only read: what its names mean and which commits lie
//! between two of them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use xshell::{Shell, cmd};

use super::cache::{Cache, Scratch};
use super::git::{NEUTRAL, git, quiet_shell, read};
use crate::process::{Job, shell_word};

/// Whether all of a kernel is there takes a second to tell.
const LOOK_LIMIT: Duration = Duration::from_secs(10 * 60);

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
        .with_context(|| {
            format!(
                "cannot list the commits {first}..{last}; {}",
                self.completion()
            )
        })?;
        parse(&listing).ok_or_else(|| anyhow!("git log wrote something else than was asked for"))
    }

    /// What it holds, apart from its settings.
    ///
    /// # Errors
    /// When no folder for that can be made.
    pub fn contents(&self, cache: &Cache) -> Result<Contents> {
        let question = ["rev-parse", "--show-object-format", "--git-path", "objects"];
        let answer = read(git(&self.shell, &self.git_dir).args(question))?;
        let (format, objects) = answer
            .split_once('\n')
            .ok_or_else(|| anyhow!("git rev-parse wrote something else than was asked for"))?;
        let own = cache.scratch()?;
        let dir = own.path();
        cmd!(
            self.shell,
            "git init --quiet --bare --template= --object-format={format} {dir}"
        )
        .quiet()
        .run()?;
        let objects = self.git_dir.join(objects);
        Ok(Contents {
            objects: fs::canonicalize(&objects)
                .with_context(|| format!("cannot read {}", objects.display()))?,
            own,
            completion: self.completion(),
        })
    }

    /// What to do when something is missing in it.
    fn completion(&self) -> String {
        format!(
            "`git -C {} fetch --refetch --no-filter` fetches what a partial clone lacks",
            shell_word(self.git_dir.as_os_str())
        )
    }
}

/// What a repository holds, seen from an empty one of our own: no setting, hook, attribute, replacement or remote
/// of the other applies, nor does a setting of the user's. So nothing runs and nothing is fetched, and a commit is the
/// same whoever reads it.
#[derive(Debug)]
pub struct Contents {
    objects: PathBuf,
    own: Scratch,
    completion: String,
}

impl Contents {
    /// Git, to be told what to do with a commit, whose id it has to be given.
    pub fn git(&self, limit: Duration) -> Job {
        Job::new("git", limit)
            .args(NEUTRAL)
            .env("GIT_DIR", self.own.path())
            .env("GIT_OBJECT_DIRECTORY", &self.objects)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("LC_ALL", "C")
    }

    /// Runs what takes all files of a commit.
    ///
    /// # Errors
    /// When it fails; if files are missing, that and what to do.
    pub fn run(&self, job: &Job, commit: &str) -> Result<()> {
        let Err(error) = job.run_checked() else {
            return Ok(());
        };
        let list = ["rev-list", "--objects", "--no-walk", "--quiet", commit];
        if self.git(LOOK_LIMIT).args(list).capture()?.status.success() {
            return Err(error);
        }
        Err(error.context(format!(
            "the repository lacks files of {commit:.12}: {}",
            self.completion
        )))
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
pub(super) mod tests {
    use super::*;

    /// A repository, beside others, whose settings name programs and whose hook is one: each leaves a mark when it runs.
    pub struct Hostile {
        dir: tempfile::TempDir,
    }

    impl Hostile {
        /// One commit, whose id is of this format. That the programs do run is tried.
        pub fn new(format: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let hostile = Self { dir };
            fs::create_dir(hostile.path("ran")).unwrap();
            let ran = hostile.path("ran").display().to_string();
            hostile.sh(&format!(
                "git init -q --object-format={format} here && cd here
                 touch Makefile Kconfig && echo secret >secret && echo '$Id$' >id
                 mkdir sub && echo text >sub/file
                 printf '* filter=x\nid ident\nsecret export-ignore\n' >.gitattributes
                 git add . && git -c user.name=x -c user.email=x@x commit -qm x
                 git config uploadpack.allowFilter true
                 git config filter.x.smudge 'touch {ran}/smudge; echo smudged'
                 mkdir -p .git/hooks && printf '#!/bin/sh\ntouch {ran}/hook\n' >.git/hooks/post-index-change
                 chmod +x .git/hooks/post-index-change
                 git read-tree HEAD && git archive HEAD >../tar && rm ../tar {ran}/hook {ran}/smudge"
            ));
            hostile
        }

        /// A path beside it; it is `here` itself.
        pub fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        /// Runs a script beside it.
        pub fn sh(&self, script: &str) {
            let shell = Shell::new().unwrap();
            shell.change_dir(self.dir.path());
            cmd!(shell, "sh -e -c {script}").quiet().run().unwrap();
        }

        /// Fails if one of its programs ran.
        pub fn assert_none_ran(&self) {
            let marks = fs::read_dir(self.path("ran")).unwrap().flatten();
            let marks: Vec<_> = marks.map(|mark| mark.file_name()).collect();
            assert!(marks.is_empty(), "{marks:?}");
        }
    }

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
