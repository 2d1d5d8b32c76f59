//! What identifies a build, and the place where it is made.

use kverdict_core::catalogue::kernel::Recipe;
use kverdict_core::catalogue::{BuildKey, Fragment};

use super::source::Source;
use super::toolchain::Toolchain;
use super::tools::{self, uses_spatch};
use crate::catalogue::Patch;

/// Raised when the meaning of a key's inputs changes, so that old builds are not taken for new.
const KEY_SCHEMA: &str = "2";
/// Raised when something in a work place gets another name: it is then begun anew.
const WORK_LAYOUT: &str = "2";

/// Digest of everything that goes into a build.
pub fn of_build(
    source: &Source,
    revert: &[Patch],
    apply: &[Patch],
    wishes: &Fragment,
    compiling: &str,
) -> BuildKey {
    let digests = |patches: &[Patch]| {
        let list: Vec<&str> = patches.iter().map(|patch| patch.digest.as_str()).collect();
        list.join(" ")
    };
    let spatch = if uses_spatch(revert, apply) {
        tools::first_line(&["spatch", "--version"]).unwrap_or_default()
    } else {
        String::new()
    };
    BuildKey::of([
        ("schema", KEY_SCHEMA),
        ("source", source.identity.digest.as_str()),
        ("reverted", digests(revert).as_str()),
        ("applied", digests(apply).as_str()),
        ("spatch", spatch.as_str()),
        ("config", wishes.allconfig().as_str()),
        ("compiler", compiling),
    ])
}

/// Arms of one source, configuration and compiler share a work place.
pub fn of_work_place(source: &Source, wishes: &Fragment, compiling: &str) -> String {
    let key = BuildKey::of([
        ("layout", WORK_LAYOUT),
        ("source", source.place().as_str()),
        ("config", wishes.allconfig().as_str()),
        ("compiler", compiling),
    ]);
    key.as_str().to_owned()
}

/// What compiles, and what make is told.
pub fn compiling(toolchain: &Toolchain, recipe: &Recipe) -> String {
    let arguments = recipe.make_arguments.join("\n");
    format!("{}\n{arguments}", toolchain.compiler.identity())
}
