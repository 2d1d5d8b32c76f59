//! Candidates that no trial can tell apart, because what lies between them cannot be tried.

use std::collections::BTreeMap;

use super::observation::Tally;
use super::range::Range;

/// Culprits that give every candidate that can be tried the same state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// In their order; never empty.
    pub members: Vec<usize>,
    /// Their probability together.
    pub mass: f64,
}

/// The most probable group, the first of equals.
pub(super) fn best(range: &Range, tallies: &[Tally], masses: &[f64]) -> Group {
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for (culprit, key) in keys(range, tallies) {
        let group = groups.entry(key).or_insert(Group {
            members: Vec::new(),
            mass: 0.0,
        });
        group.members.push(culprit);
        group.mass += masses[culprit];
    }
    let better = |best: Group, one: Group| {
        let earlier = one.mass == best.mass && one.members < best.members;
        if one.mass > best.mass || earlier {
            one
        } else {
            best
        }
    };
    groups.into_values().reduce(better).unwrap_or(Group {
        members: Vec::new(),
        mass: 0.0,
    })
}

/// A key for each culprit: equal for those that the same candidates which can be tried contain. Two
/// culprits that can both be tried are never equal, as each contains itself.
fn keys(range: &Range, tallies: &[Tally]) -> Vec<(usize, u64)> {
    if tallies.iter().all(|tally| tally.skipped().is_none()) {
        return range
            .culprits()
            .map(|culprit| (culprit, culprit as u64))
            .collect();
    }
    // A sum of mixed numbers in place of the set: equal by chance once in 2^64 pairs.
    let mut keys = vec![0_u64; tallies.len()];
    for (candidate, _) in tallies
        .iter()
        .enumerate()
        .filter(|(_, one)| one.skipped().is_none())
    {
        let number = mixed(candidate as u64);
        for culprit in range.ancestry(candidate).ones() {
            keys[culprit] = keys[culprit].wrapping_add(number);
        }
    }
    range
        .culprits()
        .map(|culprit| (culprit, keys[culprit]))
        .collect()
}

/// Steele, Lea and Flood's SplitMix64 (2014).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::observation::tests::untestable;
    use super::super::observation::{Observation, tallies};
    use super::super::range::Direction;
    use super::super::range::tests::{list, merged};
    use super::*;

    fn groups(range: &Range, observations: &[Observation], favourite: usize) -> Group {
        let mut masses = vec![0.1; range.candidates().len()];
        masses[favourite] = 0.5;
        best(range, &tallies(range, observations), &masses)
    }

    #[test]
    fn what_can_be_tried_is_alone() {
        let range = list(Direction::Broke, 5);
        assert_eq!(groups(&range, &[], 3).members, [3]);
        assert_eq!(groups(&range, &[untestable(3)], 5).members, [5]);
    }

    #[test]
    fn what_cannot_is_one_with_the_next_that_can() {
        let range = list(Direction::Broke, 5);
        let skipped = [untestable(2), untestable(3)];
        let group = groups(&range, &skipped, 3);
        assert_eq!(group.members, [2, 3, 4]);
        assert!((group.mass - 0.7).abs() < 1e-9);
    }

    #[test]
    fn a_merge_whose_branches_can_be_tried_keeps_them_apart() {
        let range = merged(Direction::Broke);
        assert_eq!(groups(&range, &[untestable(3)], 3).members, [3, 5]);
        assert_eq!(groups(&range, &[untestable(5)], 5).members, [5, 6]);
        // With a2 and b2 gone, b1 is still contained in itself.
        let both = [untestable(3), untestable(4)];
        assert_eq!(groups(&range, &both, 5).members, [3, 4, 5]);
        assert_eq!(groups(&range, &both, 2).members, [2]);
    }
}
