//! The program's commands, one module each.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

pub mod advise;
pub mod bisect;
pub mod boot;
pub mod build;
pub mod cache;
pub mod classify;
pub mod compare;
pub mod completions;
pub mod db;
pub mod diagnose;
pub mod diff;
pub mod doctor;
pub mod flakes;
pub mod history;
pub mod inspect;
pub mod kernel_args;
pub mod kernels;
pub mod man;
pub mod nightly;
pub mod report;
pub mod schema;
pub mod trial;
pub mod tune;
pub mod verify;
pub mod watch;

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
    #[arg(long, value_name = "N")]
    compile_jobs: Option<usize>,
}

/// Arguments of commands that ask the history.
#[derive(Debug, Args)]
pub struct HistoryPlace {
    /// Folder of the results of all runs
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints a report for people, or as JSON.
///
/// # Errors
/// When it cannot be put in JSON.
pub fn print(report: &(impl Display + Serialize), json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Input that is wrong in a way of its own: a missing file, a name that nothing has.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
