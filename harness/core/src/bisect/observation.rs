//! What came out of trying candidates, and what is known of each by it.

use serde::{Deserialize, Serialize};

use super::range::Range;
use crate::campaign::MinExposure;
use crate::record::{Standing, TrialRecord};

/// A candidate is given up after so many trials without an answer, if they are as many as the others.
const FAILURES: usize = 2;

/// What was done with a candidate, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Index into the range.
    pub candidate: usize,
    /// What came out.
    pub reading: Reading,
    /// Minutes since the one before, with building and booting: of all together, what the bisection took.
    pub minutes: f64,
}

/// What a build or a trial says about its candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// A trial that counts.
    Counted {
        /// Lockups with the campaign's signature: 0 or 1.
        lockups: u32,
        /// Minutes under load, exposed.
        exposed_minutes: f64,
    },
    /// A trial without an answer, and the candidate may be why: another failure, a lockup that is not the
    /// target for certain, too little exposure. What went wrong.
    NoAnswer(String),
    /// The candidate cannot be tried, it does not build for example. What went wrong.
    Untestable(String),
    /// Nothing, for reasons outside of the guest: as if it had never been. What went wrong.
    HostTrouble(String),
}

impl Reading {
    /// Reads a trial of a campaign that asks for so much exposure.
    pub fn of(record: &TrialRecord, least: &MinExposure) -> Self {
        let words = |standing: Standing| {
            let colon = if record.title.is_empty() { "" } else { ": " };
            format!("{standing}: {}{colon}{}", record.outcome, record.title)
        };
        let standing = record.standing(least);
        let counted = |lockups| Self::Counted {
            lockups,
            exposed_minutes: record.exposure.minutes(),
        };
        match standing {
            Standing::TargetLockup => counted(1),
            Standing::Survived => counted(0),
            Standing::NotExposed => {
                let shortfalls = record.exposure.shortfalls(least).join(", ");
                Self::NoAnswer(format!("{standing}: {shortfalls}"))
            }
            Standing::Suspect | Standing::OtherFailure => Self::NoAnswer(words(standing)),
            Standing::Infrastructure => Self::HostTrouble(words(standing)),
        }
    }
}

/// What is known of a candidate by its own trials.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally {
    /// Lockups with the campaign's signature.
    pub lockups: u32,
    /// Exposed minutes.
    pub minutes: f64,
    /// Trials that count.
    pub trials: u32,
    /// Trials without an answer.
    failures: usize,
    /// What went wrong last.
    trouble: Option<String>,
    untestable: bool,
}

impl Tally {
    /// Adds what a trial or build said.
    pub fn add(&mut self, reading: &Reading) {
        match reading {
            Reading::Counted {
                lockups,
                exposed_minutes,
            } => {
                self.lockups += lockups;
                self.minutes += exposed_minutes;
                self.trials += 1;
            }
            Reading::NoAnswer(why) => {
                self.failures += 1;
                self.trouble = Some(why.clone());
            }
            Reading::Untestable(why) => {
                self.untestable = true;
                self.trouble = Some(why.clone());
            }
            Reading::HostTrouble(_) => {}
        }
    }

    /// Whether it has been booted, so that its kernel is there.
    pub fn is_built(&self) -> bool {
        self.trials > 0 || self.failures > 0
    }

    /// Why it is not tried any more; absent: it can be.
    pub fn skipped(&self) -> Option<&str> {
        let failing = self.failures >= FAILURES && self.failures >= self.trials as usize;
        let trouble = self.trouble.as_deref();
        trouble.filter(|_| self.untestable || failing)
    }
}

/// The tallies of all candidates.
pub(super) fn tallies(range: &Range, observations: &[Observation]) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); range.candidates().len()];
    for observation in observations {
        // What is of another range has nowhere to go.
        if let Some(tally) = tallies.get_mut(observation.candidate) {
            tally.add(&observation.reading);
        }
    }
    tallies
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A trial that counts, of a minute with its boot.
    pub(in super::super) fn trial(
        candidate: usize,
        lockups: u32,
        exposed_minutes: f64,
    ) -> Observation {
        Observation {
            candidate,
            reading: Reading::Counted {
                lockups,
                exposed_minutes,
            },
            minutes: exposed_minutes + 0.1,
        }
    }

    pub(in super::super) fn untestable(candidate: usize) -> Observation {
        Observation {
            candidate,
            reading: Reading::Untestable("does not build".to_owned()),
            minutes: 0.3,
        }
    }

    fn tally(readings: &[Reading]) -> Tally {
        let mut tally = Tally::default();
        readings.iter().for_each(|reading| tally.add(reading));
        tally
    }

    fn counted(lockups: u32) -> Reading {
        Reading::Counted {
            lockups,
            exposed_minutes: 0.5,
        }
    }

    #[test]
    fn trials_that_count_add_up() {
        let tally = tally(&[counted(1), counted(0), counted(1)]);
        assert_eq!((tally.lockups, tally.trials, tally.minutes), (2, 3, 1.5));
        assert!(tally.is_built());
        assert_eq!(tally.skipped(), None);
    }

    #[test]
    fn a_candidate_without_answers_is_given_up_with_its_reason() {
        let odd = || Reading::NoAnswer("boot failure".to_owned());
        assert_eq!(tally(&[odd()]).skipped(), None, "once may be chance");
        assert_eq!(tally(&[odd(), odd()]).skipped(), Some("boot failure"));
        let mostly_fine = tally(&[counted(0), odd(), counted(0), odd(), counted(0)]);
        assert_eq!(mostly_fine.skipped(), None);
        assert_eq!(tally(&[odd()]).lockups, 0);
    }

    #[test]
    fn what_does_not_build_is_skipped_at_once() {
        let tally = tally(&[Reading::Untestable("no rule to make target".to_owned())]);
        assert_eq!(tally.skipped(), Some("no rule to make target"));
        assert!(!tally.is_built());
    }

    #[test]
    fn trouble_of_the_host_is_as_if_it_had_never_been() {
        let trouble = Reading::HostTrouble("disk full".to_owned());
        assert_eq!(tally(&vec![trouble; 9]), Tally::default());
    }
}
