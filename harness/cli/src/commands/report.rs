//! `kverdict report`: the verdict again, from stored records alone, for people or for other programs.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use kverdict_core::export::kcidb::Origin;
use serde::Serialize;

use crate::commands::{Usage, bisect, trial};
use crate::exports::{Export, Form};
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
    /// Print the report as JSON; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write it into this file instead
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Who submits to KCIDB; all ids begin with it
    #[arg(long, value_name = "NAME", default_value = "kverdict")]
    origin: Origin,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The report for people
    Text,
    /// The report with all its figures
    Json,
    /// JUnit XML, for build servers
    Junit,
    /// KTAP, as the kernel's own tests write it
    Ktap,
    /// A submission to KCIDB, the database of kernel tests, by its schema 5.3
    Kcidb,
    /// Markdown, for a mail or a merge request
    Markdown,
}

/// Runs the command.
///
/// # Errors
/// When the run cannot be read, its reports cannot be written, or it has no such form.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let dir = RunDir::new(&args.run)?;
    let (text, code) = if CompareManifest::file(&dir).exists() {
        let (manifest, records) = store::read::<CompareManifest, _>(&dir)?;
        let known = compared::read(&dir, &manifest)?;
        let report = reports::write_compare(&dir, &manifest, &known, &records)?;
        let export = || Export::of_compare(&dir, &manifest, &records, &report);
        (args.text(&report, export)?, report.conclusion.exit_code())
    } else if BisectManifest::file(&dir).exists() {
        let (manifest, records) = store::read::<BisectManifest, _>(&dir)?;
        let report = reports::write_bisect(&dir, &manifest, &records)?;
        let export = || Err(no_cases("a bisection"));
        (args.text(&report, export)?, bisect::exit_code(&report))
    } else if TrialManifest::file(&dir).exists() {
        let (manifest, records) = store::read(&dir)?;
        let assessment = reports::write_trial(&dir, &manifest, &records)?;
        let export = || Err(no_cases("of a single kernel"));
        // As of one that does not search the fix.
        let code = trial::exit_code(&assessment, false);
        (args.text(&assessment, export)?, code)
    } else if NightManifest::file(&dir).exists() {
        let (manifest, records) = store::read::<NightManifest, _>(&dir)?;
        let report = reports::write_night(&dir, &manifest, &records)?;
        let export = || Export::of_night(&dir, &manifest, &records, &report);
        (args.text(&report, export)?, report.conclusion.exit_code())
    } else {
        let (manifest, records) = store::read::<Manifest, _>(&dir)?;
        let report = reports::write(&dir, &manifest, &records)?;
        let export = || Export::of_verify(&dir, &manifest, &records, &report);
        let code = report.verdict.conclusion.exit_code();
        (args.text(&report, export)?, code)
    };
    match &args.output {
        Some(path) => store::replace(path, text.as_bytes())?,
        None => print!("{text}"),
    }
    Ok(ExitCode::from(code))
}

impl ReportArgs {
    /// The report as it was asked for.
    fn text(
        &self,
        report: &(impl Display + Serialize),
        export: impl FnOnce() -> Result<Export>,
    ) -> Result<String> {
        let format = if self.json { Format::Json } else { self.format };
        let form = match format {
            Format::Text => return Ok(format!("{report}\n")),
            Format::Json => return Ok(serde_json::to_string_pretty(report)? + "\n"),
            Format::Junit => Form::Junit,
            Format::Ktap => Form::Ktap,
            Format::Kcidb => Form::Kcidb,
            Format::Markdown => Form::Markdown,
        };
        export()?.text(form, &self.origin)
    }
}

fn no_cases(what: &str) -> anyhow::Error {
    Usage(format!(
        "the run is {what}, which has no test cases: use --format text or json. Runs of verify, compare and nightly have them"
    ))
    .into()
}
