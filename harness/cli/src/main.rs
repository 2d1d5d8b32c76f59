//! The `kverdict` program.

mod build;
mod catalogue;
mod commands;
mod process;
mod progress;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
enum Command {
    Build(commands::build::BuildArgs),
    Kernels(commands::kernels::KernelsArgs),
}

fn main() -> ExitCode {
    if kverdict_agent::is_guest() {
        kverdict_agent::main()
    }
    let result = process::catch_interrupts().and_then(|()| match Command::parse() {
        Command::Build(args) => commands::build::run(&args, &progress::Progress::detect()),
        Command::Kernels(args) => commands::kernels::run(&args),
    });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(131)
    })
}
