//! All that the trials of a comparison say, side by side and kind of failure by kind of failure.

use std::collections::BTreeMap;

use super::Comparison;
use super::failure::{Clock, Failure, Told};
use crate::record::TrialRecord;
use crate::statistics::sequential::Path;

/// So many trials of a side in a row that never came under load: it cannot be tried.
const NEVER_LOADED_LIMIT: u32 = 3;
/// So many trials of a side, all of them without exposure: the race does not run there.
const NEVER_EXPOSED_LIMIT: u32 = 5;

/// What one side's trials say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SideEvidence {
    /// Finished trials, whatever they said.
    pub trials: u32,
    /// Exposed minutes.
    pub minutes: f64,
    /// Trials that ran to the end, exposed.
    pub completed: u32,
    /// Trials that said anything about the kernel.
    pub boots: u32,
    /// Where the kind's own clock stood at each failure.
    pub failures: BTreeMap<Failure, Vec<f64>>,
    /// Trials that ran to the end without exposure.
    pub not_exposed: u32,
    /// The last trials in a row that never came under load, and how the last of them ended.
    never_loaded: (u32, String),
}

impl SideEvidence {
    /// How far a clock has come.
    pub fn clock(&self, clock: Clock) -> f64 {
        match clock {
            Clock::Exposed => self.minutes,
            Clock::Completed => f64::from(self.completed),
            Clock::Boots => f64::from(self.boots),
        }
    }

    /// Failures of a kind.
    pub fn count(&self, failure: &Failure) -> u32 {
        let count = self.failures.get(failure).map_or(0, Vec::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Failures of a kind on its clock.
    pub fn path(&self, failure: &Failure) -> Path {
        let events = self.failures.get(failure).cloned().unwrap_or_default();
        Path::new(events, self.clock(failure.clock()))
    }

    /// Adds what a trial says; `how` is how it ended, in words.
    pub fn take(&mut self, told: Told, how: &dyn Fn() -> String) {
        self.trials += 1;
        match told {
            Told::HostTrouble => {}
            Told::Unfit(why) => self.never_loaded = (self.never_loaded.0 + 1, why),
            Told::NotExposed => {
                self.boots += 1;
                self.not_exposed += 1;
                self.never_loaded = Default::default();
            }
            Told::Counted {
                minutes,
                completed,
                failure,
            } => {
                self.boots += 1;
                self.minutes += minutes;
                self.completed += u32::from(completed);
                self.never_loaded = if minutes > 0.0 {
                    Default::default()
                } else {
                    (self.never_loaded.0 + 1, how())
                };
                if let Some(failure) = failure {
                    let at = self.clock(failure.clock());
                    self.failures.entry(failure).or_default().push(at);
                }
            }
        }
    }

    /// Why going on with this side makes no sense, by its trials alone.
    fn hopeless(&self) -> Option<String> {
        let (count, why) = &self.never_loaded;
        if *count >= NEVER_LOADED_LIMIT {
            return Some(format!(
                "its last {count} boots did not come under load: {why}"
            ));
        }
        (self.not_exposed >= NEVER_EXPOSED_LIMIT && self.minutes == 0.0).then(|| {
            format!(
                "{} trials ran to the end and none was exposed: the race hardly runs on it",
                self.not_exposed
            )
        })
    }
}

/// What the trials of all sides say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// In the order of the sides.
    pub sides: Vec<SideEvidence>,
    /// Why a side cannot be judged, in the same order; none: it can.
    pub untestable: Vec<Option<String>>,
}

impl Evidence {
    /// Collects what the records say; those of unknown arms are ignored.
    pub fn of(comparison: &Comparison<'_>, records: &[TrialRecord]) -> Self {
        let mut evidence = Self {
            sides: vec![SideEvidence::default(); comparison.sides.len()],
            ..Self::default()
        };
        let least = &comparison.campaign.policy.min_exposure;
        for record in records {
            let side = comparison.sides.iter();
            let Some(index) = side.clone().position(|side| side.name == record.arm) else {
                continue;
            };
            let told = Told::by(record, least);
            let how = || format!("{}: {}", record.outcome, record.title);
            evidence.sides[index].take(told, &how);
        }
        let sides = comparison.sides.iter().zip(&evidence.sides);
        evidence.untestable = sides
            .map(|(side, found)| {
                let arming = comparison.armings.iter().rev();
                let arming = arming.clone().find(|one| one.arm == side.name);
                let doubt = arming.and_then(|arming| arming.doubt());
                side.untestable.clone().or(doubt).or(found.hopeless())
            })
            .collect();
        evidence
    }
}

/// Kinds of failure that two sides showed as far as both have come, in the order in which their common
/// clock came by them.
pub fn discovered(sides: [&SideEvidence; 2], clock: Clock) -> Vec<Failure> {
    let end = sides[0].clock(clock).min(sides[1].clock(clock));
    let mut first: BTreeMap<&Failure, f64> = BTreeMap::new();
    for (failure, times) in sides.iter().flat_map(|side| &side.failures) {
        let is_other = *failure != Failure::Target && failure.clock() == clock;
        let Some(time) = times.first().filter(|time| is_other && **time <= end) else {
            continue;
        };
        let earliest = first.entry(failure).or_insert(*time);
        *earliest = earliest.min(*time);
    }
    let mut found: Vec<(&Failure, f64)> = first.into_iter().collect();
    found.sort_by(|one, other| one.1.total_cmp(&other.1));
    found
        .into_iter()
        .map(|(failure, _)| failure.clone())
        .collect()
}
