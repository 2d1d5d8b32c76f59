//! Which cell is tried next: the one whose answer is most in doubt, as long as its trial can end within the budget.

use std::collections::BTreeSet;

use super::NightTrial;
use super::judge::{Night, Standpoint, is_host_in_trouble, look};
use crate::arming;
use crate::campaign::MinExposure;
use crate::compare::failure::Failure;
use crate::history::change::Change;
use crate::record::Standing;

/// Seconds that a trial takes besides its load, before any was measured: boot, set-up, shutdown.
const USUAL_OVERHEAD_SECONDS: f64 = 30.0;
/// Seconds that it takes to show that detectors work on a kernel.
const ARMING_SECONDS: f64 = 45.0;

/// What a night does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A trial of the cell with this index.
    Trial {
        /// Index of the cell.
        cell: usize,
        /// Why this one.
        why: Why,
    },
    /// What is under way has to end first: a cell has one trial at a time.
    Wait,
    /// Every cell has had enough.
    Done,
    /// Nothing that is still wanted fits into the rest of the budget.
    OutOfTime,
    /// The last trials all failed for reasons outside the kernels.
    HostTrouble,
}

/// Why a cell is tried, in the order in which reasons count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A control that was not tried yet.
    Control,
    /// Its last night left a suspicion.
    InDoubt,
    /// A cell that was not tried yet.
    First,
    /// A control that has not locked up yet: until it does, nothing that survives counts.
    SilentControl,
    /// A kernel that no earlier night had.
    NewKernel,
    /// A failure that may be a regression.
    Suspicion,
    /// It fails sometimes.
    Flake,
    /// It had fewer trials than each cell gets.
    Few,
    /// There is time left, and it is the least exposed.
    LeastExposed,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Control => "the control comes first",
            Self::InDoubt => "a suspicion of last night",
            Self::First => "its first trial",
            Self::SilentControl => "the control has not locked up yet",
            Self::NewKernel => "a new kernel",
            Self::Suspicion => "a suspicion",
            Self::Flake => "a flake",
            Self::Few => "every cell gets as many",
            Self::LeastExposed => "the least exposed",
        })
    }
}

/// Decides by the records alone, so that a resumed night goes on where it stopped. `spent_minutes` of the budget
/// are gone; trials whose numbers are in `earlier` are those of other processes, whose host may have been mended since.
///
/// Cells with a trial `under_way` are left alone. Lockups come back sooner than survivals, so that of several
/// trials of a cell those that are back would show more of them than there are; one at a time is what it would
/// be without others beside it.
pub fn next(
    night: &Night<'_>,
    trials: &[NightTrial],
    earlier: &BTreeSet<u32>,
    spent_minutes: f64,
    under_way: &[usize],
) -> Next {
    let mine = trials.iter();
    if is_host_in_trouble(mine.filter(|one| !earlier.contains(&one.trial.number))) {
        return Next::HostTrouble;
    }
    let standpoints = look(night, trials);
    let idle = standpoints
        .iter()
        .enumerate()
        .filter(|(cell, _)| !under_way.contains(cell));
    let wanted = idle.filter_map(|(cell, one)| {
        let why = why(night, one)?;
        Some((why, cell, one))
    });
    let mut wanted: Vec<(Why, usize, &Standpoint<'_>)> = wanted.collect();
    if wanted.is_empty() && under_way.is_empty() {
        return Next::Done;
    }
    wanted.sort_by(|(why, cell, one), (other_why, other_cell, other)| {
        why.cmp(other_why)
            .then_with(|| other.is_new_kernel.cmp(&one.is_new_kernel))
            .then_with(|| troubles(one).cmp(&troubles(other)))
            .then_with(|| one.minutes().total_cmp(&other.minutes()))
            .then_with(|| one.records.len().cmp(&other.records.len()))
            .then_with(|| cell.cmp(other_cell))
    });
    let left = night.spec.budget_minutes - spent_minutes;
    let overhead = overhead_seconds(trials);
    let mut fitting = wanted
        .iter()
        .filter(|(_, _, one)| minutes_of(night, one, overhead) <= left);
    match fitting.next() {
        Some((why, cell, _)) => Next::Trial {
            cell: *cell,
            why: *why,
        },
        // What they show may make another one wanted.
        None if !under_way.is_empty() => Next::Wait,
        None => Next::OutOfTime,
    }
}

/// Why another trial of a cell is wanted; `None`: it has had enough, or cannot be tried.
fn why(night: &Night<'_>, one: &Standpoint<'_>) -> Option<Why> {
    let count = one.records.len();
    let few = count < night.spec.trials.min as usize;
    if one.untestable.is_some() || count >= night.spec.trials.max as usize {
        return None;
    }
    if one.cell.control {
        let silent = one.count(Standing::TargetLockup) == 0;
        return match (count, silent) {
            (0, _) => Some(Why::Control),
            (_, true) => Some(Why::SilentControl),
            (_, false) => few.then_some(Why::Few),
        };
    }
    if few && one.was_in_doubt {
        return Some(Why::InDoubt);
    }
    if count == 0 {
        return Some(Why::First);
    }
    let if_few = |why| if few { why } else { Why::LeastExposed };
    match one.open.change {
        Change::Suspicion => Some(Why::Suspicion),
        // There is nothing more to learn tonight.
        Change::Regression | Change::StillFailing => few.then_some(Why::Few),
        Change::Flake => Some(if_few(Why::Flake)),
        Change::New
        | Change::Unchanged
        | Change::Recovery
        | Change::Infrastructure
        | Change::NotExposed
        | Change::NotRun => {
            let new = one.is_new_kernel && !one.failures().contains_key(&Failure::Target);
            Some(if_few(if new { Why::NewKernel } else { Why::Few }))
        }
    }
}

/// Trials that say nothing: a cell that has some waits for others, so that its own trouble costs them no trial.
fn troubles(one: &Standpoint<'_>) -> usize {
    one.count(Standing::Infrastructure)
}

/// The longest that a trial took besides its load, in seconds, of those that ran to the end.
fn overhead_seconds(trials: &[NightTrial]) -> f64 {
    let least = MinExposure::default();
    let whole = trials
        .iter()
        .filter(|one| one.trial.standing(&least) == Standing::Survived);
    let overheads = whole.map(|one| {
        let load = one.trial.exposure.load_ms;
        one.trial.timing.total_ms.saturating_sub(load) as f64 / 1000.0
    });
    overheads.reduce(f64::max).unwrap_or(USUAL_OVERHEAD_SECONDS)
}

/// Minutes that a trial of a cell takes if it survives.
fn minutes_of(night: &Night<'_>, one: &Standpoint<'_>, overhead: f64) -> f64 {
    let policy = &one.cell.campaign.policy;
    let arming = if policy.prove_detectors && arming::is_open(night.armings, &one.cell.arm) {
        ARMING_SECONDS
    } else {
        0.0
    };
    (f64::from(policy.load_seconds) + overhead + arming) / 60.0
}
