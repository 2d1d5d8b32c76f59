//! A range with fewer kernels that behaves like the whole one, for what has to be played often.

use super::observation::Tally;
use super::range::{Candidate, Range};

/// A range of some of another one's kernels.
#[derive(Debug)]
pub(super) struct Thin {
    /// The kernels that were kept; one that may have introduced the change stands for those before it too
    /// that were not.
    pub range: Range,
    /// What they have shown.
    pub tallies: Vec<Tally>,
    /// Where each culprit of the whole range stands.
    places: Vec<usize>,
    /// Its share of the probability there.
    shares: Vec<f64>,
}

impl Thin {
    /// Keeps about so many kernels: the ends, all that was tried, and of the others those that part the
    /// probability most evenly.
    pub fn of(range: &Range, tallies: &[Tally], masses: &[f64], kernels: usize) -> Self {
        let kept = kept(range, tallies, masses, kernels);
        let places = places(range, &kept);
        let mut sums = vec![0.0; kept.len()];
        let mut weights = vec![0.0; kept.len()];
        for culprit in range.culprits() {
            sums[places[culprit]] += masses[culprit];
            weights[places[culprit]] += range.candidates()[culprit].weight;
        }
        let share = |one: usize| match sums[places[one]] > 0.0 {
            true => masses[one] / sums[places[one]],
            false => 0.0,
        };
        let candidates = kept.iter().enumerate().map(|(place, &one)| Candidate {
            parents: parents(range, &kept, place),
            weight: weights[place].max(f64::MIN_POSITIVE),
            ..range.candidates()[one].clone()
        });
        Self {
            range: Range::new(range.direction(), candidates.collect())
                .expect("the last kernel contains all others still")
                .with_control(range.known()),
            tallies: kept.iter().map(|&one| tallies[one].clone()).collect(),
            shares: (0..masses.len()).map(share).collect(),
            places,
        }
    }

    /// Where a culprit of the whole range stands.
    pub fn place(&self, culprit: usize) -> usize {
        self.places[culprit]
    }

    /// Its share, 0 to 1, of the probability there.
    pub fn share(&self, culprit: usize) -> f64 {
        self.shares[culprit]
    }
}

fn kept(range: &Range, tallies: &[Tally], masses: &[f64], kernels: usize) -> Vec<usize> {
    let count = range.candidates().len();
    if count <= kernels {
        return (0..count).collect();
    }
    let mut sum = 0.0;
    let keep = |&one: &usize| {
        let before = (sum * kernels as f64) as usize;
        sum += masses[one];
        let is_step = (sum * kernels as f64) as usize > before;
        let is_end = one == 0 || one + 1 == count;
        let tried = tallies[one].is_built() || tallies[one].skipped().is_some();
        is_end || is_step || tried
    };
    (0..count).filter(keep).collect()
}

/// For each candidate the first of those kept that contains it.
fn places(range: &Range, kept: &[usize]) -> Vec<usize> {
    let mut from = 0;
    let place = |one: usize| {
        while kept[from] < one {
            from += 1;
        }
        let holder = (from..kept.len()).find(|&place| range.ancestry(kept[place]).contains(one));
        holder.unwrap_or(kept.len() - 1)
    };
    (0..range.candidates().len()).map(place).collect()
}

/// Those kept that the one at `place` contains, and no other of them does.
fn parents(range: &Range, kept: &[usize], place: usize) -> Vec<usize> {
    let own = range.ancestry(kept[place]);
    let mut parents: Vec<usize> = Vec::new();
    for before in (0..place).rev() {
        let one = kept[before];
        let covered = || {
            parents
                .iter()
                .any(|&parent| range.ancestry(kept[parent]).contains(one))
        };
        if own.contains(one) && !covered() {
            parents.push(before);
        }
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::super::observation::tallies;
    use super::super::observation::tests::trial;
    use super::super::range::Direction;
    use super::super::range::tests::{list, merged};
    use super::*;

    #[test]
    fn of_a_long_list_what_was_tried_and_even_steps_are_kept() {
        let range = list(Direction::Broke, 1000);
        let tallies = tallies(&range, &[trial(333, 0, 1.0), trial(1000, 1, 0.2)]);
        let masses = [&[0.0][..], &[0.001; 1000]].concat();
        let thin = Thin::of(&range, &tallies, &masses, 10);
        assert!(thin.range.is_list());
        let labels: Vec<&str> = (0..thin.range.candidates().len())
            .map(|one| thin.range.label(one))
            .collect();
        assert!(labels.contains(&"0") && labels.contains(&"333") && labels.contains(&"1000"));
        assert!((11..=13).contains(&labels.len()), "{labels:?}");
        let place = thin.place(320);
        assert_eq!(thin.range.label(place), "333");
        assert_eq!(thin.tallies[place].trials, 1);
        assert!(thin.share(320) < 0.1);
        let weights = thin.range.candidates()[1..].iter().map(|one| one.weight);
        assert_eq!(weights.sum::<f64>(), 1000.0, "nobody is lost");
    }

    #[test]
    fn a_short_range_stays_as_it_is() {
        let range = merged(Direction::Broke);
        let thin = Thin::of(&range, &tallies(&range, &[]), &[0.0; 7], 10);
        assert_eq!(thin.range.candidates().len(), 7);
        for culprit in 1..7 {
            assert_eq!(thin.place(culprit), culprit);
            for candidate in 0..7 {
                let same = thin.range.has_bug(culprit, candidate);
                assert_eq!(same, range.has_bug(culprit, candidate));
            }
        }
    }
}
