//! What a bisection did with its candidates, as its records have it, and what of it may be judged.

use std::collections::HashMap;

use kverdict_core::bisect::observation::{Observation, Reading};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use serde::{Deserialize, Serialize};

use crate::candidates::Candidates;
use crate::manifest::BisectManifest;
use crate::store::Records;

/// What a trial says that came back before others of its candidate, which got lost.
const ABANDONED: &str = "trials before it got lost, and it cannot be tried any more";

/// What was done with a candidate, once: a line of the run's list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Its label.
    pub candidate: String,
    /// Seconds since the one before was done, with building: of all together, how long the bisection took.
    pub seconds: f64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Tried,
}

/// What came of trying a candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// A trial.
    Trial(Box<TrialRecord>),
    /// It cannot be tried: why.
    Untestable(String),
}

impl Attempt {
    /// The trial, if there was one.
    pub fn trial(&self) -> Option<&TrialRecord> {
        match &self.outcome {
            Tried::Trial(record) => Some(record),
            Tried::Untestable(_) => None,
        }
    }
}

/// What the attempts say, as the search wants it. Those of unknown candidates say nothing.
pub fn observations(manifest: &BisectManifest, attempts: &[Attempt]) -> Vec<Observation> {
    let entries = manifest.candidates.entries.iter().enumerate();
    let positions: HashMap<&str, usize> = entries
        .map(|(index, entry)| (entry.candidate.label.as_str(), index))
        .collect();
    let least = &manifest.campaign.policy.min_exposure;
    let observation = |attempt: &Attempt| {
        Some(Observation {
            candidate: *positions.get(attempt.candidate.as_str())?,
            reading: match &attempt.outcome {
                Tried::Trial(record) => Reading::of(record, least),
                Tried::Untestable(why) => Reading::Untestable(why.clone()),
            },
            minutes: attempt.seconds / 60.0,
        })
    };
    attempts.iter().filter_map(observation).collect()
}

/// The attempts that may be judged, and the trials that may not yet; see [`kverdict_core::order::settled`].
pub fn settled(
    candidates: &Candidates,
    records: &Records<Attempt>,
) -> (Vec<Attempt>, Vec<Attempt>) {
    let out = out(candidates, records);
    let attempts = counting(candidates, records).into_iter();
    attempts.partition(|attempt| is_before_all(attempt, &out))
}

/// The attempts as they count when all is back. Where trials of a candidate that cannot be tried any more got lost,
/// its later ones say no more than that: those that got lost are what took longer.
pub fn counting(candidates: &Candidates, records: &Records<Attempt>) -> Vec<Attempt> {
    let out = out(candidates, records);
    let mut abandoned = records.lost();
    abandoned.retain(|order| !out.contains(order));
    let counting = |attempt: &Attempt| {
        let is_of_it = |order: &&Order| order.arm == attempt.candidate;
        let counts = is_before_all(attempt, abandoned.iter().filter(is_of_it));
        match counts {
            true => attempt.clone(),
            false => Attempt {
                candidate: attempt.candidate.clone(),
                seconds: attempt.seconds,
                outcome: Tried::Untestable(ABANDONED.to_owned()),
            },
        }
    };
    records.trials.iter().map(counting).collect()
}

fn is_before_all<'o>(attempt: &Attempt, orders: impl IntoIterator<Item = &'o Order>) -> bool {
    let is_before =
        |record: &TrialRecord| orders.into_iter().all(|order| record.number < order.number);
    attempt.trial().is_none_or(is_before)
}

/// Trials that were asked for and are still to come: those of candidates that can be tried.
pub fn out(candidates: &Candidates, records: &Records<Attempt>) -> Vec<Order> {
    let mut lost = records.lost();
    lost.retain(|order| {
        let is_skipped = |one: &Attempt| one.candidate == order.arm && one.trial().is_none();
        let mut entries = candidates.entries.iter();
        entries.any(|entry| entry.candidate.label == order.arm)
            && !records.trials.iter().any(is_skipped)
    });
    lost
}

#[cfg(test)]
mod tests {
    use kverdict_core::bisect::range::{Candidate, Direction};

    use super::*;
    use crate::candidates::{Entry, Origin};
    use crate::executor::results::tests::recorded;

    fn candidates(labels: &[&str]) -> Candidates {
        let entry = |label: &&str| Entry {
            candidate: Candidate {
                label: (*label).to_owned(),
                parents: Vec::new(),
                weight: 1.0,
                build_minutes: 1.0,
            },
            origin: Origin::Commit((*label).to_owned()),
            about: String::new(),
        };
        Candidates {
            direction: Direction::Broke,
            repository: None,
            entries: labels.iter().map(entry).collect(),
            control: None,
        }
    }

    /// Trials 1 to `orders.len()` of these candidates, all asked for; those of these numbers came back, in this order.
    fn records(orders: &[&str], back: &[u32]) -> Records<Attempt> {
        let mut records = Records::default();
        for (number, label) in (1..).zip(orders) {
            records.orders.push(Order {
                number,
                arm: (*label).to_owned(),
                cell: None,
            });
        }
        for number in back {
            let label = orders[*number as usize - 1];
            let (_, mut record) = recorded("this");
            record.number = *number;
            record.arm = label.to_owned();
            records.trials.push(Attempt {
                candidate: label.to_owned(),
                seconds: 7.0,
                outcome: Tried::Trial(Box::new(record)),
            });
        }
        records
    }

    fn give_up(records: &mut Records<Attempt>, label: &str) {
        records.trials.push(Attempt {
            candidate: label.to_owned(),
            seconds: 1.0,
            outcome: Tried::Untestable("does not build".to_owned()),
        });
    }

    /// Numbers of the trials.
    fn numbers(attempts: &[Attempt]) -> Vec<u32> {
        let trials = attempts.iter().filter_map(Attempt::trial);
        trials.map(|record| record.number).collect()
    }

    #[test]
    fn what_came_back_before_an_earlier_one_is_not_judged_yet() {
        let both = candidates(&["a", "b"]);
        let mut records = records(&["a", "b", "a", "b", "a"], &[1, 4, 3]);
        let (judged, early) = settled(&both, &records);
        assert_eq!((numbers(&judged), numbers(&early)), (vec![1], vec![4, 3]));
        assert_eq!(numbers(&counting(&both, &records)), [1, 4, 3]);
        records.orders.retain(|order| order.number == 4);
        let (judged, early) = settled(&both, &records);
        assert_eq!((numbers(&judged), numbers(&early)), (vec![1, 4, 3], vec![]));
    }

    /// Its fourth trial was quicker than its second one, which nobody will ever see.
    #[test]
    fn of_a_candidate_that_is_given_up_only_what_came_before_its_loss_counts() {
        let both = candidates(&["a", "b"]);
        let mut records = records(&["b", "b", "a", "b", "a"], &[1, 4, 3, 5]);
        give_up(&mut records, "b");
        assert!(out(&both, &records).is_empty());
        let (judged, early) = settled(&both, &records);
        assert_eq!((numbers(&judged), numbers(&early)), (vec![1, 3, 5], vec![]));
        assert_eq!(numbers(&counting(&both, &records)), [1, 3, 5]);
        // Its time was spent all the same, and what it is skipped for comes last.
        let seconds: f64 = judged.iter().map(|attempt| attempt.seconds).sum();
        assert_eq!(seconds, 29.0);
        let whys = judged.iter().filter_map(|attempt| match &attempt.outcome {
            Tried::Untestable(why) => Some(why.as_str()),
            Tried::Trial(_) => None,
        });
        assert_eq!(whys.collect::<Vec<_>>(), [ABANDONED, "does not build"]);
    }

    #[test]
    fn nobody_waits_for_a_candidate_that_there_is_not() {
        let one = candidates(&["a"]);
        let records = records(&["gone", "a"], &[2]);
        assert!(out(&one, &records).is_empty());
        assert_eq!(numbers(&settled(&one, &records).0), [2]);
    }
}
