//! The command that is run when a night ends with a regression.

use std::time::Duration;

use anyhow::Result;
use kverdict_core::night::report::NightReport;

use crate::build::is_interrupt;
use crate::layout::RunDir;
use crate::process::Job;
use crate::progress::Progress;

/// It sends a mail or posts a line.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the command with the night's summary as its input. That it fails is said, and changes nothing.
///
/// # Errors
/// An interrupt.
pub fn send(command: &str, report: &NightReport, dir: &RunDir, progress: &Progress) -> Result<()> {
    let job = Job::new("sh", LIMIT)
        .args(["-c", command])
        .input(report.summary_markdown())
        .env("KVERDICT_RUN", dir.root())
        .log(dir.notify_log());
    match job.run_checked() {
        Ok(()) => progress.line(format!("notified by: {command}")),
        Err(error) if is_interrupt(&error) => return Err(error),
        Err(error) => progress.line(format!("NOT NOTIFIED: {error:#}")),
    }
    Ok(())
}
