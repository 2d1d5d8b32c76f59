//! `kverdict kernels`: what the catalogue has.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use kverdict_core::catalogue::kernel::Origin;
use serde_json::Value;

use crate::catalogue::{Catalogue, Kernel};

/// Lists the kernels of the catalogue, or shows one.
#[derive(Debug, Args)]
pub struct KernelsArgs {
    #[command(subcommand)]
    command: Option<KernelsCommand>,
    /// Folder with more kernels, fragments and patches; wins over what is embedded.
    #[arg(long, value_name = "DIR", global = true)]
    catalogue: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// What to do with the catalogue.
#[derive(Debug, Subcommand)]
enum KernelsCommand {
    /// Explains one kernel: where it comes from, how it is built, what is known about the fix.
    Show {
        /// Its name.
        name: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the catalogue is wrong (all problems together), or has no such kernel.
pub fn run(args: &KernelsArgs) -> Result<ExitCode> {
    let catalogue = Catalogue::open(&args.catalogue)?;
    match &args.command {
        Some(KernelsCommand::Show { name }) => show(&catalogue.kernel(name)?, args.json)?,
        None => list(&catalogue.kernels()?, args.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(kernel: &Kernel, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(&with_file(kernel)?)?);
        return Ok(());
    }
    let spec = &kernel.spec;
    println!("{}: {}", spec.name, spec.about);
    for (label, text) in facts(kernel) {
        println!("  {label:<15} {text}");
    }
    Ok(())
}

/// What is known about a kernel, line by line.
fn facts(kernel: &Kernel) -> Vec<(&'static str, String)> {
    let spec = &kernel.spec;
    let mut facts = vec![("era", spec.era.clone())];
    match &spec.origin {
        Origin::Source(recipe) => facts.extend([
            ("source", recipe.source.kind().to_owned()),
            ("location", recipe.source.location()),
            ("toolchains", recipe.toolchains.join(", ")),
            ("fragments", recipe.fragments.join(", ")),
        ]),
        Origin::Binary(binary) => facts.extend([
            (
                "binary",
                format!("{}: boots as it is, takes no patches", binary.kind()),
            ),
            ("location", binary.location()),
        ]),
    }
    if !spec.sched_features.is_empty() {
        facts.push(("sched-features", spec.sched_features.join(", ")));
    }
    facts.extend([
        ("fix", spec.fix.state.word().to_owned()),
        ("known from", spec.fix.from.trim().to_owned()),
        ("file", kernel.file.clone()),
    ]);
    facts
}

fn list(kernels: &[Kernel], json: bool) -> Result<()> {
    if json {
        let all: Vec<Value> = kernels.iter().map(with_file).collect::<Result<_>>()?;
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let rows = kernels.iter().map(|kernel| {
        let spec = &kernel.spec;
        [
            &spec.name,
            &spec.era,
            spec.origin.kind(),
            spec.fix.state.word(),
            &spec.about,
        ]
        .map(str::to_owned)
    });
    let head = ["KERNEL", "ERA", "KIND", "FIX", "ABOUT"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for [name, era, kind, fix, about] in &rows {
        println!(
            "{name:0$}  {era:1$}  {kind:2$}  {fix:3$}  {about}",
            widths[0], widths[1], widths[2], widths[3]
        );
    }
    Ok(())
}

/// A kernel as its file has it, and the file.
fn with_file(kernel: &Kernel) -> Result<Value> {
    let mut value = serde_json::to_value(&kernel.spec)?;
    value["file"] = Value::String(kernel.file.clone());
    Ok(value)
}
