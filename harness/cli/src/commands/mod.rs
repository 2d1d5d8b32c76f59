//! The program's commands, one module each.

use std::path::PathBuf;

use clap::Args;

pub mod advise;
pub mod boot;
pub mod build;
pub mod classify;
pub mod diagnose;
pub mod doctor;
pub mod inspect;
pub mod kernel_args;
pub mod kernels;
pub mod report;
pub mod schema;
pub mod trial;
pub mod tune;
pub mod verify;

/// Arguments of commands that run trials.
#[derive(Debug, Args)]
pub struct TrialArgs {
    /// Folder for the results of all runs
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
    /// Install missing tools with apt first, after printing the command
    #[arg(long)]
    install_deps: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Folder with more kernels, fragments and patches; wins over what is embedded
    #[arg(long, value_name = "DIR")]
    catalogue: Vec<PathBuf>,
    /// Parallel compile jobs [default: number of processors]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
}

/// Input that is wrong in a way of its own: a missing file, a name that nothing has.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
