//! Patches that belong to a source: what a spec or a series applies, in a private tree.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::{Ending, Job, describe, tail_of};

const PATCH_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How `patch` is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Folders to strip off the names; none: as `patch` guesses.
    pub strip: Option<u32>,
    /// Lines of context that may differ.
    pub fuzz: u32,
    /// Whether the patch is taken out.
    pub reverse: bool,
}

/// Applies a patch in a tree, which is changed even when that fails halfway.
///
/// # Errors
/// When it does not apply: names the patch, and what `patch` said.
pub fn apply(tree: &Path, patch: &Path, manner: Manner, log: &Path) -> Result<()> {
    let ending = Job::new("patch", PATCH_LIMIT)
        .args([
            "--batch",
            "--silent",
            "--no-backup-if-mismatch",
            "--reject-file=-",
        ])
        .args([format!("--fuzz={}", manner.fuzz)])
        .args(manner.strip.map(|strip| format!("--strip={strip}")))
        // Without it a patch that fits the other way round is silently taken that way.
        .args(["--forward"])
        .args(manner.reverse.then_some("--reverse"))
        .args(["--input".as_ref(), patch.as_os_str()])
        .dir(tree)
        .env("LC_ALL", "C")
        .log(log)
        .run()?;
    if matches!(ending, Ending::Exited(status) if status.success()) {
        return Ok(());
    }
    bail!(
        "the source's own patch {} does not apply: `patch` {}:\n{}",
        super::unpack::name_of(patch),
        describe(ending, PATCH_LIMIT),
        tail_of(log, 5)
    )
}
