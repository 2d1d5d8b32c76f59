//! Commits of git repositories, exported into the cache.
//!
//! A repository on this machine is only read: nothing is checked out in it, and no worktree is
//! noted there. Of one behind a URL the cache keeps a bare mirror that holds only the commits that
//! were asked for, without their history.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use kverdict_core::catalogue::key::sha256_hex;
use kverdict_core::catalogue::source::GitSource;
use xshell::{Cmd, Shell, cmd};

use super::cache::{Cache, write_whole};
use super::file::resolve;
use super::inventory::Kind;
use super::repository::Repository;
use super::source::{Source, unpacked};
use super::unpack;
use crate::process::{Ending, Job, describe, tail_of};
use crate::progress::Progress;

/// A kernel without history is 250 MB.
const FETCH_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
const ASK_LIMIT: Duration = Duration::from_secs(2 * 60);
const ARCHIVE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Settings of a repository or a user that would change what is read, or write while reading.
pub(super) const NEUTRAL: [&str; 8] = [
    "-c",
    "safe.directory=*",
    "-c",
    "core.autocrlf=false",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.attributesFile=",
];

/// Gets the source of a commit.
///
/// # Errors
/// When the repository or the reference is not there, or cannot be fetched.
pub fn obtain(
    spec: &GitSource,
    folder: Option<&Path>,
    cache: &Cache,
    progress: &Progress,
) -> Result<Source> {
    match (&spec.url, &spec.path) {
        (Some(url), _) => remote(url, &spec.reference, cache, progress),
        (None, Some(path)) => local(&resolve(path, folder)?, &spec.reference, cache, progress),
        (None, None) => bail!("a git source needs a path or a URL"),
    }
}

fn local(path: &Path, reference: &str, cache: &Cache, progress: &Progress) -> Result<Source> {
    let repository = Repository::open(path)?;
    let commit = repository.commit(reference)?;
    let about = format!("git {} {reference} ({commit:.12})", path.display());
    unpacked(&commit, about, cache, progress, |target| {
        export(&repository, &commit, target, cache, progress)
    })
}

fn remote(url: &str, reference: &str, cache: &Cache, progress: &Progress) -> Result<Source> {
    let mirror = Mirror {
        dir: cache.git_mirror(&sha256_hex(url.as_bytes())),
        url,
        cache,
        progress,
    };
    let commit = mirror.resolve(reference)?;
    let about = format!("git {url} {reference} ({commit:.12})");
    let source = unpacked(&commit, about, cache, progress, |target| {
        mirror.bring(&commit, reference)?;
        let repository = Repository::open(&mirror.dir)?;
        export(&repository, &commit, target, cache, progress)
    })?;
    mirror.remember(reference, &commit)?;
    Ok(source)
}

/// The commit that a branch, tag or id names now in a repository behind a URL.
///
/// # Errors
/// When the repository does not answer, or has none of that name.
pub fn remote_commit(
    url: &str,
    reference: &str,
    cache: &Cache,
    progress: &Progress,
) -> Result<String> {
    let mirror = Mirror {
        dir: cache.git_mirror(&sha256_hex(url.as_bytes())),
        url,
        cache,
        progress,
    };
    mirror.resolve(reference)
}

/// The cache's copy of a repository behind a URL.
struct Mirror<'a> {
    dir: PathBuf,
    url: &'a str,
    cache: &'a Cache,
    progress: &'a Progress,
}

impl Mirror<'_> {
    /// The commit that a reference names now; without a network, the one that it named last.
    fn resolve(&self, reference: &str) -> Result<String> {
        if is_commit_id(reference) {
            return Ok(reference.to_owned());
        }
        let listing = match self.list(reference) {
            Ok(listing) => listing,
            Err(error) => return self.last_known(reference).ok_or(error),
        };
        best_match(&listing, reference).ok_or_else(|| {
            anyhow!(
                "{} has no tag or branch `{reference}`; of a commit give all 40 digits of its id",
                self.url
            )
        })
    }

    /// What the other side has under a name.
    fn list(&self, reference: &str) -> Result<String> {
        let scratch = self.cache.scratch()?;
        let log = scratch.path().join("git.log");
        let ending = Job::new("git", ASK_LIMIT)
            .args(["ls-remote", "--", self.url, reference])
            .args([format!("{reference}^{{}}")])
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .log(&log)
            .run()?;
        if !is_success(ending) {
            bail!(
                "cannot ask {} for `{reference}`: git {}: {}
is the URL right, and the network there?",
                self.url,
                describe(ending, ASK_LIMIT),
                tail_of(&log, 3)
            );
        }
        Ok(fs::read_to_string(&log)?)
    }

    fn last_known(&self, reference: &str) -> Option<String> {
        let commit = fs::read_to_string(self.memo(reference)).ok()?;
        self.cache.source(&commit).is_dir().then(|| {
            self.progress.line(format!(
                "{} does not answer; `{reference}` is taken as {commit:.12}, as last time",
                self.url
            ));
            commit
        })
    }

    /// Fetches one commit without its history, unless it is here.
    fn bring(&self, commit: &str, reference: &str) -> Result<()> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".git");
        self.cache.keep(Kind::Git, name, self.url)?;
        let _lock = self.cache.lock(
            &format!("git-{name}"),
            "fetches from the same repository",
            self.progress,
        )?;
        let shell = quiet_shell()?;
        if !self.dir.is_dir() {
            let dir = &self.dir;
            cmd!(shell, "git init --quiet --bare {dir}").quiet().run()?;
        }
        let object = format!("{commit}^{{tree}}");
        let is_here = git(&shell, &self.dir)
            .args(["cat-file", "-e", &object])
            .quiet()
            .ignore_stderr()
            .run();
        if is_here.is_ok() {
            return Ok(());
        }
        self.remove_leftovers()?;
        let scratch = self.cache.scratch()?;
        let log = scratch.path().join("git.log");
        let task = self
            .progress
            .task(format!("fetching {reference} of {}", self.url), 0);
        // Kept by a reference, so that what comes later need not bring the same files again.
        let refspec = format!("+{commit}:refs/kverdict/{commit}");
        let fetch = |what: &str| {
            Job::new("git", FETCH_LIMIT)
                .args(["-C".as_ref(), self.dir.as_os_str()])
                .args([
                    "fetch",
                    "--quiet",
                    "--depth=1",
                    "--no-tags",
                    "--",
                    self.url,
                    what,
                ])
                .env("GIT_TERMINAL_PROMPT", "0")
                .env("LC_ALL", "C")
                .log(&log)
                .run()
        };
        let mut ending = fetch(&refspec)?;
        if !is_success(ending) && !is_commit_id(reference) {
            // An old server gives out no commit by its id, only what a name leads to.
            ending = fetch(&format!("+{reference}:refs/kverdict/{commit}"))?;
        }
        drop(task);
        if is_success(ending) {
            return Ok(());
        }
        bail!(
            "git fetch of {reference} from {} {}: {}\nrun it again, or clone the repository by other means and give its `path`",
            self.url,
            describe(ending, FETCH_LIMIT),
            tail_of(&log, 3)
        )
    }

    /// Half packs of fetches that were cut; git cannot go on with them and would keep them.
    fn remove_leftovers(&self) -> Result<()> {
        let packs = self.dir.join("objects/pack");
        for entry in fs::read_dir(packs).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp_") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn memo(&self, reference: &str) -> PathBuf {
        self.dir
            .with_extension(format!("{}.ref", sha256_hex(reference.as_bytes())))
    }

    fn remember(&self, reference: &str, commit: &str) -> Result<()> {
        if is_commit_id(reference) {
            return Ok(());
        }
        write_whole(&self.memo(reference), commit.as_bytes())
    }
}

/// Unpacks a commit to `target`.
fn export(
    repository: &Repository,
    commit: &str,
    target: &Path,
    cache: &Cache,
    progress: &Progress,
) -> Result<()> {
    let scratch = cache.scratch()?;
    let tarball = scratch.path().join("commit.tar");
    let task = progress.task(format!("exporting {commit:.12}"), 0);
    let contents = repository.contents(cache)?;
    let archive = contents
        .git(ARCHIVE_LIMIT)
        .args(["archive", "--format=tar", "--prefix=linux/"])
        .args(["--output".as_ref(), tarball.as_os_str()])
        .args([commit])
        .log(scratch.path().join("git.log"));
    contents.run(&archive, commit)?;
    drop(task);
    unpack::tarball(&tarball, target, cache, progress)
}

/// What a commit of a repository here changes.
#[derive(Debug)]
pub enum CommitDiff {
    /// As a unified diff.
    Diff(Vec<u8>),
    /// The repository does not have it, or not all of it.
    Lacking(String),
}

/// Whether there is a git repository in a folder.
///
/// # Errors
/// When no shell can be made.
pub fn is_repository(folder: &Path) -> Result<bool> {
    let shell = quiet_shell()?;
    Ok(read(git(&shell, folder).args(["rev-parse", "--git-dir"])).is_ok())
}

/// Reads what a commit changes, whatever the repository's and the user's settings make of diffs.
///
/// # Errors
/// When git is not there.
pub fn commit_diff(repository: &Path, id: &str) -> Result<CommitDiff> {
    let shell = quiet_shell()?;
    // A replacement is not the commit.
    shell.set_var("GIT_NO_REPLACE_OBJECTS", "1");
    // It would win over the options below.
    shell.set_var("GIT_DIFF_OPTS", "");
    let wanted = format!("{id}^{{commit}}");
    let question = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &wanted,
    ];
    let Ok(commit) = read(git(&shell, repository).args(question)) else {
        return Ok(CommitDiff::Lacking(
            "the repository does not have it".to_owned(),
        ));
    };
    let output = git(&shell, repository)
        .args([
            "-c",
            "diff.suppressBlankEmpty=false",
            "-c",
            "core.quotePath=false",
        ])
        .args(["diff-tree", "--root", "--no-commit-id", "-r", "--patch"])
        .args([
            "--unified=3",
            "--text",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
        ])
        .args([
            "--no-color",
            "--full-index",
            "--src-prefix=a/",
            "--dst-prefix=b/",
        ])
        .args(["--diff-algorithm=myers", "--no-indent-heuristic", &commit])
        .quiet()
        .ignore_status()
        .ignore_stderr()
        .output()?;
    Ok(match (output.status.success(), output.stdout.is_empty()) {
        (true, false) => CommitDiff::Diff(output.stdout),
        (true, true) => CommitDiff::Lacking("it is a merge, or changes nothing".to_owned()),
        (false, _) => CommitDiff::Lacking(
            "the repository has the commit without its files: it is a partial clone".to_owned(),
        ),
    })
}

/// Of `ID<tab>NAME` lines: a tag's commit rather than the tag, and a tag rather than a branch, as
/// git itself prefers.
fn best_match(listing: &str, reference: &str) -> Option<String> {
    let wanted = [
        format!("refs/tags/{reference}^{{}}"),
        format!("refs/tags/{reference}"),
        format!("refs/heads/{reference}"),
        format!("{reference}^{{}}"),
        reference.to_owned(),
    ];
    let lines: Vec<(&str, &str)> = listing
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    wanted.iter().find_map(|name| {
        let (id, _) = lines.iter().find(|(_, found)| found == name)?;
        is_commit_id(id).then(|| (*id).to_owned())
    })
}

fn is_commit_id(text: &str) -> bool {
    text.len() == 40
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

fn is_success(ending: Ending) -> bool {
    matches!(ending, Ending::Exited(status) if status.success())
}

/// A shell in which git only looks at a repository. It does not fetch what a partial clone lacks: that would write to
/// it, by programs that its settings name.
pub(super) fn quiet_shell() -> Result<Shell> {
    let shell = Shell::new()?;
    shell.set_var("GIT_OPTIONAL_LOCKS", "0");
    shell.set_var("GIT_TERMINAL_PROMPT", "0");
    shell.set_var("GIT_NO_LAZY_FETCH", "1");
    // No protocol, for a git too old to know that.
    shell.set_var("GIT_ALLOW_PROTOCOL", "");
    shell.set_var("LC_ALL", "C");
    Ok(shell)
}

/// Git in a repository of somebody.
pub(super) fn git<'a>(shell: &'a Shell, repository: &Path) -> Cmd<'a> {
    cmd!(shell, "git").args(NEUTRAL).arg("-C").arg(repository)
}

pub(super) fn read(command: Cmd<'_>) -> Result<String> {
    Ok(command.quiet().ignore_stderr().read()?)
}

#[cfg(test)]
mod tests {
    use super::super::repository::tests::Hostile;
    use super::*;

    /// The files of `HEAD` of a repository beside a hostile one, as they are exported.
    fn exported(hostile: &Hostile, name: &str) -> Result<PathBuf> {
        let cache = Cache::at(&hostile.path(&format!("cache of {name}")))?;
        let progress = Progress::detect();
        Ok(local(&hostile.path(name), "HEAD", &cache, &progress)?.root)
    }

    fn assert_is_whole(tree: &Path) {
        let read = |name| fs::read_to_string(tree.join(name)).unwrap();
        assert_eq!(read("sub/file"), "text\n");
        assert!(read("id").starts_with("$Id: "), "{}", read("id"));
        assert!(
            !tree.join("secret").exists(),
            "export-ignore was not heeded"
        );
    }

    #[test]
    fn an_export_runs_none_of_the_repositorys_programs() {
        let hostile = Hostile::new("sha1");
        let tree = exported(&hostile, "here").unwrap();
        hostile.assert_none_ran();
        assert_is_whole(&tree);
    }

    #[test]
    fn commits_are_found_wherever_their_repository_keeps_them() {
        let hostile = Hostile::new("sha1");
        hostile.sh("git -C here worktree add -q --detach ../worktree");
        hostile.sh("git clone -q --depth=1 file://$PWD/here shallow");
        hostile.sh("git clone -q --mirror here bare");
        hostile.sh("git clone -q --shared here shared && git clone -q --shared shared twice");
        hostile.sh("echo ../../../shared/.git/objects >twice/.git/objects/info/alternates");
        for name in ["worktree", "shared", "twice", "shallow", "bare"] {
            assert_is_whole(&exported(&hostile, name).expect(name));
        }
        let other = Hostile::new("sha256");
        assert_is_whole(&exported(&other, "here").unwrap());
        other.assert_none_ran();
    }

    #[test]
    fn a_partial_clone_says_what_brings_the_rest() {
        let hostile = Hostile::new("sha1");
        hostile.sh("git clone -q --no-checkout --filter=blob:none file://$PWD/here partial");
        let text = format!("{:#}", exported(&hostile, "partial").unwrap_err());
        let command = text.split('`').nth(1).expect(&text);
        hostile.sh(command);
        assert_is_whole(&exported(&hostile, "partial").unwrap());
    }

    #[test]
    fn a_tag_is_taken_for_its_commit() {
        let (tag, commit, branch) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        let listing =
            format!("{branch}\trefs/heads/v1\n{tag}\trefs/tags/v1\n{commit}\trefs/tags/v1^{{}}\n");
        assert_eq!(best_match(&listing, "v1"), Some(commit));
        assert_eq!(
            best_match(&format!("{branch}\trefs/heads/v1\n"), "v1"),
            Some(branch)
        );
        assert_eq!(best_match(&listing, "v"), None);
    }
}
