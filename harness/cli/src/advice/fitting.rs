//! How a diff fits a tree, tried on a private copy of the files that it touches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kverdict_core::advice::Fit;
use kverdict_core::advice::attempt::MOST_FUZZ;
use kverdict_core::advice::closest::{closest, wanted};
use kverdict_core::catalogue::diff::{Reject, landings, rejects, touched_files};

use crate::build::difference;
use crate::build::overlay::{Content, Overlay};
use crate::build::private_copy::PrivateCopy;
use crate::process::{Ending, Job, describe, tail_of};

const PATCH_LIMIT: Duration = Duration::from_secs(60);

/// A tree to try diffs on, one after the other.
#[derive(Debug)]
pub struct Bench<'a> {
    root: &'a Path,
    copy: PrivateCopy<'a>,
    aside: PathBuf,
}

/// Whether `patch` put a diff in, and what it said.
struct Said {
    fits: bool,
    output: String,
    summary: String,
}

impl<'a> Bench<'a> {
    /// The tree in `root` with `base` on top; `scratch` is a folder of its own.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(root: &'a Path, base: Overlay, scratch: &Path) -> Result<Self> {
        let aside = scratch.join("aside");
        fs::create_dir_all(&aside).with_context(|| format!("cannot create {}", aside.display()))?;
        Ok(Self {
            root,
            copy: PrivateCopy::new(root, base, scratch.join("tree"))?,
            aside,
        })
    }

    /// Says how a diff fits; nothing is changed by that.
    ///
    /// # Errors
    /// When files cannot be read or written, or `patch` is not there.
    pub fn fit(&mut self, diff: &[u8]) -> Result<Fit> {
        let files = match touched_files(&String::from_utf8_lossy(diff)) {
            Ok(files) => files,
            Err(why) => {
                let why = format!("it {why}");
                return Ok(Fit::Lacking { why });
            }
        };
        for file in &files {
            self.copy.bring(file)?;
        }
        let forward = self.patch(diff, MOST_FUZZ, &["--dry-run"])?;
        let fit = Fit::landed(landings(&forward.output));
        if forward.fits && fit == Fit::Clean {
            return Ok(fit);
        }
        // Before anything that fits elsewhere is taken: what is there already often does, by chance.
        if self.patch(diff, 0, &["--dry-run", "--reverse"])?.fits {
            return Ok(Fit::AlreadyThere);
        }
        if forward.fits {
            return Ok(fit);
        }
        let text = String::from_utf8_lossy(diff);
        let mut rejects = conflicts(&forward, &self.absent(&text, &files));
        for reject in &mut rejects {
            self.place(reject, &text)?;
        }
        Ok(Fit::Conflict { rejects })
    }

    /// Files that the diff wants to be there, and that are not.
    fn absent<'b>(&self, diff: &str, files: &'b BTreeSet<String>) -> Vec<&'b String> {
        let is_absent = |file: &&String| {
            let content = Content::at(&self.copy.path(file));
            changes(diff, file) && content.is_ok_and(|content| content == Content::Absent)
        };
        files.iter().filter(is_absent).collect()
    }

    /// Names the line of this tree in place of upstream's.
    fn place(&self, reject: &mut Reject, diff: &str) -> Result<()> {
        let Some((hunk, line)) = reject.hunk else {
            return Ok(());
        };
        if let Content::File { bytes, .. } = Content::at(&self.copy.path(&reject.file))? {
            let text = String::from_utf8_lossy(&bytes);
            let here = closest(&wanted(diff, &reject.file, hunk), &text, line);
            reject.hunk = Some((hunk, here.unwrap_or(line)));
        }
        Ok(())
    }

    /// Puts a diff in that fits, and gives a diff that fits without fuzz.
    ///
    /// # Errors
    /// As [`Bench::fit`], or when it does not go in.
    pub fn put_in(&mut self, diff: &[u8], fit: &Fit) -> Result<Vec<u8>> {
        let fuzz = match fit {
            Fit::Fuzzy { fuzz, .. } => *fuzz,
            Fit::Clean
            | Fit::Moved { .. }
            | Fit::AlreadyThere
            | Fit::Conflict { .. }
            | Fit::Lacking { .. } => 0,
        };
        let before = self.copy.changed()?;
        let said = self.patch(diff, fuzz, &[])?;
        anyhow::ensure!(
            said.fits,
            "a diff that fitted does not go in: {}",
            said.summary
        );
        if fuzz == 0 {
            return Ok(diff.to_owned());
        }
        difference::unified(self.root, &before, &self.copy.changed()?, &self.aside)
    }

    /// What differs from the source now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn changed(&self) -> Result<Overlay> {
        self.copy.changed()
    }

    fn patch(&self, diff: &[u8], fuzz: u32, how: &[&str]) -> Result<Said> {
        let input = self.aside.join("input.patch");
        fs::write(&input, diff)?;
        let log = self.aside.join("patch.log");
        if log.exists() {
            fs::remove_file(&log)?;
        }
        // By force each hunk is tried by itself, whatever the first one looks like.
        let ending = Job::new("patch", PATCH_LIMIT)
            .args([
                "-p1",
                "--force",
                "--no-backup-if-mismatch",
                "--reject-file=-",
            ])
            .args([format!("--fuzz={fuzz}")])
            .args(how)
            .args(["--input".as_ref(), input.as_os_str()])
            .dir(self.copy.dir())
            .env("LC_ALL", "C")
            .log(&log)
            .run()?;
        let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let summary = format!(
            "`patch` {}: {}",
            describe(ending, PATCH_LIMIT),
            tail_of(&log, 3)
        );
        Ok(Said {
            fits: matches!(ending, Ending::Exited(status) if status.success()),
            output,
            summary,
        })
    }
}

/// Whether a diff wants a file to be there.
fn changes(diff: &str, file: &str) -> bool {
    let old = diff.lines().filter_map(|line| line.strip_prefix("--- "));
    let names = old.filter_map(|name| name.split('\t').next());
    names
        .filter_map(|name| name.split_once('/'))
        .any(|(_, inner)| inner == file)
}

/// What does not fit. Of a file that is not there `patch` names nothing.
fn conflicts(said: &Said, absent: &[&String]) -> Vec<Reject> {
    let whole = |file: &str, why: &str| Reject {
        file: file.to_owned(),
        hunk: None,
        why: Some(why.to_owned()),
    };
    let mut found: Vec<Reject> = rejects(&said.output)
        .into_iter()
        .filter(|reject| reject.hunk.is_some())
        .collect();
    found.extend(
        absent
            .iter()
            .map(|file| whole(file, "is not in this source tree")),
    );
    if found.is_empty() {
        found.extend(rejects(&said.output));
    }
    if found.is_empty() {
        found.push(whole("the diff", &said.summary));
    }
    found
}
