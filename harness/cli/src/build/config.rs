//! Making the `.config` and holding it against what was asked for.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use kverdict_core::catalogue::kconfig::{blockers, definitions, selectors};
use kverdict_core::catalogue::{Config, Fragment, Unheld};
use walkdir::WalkDir;

/// A configuration that is not the one that was asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the configuration is not the one that was asked for:\n{text}\nmark a symbol that may be missing with `# optional: why` above its line"
)]
pub struct ConfigMismatch {
    text: String,
}

/// Reads a finished `.config`.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Config> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Config::parse(&text))
}

/// Looks up every wish; the optional ones that did not hold come back as notes.
///
/// # Errors
/// [`ConfigMismatch`], with what each missing symbol depends on, as found in `tree`.
pub fn check(config: &Config, wishes: &Fragment, tree: &Path) -> Result<Vec<String>> {
    let unheld = config.unheld(wishes);
    let broken: Vec<&Unheld> = unheld.iter().filter(|wish| !wish.optional).collect();
    if broken.is_empty() {
        return Ok(unheld.iter().map(Unheld::headline).collect());
    }
    let mut text = String::new();
    for wish in broken {
        text += &format!("  {}\n", wish.headline());
        for line in explain(wish, config, tree) {
            text += &format!("    {line}\n");
        }
    }
    text.truncate(text.trim_end().len());
    Err(ConfigMismatch { text }.into())
}

/// What stands in the way of a symbol, from the tree's Kconfig files.
fn explain(wish: &Unheld, config: &Config, tree: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut known = false;
    for (name, text) in kconfig_files(tree) {
        let found = definitions(&text, &wish.symbol);
        known |= !found.is_empty();
        if wish.wanted == "n" {
            lines.extend(forced_by(wish, config, &name, &text));
            continue;
        }
        for definition in found {
            if !definition.has_prompt {
                lines.push(format!(
                    "{name}:{}: it has no prompt: it cannot be set, only follows from other symbols",
                    definition.line
                ));
            }
            for condition in definition.conditions {
                let in_the_way = blockers(&condition.expression, config);
                let why = match in_the_way.is_empty() {
                    true => "holds".to_owned(),
                    false => in_the_way.join(", "),
                };
                lines.push(format!(
                    "{name}:{}: depends on {} ({why})",
                    condition.line, condition.expression
                ));
            }
        }
    }
    if known && lines.is_empty() {
        lines.push("nothing in its definition forbids it: it may be part of a choice, or have a default that needs another symbol off or on".to_owned());
    }
    if !known {
        lines.push(
            "no Kconfig file of this tree defines it: misspelt, or of another version".to_owned(),
        );
    }
    lines
}

/// Set symbols that select one that should be off.
fn forced_by(wish: &Unheld, config: &Config, name: &str, text: &str) -> Vec<String> {
    selectors(text, &wish.symbol)
        .into_iter()
        .filter(|(_, owner)| config.value(owner) != "n")
        .map(|(line, owner)| format!("{name}:{line}: CONFIG_{owner} is set and selects it"))
        .collect()
}

/// Kconfig files of the tree, without those of other architectures.
fn kconfig_files(tree: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = WalkDir::new(tree)
        .into_iter()
        .filter_entry(|entry| !is_foreign_arch(entry.path(), tree))
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("Kconfig"))
        .filter_map(|entry| {
            let name = entry.path().strip_prefix(tree).ok()?.display().to_string();
            Some((name, fs::read_to_string(entry.path()).ok()?))
        })
        .collect();
    found.sort();
    found
}

fn is_foreign_arch(path: &Path, tree: &Path) -> bool {
    path.parent() == Some(&tree.join("arch")) && path.is_dir() && !path.ends_with("x86")
}
