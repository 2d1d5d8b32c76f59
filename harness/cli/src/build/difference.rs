//! What two states of a source differ in, as a unified diff.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use super::overlay::{Content, Overlay, put};

/// A diff, for `patch -p1`, that makes `after` of `before`; both are overlays of the source in `root`.
/// Empty when they are the same.
///
/// # Errors
/// When a file cannot be read or written, or git is not there.
pub fn unified(root: &Path, before: &Overlay, after: &Overlay, scratch: &Path) -> Result<Vec<u8>> {
    let place = tempfile::tempdir_in(scratch).context("cannot make a folder for a diff")?;
    for side in ["a", "b"] {
        fs::create_dir(place.path().join(side))?;
    }
    for path in before.keys().chain(after.keys()) {
        for (side, overlay) in [("a", before), ("b", after)] {
            let content = match overlay.get(path) {
                Some(content) => content.clone(),
                None => Content::at(&root.join(path))?,
            };
            put(&place.path().join(side).join(path), &content)?;
        }
    }
    let shell = Shell::new()?;
    shell.change_dir(place.path());
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CEILING_DIRECTORIES", "/"),
        ("LC_ALL", "C"),
    ] {
        shell.set_var(name, value);
    }
    // The folders' names are the prefixes.
    let output = cmd!(shell, "git diff --no-index --no-prefix --text --no-renames --no-ext-diff --no-textconv --no-color --unified=3 -- a b")
        .quiet()
        .ignore_status()
        .output()
        .context("cannot run git")?;
    match output.status.code() {
        Some(0 | 1) => Ok(output.stdout),
        Some(_) | None => bail!(
            "git cannot compare two folders: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        ),
    }
}
