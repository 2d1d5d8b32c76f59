//! The programs and headers that building needs, with the Debian package of each.

use std::path::{Path, PathBuf};

use kverdict_core::catalogue::patch::Step;
use xshell::{Shell, cmd};

use crate::catalogue::Patch;

/// Something that building needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// A program on the PATH, or a header.
    pub what: Needed,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// What it is needed for.
    pub why: &'static str,
    /// Whether every build needs it.
    pub need: Need,
}

/// A program or a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Found on the PATH.
    Program(&'static str),
    /// Found below `/usr/include`.
    Header(&'static str),
}

/// When a tool is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// By every build.
    Always,
    /// By some kernels or patches.
    Sometimes,
    /// Never, but it makes builds quicker.
    Helps,
}

const fn program(name: &'static str, package: &'static str, why: &'static str, need: Need) -> Tool {
    Tool {
        what: Needed::Program(name),
        package,
        why,
        need,
    }
}

const fn header(path: &'static str, package: &'static str, why: &'static str) -> Tool {
    Tool {
        what: Needed::Header(path),
        package,
        why,
        need: Need::Always,
    }
}

/// Everything that building needs.
pub const TOOLS: &[Tool] = &[
    program("make", "make", "runs the kernel's build", Need::Always),
    program(
        "gcc",
        "gcc",
        "compiles kernels and their build tools",
        Need::Always,
    ),
    program("ld", "binutils", "links kernels", Need::Always),
    program(
        "flex",
        "flex",
        "builds the kernel's Kconfig parser",
        Need::Always,
    ),
    program(
        "bison",
        "bison",
        "builds the kernel's Kconfig parser",
        Need::Always,
    ),
    program("bc", "bc", "computes kernel time constants", Need::Always),
    program(
        "perl",
        "perl",
        "runs some of the kernel's build scripts",
        Need::Always,
    ),
    program("tar", "tar", "unpacks sources", Need::Always),
    program("xz", "xz-utils", "unpacks sources", Need::Always),
    header("gelf.h", "libelf-dev", "builds the kernel's objtool"),
    header(
        "openssl/ssl.h",
        "libssl-dev",
        "builds the kernel's certificate tools",
    ),
    program("patch", "patch", "applies unified diffs", Need::Sometimes),
    program(
        "spatch",
        "coccinelle",
        "applies semantic patches",
        Need::Sometimes,
    ),
    program("apt-get", "apt", "fetches Debian packages", Need::Sometimes),
    program(
        "curl",
        "curl",
        "downloads tarballs and packages",
        Need::Sometimes,
    ),
    program(
        "git",
        "git",
        "fetches git sources, lists the files of local trees",
        Need::Sometimes,
    ),
    program(
        "mmdebstrap",
        "mmdebstrap",
        "makes a root folder of an older Debian, for its compilers",
        Need::Sometimes,
    ),
    program(
        "bwrap",
        "bubblewrap",
        "encloses builds, and compiles in such a folder",
        Need::Sometimes,
    ),
    program(
        "newuidmap",
        "uidmap",
        "lets such a folder be made without root rights",
        Need::Sometimes,
    ),
    program("zstd", "zstd", "opens newer packages", Need::Sometimes),
    program("bzip2", "bzip2", "opens older packages", Need::Sometimes),
    program(
        "lz4",
        "lz4",
        "unpacks kernels of some distributions",
        Need::Sometimes,
    ),
    program(
        "ccache",
        "ccache",
        "compiles again what was compiled before",
        Need::Helps,
    ),
];

impl Tool {
    /// Its name, as an error shows it.
    pub fn name(&self) -> &'static str {
        match self.what {
            Needed::Program(name) | Needed::Header(name) => name,
        }
    }

    /// Whether it is on this machine.
    pub fn is_here(&self) -> bool {
        match self.what {
            Needed::Program(name) => is_on_path(name),
            Needed::Header(path) => [
                "/usr/include",
                "/usr/include/x86_64-linux-gnu",
                "/usr/local/include",
            ]
            .iter()
            .any(|folder| Path::new(folder).join(path).exists()),
        }
    }
}

/// What is missing of what every build needs, and of `extra` programs.
pub fn missing(extra: &[&str]) -> Vec<&'static Tool> {
    TOOLS
        .iter()
        .filter(|tool| tool.need == Need::Always || extra.contains(&tool.name()))
        .filter(|tool| !tool.is_here())
        .collect()
}

/// A program of the list, when it is not on this machine.
pub fn lacking(program: &str) -> Option<&'static Tool> {
    let tool = TOOLS.iter().find(|tool| tool.name() == program)?;
    (!tool.is_here()).then_some(tool)
}

/// Whether one of these patches is a semantic one.
pub fn uses_spatch(revert: &[Patch], apply: &[Patch]) -> bool {
    steps(revert, apply).any(|step| matches!(step, Step::Cocci { .. }))
}

/// The programs that take these patches out and put them in.
pub fn needed_by(revert: &[Patch], apply: &[Patch]) -> Vec<&'static str> {
    let mut needed = Vec::new();
    needed.extend(uses_spatch(revert, apply).then_some("spatch"));
    let diff = steps(revert, apply).any(|step| matches!(step, Step::Diff { .. }));
    needed.extend(diff.then_some("patch"));
    needed
}

fn steps<'a>(revert: &'a [Patch], apply: &'a [Patch]) -> impl Iterator<Item = &'a Step> {
    let patches = revert.iter().chain(apply);
    patches.flat_map(|patch| &patch.steps).map(|(step, _)| step)
}

/// One text that names every missing tool and the command that installs them.
pub fn missing_text(missing: &[&Tool]) -> String {
    let lines: Vec<String> = missing
        .iter()
        .map(|tool| format!("  {} (package {}): {}", tool.name(), tool.package, tool.why))
        .collect();
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    format!(
        "tools are missing:\n{}\ninstall them: apt-get install {}",
        lines.join("\n"),
        packages.join(" ")
    )
}

/// The tools of these names.
pub fn tools_named(names: &[&str]) -> Vec<&'static Tool> {
    TOOLS
        .iter()
        .filter(|tool| names.contains(&tool.name()))
        .collect()
}

/// First line of what a command prints; none when it cannot be run.
pub fn first_line(words: &[&str]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let shell = Shell::new().ok()?;
    let _language = shell.push_env("LC_ALL", "C");
    // spatch dies without one, even for its version; services have none.
    let homeless = std::env::var_os("HOME").is_none();
    let _home = homeless.then(|| shell.push_env("HOME", "/"));
    let output = cmd!(shell, "{program} {arguments...}")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()?;
    output.lines().next().map(str::to_owned)
}

/// Whether a program can be run by its name.
pub fn is_on_path(name: &str) -> bool {
    on_path(name).is_some()
}

/// The file that is run by a program's name.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tools_are_named_with_packages_and_one_command() {
        let tool = program("nope", "nope-tools", "is not there", Need::Always);
        assert!(!tool.is_here());
        let text = missing_text(&[&tool]);
        assert!(text.contains("nope (package nope-tools)"), "{text}");
        assert!(text.ends_with("apt-get install nope-tools"), "{text}");
    }
}
