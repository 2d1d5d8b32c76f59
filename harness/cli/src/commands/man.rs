//! `kverdict man`: the help of all commands as manual pages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap_mangen::Man;

use crate::store;

/// Arguments of `kverdict man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command for `program`, whose pages are to be written.
///
/// # Errors
/// When the folder cannot be written.
pub fn run(args: &ManArgs, program: clap::Command) -> Result<ExitCode> {
    let mut program = program.disable_help_subcommand(true);
    // Gives each command its whole name, by which its page is called.
    program.build();
    write(&program, &args.folder)?;
    Ok(ExitCode::SUCCESS)
}

/// One page for the command, and one for each command below it.
fn write(command: &clap::Command, folder: &Path) -> Result<()> {
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    store::replace(&folder.join(page.get_filename()), &text)?;
    command
        .get_subcommands()
        .try_for_each(|below| write(below, folder))
}
