//! From the cells of a night to its answer.

use super::Conclusion;
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

fn cells_of(count: usize) -> String {
    format!("{count} cell{}", if count == 1 { "" } else { "s" })
}

/// What a reader has to know besides the answer.
pub(super) fn remarks(cells: &[CellReport], budget: &Budget) -> Vec<String> {
    let subjects = || cells.iter().filter(|cell| !cell.control);
    let mut remarks = Vec::new();
    for cell in subjects() {
        let name = &cell.cell;
        match cell.judged.change {
            Change::Regression => {
                if let Some(link) = filed(cell) {
                    remarks.push(format!("{name}: a regression that is filed as {link}"));
                }
            }
            Change::Recovery | Change::Suspicion | Change::StillFailing => {
                remarks.push(format!(
                    "{name}: {}: {}",
                    cell.judged.change,
                    first_reason(cell)
                ));
            }
            Change::New if !cell.failures.is_empty() => {
                let count: u32 = cell.failures.iter().map(|(_, count, _)| count).sum();
                remarks.push(format!(
                    "{name}: has no past to be held against, and {count} of {} trials failed",
                    cell.trials.len()
                ));
            }
            Change::New
            | Change::Unchanged
            | Change::Flake
            | Change::Infrastructure
            | Change::NotExposed
            | Change::NotRun => {}
        }
    }
    let untestable = subjects().filter(|cell| cell.untestable.is_some()).count();
    if untestable > 0 {
        remarks.push(format!(
            "{} cannot be tested; see why below",
            cells_of(untestable)
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
