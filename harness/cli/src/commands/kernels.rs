//! `kverdict kernels`: what the catalogue has.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

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
    /// Shows one kernel as the catalogue has it.
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
        println!("{}", serde_json::to_string_pretty(&kernel.spec)?);
        return Ok(());
    }
    println!("# {}", kernel.file);
    print!("{}", serde_yaml::to_string(&kernel.spec)?);
    Ok(())
}

fn list(kernels: &[Kernel], json: bool) -> Result<()> {
    if json {
        let specs: Vec<_> = kernels.iter().map(|kernel| &kernel.spec).collect();
        println!("{}", serde_json::to_string_pretty(&specs)?);
        return Ok(());
    }
    let rows = kernels.iter().map(|kernel| {
        let spec = &kernel.spec;
        [&spec.name, &spec.era, spec.fix.state.word(), &spec.about].map(str::to_owned)
    });
    let head = ["KERNEL", "ERA", "FIX", "ABOUT"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [name, era, fix, about] in &rows {
        println!(
            "{name:0$}  {era:1$}  {fix:2$}  {about}",
            widths[0], widths[1], widths[2]
        );
    }
    Ok(())
}
