//! Where a list may hide a bug that came and went: kernels that were never shown to be as the answer says.
//!
//! A search looks at few kernels, and takes it that there is one change. Two more that undo each other are
//! seen only by a trial between them. So a sweep leaves no more than so many kernels in a row unshown.

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::observation::Tally;
use super::posterior::{Posterior, Sums};
use super::range::Range;
use super::search::Policy;
use crate::statistics;

/// What a sweep would take is told for so many kernels in a row that are left out.
const GAPS: [u32; 3] = [0, 3, 15];

/// Kernels in a row that were not shown to be as the answer says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    /// Index of the first.
    pub first: usize,
    /// How many.
    pub kernels: usize,
    /// Whether they have the bug, if there is one change.
    pub with_bug: bool,
}

/// What the answer takes for granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unshown {
    /// Stretches of kernels that were not shown to be as the answer says, in their order.
    pub stretches: Vec<UnshownStretch>,
    /// What it takes to show more of them.
    pub sweeps: Vec<SweepCost>,
}

/// Kernels in a row that were not shown, by their labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnshownStretch {
    /// The first.
    pub first: String,
    /// The last.
    pub last: String,
    /// How many.
    pub kernels: usize,
    /// Whether they have the bug, if there is one change.
    pub with_bug: bool,
}

/// What a sweep is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SweepCost {
    /// Kernels in a row that it leaves unshown at most.
    pub gap: u32,
    /// Kernels to be tried.
    pub kernels: u32,
    /// Trials of all of them.
    pub trials: f64,
    /// Minutes with boots and builds.
    pub minutes: f64,
}

/// All that a sweep rests on: of a list, with its answer.
pub(super) struct Sweep<'a> {
    range: &'a Range,
    policy: &'a Policy,
    tallies: &'a [Tally],
    /// The culprit.
    culprit: usize,
    /// What kernels with the bug have shown.
    shown: Sums,
}

impl<'a> Sweep<'a> {
    /// `None` where branches are merged: their commits stand in no row.
    pub fn of(
        range: &'a Range,
        policy: &'a Policy,
        tallies: &'a [Tally],
        posterior: &Posterior,
        group: &Group,
    ) -> Option<Self> {
        let culprit = *group.members.last().filter(|_| range.is_list())?;
        Some(Self {
            range,
            policy,
            tallies,
            culprit,
            shown: posterior.bug(culprit),
        })
    }

    /// The kernel that is to be shown so that at most `gap` in a row are not: of the longest stretch.
    pub fn next(&self, gap: u32) -> Option<usize> {
        let gap = gap as usize;
        let mut long = self.stretches();
        long.retain(|stretch| stretch.kernels > gap);
        // The first of equals.
        long.sort_by_key(|stretch| std::cmp::Reverse(stretch.kernels));
        long.iter().find_map(|stretch| {
            let wanted = stretch.first + gap;
            let all = stretch.first..stretch.first + stretch.kernels;
            all.filter(|&one| self.tallies[one].skipped().is_none())
                .min_by_key(|one| one.abs_diff(wanted))
        })
    }

    /// The stretches between the ends, which are as the user says.
    fn stretches(&self) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let between = 1..self.range.candidates().len() - 1;
        for one in between.filter(|&one| !self.is_shown(one)) {
            let with_bug = self.range.has_bug(self.culprit, one);
            match stretches.last_mut() {
                Some(last) if last.first + last.kernels == one && last.with_bug == with_bug => {
                    last.kernels += 1;
                }
                Some(_) | None => stretches.push(Stretch {
                    first: one,
                    kernels: 1,
                    with_bug,
                }),
            }
        }
        stretches
    }

    fn is_shown(&self, one: usize) -> bool {
        let tally = &self.tallies[one];
        match self.range.has_bug(self.culprit, one) {
            true => tally.lockups > 0,
            false => self.luck(tally) < self.policy.alpha,
        }
    }

    fn luck(&self, tally: &Tally) -> f64 {
        statistics::luck(self.shown.lockups, self.shown.minutes, tally.minutes)
    }

    /// What is not shown, and what it would take.
    pub fn unshown(&self) -> Unshown {
        let stretches = self.stretches();
        let costs = GAPS.into_iter().map(|gap| self.cost(gap, &stretches));
        let label = |one: usize| self.range.label(one).to_owned();
        Unshown {
            sweeps: costs.filter(|cost| cost.kernels > 0).collect(),
            stretches: stretches
                .iter()
                .map(|stretch| UnshownStretch {
                    first: label(stretch.first),
                    last: label(stretch.first + stretch.kernels - 1),
                    kernels: stretch.kernels,
                    with_bug: stretch.with_bug,
                })
                .collect(),
        }
    }

    fn cost(&self, gap: u32, stretches: &[Stretch]) -> SweepCost {
        let mut cost = SweepCost {
            gap,
            kernels: 0,
            trials: 0.0,
            minutes: 0.0,
        };
        let (boot, trial) = (self.policy.boot_minutes, self.policy.trial_minutes);
        for stretch in stretches {
            let marks = stretch.kernels as u32 / (gap + 1);
            let load = self.load_minutes(stretch.with_bug);
            // A lockup ends its trial, so that there is one trial more than whole ones.
            let trials = (load / trial).ceil().max(1.0);
            let build = self.range.candidates()[stretch.first].build_minutes;
            cost.kernels += marks;
            cost.trials += f64::from(marks) * trials;
            cost.minutes += f64::from(marks) * (build + load + trials * boot);
        }
        cost
    }

    /// Minutes under load until a kernel is shown to be with the bug, or without.
    fn load_minutes(&self, with_bug: bool) -> f64 {
        let Sums { lockups, minutes } = self.shown;
        match with_bug {
            true => minutes / f64::from(lockups.max(1)),
            false => statistics::minutes_to_survive(lockups, minutes, self.policy.alpha)
                .unwrap_or(f64::INFINITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::group;
    use super::super::observation::tests::{trial, untestable};
    use super::super::observation::{Observation, tallies};
    use super::super::range::Direction;
    use super::super::range::tests::{list, merged};
    use super::*;

    /// What the sweep of a list of twenty says, of which the tenth is the culprit.
    fn sweep<T>(further: &[Observation], what: impl Fn(&Sweep<'_>) -> T) -> T {
        let range = list(Direction::Broke, 20);
        let seen = [
            trial(20, 5, 1.0),
            trial(10, 1, 0.2),
            trial(9, 0, 5.0),
            trial(5, 0, 0.1),
        ];
        let tallies = tallies(&range, &[&seen, further].concat());
        let posterior = Posterior::of(&range, &tallies);
        let group = group::best(&range, &tallies, posterior.masses());
        assert_eq!(group.members, [10]);
        let policy = Policy::default();
        what(&Sweep::of(&range, &policy, &tallies, &posterior, &group).expect("a list"))
    }

    #[test]
    fn what_nobody_showed_is_named_with_its_price() {
        let unshown = sweep(&[], |sweep| sweep.unshown());
        let short = |one: &UnshownStretch| (one.first.clone(), one.last.clone(), one.with_bug);
        let found: Vec<_> = unshown.stretches.iter().map(short).collect();
        let expected = [("1", "8", false), ("11", "19", true)];
        let expected = expected.map(|(first, last, bug)| (first.into(), last.into(), bug));
        assert_eq!(found, expected);
        let kernels: Vec<_> = unshown
            .sweeps
            .iter()
            .map(|one| (one.gap, one.kernels))
            .collect();
        assert_eq!(kernels, [(0, 17), (3, 4)]);
        let costs: Vec<f64> = unshown.sweeps.iter().map(|one| one.minutes).collect();
        assert!(costs[0] > 4.0 * costs[1], "{costs:?}");
    }

    #[test]
    fn the_longest_stretch_is_parted_first_and_no_kernel_that_cannot_be_tried() {
        assert_eq!(sweep(&[], |sweep| sweep.next(3)), Some(14));
        let shown = [trial(14, 1, 0.1)];
        assert_eq!(sweep(&shown, |sweep| sweep.next(3)), Some(4));
        let broken = [trial(14, 1, 0.1), untestable(4)];
        assert_eq!(sweep(&broken, |sweep| sweep.next(3)), Some(3));
        let enough = [trial(14, 1, 0.1), trial(4, 0, 5.0)];
        assert_eq!(sweep(&enough, |sweep| sweep.next(3)), Some(18));
        let more = [&enough[..], &[trial(18, 1, 0.1), trial(8, 0, 5.0)]].concat();
        assert_eq!(sweep(&more, |sweep| sweep.next(4)), None);
    }

    #[test]
    fn merged_branches_are_no_row() {
        let range = merged(Direction::Broke);
        let tallies = tallies(&range, &[trial(6, 3, 0.5)]);
        let posterior = Posterior::of(&range, &tallies);
        let group = group::best(&range, &tallies, posterior.masses());
        let policy = Policy::default();
        assert!(Sweep::of(&range, &policy, &tallies, &posterior, &group).is_none());
    }
}
