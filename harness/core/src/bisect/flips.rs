//! Whether there is a single change at all: vendors mend at 9 what they broke at 6, and break it again.
//!
//! Of a list of candidates, three changes are weighed exactly against one: for a given rate each candidate's
//! trials depend on its own state alone, so that the sum over all places of the changes is the forward-backward
//! recursion of hidden Markov models (Rabiner, 1989, "A tutorial on hidden Markov models", section III), with
//! the number of changes so far as the state. The rate is summed out on a grid. Where branches are merged, the
//! alternative is coarser: each tried candidate has the bug or not, whatever it contains.

use statrs::function::gamma::ln_gamma;

use super::observation::Tally;
use super::posterior::{MISTAKEN_PER_MINUTE, Posterior, Sums};
use super::range::{Direction, Range};
use super::search::{Conflict, Ending, Flip};
use crate::assessment::Known;
use crate::statistics;

/// Probability of more than one change before anything was tried.
const PRIOR_MORE: f64 = 0.01;
/// Most changes that are weighed.
const MOST: usize = 3;
/// Lowest and highest rate of the grid, per minute.
const RATES: (f64, f64) = (1e-4, 1e3);
/// Points of the grid, equally far from each other in the logarithm.
const GRID: usize = 128;
/// Survivals that are less probable than that are no luck.
const UNLIKELY: f64 = 0.05;

/// How probable more than one change is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Doubt {
    /// 0 to 1.
    pub more_than_one: f64,
}

impl Doubt {
    pub fn of(range: &Range, tallies: &[Tally], posterior: &Posterior) -> Self {
        if conflicts(range, tallies).is_empty() {
            // One change explains everything as well as any number of them.
            return Self { more_than_one: 0.0 };
        }
        let (single, several) = match range.is_list() {
            true => {
                let chain = Chain::of(range, tallies);
                (chain.log_evidence(1), chain.log_evidence(MOST))
            }
            false => (
                posterior.log_evidence,
                log_evidence_unordered(range, tallies),
            ),
        };
        let odds = (several - single).exp() * PRIOR_MORE / (1.0 - PRIOR_MORE);
        Self {
            more_than_one: if odds.is_finite() {
                odds / (1.0 + odds)
            } else {
                1.0
            },
        }
    }
}

/// Pairs of which the first locked up and the second, which would have to have the bug too, did not.
fn conflicts(range: &Range, tallies: &[Tally]) -> Vec<Conflict> {
    let tried = |one: &usize| tallies[*one].trials > 0;
    let (bad, good): (Vec<usize>, Vec<usize>) = (0..tallies.len())
        .filter(tried)
        .partition(|&one| tallies[one].lockups > 0);
    let mut conflicts = Vec::new();
    for &locked_up in &bad {
        for &survived in &good {
            let implied = match range.direction() {
                Direction::Broke => range.ancestry(survived).contains(locked_up),
                Direction::Fixed => range.ancestry(locked_up).contains(survived),
            };
            if implied {
                conflicts.push(Conflict {
                    locked_up,
                    survived,
                });
            }
        }
    }
    conflicts
}

/// Conflicts whose survival is no luck, going by what all that locked up have shown.
fn serious(range: &Range, tallies: &[Tally]) -> Vec<Conflict> {
    let bad = || tallies.iter().filter(|tally| tally.lockups > 0);
    let lockups = bad().map(|tally| tally.lockups).sum();
    let minutes = bad().map(|tally| tally.minutes).sum();
    let all = conflicts(range, tallies).into_iter();
    let is_luck = |one: &Conflict| {
        statistics::luck(lockups, minutes, tallies[one.survived].minutes) >= UNLIKELY
    };
    all.filter(|one| !is_luck(one)).collect()
}

/// The candidate whose trials settle whether there is more than one change: of those that should have the
/// bug, the one that has survived longest. `None` when it cannot be tried any more.
pub(super) fn trial(range: &Range, tallies: &[Tally]) -> Option<usize> {
    let survivors = conflicts(range, tallies)
        .into_iter()
        .map(|one| one.survived);
    let open = survivors.filter(|&one| tallies[one].skipped().is_none());
    open.max_by(|&one, &other| tallies[one].minutes.total_cmp(&tallies[other].minutes))
}

/// The changes by name, and what contradicts a single one.
pub(super) fn ending(range: &Range, tallies: &[Tally]) -> Ending {
    let flips = match range.is_list() {
        true => Chain::of(range, tallies).flips(),
        false => Vec::new(),
    };
    Ending::NotMonotone {
        flips,
        conflicts: serious(range, tallies),
    }
}

/// The logarithm of the rates' probabilities on the grid before anything was tried, with the rates.
fn grid(known: Known) -> impl Iterator<Item = (f64, f64)> {
    let control = Sums::of(known);
    let (shape, minutes) = (control.shape(), control.scale());
    let (low, high) = (RATES.0.ln(), RATES.1.ln());
    let step = (high - low) / (GRID - 1) as f64;
    let constant = shape * minutes.ln() - ln_gamma(shape) + step.ln();
    (0..GRID).map(move |index| {
        let log = low + step * index as f64;
        let rate = log.exp();
        // The Gamma density, times the rate because the grid is in its logarithm.
        (rate, constant + shape * log - minutes * rate)
    })
}

/// How probable a candidate's trials are with and without the bug, and the logarithm of what both are to be
/// multiplied with.
fn likelihoods(tally: &Tally, rate: f64) -> (f64, f64, f64) {
    if tally.trials == 0 {
        return (1.0, 1.0, 0.0);
    }
    let lockups = f64::from(tally.lockups);
    let bug = lockups * rate.ln() - rate * tally.minutes;
    let none = lockups * MISTAKEN_PER_MINUTE.ln();
    let scale = bug.max(none);
    ((bug - scale).exp(), (none - scale).exp(), scale)
}

/// Logarithm of how probable the observations are if each candidate between the ends has the bug or not,
/// whatever it contains.
fn log_evidence_unordered(range: &Range, tallies: &[Tally]) -> f64 {
    let tried: Vec<(usize, &Tally)> = tallies
        .iter()
        .enumerate()
        .filter(|(_, tally)| tally.trials > 0)
        .collect();
    let logs = grid(range.known()).map(|(rate, prior)| {
        let log = |&(candidate, tally): &(usize, &Tally)| {
            let (bug, none, scale) = likelihoods(tally, rate);
            let mixed = match candidate {
                bad if bad == range.bad_end() => bug,
                good if good == range.good_end() => none,
                _ => (bug + none) / 2.0,
            };
            scale + mixed.ln()
        };
        prior + tried.iter().map(log).sum::<f64>()
    });
    log_sum(&logs.collect::<Vec<_>>())
}

fn log_sum(logs: &[f64]) -> f64 {
    let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    highest
        + logs
            .iter()
            .map(|log| (log - highest).exp())
            .sum::<f64>()
            .ln()
}

/// By the number of changes so far: how probable all observations up to a candidate are.
type States = [f64; MOST + 1];

/// A list of candidates as a hidden Markov model, for every rate of the grid.
struct Chain<'a> {
    range: &'a Range,
    tallies: &'a [Tally],
    /// How probable each candidate is to make a change.
    weights: Vec<f64>,
}

impl<'a> Chain<'a> {
    fn of(range: &'a Range, tallies: &'a [Tally]) -> Self {
        let of = |one: usize| range.candidates()[one].weight;
        let total: f64 = range.culprits().map(of).sum();
        let weights = range.culprits().map(|one| of(one) / total);
        Self {
            range,
            tallies,
            weights: std::iter::once(0.0).chain(weights).collect(),
        }
    }

    /// Whether candidates have the bug after so many changes.
    fn is_bad_after(&self, changes: usize) -> bool {
        (changes % 2 == 1) == (self.range.direction() == Direction::Broke)
    }

    /// One candidate on; returns the logarithm of what was divided by.
    fn step(&self, states: &mut States, candidate: usize, rate: f64) -> f64 {
        let (bug, none, log) = likelihoods(&self.tallies[candidate], rate);
        for changes in (0..=MOST).rev() {
            let before = changes.checked_sub(1).map_or(0.0, |before| states[before]);
            let likelihood = if self.is_bad_after(changes) {
                bug
            } else {
                none
            };
            states[changes] = (states[changes] + self.weights[candidate] * before) * likelihood;
        }
        let scale = states.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        states.iter_mut().for_each(|state| *state /= scale);
        log + scale.ln()
    }

    /// Logarithm of how probable so many changes in all have what was observed, at every rate of the grid.
    fn log_evidences(&self, changes: usize) -> Vec<f64> {
        let placings = self.log_placings(changes);
        let at = |(rate, prior): (f64, f64)| {
            let mut states: States = [1.0, 0.0, 0.0, 0.0];
            let scales = (0..self.tallies.len()).map(|one| self.step(&mut states, one, rate));
            let scale: f64 = scales.sum();
            prior + scale + states[changes].ln() - placings
        };
        grid(self.range.known()).map(at).collect()
    }

    fn log_evidence(&self, changes: usize) -> f64 {
        if self.log_placings(changes) == f64::NEG_INFINITY {
            return f64::NEG_INFINITY;
        }
        log_sum(&self.log_evidences(changes))
    }

    /// Logarithm of the sum over all places for so many changes.
    fn log_placings(&self, changes: usize) -> f64 {
        let mut sums: States = [1.0, 0.0, 0.0, 0.0];
        for weight in &self.weights {
            (1..=MOST)
                .rev()
                .for_each(|count| sums[count] += weight * sums[count - 1]);
        }
        sums[changes].ln()
    }

    /// Each of [`MOST`] changes at its most probable place.
    fn flips(&self) -> Vec<Flip> {
        let logs = self.log_evidences(MOST);
        let total = log_sum(&logs);
        let mut places = vec![[0.0; MOST + 1]; self.tallies.len()];
        for ((rate, _), log) in grid(self.range.known()).zip(logs) {
            let share = (log - total).exp();
            // What is as good as impossible would only cost time.
            if share > 1e-9 {
                self.add_places(&mut places, rate, share);
            }
        }
        let flip = |change: usize| {
            let best = self.range.culprits().max_by(|&one, &other| {
                places[one][change]
                    .total_cmp(&places[other][change])
                    .then(other.cmp(&one))
            })?;
            Some(Flip {
                candidate: best,
                to_bad: self.is_bad_after(change),
                posterior: places[best][change],
            })
        };
        (1..=MOST).filter_map(flip).collect()
    }

    /// Adds how probable it is that each candidate made the first, second or third change, given the rate.
    fn add_places(&self, places: &mut [States], rate: f64, share: f64) {
        let length = self.tallies.len();
        let mut forward = vec![[0.0; MOST + 1]; length];
        let mut states: States = [1.0, 0.0, 0.0, 0.0];
        for (candidate, row) in forward.iter_mut().enumerate() {
            self.step(&mut states, candidate, rate);
            *row = states;
        }
        let mut found = vec![[0.0; MOST + 1]; length];
        let mut after: States = [0.0, 0.0, 0.0, 1.0];
        // Scales differ from place to place, so each place is made comparable by its own total.
        for candidate in (1..length).rev() {
            let (bug, none, _) = likelihoods(&self.tallies[candidate], rate);
            let own = |changes: usize| {
                if self.is_bad_after(changes) {
                    bug
                } else {
                    none
                }
            };
            let weight = self.weights[candidate];
            let before = forward[candidate - 1];
            let mut stays = 0.0;
            let mut earlier: States = [0.0; MOST + 1];
            for changes in 0..=MOST {
                let here = own(changes) * after[changes];
                stays += before[changes] * here;
                earlier[changes] += here;
                if let Some(fewer) = changes.checked_sub(1) {
                    found[candidate][changes] = before[fewer] * weight * here;
                    earlier[fewer] += weight * here;
                }
            }
            let total = stays + found[candidate].iter().sum::<f64>();
            found[candidate]
                .iter_mut()
                .for_each(|one| *one /= total.max(f64::MIN_POSITIVE));
            let scale = earlier.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            after = earlier.map(|one| one / scale);
        }
        for (place, found) in places.iter_mut().zip(found) {
            for (sum, one) in place.iter_mut().zip(found) {
                *sum += share * one;
            }
        }
    }
}
