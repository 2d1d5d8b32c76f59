//! Patches that belong to a source: what a spec or a series applies, in a private tree.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::diff::refuse_scripts;

use super::unpack::name_of;
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
/// When it does not apply, or has a script for ed: names the patch, and what `patch` said.
pub fn apply(tree: &Path, patch: &Path, manner: Manner, log: &Path) -> Result<()> {
    let name = name_of(patch);
    let bytes = fs::read(patch).with_context(|| format!("cannot read {}", patch.display()))?;
    refuse_scripts(&String::from_utf8_lossy(&bytes))
        .map_err(|reason| anyhow!("the source's own patch {name} {reason}"))?;
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
        "the source's own patch {name} does not apply: `patch` {}:\n{}",
        describe(ending, PATCH_LIMIT),
        tail_of(log, 5)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(patch: &str) -> (Result<()>, String) {
        let dir = tempfile::tempdir().unwrap();
        let (tree, file) = (dir.path().join("tree"), dir.path().join("it.patch"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("a.c"), "one\n").unwrap();
        fs::write(&file, patch).unwrap();
        let manner = Manner {
            strip: Some(0),
            fuzz: 0,
            reverse: false,
        };
        let result = apply(&tree, &file, manner, &dir.path().join("log"));
        (result, fs::read_to_string(tree.join("a.c")).unwrap())
    }

    #[test]
    fn a_unified_diff_is_applied_and_a_script_for_ed_is_not() {
        let (result, text) = applied("--- a.c\n+++ a.c\n@@ -1 +1 @@\n-one\n+two\n");
        result.unwrap();
        assert_eq!(text, "two\n");
        let (result, text) = applied("Index: a.c\n1c\nhacked\n.\n");
        let error = result.unwrap_err().to_string();
        assert!(error.contains("a command for ed"), "{error}");
        assert_eq!(text, "one\n");
    }
}
