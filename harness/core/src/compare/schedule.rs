//! Which side is tried next: the one with the least exposed minutes among those that something still hangs
//! on, so that no side gets far ahead. Evidence counts only as far as both sides of a pair have come.

use super::Comparison;
use super::evidence::Evidence;
use super::judge;
use crate::record::TrialRecord;

/// So many trials in a row that say nothing about a kernel: something is wrong with the host.
const HOST_TROUBLES: usize = 3;

/// What a comparison needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A trial of this arm.
    Trial(String),
    /// Every two sides that can be judged are.
    Decided,
    /// The trials or minutes of some side that is still needed are used up.
    Exhausted,
    /// The last trials all failed for reasons outside the kernels.
    HostTrouble,
}

/// Decides by the records alone, so that a resumed run goes on where it stopped.
pub fn next(comparison: &Comparison<'_>, records: &[TrialRecord]) -> Next {
    let evidence = Evidence::of(comparison, records);
    if evidence.host_troubles >= HOST_TROUBLES {
        return Next::HostTrouble;
    }
    let mut undecided = false;
    let mut wanted: Vec<usize> = Vec::new();
    for pair in comparison.pairs() {
        let sides = [pair.0, pair.1];
        let testable = sides
            .iter()
            .all(|side| evidence.untestable[*side].is_none());
        if testable && !judge::judgement(comparison, &evidence, pair).is_decided() {
            undecided = true;
            // The other one's time is worth nothing until this one has come as far.
            let behind = least_exposed(&evidence, sides.into_iter());
            wanted.extend(behind.filter(|side| !is_used_up(comparison, &evidence, *side)));
        }
    }
    match least_exposed(&evidence, wanted.into_iter()) {
        Some(side) => Next::Trial(comparison.sides[side].name.clone()),
        None if undecided => Next::Exhausted,
        None => Next::Decided,
    }
}

fn least_exposed(evidence: &Evidence, sides: impl Iterator<Item = usize>) -> Option<usize> {
    sides.min_by(|one, other| {
        let (one, other) = (&evidence.sides[*one], &evidence.sides[*other]);
        let minutes = one.minutes.total_cmp(&other.minutes);
        minutes.then(one.trials.cmp(&other.trials))
    })
}

fn is_used_up(comparison: &Comparison<'_>, evidence: &Evidence, side: usize) -> bool {
    let side = &evidence.sides[side];
    let minutes = comparison.demands.minutes;
    side.trials >= comparison.campaign.policy.max_trials_per_arm
        || minutes.is_some_and(|minutes| side.minutes >= minutes)
}
