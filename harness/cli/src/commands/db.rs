//! `kverdict db`: looking after the history and after old results.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::commands::Usage;
use crate::history::{prune, rebuild};
use crate::layout;
use crate::progress::Progress;

/// Arguments of `kverdict db`.
#[derive(Debug, Args)]
pub struct DbArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make results/history.sqlite again of the records of all runs
    Rebuild {
        /// Folder of the results of all runs
        #[arg(long, default_value = "results", value_name = "DIR")]
        results: PathBuf,
    },
    /// Free what older nights do not need any more; records, reports and what failed are kept
    Prune {
        /// Nights of each name that keep everything
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep_nights: u32,
        /// Only say what would be freed
        #[arg(long)]
        dry_run: bool,
        /// Folder of the results of all runs
        #[arg(long, default_value = "results", value_name = "DIR")]
        results: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When there are no results, or they cannot be read or written.
pub fn run(args: &DbArgs) -> Result<ExitCode> {
    let (Task::Rebuild { results } | Task::Prune { results, .. }) = &args.task;
    if !results.is_dir() {
        return Err(Usage(format!(
            "there is no folder {}; name the folder of the results with --results",
            results.display()
        ))
        .into());
    }
    let progress = Progress::detect();
    match &args.task {
        Task::Rebuild { results } => {
            let rebuilt = rebuild::rebuild(results)?;
            for (run, why) in &rebuilt.skipped {
                progress.line(format!("skipped {run}: {why}"));
            }
            println!(
                "{}: {} trials of {} runs, {} skipped",
                layout::history(results).display(),
                rebuilt.trials,
                rebuilt.runs,
                rebuilt.skipped.len()
            );
        }
        Task::Prune {
            keep_nights,
            dry_run,
            results,
        } => {
            let freed = prune::prune(results, *keep_nights as usize, *dry_run)?;
            for (run, why) in &freed.left {
                progress.line(format!("left alone {run}: {why}"));
            }
            let verb = if *dry_run { "would free" } else { "freed" };
            println!(
                "{verb} {:.1} MiB in {} files of {} nights",
                freed.bytes as f64 / f64::from(1 << 20),
                freed.files,
                freed.nights
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
