//! What cargo says about this workspace and everything that it is built of.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

/// The only platform, as in `.cargo/config.toml`.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The part of `cargo metadata` that is of use here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Every package of the build, ours too.
    pub packages: Vec<Package>,
    /// Where cargo builds.
    pub target_directory: String,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it was got from; absent where it is of this workspace.
    pub source: Option<String>,
    /// Its licence, as an SPDX expression.
    pub license: Option<String>,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// The oldest Rust it says to work with; absent where it says nothing.
    pub rust_version: Option<String>,
}

impl Metadata {
    /// The program, once it is built.
    pub fn program(&self) -> String {
        format!("{}/{TARGET}/release/kverdict", self.target_directory)
    }
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
