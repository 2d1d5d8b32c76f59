//! `kverdict schema`: the input formats as JSON schema, for editors and for people.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use kverdict_core::campaign::Campaign;
use kverdict_core::night::config::NightSpec;
use kverdict_core::night::known::KnownIssues;
use kverdict_core::tune::spec::TuneSpec;

/// Arguments of `kverdict schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which file
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A campaign, as in configs/
    Campaign,
    /// What a tune has to do, as in configs/tune/
    Tune,
    /// What a night has to do, as in configs/nightly/
    Nightly,
    /// Failures that somebody has filed, for a night
    KnownIssues,
}

/// Runs the command.
///
/// # Errors
/// Never in practice; the schema is a constant of the program.
pub fn run(args: &SchemaArgs) -> Result<ExitCode> {
    let schema = match args.format {
        Format::Campaign => schemars::schema_for!(Campaign),
        Format::Tune => schemars::schema_for!(TuneSpec),
        Format::Nightly => schemars::schema_for!(NightSpec),
        Format::KnownIssues => schemars::schema_for!(KnownIssues),
    };
    println!("{}", serde_json::to_string_pretty(&schema)?);
    Ok(ExitCode::SUCCESS)
}
