//! The answer shown by itself: the bug in the first kernel that has it, and its absence, beyond luck, in
//! those right beside it that have not.
//!
//! The posterior rests on all trials together, and on how probable commits were thought to be before. This
//! asks for evidence at the culprit itself. Trials that were made on the way count.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::observation::Tally;
use super::posterior::Posterior;
use super::range::{Direction, Range};
use crate::statistics;

/// Kernels on both sides of a change, right beside it, that can be tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sides {
    /// Those with the bug: each has to lock up.
    bad: Vec<usize>,
    /// Those without: each has to survive.
    good: Vec<usize>,
}

/// What a kernel beside the change has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Index into the range.
    pub candidate: usize,
    /// Target lockups.
    pub lockups: u32,
    /// Exposed minutes.
    pub exposed_minutes: f64,
    /// Of a kernel without the bug: probability, 0 to 1, that it survives so long by luck
    /// ([`statistics::luck`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub luck: Option<f64>,
}

/// How well the answer is confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Target lockups of all kernels that have the bug if the answer is right.
    pub lockups: u32,
    /// Exposed minutes of these.
    pub exposed_minutes: f64,
    /// Kernels with the bug right beside the change.
    pub bad: Vec<Shown>,
    /// Kernels without it right beside the change.
    pub good: Vec<Shown>,
}

/// Both sides of the change that a group of culprits made.
pub(super) fn sides(range: &Range, tallies: &[Tally], group: &Group) -> Sides {
    let open = |one: usize| tallies[one].skipped().is_none();
    let before = nearest(&group.members, group, open, |one| {
        range.candidates()[one].parents.clone()
    });
    let own: Vec<usize> = group
        .members
        .iter()
        .copied()
        .filter(|&one| open(one))
        .collect();
    let after = match own.is_empty() {
        false => own,
        // Whoever contains one of them has the change.
        true => nearest(&group.members, group, open, |one| children(range, one)),
    };
    match range.direction() {
        Direction::Broke => Sides {
            bad: after,
            good: before,
        },
        Direction::Fixed => Sides {
            bad: before,
            good: after,
        },
    }
}

fn children(range: &Range, of: usize) -> Vec<usize> {
    let after = (of + 1..range.candidates().len())
        .filter(|&one| range.candidates()[one].parents.contains(&of));
    after.collect()
}

/// The nearest candidates along `next` that can be tried and are not of the group.
fn nearest(
    from: &[usize],
    group: &Group,
    open: impl Fn(usize) -> bool,
    next: impl Fn(usize) -> Vec<usize>,
) -> Vec<usize> {
    let mut queue: VecDeque<usize> = from.iter().copied().collect();
    let mut seen: BTreeSet<usize> = from.iter().copied().collect();
    let mut found = BTreeSet::new();
    while let Some(one) = queue.pop_front() {
        for other in next(one) {
            if !seen.insert(other) {
                continue;
            }
            if open(other) && !group.members.contains(&other) {
                found.insert(other);
            } else {
                queue.push_back(other);
            }
        }
    }
    found.into_iter().collect()
}

/// What both sides have shown.
pub(super) fn figures(
    range: &Range,
    tallies: &[Tally],
    posterior: &Posterior,
    group: &Group,
    sides: &Sides,
) -> Confirmation {
    // Members differ at most in what cannot be tried any more.
    let all = group
        .members
        .last()
        .map_or_else(Default::default, |&one| posterior.bug(one));
    let shown = |&candidate: &usize, luck: Option<f64>| Shown {
        candidate,
        lockups: tallies[candidate].lockups,
        exposed_minutes: tallies[candidate].minutes,
        luck,
    };
    let survived = |candidate: &usize| {
        debug_assert!(
            group
                .members
                .iter()
                .all(|&one| !range.has_bug(one, *candidate))
        );
        let luck = statistics::luck(all.lockups, all.minutes, tallies[*candidate].minutes);
        shown(candidate, Some(luck))
    };
    Confirmation {
        lockups: all.lockups,
        exposed_minutes: all.minutes,
        bad: sides.bad.iter().map(|one| shown(one, None)).collect(),
        good: sides.good.iter().map(survived).collect(),
    }
}

impl Confirmation {
    /// Whether nothing is missing.
    pub fn is_complete(&self, alpha: f64) -> bool {
        self.bad.iter().all(|one| one.lockups > 0)
            && self
                .good
                .iter()
                .all(|one| one.luck.is_some_and(|luck| luck < alpha))
    }

    /// The candidate that is to be tried for what is missing: of both sides in turn, whoever ran less.
    pub(super) fn lacking(&self, alpha: f64, tallies: &[Tally]) -> Option<usize> {
        let bad = self.bad.iter().filter(|one| one.lockups == 0);
        let good = self
            .good
            .iter()
            .filter(|one| one.luck.is_none_or(|luck| luck >= alpha));
        let all = bad.chain(good).map(|one| one.candidate);
        all.min_by_key(|&one| tallies[one].trials)
    }
}
