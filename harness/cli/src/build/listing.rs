//! The files of a local source tree and the digest of their contents.
//!
//! Hashing a kernel tree takes seconds, so what is known about each file is remembered. It is
//! believed only while size, inode, mode, mtime and ctime are the same, and only if the file had
//! been at rest for a second when it was read: no tool can set ctime back, and a change within the
//! clock's granularity cannot hide.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::key::sha256_hex;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::cache::write_whole;
use super::git::{git, quiet_shell};

/// Files whose presence in a tree means that it was built in place.
const BUILT_IN_PLACE: [&str; 3] = [".config", "include/config", "include/generated"];
/// How long a file must have been at rest for its digest to be remembered.
const REST_NS: i128 = 1_000_000_000;

/// The files of a tree.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Listing {
    taken_ns: i128,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Size, inode, mode, mtime and ctime.
    stat: (u64, u64, u32, i128, i128),
    /// What the file is and holds.
    digest: String,
}

impl Listing {
    /// Lists a tree, remembering at `memo`.
    ///
    /// In a git work tree the files are those that git does not ignore; elsewhere all of them, and
    /// then a tree that was built in place is refused, as its leftovers would enter the build.
    ///
    /// # Errors
    /// When the tree is none, was built in place, or cannot be read.
    pub fn of(tree: &Path, memo: &Path) -> Result<Self> {
        if !tree.join("Makefile").is_file() || !tree.join("Kconfig").is_file() {
            bail!(
                "{} is not a kernel source tree: it has no Makefile and Kconfig",
                tree.display()
            );
        }
        let known: Self = fs::read(memo)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let mut listing = Self {
            taken_ns: now_ns()?,
            files: BTreeMap::new(),
        };
        for path in paths(tree)? {
            let full = tree.join(&path);
            // Git also lists files that were deleted and not yet staged.
            let Ok(data) = fs::symlink_metadata(&full) else {
                continue;
            };
            if data.is_dir() {
                continue;
            }
            let stat = stat_of(&data);
            let digest = match known.believed(&path, stat) {
                Some(digest) => digest.to_owned(),
                None => digest_of(&full, &data)?,
            };
            listing.files.insert(path, Entry { stat, digest });
        }
        write_whole(memo, &serde_json::to_vec(&listing)?)?;
        Ok(listing)
    }

    /// Digest of all contents.
    pub fn digest(&self) -> String {
        let text: String = self
            .files
            .iter()
            .map(|(path, entry)| format!("{path}\0{}\n", entry.digest))
            .collect();
        sha256_hex(text.as_bytes())
    }

    /// Path and content digest of every file.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.files
            .iter()
            .map(|(path, entry)| (path.clone(), entry.digest.clone()))
            .collect()
    }

    fn believed(&self, path: &str, stat: (u64, u64, u32, i128, i128)) -> Option<&str> {
        let entry = self.files.get(path)?;
        let at_rest = entry.stat.4 + REST_NS < self.taken_ns;
        (entry.stat == stat && at_rest).then_some(entry.digest.as_str())
    }
}

fn now_ns() -> Result<i128> {
    Ok(i128::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos(),
    )?)
}

fn stat_of(data: &fs::Metadata) -> (u64, u64, u32, i128, i128) {
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    (
        data.size(),
        data.ino(),
        data.mode(),
        ns(data.mtime(), data.mtime_nsec()),
        ns(data.ctime(), data.ctime_nsec()),
    )
}

fn digest_of(path: &Path, data: &fs::Metadata) -> Result<String> {
    let place = || format!("cannot read {}", path.display());
    if data.is_symlink() {
        let target = fs::read_link(path).with_context(place)?;
        return Ok(format!("link:{}", target.display()));
    }
    let kind = if data.mode() & 0o111 == 0 {
        "file"
    } else {
        "program"
    };
    Ok(format!(
        "{kind}:{}",
        sha256_hex(&fs::read(path).with_context(place)?)
    ))
}

fn paths(tree: &Path) -> Result<BTreeSet<String>> {
    if tree.join(".git").exists() {
        return git_paths(tree);
    }
    if let Some(leftover) = BUILT_IN_PLACE.iter().find(|name| tree.join(name).exists()) {
        bail!(
            "{} was built in place ({leftover} is there): run `make mrproper` in it, or give a git work tree, where ignored files are left out",
            tree.display()
        );
    }
    let mut found = BTreeSet::new();
    for entry in WalkDir::new(tree).min_depth(1) {
        let entry = entry.with_context(|| format!("cannot list {}", tree.display()))?;
        if !entry.file_type().is_dir() {
            found.insert(utf8(entry.path().strip_prefix(tree)?)?);
        }
    }
    Ok(found)
}

fn git_paths(tree: &Path) -> Result<BTreeSet<String>> {
    let shell = quiet_shell()?;
    let output = git(&shell, tree)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .quiet()
        .read()
        .with_context(|| format!("cannot ask git for the files of {}", tree.display()))?;
    let paths = output.split('\0').filter(|path| !path.is_empty());
    let mut paths: BTreeSet<String> = paths.map(str::to_owned).collect();
    // An index that came with the tree can hold any name.
    if let Some(path) = paths.iter().find(|path| leads_out(path)) {
        bail!(
            "the name {path:?} in git's index of {} leads out of it: this is no source to trust",
            tree.display()
        );
    }
    // What lies behind a link is not in the tree: git, too, takes it for deleted.
    let links = links_among_folders(tree, &paths);
    paths.retain(|path| {
        let folder = Path::new(path).parent();
        !folder.is_some_and(|folder| links.iter().any(|link| folder.starts_with(link)))
    });
    Ok(paths)
}

fn leads_out(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !parts.all(|part| matches!(part, Component::Normal(_)))
}

fn links_among_folders(tree: &Path, paths: &BTreeSet<String>) -> Vec<PathBuf> {
    let folders: HashSet<&Path> = paths
        .iter()
        .flat_map(|path| Path::new(path).ancestors().skip(1))
        .collect();
    folders
        .into_iter()
        .filter(|folder| tree.join(folder).is_symlink())
        .map(Path::to_owned)
        .collect()
}

fn utf8(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        anyhow!(
            "the file name {} is not UTF-8",
            PathBuf::from(path).display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::{Shell, cmd};

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["Makefile", "Kconfig", "a.c"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    #[test]
    fn the_digest_follows_contents_and_not_times() {
        let (tree, memo) = (tree(), tempfile::tempdir().unwrap());
        let memo = memo.path().join("m.json");
        let first = Listing::of(tree.path(), &memo).unwrap();
        fs::write(tree.path().join("a.c"), "a.c").unwrap();
        assert_eq!(
            Listing::of(tree.path(), &memo).unwrap().digest(),
            first.digest()
        );
        // Same size and at once: only the rule about files at rest sees it.
        fs::write(tree.path().join("a.c"), "b.c").unwrap();
        assert_ne!(
            Listing::of(tree.path(), &memo).unwrap().digest(),
            first.digest()
        );
    }

    #[test]
    fn a_tree_that_was_built_in_place_is_refused() {
        let (tree, memo) = (tree(), tempfile::tempdir().unwrap());
        fs::write(tree.path().join(".config"), "").unwrap();
        let error = Listing::of(tree.path(), &memo.path().join("m")).unwrap_err();
        assert!(error.to_string().contains("make mrproper"), "{error}");
    }

    #[test]
    fn in_a_git_work_tree_ignored_files_are_left_out() {
        let (tree, memo) = (tree(), tempfile::tempdir().unwrap());
        let path = tree.path();
        fs::write(path.join(".gitignore"), "*.o\n.config\n").unwrap();
        fs::write(path.join("a.o"), "").unwrap();
        fs::write(path.join(".config"), "").unwrap();
        let shell = Shell::new().unwrap();
        cmd!(shell, "git init -q {path}").quiet().run().unwrap();
        let digests = Listing::of(path, &memo.path().join("m")).unwrap().digests();
        let names: Vec<_> = digests.keys().map(String::as_str).collect();
        assert_eq!(names, [".gitignore", "Kconfig", "Makefile", "a.c"]);
    }

    /// Runs a script in a tree.
    fn sh(tree: &Path, script: &str) {
        let shell = Shell::new().unwrap();
        shell.change_dir(tree);
        cmd!(shell, "sh -e -c {script}").quiet().run().unwrap();
    }

    #[test]
    fn looking_at_a_git_work_tree_runs_none_of_its_programs() {
        let (tree, aside) = (tree(), tempfile::tempdir().unwrap());
        let marks = aside.path().join("ran");
        fs::create_dir(&marks).unwrap();
        let ran = marks.display();
        fs::write(tree.path().join(".gitignore"), "*.o\n").unwrap();
        fs::write(tree.path().join("a.o"), "").unwrap();
        // The rules of what to ignore are in the index only, and have to be fetched.
        let script = format!(
            "git init -q . && git add . && git update-index --skip-worktree .gitignore
             rm -r .gitignore .git/objects/??
             git config core.fsmonitor 'touch {ran}/fsmonitor; false'
             git config core.repositoryFormatVersion 1
             git config extensions.partialClone origin
             git config remote.origin.promisor true
             git config remote.origin.url ssh://nowhere.invalid/x
             git config core.sshCommand 'touch {ran}/ssh; false'
             git ls-files --others --exclude-standard 2>{ran}/said
             cd {ran} && rm said fsmonitor ssh"
        );
        sh(tree.path(), &script);
        let digests = Listing::of(tree.path(), &aside.path().join("m"))
            .unwrap()
            .digests();
        let ran: Vec<_> = fs::read_dir(&marks).unwrap().flatten().collect();
        assert!(ran.is_empty(), "{ran:?}");
        // Ignored or not is then not known.
        let names: Vec<_> = digests.keys().map(String::as_str).collect();
        assert_eq!(names, ["Kconfig", "Makefile", "a.c", "a.o"]);
    }

    #[test]
    fn names_in_an_index_do_not_lead_out_of_the_tree() {
        let (tree, aside) = (tree(), tempfile::tempdir().unwrap());
        let path = tree.path();
        fs::write(aside.path().join("x"), "").unwrap();
        let outside = aside.path().display();
        let script = format!(
            "git init -q . && mkdir sub && echo > sub/x && git add . && rm -r sub
             ln -s {outside} sub && ln -s {outside} ignored && echo ignored > .git/info/exclude
             git update-index --index-info <<END
100644 e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\tignored/x
END"
        );
        sh(path, &script);
        let memo = aside.path().join("m");
        let digests = Listing::of(path, &memo).unwrap().digests();
        let names: Vec<_> = digests.keys().map(String::as_str).collect();
        assert_eq!(names, ["Kconfig", "Makefile", "a.c", "sub"]);

        // No git writes such a name, but all read it.
        let index = path.join(".git/index");
        for name in ["../xx", "/xxxx"] {
            sh(path, "rm .git/index; echo > 12345; git add 12345");
            let mut bytes = fs::read(&index).unwrap();
            let place = bytes.windows(5).position(|part| part == b"12345").unwrap();
            bytes[place..place + 5].copy_from_slice(name.as_bytes());
            // Its sum is wrong now, at which only `git fsck` looks.
            fs::write(&index, bytes).unwrap();
            let error = Listing::of(path, &memo).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
