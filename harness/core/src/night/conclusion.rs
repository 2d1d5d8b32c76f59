//! From the cells of a night to its answer.

use super::Conclusion;
use super::filed::valid_issue;
use super::judge::{Night, Standpoint};
use super::report::{Budget, CellReport};
use crate::compare::failure::Failure;
use crate::history::change::Change;
use crate::record::Standing;

/// The link of the issue that a cell's decisive failure is filed as.
fn filed(cell: &CellReport) -> Option<&str> {
    let decisive = cell.judged.failure.as_ref()?;
    let mut failures = cell.failures.iter();
    let (_, _, link) = failures.find(|(failure, _, _)| failure == decisive)?;
    link.as_deref()
}

/// A regression of a kernel under test that nobody has filed, in words.
fn open_regression(one: &Standpoint<'_>) -> Option<String> {
    let is_open = !one.cell.control && one.open.change == Change::Regression;
    let reason = one.open.reasons.first().map_or("", String::as_str);
    is_open.then(|| format!("{}: {reason}", one.cell.id))
}

/// What a night says, and why.
pub(super) fn conclude(
    night: &Night<'_>,
    standpoints: &[Standpoint<'_>],
    cells: &[CellReport],
) -> (Conclusion, Vec<String>) {
    let subjects = || cells.iter().filter(|cell| !cell.control);
    let open: Vec<String> = standpoints.iter().filter_map(open_regression).collect();
    let mut doubts = silent_controls(cells);
    doubts.extend(unproven(night, standpoints));
    doubts.extend(standpoints.iter().filter_map(|one| unresolved(night, one)));
    if subjects().all(|cell| !tells(cell)) {
        doubts.push("no trial of any kernel under test says anything about it".to_owned());
    }
    if !open.is_empty() {
        return (Conclusion::Regression, [open, doubts].concat());
    }
    if !doubts.is_empty() {
        return (Conclusion::CouldNotTell, doubts);
    }
    let tested = subjects().filter(|cell| tells(cell)).count();
    let reason = format!(
        "no regression: {tested} of {} were tested, and every control locked up",
        cells_of(subjects().count())
    );
    (Conclusion::Clean, vec![reason])
}

fn first_reason(cell: &CellReport) -> &str {
    cell.judged.reasons.first().map_or("", String::as_str)
}

/// Whether a cell's trials say anything about its kernel.
fn tells(cell: &CellReport) -> bool {
    cell.exposed_minutes > 0.0 || !cell.failures.is_empty()
}

/// Controls that did not show the bug: what survives in their environments may have met nothing.
fn silent_controls(cells: &[CellReport]) -> Vec<String> {
    let controls = cells.iter().filter(|cell| cell.control);
    let silent = controls.filter(|cell| {
        let mut kinds = cell.failures.iter().map(|(failure, _, _)| failure);
        !kinds.any(|failure| *failure == Failure::Target)
    });
    silent
        .map(|cell| {
            let why = match (&cell.untestable, cell.trials.len()) {
                (Some(why), _) => format!("cannot be tested: {why}"),
                (None, 0) => "was not tried".to_owned(),
                (None, 1) => "did not lock up in its only trial".to_owned(),
                (None, count) => format!("did not lock up in {count} trials"),
            };
            format!(
                "the control {} {why}; that nothing locks up there proves nothing",
                cell.cell
            )
        })
        .collect()
}

/// Kernels on which nobody saw a detector work.
fn unproven(night: &Night<'_>, standpoints: &[Standpoint<'_>]) -> Option<String> {
    let is_proven = |arm: &str| {
        let mut armings = night.armings.iter().filter(|arming| arming.arm == arm);
        armings.any(|arming| arming.doubt().is_none())
    };
    let survived = standpoints.iter().filter(|one| {
        !one.cell.control && one.count(Standing::Survived) > 0 && !is_proven(&one.cell.arm)
    });
    let mut arms: Vec<&str> = survived.map(|one| one.cell.arm.as_str()).collect();
    arms.dedup();
    (!arms.is_empty()).then(|| {
        format!(
            "no detector is proven to work on {}: what survives there proves nothing",
            arms.join(", ")
        )
    })
}

/// A failure of a kernel under test that nobody has filed, of which nobody can say whether it is chance.
fn unresolved(night: &Night<'_>, one: &Standpoint<'_>) -> Option<String> {
    let reasons = &one.open.reasons;
    let (what, why) = match one.open.change {
        Change::Suspicion if is_open(night, one) => {
            ("a suspicion is not resolved", reasons.first().cloned())
        }
        // The first reason is that there is no past.
        Change::New if has_open_failures(night, one) => (
            "it fails, and has no past to be held against",
            reasons.get(1..).map(|lines| lines.join("; ")),
        ),
        Change::New
        | Change::Unchanged
        | Change::Regression
        | Change::Recovery
        | Change::Suspicion
        | Change::Flake
        | Change::StillFailing
        | Change::Infrastructure
        | Change::NotExposed
        | Change::NotRun => return None,
    };
    let is_subject = !one.cell.control;
    is_subject.then(|| format!("{}: {what}: {}", one.cell.id, why.unwrap_or_default()))
}

fn has_open_failures(night: &Night<'_>, one: &Standpoint<'_>) -> bool {
    let failures = one.failures();
    let mut failures = failures.iter();
    failures.any(|(failure, trials)| valid_issue(night, one.cell, failure, trials).is_none())
}

/// Whether a suspicion has to be looked into further. One of a failure that the past has as well, in a cell which
/// got all the trials that it may have, is what flakes look like one night in ten.
fn is_open(night: &Night<'_>, one: &Standpoint<'_>) -> bool {
    one.open.is_unheard_of() || one.records.len() < night.spec.trials.max as usize
}

fn cells_of(count: usize) -> String {
    format!("{count} cell{}", if count == 1 { "" } else { "s" })
}

/// What a reader has to know besides the answer and its reasons.
pub(super) fn remarks(
    night: &Night<'_>,
    standpoints: &[Standpoint<'_>],
    cells: &[CellReport],
    budget: &Budget,
) -> Vec<String> {
    let subjects = || cells.iter().filter(|cell| !cell.control);
    let told = standpoints.iter().zip(cells).filter(|(one, cell)| {
        // A doubt is a reason already.
        !cell.control && unresolved(night, one).is_none()
    });
    let mut remarks: Vec<String> = told.filter_map(|(_, cell)| remark(cell)).collect();
    let untestable = subjects().filter(|cell| cell.untestable.is_some()).count();
    if untestable > 0 {
        remarks.push(format!(
            "{} cannot be tested; see why below",
            cells_of(untestable)
        ));
    }
    let anew: Vec<String> = subjects()
        .filter(|cell| cell.judged.begins_anew)
        .map(|cell| cell.cell.to_string())
        .collect();
    if !anew.is_empty() {
        remarks.push(format!(
            "the load of {} is not the one of earlier nights, or nobody knows theirs: its history begins anew",
            anew.join(", ")
        ));
    }
    let not_run = subjects().filter(|cell| cell.trials.is_empty() && cell.untestable.is_none());
    let not_run = not_run.count();
    if not_run > 0 {
        remarks.push(format!("{} had no trial", cells_of(not_run)));
    }
    if budget.cut_short {
        remarks.push(format!(
            "the budget of {:.0} minutes ended the night",
            budget.minutes
        ));
    }
    remarks
}

/// What a cell's change is worth saying, if it is no reason of the night's answer.
fn remark(cell: &CellReport) -> Option<String> {
    let (name, change, why) = (&cell.cell, cell.judged.change, first_reason(cell));
    match change {
        Change::Regression => {
            filed(cell).map(|link| format!("{name}: a regression that is filed as {link}"))
        }
        Change::Recovery | Change::Suspicion | Change::StillFailing => {
            Some(format!("{name}: {change}: {why}"))
        }
        Change::Infrastructure | Change::NotExposed => Some(format!(
            "{name}: {change}, which says nothing about its kernel: {why}"
        )),
        Change::New if !cell.failures.is_empty() => {
            let count: u32 = cell.failures.iter().map(|(_, count, _)| count).sum();
            Some(format!(
                "{name}: {count} of {} trials failed, all in ways that are filed",
                cell.trials.len()
            ))
        }
        Change::New | Change::Unchanged | Change::Flake | Change::NotRun => None,
    }
}
