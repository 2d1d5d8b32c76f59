//! `kverdict report`: the verdict again, from stored records alone.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::commands::{bisect, print, trial};
use crate::layout::RunDir;
use crate::manifest::{
    BisectManifest, CompareManifest, Manifest, NightManifest, Started, TrialManifest,
};
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
    let code = if CompareManifest::file(&dir).exists() {
        let (manifest, records) = store::read::<CompareManifest, _>(&dir)?;
        let known = compared::read(&dir, &manifest)?;
        let report = reports::write_compare(&dir, &manifest, &known, &records)?;
        return compared::print(&report, args.json);
    } else if BisectManifest::file(&dir).exists() {
        let (manifest, records) = store::read::<BisectManifest, _>(&dir)?;
        let report = reports::write_bisect(&dir, &manifest, &records.trials)?;
        print(&report, args.json)?;
        bisect::exit_code(&report)
    } else if TrialManifest::file(&dir).exists() {
        let (manifest, records) = store::read(&dir)?;
        let assessment = reports::write_trial(&dir, &manifest, &records)?;
        print(&assessment, args.json)?;
        // As of one that does not search the fix.
        trial::exit_code(&assessment, false)
    } else if NightManifest::file(&dir).exists() {
        let (manifest, records) = store::read::<NightManifest, _>(&dir)?;
        let report = reports::write_night(&dir, &manifest, &records)?;
        print(&report, args.json)?;
        report.conclusion.exit_code()
    } else {
        let (manifest, records) = store::read::<Manifest, _>(&dir)?;
        let report = reports::write(&dir, &manifest, &records)?;
        print(&report, args.json)?;
        report.verdict.conclusion.exit_code()
    };
    Ok(ExitCode::from(code))
}
