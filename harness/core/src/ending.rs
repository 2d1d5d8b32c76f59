//! How every report ends: what the detectors are worth, the trials, stacks, what it was made with, and how the
//! figures are made.

use std::fmt;

use crate::arming::Arming;
use crate::report::{Evidence, TrialLine};

/// Writes what was seen: lockups made on purpose, all trials, the stacks of a target lockup.
pub(crate) fn write_seen(
    f: &mut fmt::Formatter<'_>,
    armings: &[Arming],
    trials: &[TrialLine],
    evidence: Option<&Evidence>,
) -> fmt::Result {
    writeln!(f, "\ndetectors proven by a lockup made on purpose:")?;
    for arming in armings {
        writeln!(f, "  {arming}")?;
    }
    writeln!(f, "\ntrials:")?;
    for trial in trials {
        write_trial(f, trial)?;
    }
    evidence.map_or(Ok(()), |evidence| write_evidence(f, evidence))
}

/// Writes how it came about: what it was made with, and, below `title`, the methods.
pub(crate) fn write_making(
    f: &mut fmt::Formatter<'_>,
    environment: &[(String, String)],
    title: &str,
    methods: &[String],
) -> fmt::Result {
    writeln!(f, "\nmade with:")?;
    for (label, value) in environment {
        writeln!(f, "  {label}: {value}")?;
    }
    writeln!(f, "\n{title}:")?;
    for method in methods {
        writeln!(f, "  {method}")?;
    }
    Ok(())
}

fn write_evidence(f: &mut fmt::Formatter<'_>, evidence: &Evidence) -> fmt::Result {
    writeln!(f, "\nevidence: trial {}, {}", evidence.trial, evidence.file)?;
    for line in evidence.text.lines() {
        writeln!(f, "  {line}")?;
    }
    Ok(())
}

/// A trial in a line, or more for its remarks.
fn write_trial(f: &mut fmt::Formatter<'_>, trial: &TrialLine) -> fmt::Result {
    let line = trial
        .line
        .map_or(String::new(), |line| format!(" (console line {line})"));
    let hello = trial
        .hello_seconds
        .map_or("no hello".to_owned(), |seconds| {
            format!("hello {seconds:.1} s")
        });
    let title = if trial.title.is_empty() { "" } else { ": " };
    writeln!(
        f,
        "  {:<14} {:<14} {hello}, {:>5.1} s load  {}{title}{}{line}",
        trial.id, trial.standing, trial.load_seconds, trial.outcome, trial.title
    )?;
    for remark in &trial.remarks {
        writeln!(f, "      {remark}")?;
    }
    Ok(())
}
