//! How probable each candidate is to have introduced the change.
//!
//! Under the hypothesis that candidate K did, it is given which candidates have the bug. Those lock up as a
//! Poisson process in exposed minutes with one rate for all of them; that is unknown, and has a Gamma
//! distribution before anything was tried. With n lockups in t minutes of theirs the rate integrates out:
//! b^a Γ(a + n) / (Γ(a) (b + t)^(a + n)), as in Gelman et al., "Bayesian Data Analysis" (2013), section 2.6.
//! So the trials of the ends, and of any candidate, tell how fast a lockup is to be expected in all others.

use statrs::function::gamma::ln_gamma;

use super::observation::Tally;
use super::range::{Direction, Range};
use crate::assessment::Known;

/// Shape of the rate's Gamma distribution before anything was tried. Nearly 0 is the invariant prior, which
/// prefers no rate to any other: with it the posterior errs as often as it says at each rate (Berger, 1985,
/// "Statistical Decision Theory and Bayesian Analysis", section 6.6). More of it is a lockup that nobody saw,
/// and makes survivals of rare bugs worth too much.
pub(super) const PRIOR_SHAPE: f64 = 1e-3;
/// Its rate parameter in minutes: a lockup in the first seconds is no proof of a rate as high as that.
pub(super) const PRIOR_MINUTES: f64 = 0.05;
/// Target lockups per minute of a kernel without the bug: only when one is taken for what it is not. It is
/// not 0, so that a single wrong one excludes nothing for ever.
pub(super) const MISTAKEN_PER_MINUTE: f64 = 1e-9;

/// Lockups and exposed minutes of several candidates together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    /// Target lockups.
    pub lockups: u32,
    /// Exposed minutes.
    pub minutes: f64,
}

impl Sums {
    /// What a control showed.
    pub fn of(known: Known) -> Self {
        Self {
            lockups: known.lockups,
            minutes: known.minutes,
        }
    }

    /// Shape of the rate's distribution after that.
    pub fn shape(self) -> f64 {
        PRIOR_SHAPE + f64::from(self.lockups)
    }

    /// Its rate parameter, minutes.
    pub fn scale(self) -> f64 {
        PRIOR_MINUTES + self.minutes
    }

    /// Natural logarithm of how probable this is with the bug, whatever the rate.
    fn log_likelihood(self) -> f64 {
        PRIOR_SHAPE * PRIOR_MINUTES.ln() - ln_gamma(PRIOR_SHAPE) + ln_gamma(self.shape())
            - self.shape() * self.scale().ln()
    }
}

/// How probable each candidate is, after all that was tried.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// One for each candidate; that of the first is 0.
    masses: Vec<f64>,
    /// What the candidates that have the bug if this one is the culprit have shown.
    bug: Vec<Sums>,
    /// Natural logarithm of how probable the observations are if there is one culprit.
    pub(super) log_evidence: f64,
}

impl Posterior {
    pub(super) fn of(range: &Range, tallies: &[Tally]) -> Self {
        let bug = bug_sums(range, tallies);
        let control = Sums::of(range.known());
        let tried: u32 = tallies.iter().map(|tally| tally.lockups).sum();
        let lockups = control.lockups + tried;
        let weights: f64 = range
            .culprits()
            .map(|one| range.candidates()[one].weight)
            .sum();
        let mut last: Option<(Sums, f64)> = None;
        let log = |culprit: usize| {
            let sums = bug[culprit];
            // Neighbours mostly share their sums, and the logarithms are what costs.
            let likelihood = match last {
                Some((of, value)) if of == sums => value,
                Some(_) | None => sums.log_likelihood(),
            };
            last = Some((sums, likelihood));
            let mistaken = f64::from(lockups - sums.lockups) * MISTAKEN_PER_MINUTE.ln();
            (range.candidates()[culprit].weight / weights).ln() + likelihood + mistaken
        };
        let logs: Vec<f64> = range.culprits().map(log).collect();
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logs.iter().map(|log| (log - highest).exp()).sum();
        let masses = logs.iter().map(|log| (log - highest).exp() / total);
        Self {
            masses: std::iter::once(0.0).chain(masses).collect(),
            bug,
            // Of what was tried, given what the control showed.
            log_evidence: highest + total.ln() - control.log_likelihood(),
        }
    }

    /// The probability, 0 to 1, that this candidate introduced the change.
    pub fn of_candidate(&self, candidate: usize) -> f64 {
        self.masses[candidate]
    }

    pub(super) fn masses(&self) -> &[f64] {
        &self.masses
    }

    pub(super) fn bug(&self, culprit: usize) -> Sums {
        self.bug[culprit]
    }

    /// The most probable candidate, the first of equals.
    pub fn best(&self) -> usize {
        let better = |best: usize, one: usize| match self.masses[one] > self.masses[best] {
            true => one,
            false => best,
        };
        (1..self.masses.len()).fold(1, better)
    }

    /// Bits that are still missing: the entropy in Shannon's sense.
    pub fn entropy_bits(&self) -> f64 {
        let masses = self.masses.iter().filter(|&&mass| mass > 0.0);
        masses.map(|mass| -mass * mass.log2()).sum::<f64>().max(0.0)
    }

    /// How many candidates it takes to hold this share, 0 to 1, of the probability.
    pub fn holding(&self, share: f64) -> usize {
        let mut masses = self.masses[1..].to_vec();
        masses.sort_by(|one, two| two.total_cmp(one));
        let mut held = 0.0;
        let reached = masses.iter().position(|mass| {
            held += mass;
            held >= share
        });
        reached.map_or(masses.len(), |index| index + 1)
    }
}

/// For each culprit, what the candidates that then have the bug have shown.
fn bug_sums(range: &Range, tallies: &[Tally]) -> Vec<Sums> {
    let mut changed = vec![Sums::default(); tallies.len()];
    let mut all = Sums::default();
    let tried = tallies
        .iter()
        .enumerate()
        .filter(|(_, tally)| tally.trials > 0);
    for (candidate, tally) in tried {
        let add = |sums: &mut Sums| {
            sums.lockups += tally.lockups;
            sums.minutes += tally.minutes;
        };
        add(&mut all);
        range
            .ancestry(candidate)
            .ones()
            .for_each(|culprit| add(&mut changed[culprit]));
    }
    let known = range.known();
    let with_bug = |changed: Sums| match range.direction() {
        Direction::Broke => changed,
        Direction::Fixed => Sums {
            lockups: all.lockups - changed.lockups,
            minutes: (all.minutes - changed.minutes).max(0.0),
        },
    };
    let sums = changed.into_iter().map(with_bug);
    // The control has the bug whoever brought it.
    sums.map(|sums| Sums {
        lockups: sums.lockups + known.lockups,
        minutes: sums.minutes + known.minutes,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::observation::tests::trial;
    use super::super::observation::{Observation, tallies};
    use super::super::range::tests::{candidate, list, merged};
    use super::*;

    fn posterior(range: &Range, observations: &[Observation]) -> Posterior {
        Posterior::of(range, &tallies(range, observations))
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn a_control_makes_the_same_survival_worth_what_its_rate_says() {
        let known = |minutes: f64| Known {
            lockups: 10,
            minutes,
        };
        let survived = [trial(3, 0, 1.0)];
        let culprit_is_later = |minutes: f64| {
            let range = list(Direction::Broke, 6).with_control(known(minutes));
            let posterior = posterior(&range, &survived);
            (4..=6).map(|one| posterior.of_candidate(one)).sum::<f64>()
        };
        // Ten lockups in two minutes: with the bug, a minute's survival has (2 / 3)^10, but for the prior.
        let scale = 2.0 + PRIOR_MINUTES;
        let fast = (scale / (scale + 1.0)).powf(10.0 + PRIOR_SHAPE);
        near(culprit_is_later(2.0), 1.0 / (1.0 + fast));
        assert!(
            culprit_is_later(100.0) < 0.55,
            "a slow control: a minute says little"
        );
    }

    #[test]
    fn without_trials_it_is_the_weights() {
        let mut touched = candidate("c", &[]);
        touched.weight = 3.0;
        let candidates = vec![candidate("a", &[]), candidate("b", &[]), touched];
        let range = Range::list(Direction::Broke, candidates).unwrap();
        let posterior = posterior(&range, &[]);
        assert_eq!(posterior.of_candidate(0), 0.0);
        near(posterior.of_candidate(1), 0.25);
        near(posterior.of_candidate(2), 0.75);
        near(posterior.log_evidence, 0.0);
        assert_eq!(posterior.best(), 2);
    }

    #[test]
    fn a_lockup_excludes_what_came_later_and_a_survival_only_weighs() {
        let range = list(Direction::Broke, 4);
        let locked = posterior(&range, &[trial(2, 1, 0.2)]);
        assert!(locked.of_candidate(3) + locked.of_candidate(4) < 1e-4);
        near(locked.of_candidate(1), locked.of_candidate(2));
        let survived = posterior(&range, &[trial(4, 1, 0.2), trial(2, 0, 1.0)]);
        let odds = survived.of_candidate(2) / survived.of_candidate(3);
        // One lockup in 0.2 minutes or in 1.2: the ratio of the closed form.
        near(
            odds,
            ((PRIOR_MINUTES + 0.2) / (PRIOR_MINUTES + 1.2)).powf(PRIOR_SHAPE + 1.0),
        );
    }

    #[test]
    fn trials_of_the_bad_end_say_what_a_survival_is_worth() {
        let range = list(Direction::Broke, 4);
        let odds = |end: Observation| {
            let posterior = posterior(&range, &[end, trial(2, 0, 1.0)]);
            posterior.of_candidate(3) / posterior.of_candidate(2)
        };
        assert!(odds(trial(4, 5, 1.0)) > 5.0 * odds(trial(4, 1, 10.0)));
    }

    #[test]
    fn a_fix_is_the_same_in_a_mirror() {
        let broke = list(Direction::Broke, 5);
        let fixed = list(Direction::Fixed, 5);
        let seen = [(5, 1, 0.3), (3, 0, 1.0), (4, 1, 0.5), (2, 0, 2.0)];
        let there: Vec<_> = seen.iter().map(|&(at, n, t)| trial(at, n, t)).collect();
        let mirrored: Vec<_> = seen.iter().map(|&(at, n, t)| trial(5 - at, n, t)).collect();
        let (there, back) = (posterior(&broke, &there), posterior(&fixed, &mirrored));
        for culprit in 1..=5 {
            near(there.of_candidate(culprit), back.of_candidate(6 - culprit));
        }
    }

    #[test]
    fn a_lockup_on_one_branch_acquits_the_other() {
        let range = merged(Direction::Broke);
        let posterior = posterior(&range, &[trial(6, 2, 0.5), trial(3, 1, 0.5)]);
        near(posterior.of_candidate(1), posterior.of_candidate(3));
        assert!(posterior.of_candidate(1) + posterior.of_candidate(3) > 0.9999);
    }

    /// The masses are those of Bayes' rule over every rate, summed up by brute force.
    #[test]
    fn the_closed_form_is_the_integral_over_all_rates() {
        let range = list(Direction::Broke, 6);
        let seen = [
            trial(6, 2, 1.5),
            trial(3, 0, 2.0),
            trial(4, 1, 0.7),
            trial(2, 0, 1.0),
        ];
        let step = 1e-3;
        let likelihood = |culprit: usize| -> f64 {
            let at = |rate: f64| {
                let prior = rate.powf(PRIOR_SHAPE - 1.0) * (-PRIOR_MINUTES * rate).exp();
                let of = |one: &Observation| {
                    let tally = &tallies(&range, std::slice::from_ref(one))[one.candidate];
                    let rate = match range.has_bug(culprit, one.candidate) {
                        true => rate,
                        false => MISTAKEN_PER_MINUTE,
                    };
                    rate.powf(f64::from(tally.lockups)) * (-rate * tally.minutes).exp()
                };
                prior * seen.iter().map(of).product::<f64>()
            };
            // In the logarithm of the rate, so that the pole at 0 does no harm.
            let grid = (-20_000..5_000).map(|index| (f64::from(index) * step).exp());
            grid.map(|rate| at(rate) * rate * step).sum()
        };
        let total: f64 = (1..=6).map(likelihood).sum();
        let posterior = posterior(&range, &seen);
        for culprit in 1..=6 {
            let expected = likelihood(culprit) / total;
            let found = posterior.of_candidate(culprit);
            assert!(
                (found - expected).abs() < 1e-5,
                "{culprit}: {found}, {expected}"
            );
        }
    }

    #[test]
    fn entropy_and_holding_count_what_is_left() {
        let range = list(Direction::Broke, 8);
        let flat = posterior(&range, &[]);
        near(flat.entropy_bits(), 3.0);
        assert_eq!(flat.holding(0.99), 8);
        assert_eq!(flat.holding(0.5), 4);
        let half = posterior(&range, &[trial(4, 1, 0.1)]);
        assert!((half.entropy_bits() - 2.0).abs() < 1e-3);
        assert_eq!(half.holding(0.99), 4);
    }
}
