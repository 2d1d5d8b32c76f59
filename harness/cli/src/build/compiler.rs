//! Which compiler and linker build a kernel, and what make is told about them.

use anyhow::{Result, anyhow};
use kverdict_core::catalogue::kernel::{HostToolchain, Toolchain};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::cache::Cache;

/// A compiler that was found, with what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// Program name.
    pub program: String,
    /// Its version line.
    pub version: String,
    /// The linker's version line.
    pub binutils: String,
    /// More variables for make.
    pub make_arguments: Vec<String>,
}

impl Compiler {
    /// Looks for the compiler of a toolchain.
    ///
    /// # Errors
    /// When it or the linker is missing: names the package.
    pub fn find(toolchain: &Toolchain) -> Result<Self> {
        let Toolchain::Host(HostToolchain {
            compiler,
            make_arguments,
        }) = toolchain;
        let version = first_line(compiler).ok_or_else(|| {
            anyhow!(
                "the compiler `{compiler}` is not installed: install the package {compiler} (`apt-get install {compiler}`), or name another one in the kernel's `toolchain`"
            )
        })?;
        let binutils = first_line("ld").ok_or_else(|| {
            anyhow!("the linker `ld` is not installed: install the package binutils")
        })?;
        Ok(Self {
            program: compiler.clone(),
            version,
            binutils,
            make_arguments: make_arguments.clone(),
        })
    }

    /// What goes into the key.
    pub fn identity(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}",
            self.program,
            self.version,
            self.binutils,
            self.make_arguments.join("\n")
        )
    }

    /// The variables for make, through ccache when it is there.
    pub fn make_variables(&self) -> Vec<String> {
        let wrapper = if has_ccache() { "ccache " } else { "" };
        let mut variables = vec![
            format!("CC={wrapper}{}", self.program),
            format!("HOSTCC={wrapper}{}", self.program),
        ];
        variables.extend(self.make_arguments.iter().cloned());
        variables
    }
}

/// Where ccache keeps its results, and that paths inside the cache do not matter to it.
pub fn ccache_environment(cache: &Cache) -> [(&'static str, String); 4] {
    [
        ("CCACHE_DIR", cache.ccache().display().to_string()),
        ("CCACHE_BASEDIR", cache.root().display().to_string()),
        ("CCACHE_NOHASHDIR", "1".to_owned()),
        ("CCACHE_MAXSIZE", "2G".to_owned()),
    ]
}

fn has_ccache() -> bool {
    first_line("ccache").is_some()
}

/// First line of `PROGRAM --version`; none when it cannot be run.
pub fn first_line(program: &str) -> Option<String> {
    let shell = Shell::new().ok()?;
    let _language = shell.push_env("LC_ALL", "C");
    let output = cmd!(shell, "{program} --version")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()?;
    output.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_compiler_names_its_package() {
        let toolchain = Toolchain::Host(HostToolchain {
            compiler: "gcc-99".to_owned(),
            make_arguments: Vec::new(),
        });
        let error = Compiler::find(&toolchain).unwrap_err().to_string();
        assert!(error.contains("install the package gcc-99"), "{error}");
    }
}
