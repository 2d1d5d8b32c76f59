//! What has to be installed beside kverdict, and installing it with apt.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::build::tools::{Need, Needed, TOOLS, Tool};
use crate::process::{Job, Stdout};
use crate::progress::Progress;
use crate::qemu::QEMU;

/// A slow mirror is no reason to give up.
const APT_LIMIT: Duration = Duration::from_secs(1800);

/// What trials need, beyond what building needs.
const TRIAL_TOOLS: &[Tool] = &[
    Tool {
        what: Needed::Program(QEMU),
        package: "qemu-system-x86",
        why: "boots the kernels",
        need: Need::Always,
    },
    Tool {
        what: Needed::Program("busybox"),
        package: "busybox-static",
        why: "gives `kverdict boot` a shell in the guest",
        need: Need::Helps,
    },
];

/// Everything that is of use.
pub fn all() -> Vec<&'static Tool> {
    TOOLS.iter().chain(TRIAL_TOOLS).collect()
}

/// The tool's version line; a header is just there.
pub fn version(tool: &Tool) -> String {
    match tool.what {
        Needed::Header(_) => "there".to_owned(),
        Needed::Program(name) => version_line(name).unwrap_or_else(|_| "there".to_owned()),
    }
}

fn version_line(name: &str) -> Result<String> {
    let sh = Shell::new()?;
    let text = cmd!(sh, "{name} --version")
        .quiet()
        .ignore_stderr()
        .ignore_status()
        .read()?;
    text.lines()
        .find(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .context("it printed nothing")
}

/// QEMU's version line.
///
/// # Errors
/// When QEMU is not installed; says what to do.
pub fn qemu_version() -> Result<String> {
    version_line(QEMU).with_context(|| {
        format!("{QEMU} does not run; install Debian's qemu-system-x86, or let `kverdict doctor --install-deps` do it")
    })
}

/// Installs what is missing, after printing the command.
///
/// # Errors
/// When apt fails, or there is no apt.
pub fn install_missing(progress: &Progress) -> Result<()> {
    let mut packages: Vec<&str> = all()
        .into_iter()
        .filter(|tool| !tool.is_here())
        .map(|tool| tool.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        progress.line("nothing to install");
        return Ok(());
    }
    let root = rustix::process::geteuid().is_root();
    let mut install = vec![
        "apt-get",
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
    ];
    install.extend(&packages);
    for arguments in [vec!["apt-get", "--quiet", "update"], install] {
        let line = if root {
            arguments
        } else {
            [vec!["sudo"], arguments].concat()
        };
        progress.line(format!("running: {}", line.join(" ")));
        apt(&line)?;
    }
    if let Some(tool) = all()
        .into_iter()
        .find(|tool| tool.need == Need::Always && !tool.is_here())
    {
        bail!(
            "{} is still missing after installing {}",
            tool.name(),
            tool.package
        );
    }
    Ok(())
}

fn apt(line: &[&str]) -> Result<()> {
    let (program, arguments) = line.split_first().context("an empty command")?;
    // On the terminal, because sudo may ask for a password.
    let status = Job::new(program, APT_LIMIT)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run_on_terminal(Stdout::ToStderr)?;
    if !status.success() {
        bail!("`{}` failed ({status})", line.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Packages in one field of the Debian package, as `Cargo.toml` has it.
    fn field(name: &str) -> BTreeSet<&'static str> {
        let manifest = include_str!("../Cargo.toml");
        let (_, rest) = manifest.split_once(&format!("\n{name} = \"")).unwrap();
        let value = rest.trim_start_matches('"').split('"').next().unwrap();
        value
            .split(',')
            .map(|package| package.trim_matches(['\\', '\n', ' ']))
            .collect()
    }

    #[test]
    fn the_debian_package_recommends_what_is_needed_and_suggests_what_helps() {
        let packages = |helps: bool| {
            let tools = all()
                .into_iter()
                .filter(|tool| (tool.need == Need::Helps) == helps);
            let mut packages: BTreeSet<&str> = tools.map(|tool| tool.package).collect();
            // Every Debian has it, so no package may ask for it.
            packages.remove("tar");
            packages
        };
        assert_eq!(field("recommends"), packages(false));
        assert_eq!(field("suggests"), packages(true));
    }
}
