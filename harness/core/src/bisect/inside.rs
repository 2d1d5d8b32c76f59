//! How probable the culprits are that each candidate contains, for all candidates at once.
//!
//! A candidate contains what its largest parent does, and little more: one sum serves the next.

use super::range::Range;

/// A culprit that is worth to be counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    /// Index into the range.
    pub culprit: usize,
    /// Which sum it adds to.
    pub class: usize,
    /// Its probability, 0 to 1.
    pub mass: f64,
}

/// Sums of probabilities by candidate and class.
#[derive(Debug)]
pub(super) struct Inside {
    classes: usize,
    sums: Vec<f64>,
}

impl Inside {
    /// Sums up the culprits.
    pub fn of(range: &Range, classes: usize, culprits: &[Weighed]) -> Self {
        let count = range.candidates().len();
        let mut own = vec![None; count];
        for one in culprits {
            own[one.culprit] = Some(*one);
        }
        let mut sums = vec![0.0; count * classes];
        for candidate in 0..count {
            let (parent, beyond) = range.beyond(candidate);
            let (before, here) = sums.split_at_mut(candidate * classes);
            if let Some(parent) = parent {
                here[..classes].copy_from_slice(&before[parent * classes..][..classes]);
            }
            for one in beyond.into_iter().filter_map(|one| own[one]) {
                here[one.class] += one.mass;
            }
        }
        Self { classes, sums }
    }

    /// By class: how probable it is that this candidate contains the culprit.
    pub fn by_class(&self, candidate: usize) -> &[f64] {
        &self.sums[candidate * self.classes..][..self.classes]
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::Direction;
    use super::super::range::tests::{candidate, list};
    use super::*;

    /// One culprit after the other.
    fn slowly(range: &Range, culprits: &[Weighed], candidate: usize, class: usize) -> f64 {
        let of = culprits
            .iter()
            .filter(|one| one.class == class && range.ancestry(candidate).contains(one.culprit));
        of.map(|one| one.mass).sum()
    }

    fn check(range: &Range, random: &mut fastrand::Rng) {
        let classes = random.usize(1..6);
        let some: Vec<usize> = range.culprits().filter(|_| random.f64() < 0.8).collect();
        let weighed = some.into_iter().map(|culprit| Weighed {
            culprit,
            class: random.usize(..classes),
            mass: random.f64(),
        });
        let weighed: Vec<Weighed> = weighed.collect();
        let inside = Inside::of(range, classes, &weighed);
        for candidate in 0..range.candidates().len() {
            for class in 0..classes {
                let (quick, slow) = (
                    inside.by_class(candidate)[class],
                    slowly(range, &weighed, candidate, class),
                );
                assert!(
                    (quick - slow).abs() < 1e-9,
                    "{candidate} {class}: {quick}, {slow}"
                );
            }
        }
    }

    #[test]
    fn sums_are_those_of_one_culprit_after_the_other() {
        let mut random = fastrand::Rng::with_seed(1);
        check(&list(Direction::Broke, 200), &mut random);
        for _ in 0..40 {
            let count = random.usize(2..150);
            let range = random_range(count, &mut random);
            check(&range, &mut random);
        }
    }

    /// Branches and merges of up to three, all in the last.
    fn random_range(count: usize, random: &mut fastrand::Rng) -> Range {
        let mut heads = vec![true];
        let mut candidates = vec![candidate("0", &[])];
        for index in 1..count {
            let mut parents: Vec<usize> = match index + 1 == count {
                true => (0..index).filter(|&one| heads[one]).collect(),
                false => (0..random.usize(1..4))
                    .map(|_| random.usize(..index))
                    .collect(),
            };
            parents.sort_unstable();
            parents.dedup();
            parents.iter().for_each(|&one| heads[one] = false);
            heads.push(true);
            candidates.push(candidate(&index.to_string(), &parents));
        }
        Range::new(Direction::Broke, candidates).unwrap()
    }
}
