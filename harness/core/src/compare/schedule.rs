//! Which side is tried next: the one with the least exposed minutes among those that something still hangs
//! on, so that no side gets far ahead. Evidence counts only as far as both sides of a pair have come.

use std::collections::BTreeSet;

use super::Comparison;
use super::evidence::Evidence;
use super::failure::Told;
use super::judge;
use crate::order::{self, Order};
use crate::record::TrialRecord;

/// So many trials in a row that say nothing about a kernel: something is wrong with the host.
const HOST_TROUBLES: usize = 3;

/// What a comparison needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A trial of this arm.
    Trial(String),
    /// Nothing before one of the orders that are out is back.
    Wait,
    /// Every two sides that can be judged are.
    Decided,
    /// The trials or minutes of some side that is still needed are used up.
    Exhausted,
    /// The last trials all failed for reasons outside the kernels.
    HostTrouble,
}

/// Decides by the records, which are in the order of their numbers, and by the orders that are out, so that a
/// resumed run goes on where it stopped. What is judged is what is [`order::settled`] alone; orders that are
/// out count as survivals when a side is chosen. `earlier` is for [`order::latest`].
pub fn next(
    comparison: &Comparison<'_>,
    records: &[TrialRecord],
    out: &[Order],
    earlier: &BTreeSet<u32>,
) -> Next {
    let settled = Evidence::of(comparison, order::settled(records, out));
    let ahead = Ahead {
        comparison,
        evidence: &Evidence::of(comparison, records),
        out,
    };
    let least = &comparison.campaign.policy.min_exposure;
    let failed = order::latest(records, earlier)
        .take(HOST_TROUBLES)
        .filter(|record| Told::by(record, least) == Told::HostTrouble);
    if failed.count() == HOST_TROUBLES {
        return Next::HostTrouble;
    }
    let mut undecided = false;
    let mut wanted: Vec<usize> = Vec::new();
    for pair in comparison.pairs() {
        let sides = [pair.0, pair.1];
        let testable = sides.iter().all(|side| settled.untestable[*side].is_none());
        if testable && !judge::judgement(comparison, &settled, pair).is_decided() {
            undecided = true;
            // The other one's time is worth nothing until this one has come as far.
            let behind = ahead.least_exposed(sides.into_iter());
            wanted.extend(behind.filter(|side| !ahead.is_used_up(*side)));
        }
    }
    match ahead.least_exposed(wanted.into_iter()) {
        Some(side) => Next::Trial(comparison.sides[side].name.clone()),
        None if !out.is_empty() => Next::Wait,
        None if undecided => Next::Exhausted,
        None => Next::Decided,
    }
}

/// How far the sides will have come when all that is out has survived.
struct Ahead<'a> {
    comparison: &'a Comparison<'a>,
    evidence: &'a Evidence,
    out: &'a [Order],
}

impl Ahead<'_> {
    fn trials(&self, side: usize) -> u32 {
        let out = order::of_arm(self.out, &self.comparison.sides[side].name);
        self.evidence.sides[side].trials + u32::try_from(out).unwrap_or(u32::MAX)
    }

    fn minutes(&self, side: usize) -> f64 {
        let out = order::of_arm(self.out, &self.comparison.sides[side].name) as f64;
        let each = f64::from(self.comparison.campaign.policy.load_seconds) / 60.0;
        self.evidence.sides[side].minutes + out * each
    }

    fn least_exposed(&self, sides: impl Iterator<Item = usize>) -> Option<usize> {
        sides.min_by(|one, other| {
            let minutes = self.minutes(*one).total_cmp(&self.minutes(*other));
            minutes.then(self.trials(*one).cmp(&self.trials(*other)))
        })
    }

    fn is_used_up(&self, side: usize) -> bool {
        let minutes = self.comparison.demands.minutes;
        self.trials(side) >= self.comparison.campaign.policy.max_trials_per_arm
            || minutes.is_some_and(|minutes| self.minutes(side) >= minutes)
    }
}
