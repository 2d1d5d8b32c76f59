//! `kverdict report`: the verdict again, from stored records alone.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::layout::RunDir;
use crate::{compared, reports, store};

/// Arguments of `kverdict report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the run
    run: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the run cannot be read, or its reports cannot be written.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let dir = RunDir::new(&args.run)?;
    if dir.compare_manifest().is_file() {
        let (manifest, records) = store::read_compare(&dir)?;
        let known = compared::read(&dir, &manifest)?;
        let report = reports::write_compare(&dir, &manifest, &known, &records)?;
        return compared::print(&report, args.json);
    }
    let (manifest, records) = store::read(&dir)?;
    let report = reports::write(&dir, &manifest, &records)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::from(report.verdict.conclusion.exit_code()))
}
