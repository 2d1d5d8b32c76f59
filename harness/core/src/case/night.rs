//! A night as cases: each cell should be as it was before, and a control should lock up.

use std::collections::BTreeMap;

use super::verify::{LOCKS_UP, of_trial as of_control_trial};
use super::{Answer, Case, CaseTrial, Made, Results, of_trial};
use crate::campaign::Role;
use crate::history::change::Change;
use crate::night::report::{CellReport, NightReport};
use crate::night::{Conclusion, NightTrial};
use crate::record::{Standing, TrialRecord};
use crate::report;

impl Results {
    /// What a night of this name tested.
    pub fn of_night(made: &Made, name: &str, trials: &[NightTrial], report: &NightReport) -> Self {
        let records: BTreeMap<(&str, &str), &TrialRecord> = trials
            .iter()
            .map(|one| ((one.cell.as_str(), one.trial.id.as_str()), &one.trial))
            .collect();
        Self {
            run: report.run.clone(),
            campaign: name.to_owned(),
            started: made.started.clone(),
            kverdict: made.kverdict.clone(),
            answer: match report.conclusion {
                Conclusion::Clean => Answer::Passed,
                Conclusion::Regression => Answer::Failed,
                Conclusion::CouldNotTell => Answer::CouldNotTell,
            },
            reasons: report.reasons.clone(),
            environment: report.environment.clone(),
            cases: report
                .cells
                .iter()
                .map(|cell| case(cell, &records))
                .collect(),
        }
    }
}

fn case(cell: &CellReport, records: &BTreeMap<(&str, &str), &TrialRecord>) -> Case {
    let name = cell.cell.to_string();
    // Each line of the report was made of a record.
    let trials = cell.trials.iter().filter_map(|line| {
        let record = records.get(&(name.as_str(), line.id.as_str()))?;
        Some(CaseTrial {
            line: line.clone(),
            started: record.started.clone(),
            total_seconds: record.timing.total_ms as f64 / 1000.0,
            answer: if cell.control {
                of_control_trial(Role::Control, line.standing)
            } else {
                of_trial(line.standing)
            },
            evidence: report::evidence(record).map(|evidence| evidence.text),
        })
    });
    let trials: Vec<CaseTrial> = trials.collect();
    let (expected, answer) = if cell.control {
        (LOCKS_UP, of_control(cell))
    } else {
        ("as before", of_cell(cell))
    };
    let mut reasons = vec![cell.judged.change.to_string()];
    reasons.extend(cell.judged.reasons.iter().cloned());
    reasons.extend(
        cell.untestable
            .iter()
            .map(|why| format!("untestable: {why}")),
    );
    // One that never ran says only once why.
    reasons.dedup();
    Case {
        about: if cell.kernel.is_empty() {
            "no kernel".to_owned()
        } else {
            cell.kernel.clone()
        },
        expected: expected.to_owned(),
        answer,
        reasons,
        known: known(cell),
        trials,
        name,
    }
}

fn of_control(cell: &CellReport) -> Answer {
    let mut standings = cell.trials.iter().map(|trial| trial.standing);
    if standings.any(|standing| standing == Standing::TargetLockup) {
        Answer::Passed
    } else {
        Answer::CouldNotTell
    }
}

/// A regression that somebody has filed is none for who reads this: he knows. Without a past there is nothing to
/// be as before, so that a new cell passes only if nothing failed.
fn of_cell(cell: &CellReport) -> Answer {
    match cell.judged.change {
        Change::Regression if filed(cell).is_none() => Answer::Failed,
        Change::Regression
        | Change::Unchanged
        | Change::Recovery
        | Change::Flake
        | Change::StillFailing => Answer::Passed,
        Change::New if cell.failures.is_empty() && cell.exposed_minutes > 0.0 => Answer::Passed,
        Change::New
        | Change::Suspicion
        | Change::Infrastructure
        | Change::NotExposed
        | Change::NotRun => Answer::CouldNotTell,
    }
}

/// The issue that the kind of failure is filed as that decided.
fn filed(cell: &CellReport) -> Option<&String> {
    let decisive = cell.judged.failure.as_ref()?;
    let mut failures = cell.failures.iter();
    failures
        .find(|(failure, _, _)| failure == decisive)?
        .2
        .as_ref()
}

/// The issue that all of a cell's failures are: of several, or of one and something new, none can stand for all.
fn known(cell: &CellReport) -> Option<String> {
    let mut links = cell.failures.iter().map(|(_, _, link)| link.as_ref());
    let first = links.next()??;
    links.all(|link| link == Some(first)).then(|| first.clone())
}
