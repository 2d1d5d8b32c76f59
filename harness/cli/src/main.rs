//! kverdict: proves on real kernels, booted in QEMU, whether a race fix is present and works.

mod accel;
mod advice;
mod arming;
mod attempts;
mod bisection;
mod boot_path;
mod build;
mod campaigns;
mod candidates;
mod catalogue;
mod commands;
mod compared;
mod configs;
mod dependencies;
mod dispatch;
mod executor;
mod exports;
mod gdb;
mod guest_memory;
mod guests;
mod history;
mod holder;
mod host;
mod initramfs;
mod inspected;
mod layout;
mod manifest;
mod night;
mod outside;
mod pace;
mod pages;
mod process;
mod progress;
mod qemu;
mod qmp;
mod reports;
mod running;
mod session;
mod sides;
mod stalls;
mod store;
mod tail;
mod trial;
mod tunes;
mod verification;
mod vmcore;
mod watching;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use kverdict_core::yaml::Problems;
use progress::Progress;

/// Exit status for wrong usage or wrong input files.
const USAGE: u8 = 129;
/// Exit status after SIGINT, SIGTERM or SIGHUP.
const INTERRUPTED: u8 = 130;
/// Exit status when the host or kverdict itself failed.
const FAILED: u8 = 131;

const EXIT_CODES: &str = "\
Exit status:
  0    the expectation held (verified, clean)
  1    it did not (refuted, something was found)
  125  could not tell (inconclusive, infrastructure); `git bisect run` skips
  129  wrong usage or input    130  interrupted    131  the host or kverdict failed";

/// Proves on real kernels, booted in QEMU with several NUMA nodes, whether a race fix is present and works.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build both arms of a campaign, run trials until the verdict stands, and report
    Verify(Box<commands::verify::VerifyArgs>),
    /// Find the commit, patch or kernel that broke it or fixed it
    Bisect(Box<commands::bisect::BisectArgs>),
    /// Say whether one kernel has the bug, by trials; the exit status is what `git bisect run` wants
    Trial(Box<commands::trial::TrialOneArgs>),
    /// Hold kernels against each other under the same load: which one fails more often, and how
    Compare(Box<commands::compare::CompareArgs>),
    /// Search the load under which both sides of the race come together most often
    Tune(Box<commands::tune::TuneArgs>),
    /// Test many kernels under many loads within a time, and say what has changed since the nights before
    Nightly(Box<commands::nightly::NightlyArgs>),
    /// Follow a run from another terminal: what it does, and where it stands
    Watch(commands::watch::WatchArgs),
    /// Show the newest nights: what each cell said, and what changed
    History(commands::history::HistoryArgs),
    /// Hold a night against an earlier one, cell by cell
    Diff(commands::diff::DiffArgs),
    /// List what fails sometimes: how often, and when last
    Flakes(commands::flakes::FlakesArgs),
    /// Look after the history: make it again, or free what old nights do not need any more
    Db(commands::db::DbArgs),
    /// Build one kernel and print where it is
    Build(commands::build::BuildArgs),
    /// Show what the cache of sources and kernels takes, or remove what was not used for longest
    Cache(commands::cache::CacheArgs),
    /// Boot one kernel interactively, with a campaign's topology
    Boot(commands::boot::BootArgs),
    /// List the kernels that are known, or explain one
    Kernels(commands::kernels::KernelsArgs),
    /// Say what went wrong on a recorded console, and whether it is the deadlock in question
    Classify(commands::classify::ClassifyArgs),
    /// Say what a running guest's CPUs do: stacks, stuck CPUs, and who waits for whom
    Diagnose(commands::diagnose::DiagnoseArgs),
    /// Say whether a kernel has the fix, from its source or its code, without booting it
    Inspect(commands::inspect::InspectArgs),
    /// Say which upstream commits a source tree needs to have the fix, and whether they go into it
    Advise(Box<commands::advise::AdviseArgs>),
    /// Judge a run again from its records
    Report(commands::report::ReportArgs),
    /// Check tools, accelerator, disk and memory, and say what to install
    Doctor(commands::doctor::DoctorArgs),
    /// Print the JSON schema of an input file
    Schema(commands::schema::SchemaArgs),
    /// Print the script by which a shell completes these commands
    Completions(commands::completions::CompletionsArgs),
    /// Write the help of all commands as manual pages
    Man(commands::man::ManArgs),
}

fn main() -> ExitCode {
    if kverdict_agent::is_guest() {
        kverdict_agent::main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; printing fails only when nobody listens.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let result = process::catch_interrupts().and_then(|()| run(&cli.command));
    result.unwrap_or_else(|error| {
        // It may quote what came from outside, and a terminal obeys more than letters.
        let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
        let text = format!("{error:#}").replace(obeyed, "\u{fffd}");
        eprintln!("error: {text}");
        ExitCode::from(exit_code(&error))
    })
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Verify(args) => commands::verify::run(args),
        Command::Bisect(args) => commands::bisect::run(args),
        Command::Trial(args) => commands::trial::run(args),
        Command::Compare(args) => commands::compare::run(args),
        Command::Tune(args) => commands::tune::run(args),
        Command::Nightly(args) => commands::nightly::run(args),
        Command::Watch(args) => commands::watch::run(args),
        Command::History(args) => commands::history::run(args),
        Command::Diff(args) => commands::diff::run(args),
        Command::Flakes(args) => commands::flakes::run(args),
        Command::Db(args) => commands::db::run(args),
        Command::Build(args) => commands::build::run(args, &Progress::detect()),
        Command::Cache(args) => commands::cache::run(args),
        Command::Boot(args) => commands::boot::run(args),
        Command::Classify(args) => commands::classify::run(args),
        Command::Kernels(args) => commands::kernels::run(args),
        Command::Diagnose(args) => commands::diagnose::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Advise(args) => commands::advise::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Schema(args) => commands::schema::run(args),
        Command::Completions(args) => commands::completions::run(args, Cli::command()),
        Command::Man(args) => commands::man::run(args, Cli::command()),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<build::BuildFailure>() {
        failure.exit_code()
    } else if error.is::<process::Interrupted>() {
        INTERRUPTED
    } else if error.is::<Problems>()
        || error.is::<kverdict_core::catalogue::Problems>()
        || error.is::<commands::Usage>()
    {
        USAGE
    } else {
        FAILED
    }
}
