//! Developer tasks: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask bench`, `cargo xtask dist`, `cargo xtask fuzz`.

mod dist;
mod fuzz;
mod metadata;
mod minimal_rust;
mod notices;

use std::thread;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use xshell::{Shell, cmd};

/// Developer tasks of kverdict.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that has to hold: format, clippy, unit tests, and tests with real kernels
    Test {
        /// Install missing tools with apt first, after printing the command
        #[arg(long)]
        install_deps: bool,
        /// Leave out the tests that build and boot real kernels
        #[arg(long, conflicts_with = "long")]
        quick: bool,
        /// Also compare and bisect real kernels, and build those of packages: half an hour more
        #[arg(long)]
        long: bool,
    },
    /// Format, clippy, licences and versions of dependencies, and rules about the text of the tree
    Tidy,
    /// Benchmarks
    Bench,
    /// A release: the static program, manual pages, completions, and a Debian package (needs cargo-deb)
    Dist,
    /// Feed made-up input to what reads other people's files (needs a nightly toolchain and cargo-fuzz)
    Fuzz {
        /// A target of fuzz/fuzz_targets
        #[arg(default_value = "all")]
        target: String,
        /// Minutes for each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        minutes: u32,
    },
}

fn main() -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(env!("CARGO_MANIFEST_DIR"));
    sh.change_dir("../..");
    match Cli::parse().task {
        Task::Test {
            install_deps,
            quick,
            long,
        } => {
            check(&sh, install_deps)?;
            let none: &[_] = &[];
            let (real, more) = (
                if quick { none } else { REAL },
                if long { LONG } else { none },
            );
            test_with_real_kernels(&sh, &[real, more].concat())
        }
        Task::Tidy => tidy(&sh),
        Task::Fuzz { target, minutes } => fuzz::run(&sh, &target, minutes),
        Task::Bench => Ok(cmd!(sh, "cargo bench --workspace").run()?),
        Task::Dist => dist::build(&sh),
    }
}

/// Tests without real kernels at a time, for each CPU.
const TESTS_PER_CPU: usize = 3;

/// Release, because the program under test is also the guest's init. Always the whole workspace, of which packages
/// are chosen by what they have to run: with another choice, dependencies have other features and are built anew.
const TESTS: [&str; 3] = ["test", "--release", "--workspace"];

/// Programs of tests that build and boot real kernels, and which of their tests are run.
const REAL: &[(&str, &str)] = &[
    ("real_kernel", "t"),
    ("real_sources", "s1"),
    ("real_advise", "a"),
    ("real_night", "n"),
    // After those that unpack a kernel's source, which has a parser in it.
    ("real_exports", "x"),
    ("page", "w"),
    ("real_slurm", "l"),
];

/// Those that take longest. What they are about is tested with made-up kernels, too.
const LONG: &[(&str, &str)] = &[
    ("real_compare", "c"),
    ("real_bisect", "b"),
    ("real_sources", "s2"),
];

/// All that needs no real kernel.
fn check(sh: &Shell, install_deps: bool) -> Result<()> {
    if install_deps {
        cmd!(sh, "cargo {TESTS...} --no-run").run()?;
        let program = metadata::read(sh)?.program();
        cmd!(sh, "{program} doctor --install-deps").run()?;
        install_for_tests(sh)?;
    }
    tidy(sh)?;
    // Most of their time they wait for made-up guests.
    let threads = TESTS_PER_CPU * thread::available_parallelism()?.get();
    let _threads = sh.push_env("RUST_TEST_THREADS", threads.to_string());
    Ok(cmd!(sh, "cargo {TESTS...}").run()?)
}

/// One after the other: each of these keeps both cores of a small machine busy.
fn test_with_real_kernels(sh: &Shell, programs: &[(&str, &str)]) -> Result<()> {
    for (test, filter) in programs {
        cmd!(
            sh,
            "cargo {TESTS...} --test {test} -- --ignored --test-threads=1 --nocapture {filter}"
        )
        .run()?;
    }
    Ok(())
}

/// What only tests need: they make rpms with the real tool, read exports with programs in Python, open
/// pages with a browser, and want ccache, which users can do without.
fn install_for_tests(sh: &Shell) -> Result<()> {
    for (program, arguments, package) in [
        ("rpmbuild", &[][..], "rpm"),
        // Debian's Python has venv without this package, and cannot make one.
        ("python3", &["-m", "ensurepip"][..], "python3-venv"),
        ("chromium", &[][..], "chromium"),
        ("munged", &[][..], "munge"),
        ("slurmctld", &["-V"][..], "slurm-wlm"),
        ("ccache", &[][..], "ccache"),
    ] {
        let check = cmd!(sh, "{program} {arguments...} --version");
        if check.quiet().ignore_stdout().ignore_stderr().run().is_err() {
            install(sh, package)?;
        }
    }
    Ok(())
}

fn install(sh: &Shell, package: &str) -> Result<()> {
    let root = cmd!(sh, "id -u").quiet().read()? == "0";
    let arguments = [
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ];
    let install = if root {
        cmd!(sh, "apt-get {arguments...}")
    } else {
        cmd!(sh, "sudo apt-get {arguments...}")
    };
    Ok(install.run()?)
}

fn tidy(sh: &Shell) -> Result<()> {
    // Fuzz targets are only linked with libFuzzer, which takes a while to compile.
    let _none = sh.push_env("CUSTOM_LIBFUZZER_PATH", "none/libnone.a");
    // What is not installed cannot check; say so, rather than fail for it.
    for (component, install, arguments) in [
        ("fmt", "rustup component add rustfmt", "--all --check"),
        (
            "clippy",
            "rustup component add clippy",
            "--release --workspace --all-targets --features kverdict-holder/plugin -- -D warnings",
        ),
        (
            "fmt",
            "rustup component add rustfmt",
            "--manifest-path fuzz/Cargo.toml --check",
        ),
        (
            "clippy",
            "rustup component add clippy",
            "--manifest-path fuzz/Cargo.toml --target-dir target --all-targets --locked -- -D warnings",
        ),
        (
            "deny",
            "cargo install --locked cargo-deny",
            // Advisories need the network, and change without a change here.
            "--offline --locked check bans licenses sources",
        ),
    ] {
        if cmd!(sh, "cargo {component} --version")
            .quiet()
            .ignore_stdout()
            .ignore_stderr()
            .run()
            .is_err()
        {
            eprintln!("skipped: cargo {component} is not installed ({install})");
            continue;
        }
        let arguments: Vec<&str> = arguments.split(' ').collect();
        cmd!(sh, "cargo {component} {arguments...}").run()?;
    }
    minimal_rust::check(sh)?;
    spawns_only_in_process_rs(sh)
}

/// Keeps the invariant that one module starts processes.
fn spawns_only_in_process_rs(sh: &Shell) -> Result<()> {
    for entry in walk(sh, "harness/cli/src")? {
        if entry.ends_with("process.rs") {
            continue;
        }
        let text = sh.read_file(&entry).with_context(|| entry.clone())?;
        for (index, line) in text.lines().enumerate() {
            if line.contains("std::process::Command") || line.contains("duct::cmd") {
                bail!(
                    "{entry}:{}: only process.rs starts processes; use process::Job",
                    index + 1
                );
            }
        }
    }
    Ok(())
}

fn walk(sh: &Shell, dir: &str) -> Result<Vec<String>> {
    let files = cmd!(sh, "git ls-files {dir}").quiet().read()?;
    Ok(files
        .lines()
        .filter(|path| path.ends_with(".rs"))
        .map(str::to_owned)
        .collect())
}
