//! Which compiler and linker build a kernel, and what make is told about them.

use anyhow::{Context, Result};
use kverdict_core::catalogue::ToolchainSpec;
use serde::{Deserialize, Serialize};

use super::enclosure::Enclosure;

/// A compiler that was found, with what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// Name of its toolchain in the catalogue.
    #[serde(default)]
    pub toolchain: String,
    /// Where it runs, for people.
    #[serde(default)]
    pub place: String,
    /// Program name, or path of a cross compiler.
    pub program: String,
    /// What stands before the names of cross tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Its version line.
    pub version: String,
    /// The linker's version line.
    pub binutils: String,
    /// Whether ccache is there to help it.
    #[serde(skip)]
    pub ccache: bool,
}

impl Compiler {
    /// Looks for the compiler of a toolchain where that runs.
    ///
    /// # Errors
    /// When it or the linker is missing; or an interrupt.
    pub fn find(spec: &ToolchainSpec, prefix: Option<&str>, enclosure: &Enclosure) -> Result<Self> {
        let named = |tool: &str| format!("{}{tool}", prefix.unwrap_or_default());
        let version_of = |program: &str| {
            enclosure.version_line(program)?.with_context(|| {
                format!(
                    "`{program} --version` does not run in the toolchain `{}` ({})",
                    spec.name,
                    spec.location()
                )
            })
        };
        let program = named(&spec.compiler);
        Ok(Self {
            version: version_of(&program)?,
            binutils: version_of(&named("ld"))?,
            program,
            toolchain: spec.name.clone(),
            place: spec.location(),
            prefix: prefix.map(str::to_owned),
            ccache: enclosure.version_line("ccache")?.is_some(),
        })
    }

    /// What goes into the key: not where it runs, but what it is.
    pub fn identity(&self) -> String {
        format!("{}\n{}\n{}", self.program, self.version, self.binutils)
    }

    /// Family and major version, such as `gcc` and 12; none when the version line tells no number.
    pub fn family(&self) -> Option<(&'static str, u32)> {
        let family = if self.version.contains("clang") {
            "clang"
        } else {
            "gcc"
        };
        // The last word that is a version is the compiler's own: packagers write theirs before it.
        let major = self.version.split_whitespace().rev().find_map(|word| {
            let (major, rest) = word.split_once('.')?;
            rest.starts_with(|c: char| c.is_ascii_digit())
                .then_some(major.parse().ok()?)
        })?;
        Some((family, major))
    }

    /// The variables for make, through ccache when it is there.
    pub fn make_variables(&self) -> Vec<String> {
        let wrapper = if self.ccache { "ccache " } else { "" };
        let mut variables = vec![format!("CC={wrapper}{}", self.program)];
        // The build's own tools run here.
        let of_tools = match &self.prefix {
            Some(_) => "gcc",
            None => &self.program,
        };
        variables.push(format!("HOSTCC={wrapper}{of_tools}"));
        variables.extend(
            self.prefix
                .as_ref()
                .map(|prefix| format!("CROSS_COMPILE={prefix}")),
        );
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(version: &str) -> Compiler {
        Compiler {
            toolchain: "t".to_owned(),
            place: "this machine".to_owned(),
            program: "gcc".to_owned(),
            prefix: None,
            version: version.to_owned(),
            binutils: "GNU ld 2.40".to_owned(),
            ccache: false,
        }
    }

    #[test]
    fn families_and_versions_are_told_apart() {
        for (line, family) in [
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", Some(("gcc", 12))),
            ("gcc-9 (Debian 9.3.0-22) 9.3.0", Some(("gcc", 9))),
            (
                "gcc (GCC) 4.8.5 20150623 (Red Hat 4.8.5-44)",
                Some(("gcc", 4)),
            ),
            ("Debian clang version 14.0.6", Some(("clang", 14))),
            ("cc", None),
        ] {
            assert_eq!(compiler(line).family(), family, "{line}");
        }
    }

    #[test]
    fn a_cross_compiler_leaves_the_builds_own_tools_to_this_machine() {
        let mut cross = compiler("gcc 9.5.0");
        cross.prefix = Some("/opt/x/bin/x86_64-linux-".to_owned());
        cross.program = "/opt/x/bin/x86_64-linux-gcc".to_owned();
        assert_eq!(
            cross.make_variables(),
            [
                "CC=/opt/x/bin/x86_64-linux-gcc",
                "HOSTCC=gcc",
                "CROSS_COMPILE=/opt/x/bin/x86_64-linux-"
            ]
        );
    }
}
