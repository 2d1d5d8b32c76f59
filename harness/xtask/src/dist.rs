//! `cargo xtask dist`: what a release consists of, in `target/dist`: the static program, its manual pages, its
//! completions, and a Debian package of all that.

use anyhow::{Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::metadata::{self, TARGET};
use crate::notices;

/// Where `harness/cli/Cargo.toml` expects what goes into the package, too.
const DIST: &str = "target/dist";
/// Shells, and what each wants its file to be called.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "kverdict"),
    ("zsh", "_kverdict"),
    ("fish", "kverdict.fish"),
];

/// Builds the release.
///
/// # Errors
/// When a step fails, the program is not static, or cargo-deb is not installed.
pub fn build(sh: &Shell) -> Result<()> {
    let cargo_deb = cmd!(sh, "cargo deb --version");
    if cargo_deb
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_err()
    {
        bail!("cargo-deb is not installed; install it with `cargo install --locked cargo-deb`");
    }
    cmd!(sh, "cargo build --release --locked --workspace").run()?;
    let metadata = metadata::read(sh)?;
    let program = metadata.program();
    check_static(sh, &program)?;

    sh.remove_path(DIST)?;
    sh.create_dir(DIST)?;
    sh.copy_file(&program, DIST)?;
    cmd!(sh, "{program} man {DIST}/man").run()?;
    for (shell, file) in COMPLETIONS {
        let script = cmd!(sh, "{program} completions {shell}").output()?.stdout;
        sh.write_file(format!("{DIST}/completions/{file}"), script)?;
    }
    let licences = notices::collect(sh, &metadata)?;
    sh.write_file(format!("{DIST}/third-party-licences"), licences)?;
    package(sh)
}

/// The program is also the init of its guests, where there is no loader.
fn check_static(sh: &Shell, program: &str) -> Result<()> {
    let headers = cmd!(sh, "readelf --program-headers --wide {program}")
        .quiet()
        .read()?;
    ensure!(
        !headers.contains("INTERP"),
        "{program} is linked dynamically; is .cargo/config.toml overruled, by RUSTFLAGS for one?"
    );
    Ok(())
}

fn package(sh: &Shell) -> Result<()> {
    // Of the commit, so that the same files make the same package.
    let time = cmd!(sh, "git log -1 --format=%ct").quiet().read()?;
    let _time = sh.push_env("SOURCE_DATE_EPOCH", time);
    cmd!(
        sh,
        "cargo deb --locked --no-build --target {TARGET} --package kverdict --output {DIST}/"
    )
    .run()?;
    Ok(())
}
