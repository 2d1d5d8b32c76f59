//! Candidates that no trial can tell apart, because what lies between them cannot be tried.

use std::collections::{BTreeMap, HashMap};

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
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    for (culprit, leader) in leaders(range, tallies) {
        let group = groups.entry(leader).or_insert(Group {
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

/// Each culprit with the one that its group goes by. Two that can both be tried are never in one, as each
/// contains itself: so only those that cannot be tried are looked at closely.
fn leaders(range: &Range, tallies: &[Tally]) -> Vec<(usize, usize)> {
    let open = |one: usize| tallies[one].skipped().is_none();
    // The candidates which can be tried and contain this one.
    let holders = |culprit: usize| -> Vec<usize> {
        (culprit..tallies.len())
            .filter(|&one| open(one) && range.ancestry(one).contains(culprit))
            .collect()
    };
    let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
    let mut leader = |culprit: usize| {
        if open(culprit) {
            return culprit;
        }
        let own = holders(culprit);
        *known.entry(own).or_insert_with_key(|own| {
            let first = own.first().copied();
            first
                .filter(|&first| holders(first) == *own)
                .unwrap_or(culprit)
        })
    };
    range
        .culprits()
        .map(|culprit| (culprit, leader(culprit)))
        .collect()
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
