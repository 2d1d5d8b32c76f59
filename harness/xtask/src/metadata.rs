//! What cargo says about this workspace and everything that it is built of.

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

/// The only platform, as in `.cargo/config.toml`.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The part of `cargo metadata` that is of use here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Every package of the build, ours too.
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The oldest Rust it says to work with; absent where it says nothing.
    pub rust_version: Option<String>,
}

/// Asks cargo, without touching `Cargo.lock`.
///
/// # Errors
/// When cargo fails, or speaks another language.
pub fn read(sh: &Shell) -> Result<Metadata> {
    let text = cmd!(
        sh,
        "cargo metadata --locked --filter-platform {TARGET} --format-version 1"
    )
    .quiet()
    .read()?;
    serde_json::from_str(&text).context("cargo metadata is not as expected")
}
