//! `kverdict completions`: the script by which a shell completes kverdict's commands and options.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

/// Arguments of `kverdict completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Runs the command for `program`, whose arguments are to be completed.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &CompletionsArgs, mut program: clap::Command) -> Result<ExitCode> {
    let name = program.get_name().to_owned();
    // As a whole, because clap_complete panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
