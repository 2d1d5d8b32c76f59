//! Which trial is worth most: what it is expected to tell about the culprit, per minute.
//!
//! What a trial tells is the mutual information between its outcome and the culprit (Lindley, 1956, "On a
//! measure of the information provided by an experiment"). A single trial tells little when lockups are
//! rare, and less than a build costs; so each candidate is weighed with several trials in a row, that stop at
//! the first lockup, and with the best number of them. All is weighed again
//! before each of these.

use std::collections::HashMap;

use super::inside::{Inside, Weighed};
use super::observation::Tally;
use super::posterior::{Posterior, Sums};
use super::range::{Direction, Range};
use super::search::Policy;

/// Trials in a row that are weighed.
const ROWS: [u32; 5] = [1, 2, 3, 5, 8];
/// Culprits that are less probable than that are left out of the sums.
const NEGLIGIBLE: f64 = 1e-12;
/// Ranges up to this length are weighed whole.
const SMALL: usize = 512;
/// Of longer ranges, the cheapest candidates are weighed in each of so many equal steps of probability.
const STEPS: usize = 96;

/// A trial and what it is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    candidate: usize,
    /// What the trials in a row are expected to tell.
    bits: f64,
    /// Minutes that they are expected to take.
    minutes: f64,
}

impl Plan {
    fn bits_per_minute(self) -> f64 {
        self.bits / self.minutes.max(f64::MIN_POSITIVE)
    }
}

/// The candidate of the best trial; `None` when no candidate that can be tried tells anything.
pub(super) fn best(
    range: &Range,
    policy: &Policy,
    tallies: &[Tally],
    posterior: &Posterior,
) -> Option<usize> {
    let classes = Classes::of(range, posterior, policy);
    let inside = Inside::of(range, classes.masses.len(), &classes.of);
    let build = |one: usize| match tallies[one].is_built() {
        true => 0.0,
        false => range.candidates()[one].build_minutes,
    };
    let open = (0..tallies.len()).filter(|&one| tallies[one].skipped().is_none());
    let mut plans = Vec::new();
    for candidate in shortlist(open.collect(), &inside, build) {
        let with_bug = classes.with_bug(range.direction(), inside.by_class(candidate));
        for row in 0..ROWS.len() {
            let (bits, minutes) = classes.worth(row, &with_bug, policy);
            plans.push(Plan {
                candidate,
                bits,
                minutes: build(candidate) + minutes,
            });
        }
    }
    let better = |best: Plan, one: Plan| match one.bits_per_minute() > best.bits_per_minute() {
        true => one,
        false => best,
    };
    let telling = plans.into_iter().filter(|plan| plan.bits > NEGLIGIBLE);
    telling.reduce(better).map(|best| best.candidate)
}

/// Candidates worth a closer look: all of a small range.
fn shortlist(open: Vec<usize>, inside: &Inside, build: impl Fn(usize) -> f64) -> Vec<usize> {
    if open.len() <= SMALL {
        return open;
    }
    let mut cheapest: HashMap<usize, usize> = HashMap::new();
    for one in open {
        let share: f64 = inside.by_class(one).iter().sum();
        let step = (share * STEPS as f64) as usize;
        let best = cheapest.entry(step).or_insert(one);
        if build(one) < build(*best) {
            *best = one;
        }
    }
    let mut all: Vec<usize> = cheapest.into_values().collect();
    all.sort_unstable();
    all
}

/// Culprits under which the candidates with the bug have shown the same: a lockup is as probable under each.
struct Classes {
    /// The class of each culprit, and its probability; without the negligible.
    of: Vec<Weighed>,
    /// Probability of each class.
    masses: Vec<f64>,
    /// For each class and each of [`ROWS`].
    rows: Vec<[Row; ROWS.len()]>,
}

/// What trials in a row do if the candidate has the bug.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Probability of a lockup.
    lockup: f64,
    /// Entropy of that, bits.
    entropy: f64,
    /// Expected minutes with boots.
    minutes: f64,
}

impl Classes {
    fn of(range: &Range, posterior: &Posterior, policy: &Policy) -> Self {
        let mut known: HashMap<(u32, u64), usize> = HashMap::new();
        let mut classes = Self {
            of: Vec::new(),
            masses: Vec::new(),
            rows: Vec::new(),
        };
        for culprit in range.culprits() {
            let mass = posterior.of_candidate(culprit);
            if mass < NEGLIGIBLE {
                continue;
            }
            let sums = posterior.bug(culprit);
            let class = *known
                .entry((sums.lockups, sums.minutes.to_bits()))
                .or_insert_with(|| {
                    classes.masses.push(0.0);
                    classes.rows.push(rows(sums, policy));
                    classes.masses.len() - 1
                });
            classes.masses[class] += mass;
            classes.of.push(Weighed {
                culprit,
                class,
                mass,
            });
        }
        classes
    }

    /// How probable it is by class that a candidate has the bug which contains these culprits.
    fn with_bug(&self, direction: Direction, inside: &[f64]) -> Vec<f64> {
        let all = inside.iter().zip(&self.masses);
        all.map(|(&inside, all)| match direction {
            Direction::Broke => inside,
            Direction::Fixed => (all - inside).max(0.0),
        })
        .collect()
    }

    /// Bits and minutes, the build left out, of a row of trials of a candidate that has the bug with these
    /// probabilities by class.
    fn worth(&self, row: usize, with_bug: &[f64], policy: &Policy) -> (f64, f64) {
        let trials = f64::from(ROWS[row]);
        let (mut lockup, mut known, mut minutes, mut bug) = (0.0, 0.0, 0.0, 0.0);
        for (share, rows) in with_bug.iter().zip(&self.rows) {
            let one = rows[row];
            lockup += share * one.lockup;
            known += share * one.entropy;
            minutes += share * one.minutes;
            bug += share;
        }
        minutes += (1.0 - bug).max(0.0) * trials * (policy.boot_minutes + policy.trial_minutes);
        ((entropy(lockup) - known).max(0.0), minutes)
    }
}

fn rows(sums: Sums, policy: &Policy) -> [Row; ROWS.len()] {
    ROWS.map(|trials| {
        let lockup = 1.0 - survival(sums, f64::from(trials) * policy.trial_minutes);
        let boots =
            (0..trials).map(|before| survival(sums, f64::from(before) * policy.trial_minutes));
        Row {
            lockup,
            entropy: entropy(lockup),
            minutes: policy.boot_minutes * boots.sum::<f64>()
                + load_minutes(sums, f64::from(trials) * policy.trial_minutes),
        }
    })
}

/// Probability that a kernel with the bug survives so many minutes, when kernels with the bug have shown
/// that: the posterior predictive of a Poisson process with a Gamma rate, `((b + t) / (b + t + T))^(a + n)`.
fn survival(sums: Sums, minutes: f64) -> f64 {
    (sums.scale() / (sums.scale() + minutes)).powf(sums.shape())
}

/// Minutes under load until its lockup, or `limit`: the integral of [`survival`].
fn load_minutes(sums: Sums, limit: f64) -> f64 {
    let power = sums.shape() - 1.0;
    if power.abs() < 1e-9 {
        return sums.scale() * ((sums.scale() + limit) / sums.scale()).ln();
    }
    sums.scale() / power * (1.0 - (sums.scale() / (sums.scale() + limit)).powf(power))
}

/// Bits in a yes or no of this probability.
fn entropy(probability: f64) -> f64 {
    let term = |share: f64| match share > 0.0 {
        true => -share * share.log2(),
        false => 0.0,
    };
    term(probability) + term(1.0 - probability)
}
