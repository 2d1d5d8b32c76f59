//! `kverdict watch`: follow a run from another terminal.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::commands::Usage;
use crate::layout::RunDir;
use crate::process::{Interrupted, interrupted};
use crate::progress::Progress;
use crate::watching::Watched;

/// How often the run's files are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `kverdict watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Folder of the run, of any command
    run: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When there is no run, its files cannot be read, or the user interrupts.
pub fn run(args: &WatchArgs) -> Result<ExitCode> {
    let dir = RunDir::new(&args.run)?;
    if !dir.events().is_file() {
        let text = format!(
            "{} is no run: there is no events.jsonl in it; name a folder below results/",
            args.run.display()
        );
        return Err(Usage(text).into());
    }
    let progress = Progress::detect();
    let task = progress.task(format!("watching {}", dir.id()), 0);
    let mut watched = Watched::new(dir.clone());
    let mut stands = String::new();
    loop {
        // Asked first: what the run says last comes before it ends.
        let running = watched.is_running()?;
        let lines = watched.follow()?;
        let is_news = !lines.is_empty();
        for line in lines {
            progress.result(line);
        }
        if is_news {
            let now = format!("  {}; {}", watched.counts(), watched.outlook());
            if now != stands {
                progress.result(&now);
                stands = now;
            }
        }
        if !running {
            break;
        }
        task.set(0, watched.now());
        if interrupted() {
            return Err(Interrupted.into());
        }
        thread::sleep(INTERVAL);
    }
    drop(task);
    progress.result(ending(&dir));
    Ok(ExitCode::SUCCESS)
}

/// What is said of a run that nobody writes any more.
fn ending(dir: &RunDir) -> String {
    let report = fs::read_to_string(dir.report_text()).unwrap_or_default();
    match report.lines().next() {
        Some(line) => format!(
            "nobody writes into it any more. {line}; more by: kverdict report {}",
            dir.root().display()
        ),
        None => "nobody writes into it any more, and there is no report: it was stopped; go on with --resume".to_owned(),
    }
}
