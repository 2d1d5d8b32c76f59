//! The oldest Rust that kverdict is built with: `rust-version` in `Cargo.toml`.
//!
//! It is no older than what somebody compiles with, or it would be a guess. What the standard library got later is
//! found by clippy's `incompatible_msrv`, which is on by default.

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::metadata::{self, Metadata, Package};

/// A version of Rust: major, minor, patch.
type Version = [u32; 3];

/// Checks that no dependency asks for a newer Rust, and compiles with the oldest one where it is installed and
/// something newer is the default.
///
/// # Errors
/// Which dependencies ask for more; when it does not compile.
pub fn check(sh: &Shell) -> Result<()> {
    let metadata = metadata::read(sh)?;
    let promised = promised(&metadata)?;
    let greedy = asking_for_more(&metadata.packages, promised)?;
    ensure!(
        greedy.is_empty(),
        "Cargo.toml promises to build with Rust {}, but these ask for more: {}; take older ones, or raise `rust-version`",
        shown(promised),
        greedy.join(", ")
    );
    compile(sh, promised)
}

/// What the program promises.
fn promised(metadata: &Metadata) -> Result<Version> {
    let program = metadata
        .packages
        .iter()
        .find(|package| package.name == "kverdict");
    let stated = program.and_then(|package| package.rust_version.as_deref());
    version(stated.context("the package kverdict states no rust-version")?)
}

/// Packages that want a newer Rust than promised, each with the one that it wants.
fn asking_for_more(packages: &[Package], promised: Version) -> Result<Vec<String>> {
    let mut greedy = Vec::new();
    for package in packages {
        let Some(wanted) = &package.rust_version else {
            continue;
        };
        if version(wanted)? > promised {
            greedy.push(format!("{} {} ({wanted})", package.name, package.version));
        }
    }
    Ok(greedy)
}

fn compile(sh: &Shell, promised: Version) -> Result<()> {
    let line = cmd!(sh, "rustc --version").quiet().read()?;
    let here = line
        .split(' ')
        .nth(1)
        .context("rustc does not say its version")?;
    if version(here)?[..2] == promised[..2] {
        // Everything else that is done here compiles with it.
        return Ok(());
    }
    let oldest = shown(promised);
    let there = cmd!(sh, "cargo +{oldest} --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr();
    if there.run().is_err() {
        eprintln!(
            "skipped: compiling with Rust {oldest}, the oldest one promised (rustup toolchain install {oldest})"
        );
        return Ok(());
    }
    cmd!(
        sh,
        "cargo +{oldest} check --locked --workspace --all-targets --target-dir target/minimal-rust"
    )
    .run()?;
    Ok(())
}

/// Reads `1.95`, `1.95.0` or `1.97.0-nightly`.
fn version(text: &str) -> Result<Version> {
    let mut version = [0; 3];
    let numbers = text.split('-').next().unwrap_or_default().split('.');
    for (part, number) in version.iter_mut().zip(numbers) {
        *part = number
            .parse()
            .with_context(|| format!("`{text}` is no version of Rust"))?;
    }
    Ok(version)
}

fn shown([major, minor, patch]: Version) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, rust_version: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: "2.0.1".to_owned(),
            source: None,
            license: None,
            manifest_path: "Cargo.toml".into(),
            rust_version: rust_version.map(str::to_owned),
        }
    }

    #[test]
    fn a_dependency_that_asks_for_a_newer_rust_is_named() {
        let packages = [
            package("same", Some("1.95")),
            package("older", Some("1.9.2")),
            package("silent", None),
            package("newer", Some("1.95.1")),
            package("newest", Some("1.100")),
        ];
        let greedy = asking_for_more(&packages, [1, 95, 0]).unwrap();
        assert_eq!(greedy, ["newer 2.0.1 (1.95.1)", "newest 2.0.1 (1.100)"]);
    }

    #[test]
    fn versions_are_read_as_toolchains_say_them() {
        assert_eq!(version("1.95").unwrap(), [1, 95, 0]);
        assert_eq!(version("1.97.0-nightly").unwrap(), [1, 97, 0]);
        assert!(version("stable").is_err());
    }
}
