//! `cargo xtask fuzz`: seeds out of what the tests have recorded, then one target after the other.

mod seeds;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

/// Where cargo-fuzz keeps inputs.
const CORPUS: &str = "fuzz/corpus";
/// No input takes a parser so long, in seconds.
const TIMEOUT_SECONDS: u32 = 20;
/// Memory that no parser needs, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;

/// A fuzz target, and how long its inputs are at most.
struct Target {
    name: &'static str,
    bytes_max: u32,
}

const fn target(name: &'static str, bytes_max: u32) -> Target {
    Target { name, bytes_max }
}

const TARGETS: [Target; 9] = [
    target("agent_protocol", 4 << 10),
    target("console_scanner", 8 << 10),
    target("cpio", 8 << 10),
    target("package_deb", 8 << 10),
    target("package_rpm", 8 << 10),
    target("qmp_replies", 16 << 10),
    target("symbols", 32 << 10),
    target("texts", 8 << 10),
    target("yaml", 4 << 10),
];

/// Fuzzes a target, or `all`, for so many minutes each.
pub fn run(sh: &Shell, name: &str, minutes: u32) -> Result<()> {
    let wanted: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| name == "all" || target.name == name)
        .collect();
    if wanted.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        bail!("there is no fuzz target `{name}`: there are {names}, and all");
    }
    if cmd!(sh, "cargo +nightly fuzz --version")
        .quiet()
        .ignore_stdout()
        .run()
        .is_err()
    {
        bail!("install what fuzzes: rustup toolchain install nightly; cargo install cargo-fuzz");
    }
    for Target { name, bytes_max } in wanted {
        let folder = format!("{CORPUS}/{name}");
        seeds::write(sh, name, *bytes_max as usize, &folder)?;
        let options = [
            format!("-max_total_time={}", 60 * minutes),
            format!("-max_len={bytes_max}"),
            format!("-timeout={TIMEOUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
            "-print_final_stats=1".to_owned(),
        ];
        cmd!(sh, "cargo +nightly fuzz run {name} -- {options...}").run()?;
    }
    Ok(())
}
