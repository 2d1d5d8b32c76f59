//! Which of a night's failures somebody has filed, and which nobody has seen before.

use super::judge::{Night, Standpoint};
use super::known::KnownIssue;
use super::plan::Cell;
use super::report::{Hit, KnownReport, NewSignature};
use crate::compare::failure::{Failure, Told};
use crate::history::{CellNight, PastTrial};

/// The issue that a failure is filed as, and counts as.
pub(super) fn valid_issue<'a>(
    night: &Night<'a>,
    cell: &Cell,
    failure: &Failure,
    trials: &[&PastTrial],
) -> Option<&'a KnownIssue> {
    issues(night, cell, failure, trials).find(|issue| issue.holds_at(night.started))
}

/// Issues that a failure may be, valid or not. A control fails as it should.
fn issues<'a>(
    night: &Night<'a>,
    cell: &Cell,
    failure: &Failure,
    trials: &[&PastTrial],
) -> impl Iterator<Item = &'a KnownIssue> {
    let is_wanted = cell.control && *failure == Failure::Target;
    let titles = || trials.iter().map(|trial| trial.title.as_str());
    night
        .known
        .iter()
        .filter(move |issue| !is_wanted && issue.is(&cell.id, failure, titles()))
}

/// A cell's night in which failures that are filed count as none.
pub(super) fn without_filed(night: &Night<'_>, cell: &Cell, of: &CellNight) -> CellNight {
    let mut of = of.clone();
    for trial in &mut of.trials {
        let title = trial.title.as_str();
        let is_filed = |failure: &Failure| {
            let mut valid = night
                .known
                .iter()
                .filter(|issue| issue.holds_at(night.started));
            valid.any(|issue| issue.is(&cell.id, failure, [title]))
        };
        if let Told::Counted { failure, .. } = &mut trial.told {
            *failure = failure.take().filter(|failure| !is_filed(failure));
        }
    }
    of
}

/// What became of failures that somebody has filed.
pub(super) fn known_report(night: &Night<'_>, standpoints: &[Standpoint<'_>]) -> KnownReport {
    let mut report = KnownReport::default();
    for standpoint in standpoints {
        let cell = standpoint.cell;
        for (failure, trials) in standpoint.failures() {
            let count = u32::try_from(trials.len()).unwrap_or(u32::MAX);
            let hit = |issue: &KnownIssue| Hit {
                link: issue.link.clone(),
                expires: issue.expires.clone(),
                cell: cell.id.clone(),
                failure: failure.clone(),
                count,
            };
            if let Some(issue) = valid_issue(night, cell, &failure, &trials) {
                report.hits.push(hit(issue));
                continue;
            }
            let expired = issues(night, cell, &failure, &trials).next();
            report.expired.extend(expired.map(hit));
            let is_wanted = cell.control && failure == Failure::Target;
            if expired.is_none() && !is_wanted && !was_seen_before(night, &failure) {
                report.new_signatures.push(NewSignature {
                    cell: cell.id.clone(),
                    trial: trials
                        .first()
                        .map_or_else(String::new, |one| one.id.clone()),
                    failure,
                    count,
                });
            }
        }
    }
    let seen = |issue: &&KnownIssue| {
        let mut all = report.hits.iter().chain(&report.expired);
        all.any(|hit| hit.link == issue.link)
    };
    let unseen = night.known.iter().filter(|issue| !seen(issue));
    report.never_hit = unseen.map(|issue| issue.link.clone()).collect();
    report
}

/// Whether any earlier night had this failure, in a cell that is not there to have it.
fn was_seen_before(night: &Night<'_>, failure: &Failure) -> bool {
    let cells = night.cells.iter().filter(|cell| {
        // The control's lockup is no news, and no excuse for another kernel's either.
        !cell.control || *failure != Failure::Target
    });
    let trials = cells
        .flat_map(|cell| night.past_of(cell))
        .flat_map(|past| &past.trials);
    let told = trials.filter_map(|trial| match &trial.told {
        Told::Counted { failure, .. } => failure.as_ref(),
        Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => None,
    });
    told.into_iter().any(|seen| seen == failure)
}
