//! What patches make of a source: the changed files alone, worked out in a private folder.
//!
//! Nothing of the source is written to, and an arm is only ever handed a finished overlay, so a
//! patch that does not apply leaves nothing half-done.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::BuildKey;
use kverdict_core::catalogue::condition::expression;
use kverdict_core::catalogue::diff::{moved_hunks, rejects, touched_files};
use kverdict_core::catalogue::key::sha256_hex;
use kverdict_core::catalogue::patch::{PatchKind, Step};
use serde::{Deserialize, Serialize};

use super::cache::write_whole;
use super::private_copy::PrivateCopy;
use super::tools::first_line;
use crate::catalogue::Patch;
use crate::process::{Ending, Job, describe, tail_of};

/// spatch stops itself after 120 s.
const SPATCH_LIMIT: Duration = Duration::from_secs(150);
/// What spatch says, with a status that looks like a failure, when a rule matched and changed nothing.
const NOTHING_CHANGED: &str = "no modified files";
const PATCH_LIMIT: Duration = Duration::from_secs(60);

/// Whether a patch is put in or taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Put in.
    Applied,
    /// Taken out.
    Reverted,
}

/// A file as an overlay wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A regular file.
    File {
        /// What it holds.
        bytes: Vec<u8>,
        /// Whether it can be run.
        executable: bool,
    },
    /// A symbolic link to this place.
    Link(PathBuf),
    /// There is no such file.
    Absent,
}

/// Changed files, by path in the tree.
pub type Overlay = BTreeMap<String, Content>;

/// What became of one patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedPatch {
    /// Its name.
    pub name: String,
    /// What it is for; a plain diff does not say.
    pub kind: Option<PatchKind>,
    /// Put in or taken out.
    pub direction: Direction,
    /// Why it exists, in a line; empty for a plain diff.
    #[serde(default)]
    pub reason: String,
    /// Digest of the patch.
    pub digest: String,
    /// The files that it changed, with the SHA-256 of what they held afterwards.
    pub files: BTreeMap<String, String>,
    /// What is worth knowing: hunks that fitted at another line.
    pub notes: Vec<String>,
}

/// A patch that does not fit this source.
#[derive(Debug, thiserror::Error)]
#[error("the patch `{patch}` does not apply: {reason}")]
pub struct Misfit {
    /// Its name.
    pub patch: String,
    /// Which step, file and hunk.
    pub reason: String,
}

impl Content {
    /// What is at a path.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(path: &Path) -> Result<Self> {
        let place = || format!("cannot read {}", path.display());
        let data = match fs::symlink_metadata(path) {
            Ok(data) => data,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(error).with_context(place),
        };
        if data.is_symlink() {
            return Ok(Self::Link(fs::read_link(path).with_context(place)?));
        }
        Ok(Self::File {
            bytes: fs::read(path).with_context(place)?,
            executable: data.permissions().mode() & 0o111 != 0,
        })
    }

    /// Digest of what a file holds, or words for what else it is.
    pub fn digest(&self) -> String {
        match self {
            Self::File { bytes, .. } => sha256_hex(bytes),
            Self::Link(target) => format!("link to {}", target.display()),
            Self::Absent => "deleted".to_owned(),
        }
    }
}

/// Runs patches over the source in `root`: first the reverted ones, then the applied ones, each
/// list in its order. `memo` keeps what rules made of files.
///
/// # Errors
/// [`Misfit`] when one does not fit, anything else when a tool is missing or breaks.
pub fn work_out(
    root: &Path,
    scratch: &Path,
    memo: &Path,
    revert: &[Patch],
    apply: &[Patch],
) -> Result<(Overlay, Vec<AppliedPatch>)> {
    let mut bench = Bench::new(root, scratch, memo)?;
    let reverted = revert.iter().map(|patch| (patch, Direction::Reverted));
    let applied = apply.iter().map(|patch| (patch, Direction::Applied));
    let records = reverted
        .chain(applied)
        .map(|(patch, direction)| bench.run(patch, direction))
        .collect::<Result<_>>()?;
    Ok((bench.copy.changed()?, records))
}

/// Where patches are run on a private copy.
struct Bench<'a> {
    copy: PrivateCopy<'a>,
    /// Results of rules, by everything that goes into them.
    memo: &'a Path,
    spatch_version: OnceCell<String>,
    aside: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(root: &'a Path, scratch: &Path, memo: &'a Path) -> Result<Self> {
        let aside = scratch.join("aside");
        fs::create_dir_all(&aside).with_context(|| format!("cannot create {}", aside.display()))?;
        Ok(Self {
            copy: PrivateCopy::new(root, Overlay::new(), scratch.join("patched"))?,
            memo,
            spatch_version: OnceCell::new(),
            aside,
        })
    }

    fn run(&mut self, patch: &Patch, direction: Direction) -> Result<AppliedPatch> {
        let mut record = AppliedPatch {
            name: patch.name.clone(),
            kind: patch.kind,
            direction,
            reason: patch.reason.clone(),
            digest: patch.digest.clone(),
            files: BTreeMap::new(),
            notes: Vec::new(),
        };
        let mut fitted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (step, bytes) in &patch.steps {
            let changed = match (step, direction) {
                (Step::Diff { file }, Direction::Applied | Direction::Reverted) => {
                    self.diff(patch, file, bytes, direction, &mut record.notes)?
                }
                (Step::Copy { file, to }, Direction::Applied) => {
                    self.copy(patch, file, to, bytes)?
                }
                (
                    Step::Cocci {
                        rule,
                        target,
                        alternative,
                    },
                    Direction::Applied,
                ) => {
                    let changed = self.cocci(patch, rule, target, bytes)?;
                    match alternative {
                        Some(word) => {
                            let list = fitted.entry(word).or_default();
                            list.extend(changed.then_some(rule.as_str()));
                        }
                        None if !changed => {
                            return Err(misfit(
                                patch,
                                format!("the rule {rule} matches nothing in {target}"),
                            ));
                        }
                        None => {}
                    }
                    if changed {
                        BTreeSet::from([target.clone()])
                    } else {
                        BTreeSet::new()
                    }
                }
                (
                    Step::Replace {
                        pattern,
                        by,
                        target,
                    },
                    Direction::Applied,
                ) => self.replace(patch, pattern, by, target)?,
                (Step::Make { variable, add }, Direction::Applied) => {
                    record.notes.push(format!("make {variable} with {add}"));
                    BTreeSet::new()
                }
                (
                    Step::Copy { .. }
                    | Step::Cocci { .. }
                    | Step::Replace { .. }
                    | Step::Make { .. },
                    Direction::Reverted,
                ) => {
                    return Err(misfit(
                        patch,
                        "only unified diffs can be reverted, and it has other steps".to_owned(),
                    ));
                }
            };
            for path in changed {
                let digest = Content::at(&self.copy.path(&path))?.digest();
                record.files.insert(path, digest);
            }
        }
        match fitted.iter().find(|(_, rules)| rules.len() != 1) {
            Some((word, rules)) => Err(misfit(patch, alternatives_text(patch, word, rules))),
            None => Ok(record),
        }
    }

    fn diff(
        &mut self,
        patch: &Patch,
        file: &str,
        bytes: &[u8],
        direction: Direction,
        notes: &mut Vec<String>,
    ) -> Result<BTreeSet<String>> {
        let files = touched_files(&String::from_utf8_lossy(bytes))
            .map_err(|reason| misfit(patch, format!("{file} {reason}")))?;
        for path in &files {
            self.copy.bring(path)?;
        }
        let input = self.aside.join("input.patch");
        fs::write(&input, bytes)?;
        let log = self.fresh_log("patch.log")?;
        // No fuzz: a hunk that lands by guess is no ground for a verdict.
        let job = Job::new("patch", PATCH_LIMIT)
            .args([
                "-p1",
                "--batch",
                "--forward",
                "--fuzz=0",
                "--no-backup-if-mismatch",
            ])
            .args(["--reject-file=-"])
            .args((direction == Direction::Reverted).then_some("--reverse"))
            .args(["--input".as_ref(), input.as_os_str()])
            .dir(self.copy.dir())
            .env("LC_ALL", "C")
            .log(&log);
        let ending = job.run()?;
        let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if matches!(ending, Ending::Exited(status) if status.success()) {
            notes.extend(moved_hunks(&output));
            return Ok(files);
        }
        let lines: Vec<String> = rejects(&output).iter().map(ToString::to_string).collect();
        let reason = if lines.is_empty() {
            format!(
                "`patch` {}: {}",
                describe(ending, PATCH_LIMIT),
                tail_of(&log, 3)
            )
        } else {
            lines.join("; ")
        };
        Err(misfit(patch, format!("{file}: {reason}")))
    }

    fn copy(
        &mut self,
        patch: &Patch,
        file: &str,
        to: &str,
        bytes: &[u8],
    ) -> Result<BTreeSet<String>> {
        self.copy.bring(to)?;
        let target = self.copy.path(to);
        if Content::at(&target)? != Content::Absent {
            return Err(misfit(
                patch,
                format!("{file} would replace {to}, which is there already"),
            ));
        }
        let content = Content::File {
            bytes: bytes.to_vec(),
            executable: false,
        };
        put(&target, &content)?;
        Ok(BTreeSet::from([to.to_owned()]))
    }

    fn replace(
        &mut self,
        patch: &Patch,
        pattern: &str,
        by: &str,
        target: &str,
    ) -> Result<BTreeSet<String>> {
        self.copy.bring(target)?;
        let path = self.copy.path(target);
        let Content::File { bytes, executable } = Content::at(&path)? else {
            return Err(misfit(
                patch,
                format!("there is no file {target} in this source tree"),
            ));
        };
        let regex = expression(pattern).map_err(|reason| misfit(patch, reason))?;
        if !regex.is_match(&bytes) {
            return Err(misfit(
                patch,
                format!("`{pattern}` matches nothing in {target}"),
            ));
        }
        let content = Content::File {
            bytes: regex.replace_all(&bytes, by.as_bytes()).into_owned(),
            executable,
        };
        put(&path, &content)?;
        Ok(BTreeSet::from([target.to_owned()]))
    }

    fn cocci(&mut self, patch: &Patch, rule: &str, target: &str, bytes: &[u8]) -> Result<bool> {
        self.copy.bring(target)?;
        let path = self.copy.path(target);
        let before = Content::at(&path)?;
        if before == Content::Absent {
            return Err(misfit(
                patch,
                format!("the file {target} of rule {rule} is not in this source tree"),
            ));
        }
        let Content::File {
            bytes: source,
            executable,
        } = &before
        else {
            return Err(misfit(
                patch,
                format!("{target}, which the rule {rule} is for, is a link"),
            ));
        };
        let memo = self.memo.join(self.memo_name(bytes, target, source)?);
        let result = match fs::read(&memo) {
            Ok(result) => result,
            Err(_) => {
                let result = self.spatch(patch, rule, target, bytes)?;
                let result = result.unwrap_or_else(|| source.clone());
                write_whole(&memo, &result)?;
                result
            }
        };
        let changed = result != *source;
        let after = Content::File {
            bytes: result,
            executable: *executable,
        };
        put(&path, &after)?;
        Ok(changed)
    }

    /// Rules take seconds each, and all arms run the same ones on the same files.
    fn memo_name(&self, rule: &[u8], target: &str, source: &[u8]) -> Result<String> {
        let spatch = self
            .spatch_version
            .get_or_init(|| first_line(&["spatch", "--version"]).unwrap_or_default());
        let key = BuildKey::of([
            ("spatch", spatch.as_str()),
            ("rule", sha256_hex(rule).as_str()),
            ("target", target),
            ("source", sha256_hex(source).as_str()),
        ]);
        fs::create_dir_all(self.memo)
            .with_context(|| format!("cannot create {}", self.memo.display()))?;
        Ok(key.as_str().to_owned())
    }

    /// What the rule makes of the file; none when it changes nothing.
    fn spatch(
        &self,
        patch: &Patch,
        rule: &str,
        target: &str,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let rule_file = self.aside.join("rule.cocci");
        fs::write(&rule_file, bytes)?;
        let output = self.aside.join("output.c");
        if output.exists() {
            fs::remove_file(&output)?;
        }
        let log = self.fresh_log("spatch.log")?;
        let ending = Job::new("spatch", SPATCH_LIMIT)
            .args(["--very-quiet", "--no-includes", "--timeout", "120"])
            .args(["--sp-file".as_ref(), rule_file.as_os_str(), target.as_ref()])
            .args(["-o".as_ref(), output.as_os_str()])
            // It looks for settings there, and dies without the variable; services have none.
            .env("HOME", &self.aside)
            .dir(self.copy.dir())
            .log(&log)
            .run()?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        // The first line is the command itself, which has the word timeout.
        let said = said.split_once('\n').map_or("", |(_, rest)| rest);
        if said.contains(NOTHING_CHANGED) {
            return Ok(None);
        }
        let succeeded = matches!(ending, Ending::Exited(status) if status.success());
        if !succeeded || said.contains("Fatal error") || said.contains("timeout") {
            bail!(
                "spatch broke on the rule {rule} of `{}` in {target}: it {}\n{}",
                patch.name,
                describe(ending, SPATCH_LIMIT),
                tail_of(&log, 5)
            );
        }
        match Content::at(&output)? {
            Content::File { bytes, .. } => Ok(Some(bytes)),
            Content::Link(_) | Content::Absent => Ok(None),
        }
    }

    fn fresh_log(&self, name: &str) -> Result<PathBuf> {
        let path = self.aside.join(name);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(path)
    }
}

fn misfit(patch: &Patch, reason: String) -> anyhow::Error {
    anyhow!(Misfit {
        patch: patch.name.clone(),
        reason,
    })
}

fn alternatives_text(patch: &Patch, word: &str, fitted: &[&str]) -> String {
    let all: Vec<&str> = patch
        .steps
        .iter()
        .filter_map(|(step, _)| match step {
            Step::Cocci {
                rule, alternative, ..
            } if alternative.as_deref() == Some(word) => Some(rule.as_str()),
            Step::Cocci { .. }
            | Step::Copy { .. }
            | Step::Diff { .. }
            | Step::Replace { .. }
            | Step::Make { .. } => None,
        })
        .collect();
    let matched = if fitted.is_empty() {
        "none".to_owned()
    } else {
        fitted.join(", ")
    };
    format!(
        "of the alternatives `{word}` ({}) exactly one must match, and {matched} did",
        all.join(", ")
    )
}

/// Puts a content at a path by renaming, so that a hard link elsewhere keeps what it has.
///
/// # Errors
/// When it cannot be written.
pub fn put(path: &Path, content: &Content) -> Result<()> {
    let place = || format!("cannot write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    match content {
        Content::File { bytes, executable } => {
            fs::create_dir_all(folder).with_context(place)?;
            let mode = if *executable { 0o755 } else { 0o644 };
            let file = tempfile::NamedTempFile::new_in(folder).with_context(place)?;
            fs::write(file.path(), bytes).with_context(place)?;
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode))
                .with_context(place)?;
            file.persist(path)
                .map_err(|error| error.error)
                .with_context(place)?;
        }
        Content::Link(target) => {
            fs::create_dir_all(folder).with_context(place)?;
            remove(path)?;
            std::os::unix::fs::symlink(target, path).with_context(place)?;
        }
        Content::Absent => remove(path)?,
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}
