//! What a further hour would bring: the search itself, played on with made-up trials.
//!
//! Each play takes a culprit and a rate as probable as they are by now, and draws trials by them. What has to
//! be drawn comes from a fixed sequence, so that the same records make the same report.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Gamma};

use super::observation::{Reading, Tally};
use super::posterior::{Posterior, Sums};
use super::range::Range;
use super::search::{Ending, Next, Policy, Weighing};
use super::thin::Thin;
use crate::random::Random;

/// Plays.
const PLAYS: usize = 64;
/// Steps of a play at most, should trials take next to no time.
const STEPS: usize = 600;
/// Ranges up to this length are played whole, longer ones with about so many of their kernels.
const KERNELS: usize = 128;
/// The golden ratio's fraction: multiples of it, modulo 1, fill an interval evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// What more of it is expected to bring.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Further {
    /// Minutes that this is about.
    pub minutes: f64,
    /// How probable the culprit, whichever it is, is expected to be now, 0 to 1: the mean of the posterior
    /// over itself.
    pub now: f64,
    /// How probable it is expected to be after these minutes.
    pub posterior: f64,
    /// Probability, 0 to 1, that the culprit is found by then, and shown. Of long ranges at least that.
    pub settled: f64,
    /// Bits about the culprit that are missing: Shannon's entropy of the posterior.
    pub entropy_bits: f64,
}

/// Plays on for so many minutes.
pub(super) fn further(
    range: &Range,
    policy: &Policy,
    tallies: &[Tally],
    posterior: &Posterior,
    minutes: f64,
) -> Further {
    let masses = posterior.masses();
    let thin = Thin::of(range, tallies, masses, KERNELS);
    let plays = (0..PLAYS).map(|number| {
        let place = (number as f64 + 0.5) / PLAYS as f64;
        let culprit = at(masses, place);
        let shown = posterior.bug(culprit);
        let play = Play {
            thin: &thin,
            policy,
            culprit: thin.place(culprit),
            share: thin.share(culprit),
            rate: rate(shown, (number as f64 * GOLDEN).fract()),
        };
        play.on(minutes, Random(number as u64))
    });
    let (mut after, mut settled) = (0.0, 0.0);
    for (mass, found) in plays {
        after += mass / PLAYS as f64;
        settled += f64::from(u8::from(found)) / PLAYS as f64;
    }
    Further {
        minutes,
        now: masses.iter().map(|mass| mass * mass).sum(),
        posterior: after,
        settled,
        entropy_bits: posterior.entropy_bits(),
    }
}

/// The culprit at this place, 0 to 1, of the posterior.
fn at(masses: &[f64], place: f64) -> usize {
    let mut sum = 0.0;
    let found = masses.iter().position(|mass| {
        sum += mass;
        sum > place
    });
    // Sums of many small numbers may stay below 1.
    found.unwrap_or(masses.len() - 1).max(1)
}

/// The rate per minute at this place, 0 to 1, of what is known of it.
fn rate(shown: Sums, place: f64) -> f64 {
    let known = Gamma::new(shown.shape(), shown.scale()).ok();
    // Without a lockup so far next to nothing is known, and no number would be right.
    known
        .filter(|_| shown.lockups > 0)
        .map_or(1.0, |gamma| gamma.inverse_cdf(place.clamp(0.01, 0.99)))
}

/// A culprit and a rate, as they may be.
struct Play<'a> {
    thin: &'a Thin,
    policy: &'a Policy,
    /// Index into the thinned range.
    culprit: usize,
    /// Its share of the probability of what stands at that place.
    share: f64,
    /// Lockups per minute.
    rate: f64,
}

impl Play<'_> {
    /// How probable the culprit is in the end, and whether it was found.
    fn on(&self, limit: f64, mut random: Random) -> (f64, bool) {
        let range = &self.thin.range;
        let mut tallies = self.thin.tallies.clone();
        let (mut minutes, mut steps) = (0.0, 0);
        loop {
            let weighing = Weighing::of(range, self.policy, &tallies);
            let mass = weighing.posterior.of_candidate(self.culprit) * self.share;
            let candidate = match weighing.next {
                Next::Trial { candidate }
                | Next::Measure { candidate }
                | Next::Sweep { candidate }
                | Next::Confirm { candidate } => candidate,
                Next::Done(ending) => return (mass, self.is_right(&ending)),
            };
            if minutes >= limit || steps >= STEPS {
                return (mass, false);
            }
            minutes += self.attempt(&mut tallies[candidate], candidate, &mut random);
            steps += 1;
        }
    }

    /// Minutes that a trial takes.
    fn attempt(&self, tally: &mut Tally, candidate: usize, random: &mut Random) -> f64 {
        let range = &self.thin.range;
        let build = match tally.is_built() {
            true => 0.0,
            false => range.candidates()[candidate].build_minutes,
        };
        let wait = match range.has_bug(self.culprit, candidate) {
            true => random.waiting(self.rate),
            false => f64::INFINITY,
        };
        let exposed_minutes = wait.min(self.policy.trial_minutes);
        tally.add(&Reading::Counted {
            lockups: u32::from(wait < self.policy.trial_minutes),
            exposed_minutes,
        });
        build + self.policy.boot_minutes + exposed_minutes
    }

    /// Whether an ending is the answer.
    fn is_right(&self, ending: &Ending) -> bool {
        match ending {
            Ending::Found { candidate } => {
                *candidate == self.culprit && self.share >= 1.0 - self.policy.alpha
            }
            Ending::OneOf { .. }
            | Ending::NotMonotone { .. }
            | Ending::GoodEndBad
            | Ending::BadEndSilent
            | Ending::EndUntestable { .. }
            | Ending::TrialsSpent
            | Ending::MinutesSpent => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::tests::trial;
    use super::super::observation::{Observation, tallies};
    use super::super::range::Direction;
    use super::super::range::tests::list;
    use super::*;

    fn after(observations: &[Observation], minutes: f64) -> Further {
        let range = list(Direction::Broke, 16);
        let tallies = tallies(&range, observations);
        let posterior = Posterior::of(&range, &tallies);
        further(&range, &Policy::default(), &tallies, &posterior, minutes)
    }

    /// Five lockups in so many minutes, and nothing else.
    fn start(minutes: f64) -> Vec<Observation> {
        vec![trial(16, 5, minutes)]
    }

    #[test]
    fn a_frequent_bug_is_found_within_the_hour_and_a_rare_one_is_not() {
        let frequent = after(&start(1.0), 60.0);
        assert!(frequent.settled > 0.9, "{frequent:?}");
        assert!(frequent.posterior > 0.9, "{frequent:?}");
        let rare = after(&start(500.0), 60.0);
        assert!(rare.settled < 0.05, "{rare:?}");
        assert!(rare.posterior < 0.3, "{rare:?}");
        assert!((rare.now - 1.0 / 16.0).abs() < 1e-6, "{rare:?}");
    }

    #[test]
    fn more_minutes_bring_more_and_none_bring_nothing() {
        let all = [0.0, 5.0, 20.0, 60.0].map(|minutes| after(&start(1.0), minutes));
        assert!((all[0].posterior - all[0].now).abs() < 1e-9, "{all:?}");
        assert_eq!(all[0].settled, 0.0);
        for pair in all.windows(2) {
            assert!(pair[0].posterior <= pair[1].posterior + 0.02, "{all:?}");
            assert!(pair[0].settled <= pair[1].settled, "{all:?}");
        }
    }

    #[test]
    fn what_is_settled_stays_so() {
        let seen = [trial(16, 5, 1.0), trial(7, 1, 0.2), trial(6, 0, 5.0)];
        let further = after(&seen, 60.0);
        assert!(further.settled > 0.95, "{further:?}");
    }
}
