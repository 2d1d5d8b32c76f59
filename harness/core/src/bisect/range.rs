//! Which kernels there are between the two ends, and which of them contains which.

use std::collections::BTreeSet;

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use crate::assessment::Known;

/// What the change is that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The defect: the first kernel is good, the last one is bad.
    Broke,
    /// The fix: the first kernel is bad, the last one is good.
    Fixed,
}

/// A kernel of the range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What people call it; unique in its range.
    pub label: String,
    /// Candidates that it was made from directly, as indices into the range: all before its own. The first
    /// candidate has none. Parents outside of a range of commits are the first candidate.
    pub parents: Vec<usize>,
    /// How probable it is to have introduced the change before anything was tried, in proportion to the
    /// others; finite and above 0. That of the first candidate means nothing.
    pub weight: f64,
    /// Minutes that building it is expected to take; 0: it is there.
    pub build_minutes: f64,
}

/// All candidates, the first one without the change and the last one with it, as the user claims.
#[derive(Debug, Clone)]
pub struct Range {
    direction: Direction,
    candidates: Vec<Candidate>,
    /// Of each candidate: itself and all that it contains.
    ancestry: Vec<FixedBitSet>,
    /// How many that are.
    sizes: Vec<usize>,
    linear: bool,
    known: Known,
}

/// Why candidates are no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// There is nothing to find.
    #[error("a range needs two kernels at least, the first and the last")]
    TooShort,
    /// The same label twice.
    #[error("{0} is in the range twice")]
    Twice(String),
    /// The first candidate has parents, or another one has none before it.
    #[error("{0}: parents have to come before their children, and only the first kernel has none")]
    Parents(String),
    /// A weight or the minutes of a build are out of range.
    #[error("{0}: weights are above 0, minutes are 0 or more")]
    Figure(String),
    /// The last candidate does not contain all others.
    #[error("the last kernel does not contain {0}")]
    NotContained(String),
}

impl Range {
    /// A range whose candidates name their parents.
    ///
    /// # Errors
    /// When they do not lie between the first and the last one, or a figure is out of range.
    pub fn new(direction: Direction, candidates: Vec<Candidate>) -> Result<Self, RangeError> {
        check(&candidates)?;
        let linear = (1..).zip(&candidates[1..]);
        let linear = linear
            .into_iter()
            .all(|(index, candidate): (usize, _)| candidate.parents == [index - 1]);
        let ancestry = ancestry(&candidates);
        let last = &ancestry[candidates.len() - 1];
        if let Some(outside) = last.zeroes().next() {
            return Err(RangeError::NotContained(candidates[outside].label.clone()));
        }
        Ok(Self {
            direction,
            candidates,
            sizes: ancestry.iter().map(|own| own.count_ones(..)).collect(),
            ancestry,
            linear,
            known: Known {
                lockups: 0,
                minutes: 0.0,
            },
        })
    }

    /// A list, each candidate made from the one before: their own parents are not looked at.
    ///
    /// # Errors
    /// As [`Range::new`].
    pub fn list(direction: Direction, mut candidates: Vec<Candidate>) -> Result<Self, RangeError> {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.parents = index.checked_sub(1).into_iter().collect();
        }
        Self::new(direction, candidates)
    }

    /// With what a control showed of the rate at which kernels with the bug lock up under the same load: it
    /// counts like a further kernel that has the bug for certain.
    pub fn with_control(self, known: Known) -> Self {
        Self { known, ..self }
    }

    /// What a control showed; nothing where there was none.
    pub fn known(&self) -> Known {
        self.known
    }

    /// What is looked for.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// All candidates.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// What people call a candidate.
    pub fn label(&self, candidate: usize) -> &str {
        &self.candidates[candidate].label
    }

    /// Whether each candidate was made from the one before.
    pub fn is_list(&self) -> bool {
        self.linear
    }

    /// The end that has the bug, as the user claims.
    pub fn bad_end(&self) -> usize {
        match self.direction {
            Direction::Broke => self.candidates.len() - 1,
            Direction::Fixed => 0,
        }
    }

    /// The end that has not.
    pub fn good_end(&self) -> usize {
        match self.direction {
            Direction::Broke => 0,
            Direction::Fixed => self.candidates.len() - 1,
        }
    }

    /// Itself and all that it contains.
    pub(super) fn ancestry(&self, candidate: usize) -> &FixedBitSet {
        &self.ancestry[candidate]
    }

    /// The parent that contains most, and all that a candidate contains beyond it, itself first.
    pub(super) fn beyond(&self, candidate: usize) -> (Option<usize>, Vec<usize>) {
        let parents = &self.candidates[candidate].parents;
        let mut beyond = vec![candidate];
        let largest = parents.iter().copied().max_by_key(|&one| self.sizes[one]);
        let Some(largest) = largest.filter(|_| parents.len() > 1) else {
            return (largest, beyond);
        };
        let mut seen = self.ancestry[largest].as_slice().to_vec();
        for parent in parents {
            let words = self.ancestry[*parent].as_slice().iter().zip(&mut seen);
            for (word, (theirs, seen)) in words.enumerate() {
                let mut unseen = theirs & !*seen;
                *seen |= theirs;
                while unseen != 0 {
                    beyond.push(word * usize::BITS as usize + unseen.trailing_zeros() as usize);
                    unseen &= unseen - 1;
                }
            }
        }
        (Some(largest), beyond)
    }

    /// Candidates that may have introduced the change: all but the first.
    pub(super) fn culprits(&self) -> std::ops::Range<usize> {
        1..self.candidates.len()
    }

    /// Whether a candidate has the bug when `culprit` introduced the change.
    pub fn has_bug(&self, culprit: usize, candidate: usize) -> bool {
        let changed = self.ancestry[candidate].contains(culprit);
        match self.direction {
            Direction::Broke => changed,
            Direction::Fixed => !changed,
        }
    }
}

fn check(candidates: &[Candidate]) -> Result<(), RangeError> {
    if candidates.len() < 2 {
        return Err(RangeError::TooShort);
    }
    let mut labels = BTreeSet::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let label = || candidate.label.clone();
        let parents = &candidate.parents;
        if !labels.insert(&candidate.label) {
            return Err(RangeError::Twice(label()));
        }
        if parents.is_empty() != (index == 0) || parents.iter().any(|&parent| parent >= index) {
            return Err(RangeError::Parents(label()));
        }
        let weight = candidate.weight.is_finite() && candidate.weight > 0.0;
        let minutes = candidate.build_minutes.is_finite() && candidate.build_minutes >= 0.0;
        if !weight || !minutes {
            return Err(RangeError::Figure(label()));
        }
    }
    Ok(())
}

fn ancestry(candidates: &[Candidate]) -> Vec<FixedBitSet> {
    let mut all: Vec<FixedBitSet> = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let mut own = FixedBitSet::with_capacity(candidates.len());
        own.insert(index);
        for &parent in &candidate.parents {
            own.union_with(&all[parent]);
        }
        all.push(own);
    }
    all
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn candidate(label: &str, parents: &[usize]) -> Candidate {
        Candidate {
            label: label.to_owned(),
            parents: parents.to_vec(),
            weight: 1.0,
            build_minutes: 0.3,
        }
    }

    /// `0` to `last`, each made from the one before.
    pub(in super::super) fn list(direction: Direction, last: usize) -> Range {
        let candidates = (0..=last).map(|index| candidate(&index.to_string(), &[]));
        Range::list(direction, candidates.collect()).unwrap()
    }

    /// Two branches off `start` of two commits each, merged: start, a1, b1, a2, b2, merge, last.
    pub(in super::super) fn merged(direction: Direction) -> Range {
        let candidates = [
            candidate("start", &[]),
            candidate("a1", &[0]),
            candidate("b1", &[0]),
            candidate("a2", &[1]),
            candidate("b2", &[2]),
            candidate("merge", &[3, 4]),
            candidate("last", &[5]),
        ];
        Range::new(direction, candidates.to_vec()).unwrap()
    }

    #[test]
    fn a_list_contains_all_that_came_before() {
        let range = list(Direction::Broke, 3);
        assert!(range.is_list());
        assert_eq!((range.good_end(), range.bad_end()), (0, 3));
        assert!(range.has_bug(2, 2) && range.has_bug(2, 3));
        assert!(!range.has_bug(2, 1) && !range.has_bug(2, 0));
    }

    #[test]
    fn a_fix_turns_both_ends_around() {
        let range = list(Direction::Fixed, 3);
        assert_eq!((range.good_end(), range.bad_end()), (3, 0));
        assert!(range.has_bug(2, 1) && range.has_bug(2, 0));
        assert!(!range.has_bug(2, 2) && !range.has_bug(2, 3));
    }

    #[test]
    fn a_branch_does_not_contain_the_other_one() {
        let range = merged(Direction::Broke);
        assert!(!range.is_list());
        assert!(range.has_bug(1, 3) && range.has_bug(1, 5) && range.has_bug(1, 6));
        assert!(!range.has_bug(1, 4) && !range.has_bug(1, 2));
    }

    #[test]
    fn beyond_its_largest_parent_a_merge_contains_the_other_branch() {
        let range = merged(Direction::Broke);
        assert_eq!(range.beyond(0), (None, vec![0]));
        assert_eq!(range.beyond(3), (Some(1), vec![3]));
        let (parent, beyond) = range.beyond(5);
        assert_eq!((parent, beyond), (Some(4), vec![5, 1, 3]));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let new =
            |candidates: &[Candidate]| Range::new(Direction::Broke, candidates.to_vec()).err();
        let (a, b) = (candidate("a", &[]), candidate("b", &[0]));
        assert_eq!(new(&[a.clone(), b.clone()]), None);
        assert_eq!(new(std::slice::from_ref(&a)), Some(RangeError::TooShort));
        let twice = candidate("a", &[0]);
        assert_eq!(
            new(&[a.clone(), twice]),
            Some(RangeError::Twice("a".into()))
        );
        let orphan = candidate("c", &[]);
        let parents = Some(RangeError::Parents("c".into()));
        assert_eq!(new(&[a.clone(), orphan]), parents);
        assert_eq!(new(&[a.clone(), candidate("c", &[1])]), parents);
        let side = [a.clone(), b.clone(), candidate("c", &[0])];
        assert_eq!(new(&side), Some(RangeError::NotContained("b".into())));
        for (weight, minutes) in [
            (0.0, 1.0),
            (f64::NAN, 1.0),
            (1.0, -1.0),
            (1.0, f64::INFINITY),
        ] {
            let odd = Candidate {
                weight,
                build_minutes: minutes,
                ..b.clone()
            };
            assert_eq!(new(&[a.clone(), odd]), Some(RangeError::Figure("b".into())));
        }
    }
}
