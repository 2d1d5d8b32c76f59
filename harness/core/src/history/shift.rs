//! Whether a cell's rates differ before some night and from it on.
//!
//! *Clocks of different speeds.* A night is short and its past is long. With both clocks side by side, as
//! [`crate::statistics::sequential`] has them, only the first minutes of the past would count, and a kernel that
//! suddenly fails every time would need a dozen failures to be believed. So the past's clock may run up to
//! [`SPEEDS`] times as fast: of two Poisson processes of one rate, the next event is then the later side's with
//! probability 1 / (1 + speed), and each failure tonight counts for as much more. All speeds are asked at once,
//! each with an equal part of the error, because which one serves best depends on how many trials there were.
//!
//! *Windows.* What fails once a night adds up over nights: the later side is the last k nights, k = 1 up to
//! [`super::change::Demands::reach`], with 1 / (k (k + 1)) of the error each, which sums to less than 1.
//!
//! *Kinds of failure* share the error as in [`crate::compare::judge`]. That a kind is ranked when it is found
//! does no harm at any speed: which side the first failure falls on is still to come when its rank is known, and
//! evidence after it is 1 on average.

use std::cmp::Ordering;

use crate::compare::failure::{Clock, Failure};
use crate::compare::judge::share;
use crate::statistics::sequential::{Joint, Path};

use super::timeline::{Tally, kinds, path};

/// How many times as fast as the later side's the earlier side's clock may run.
const SPEEDS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

/// What can be said of one kind of failure before some night and from it on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shift {
    /// The kind.
    pub failure: Failure,
    /// Nights of the later side.
    pub nights: usize,
    /// Where the later rate is shown to be, seen from the earlier one; `None`: that is not shown.
    pub order: Option<Ordering>,
    /// Evidence against equal rates.
    pub evidence: f64,
    /// From so much on a difference is shown.
    pub needed: f64,
}

impl Shift {
    /// How near it is to be shown; 1: it is.
    fn strength(&self) -> f64 {
        self.evidence / self.needed
    }
}

/// For each kind of failure, the strongest that can be said about the last nights against those before them.
/// A later side that is worse has to show that tonight as well. `error` bounds the probability of any shift
/// that is not there.
pub(crate) fn shifts(nights: &[Tally], reach: usize, error: f64) -> Vec<Shift> {
    let mut best: Vec<Shift> = Vec::new();
    if nights.iter().all(|night| night.failed == 0) {
        return best;
    }
    for k in 1..=reach.min(nights.len().saturating_sub(1)) {
        let sides = nights.split_at(nights.len() - k);
        let part = error / (k * (k + 1)) as f64 / SPEEDS.len() as f64;
        for shift in of_window(sides, part) {
            let same = best.iter_mut().find(|one| one.failure == shift.failure);
            match same {
                Some(known) if known.strength() >= shift.strength() => {}
                Some(known) => *known = shift,
                None => best.push(shift),
            }
        }
    }
    best
}

fn of_window((before, after): (&[Tally], &[Tally]), error: f64) -> Vec<Shift> {
    let mut found = kinds(before);
    for kind in kinds(after) {
        if !found.contains(&kind) {
            found.push(kind);
        }
    }
    let paths: Vec<(&Failure, Path, Path)> = found
        .into_iter()
        .map(|failure| (failure, path(before, failure), path(after, failure)))
        .collect();
    let mut shifts = Vec::new();
    for speed in SPEEDS {
        for (failure, share, joint) in questions(&paths, speed) {
            let needed = 1.0 / (error * share);
            let evidence = joint.evidence(1.0 / speed).min(f64::MAX);
            let order = (evidence >= needed)
                .then(|| joint.place(1.0 / speed, 1.0 / needed))
                .flatten()
                .filter(|order| seen_tonight(*order, after, failure));
            shifts.push(Shift {
                failure: failure.clone(),
                nights: after.len(),
                order,
                evidence,
                needed,
            });
        }
    }
    shifts
}

/// A night without a failure is no regression, whatever the nights before it add up to.
fn seen_tonight(order: Ordering, after: &[Tally], failure: &Failure) -> bool {
    let tonight = after.last().map_or(0, |night| night.count(failure));
    match order {
        Ordering::Greater => tonight > 0,
        Ordering::Less | Ordering::Equal => true,
    }
}

/// What can be asked at a speed: kinds of failure, each with its part of the error, and both sides' failures in
/// the order of their common clock.
fn questions<'a>(
    paths: &[(&'a Failure, Path, Path)],
    speed: f64,
) -> Vec<(&'a Failure, f64, Joint)> {
    let mut found = Vec::new();
    for clock in [Clock::Exposed, Clock::Completed, Clock::Boots] {
        let mut others = Vec::new();
        for (failure, before, after) in paths.iter().filter(|one| one.0.clock() == clock) {
            let before = before.slowed(speed);
            let end = before.exposed().min(after.exposed());
            let first = |path: &Path| path.events().first().copied().unwrap_or(f64::INFINITY);
            let first = first(&before).min(first(after));
            if first > end {
                continue;
            }
            let joint = Joint::of(&before, after);
            if **failure == Failure::Target {
                found.push((*failure, share(clock, 0), joint));
            } else {
                others.push((first, *failure, joint));
            }
        }
        others.sort_by(|one, other| one.0.total_cmp(&other.0));
        let ranked = (1..).zip(others);
        found.extend(ranked.map(|(k, (_, failure, joint))| (failure, share(clock, k), joint)));
    }
    found
}
