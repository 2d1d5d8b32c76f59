//! A cell's nights one after the other: how far each clock came in each, and where it stood at each failure.

use crate::compare::failure::{Clock, Failure, Told};
use crate::statistics::sequential::Path;

use super::CellNight;

/// What one night says of a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// Name of the run.
    pub run: String,
    /// When it was started.
    pub started: String,
    /// The kernel.
    pub kernel: String,
    /// What its trials ran under.
    pub conditions: String,
    /// Trials that count.
    pub counted: u32,
    /// Those of them that failed in any way.
    pub failed: u32,
    /// Trials that ran to the end without exposure.
    pub not_exposed: u32,
    minutes: f64,
    completed: u32,
    boots: u32,
    /// Kinds of failure, each with where its clock stood.
    failures: Vec<(Failure, f64)>,
}

impl Tally {
    /// Adds up a night's trials.
    pub fn of(night: &CellNight) -> Self {
        let mut tally = Self {
            run: night.run.clone(),
            started: night.started.clone(),
            kernel: night.kernel.clone(),
            conditions: night.conditions.clone(),
            ..Self::default()
        };
        for trial in &night.trials {
            tally.take(&trial.told);
        }
        tally
    }

    fn take(&mut self, told: &Told) {
        match told {
            Told::HostTrouble | Told::Unfit(_) => {}
            Told::NotExposed => {
                self.boots += 1;
                self.not_exposed += 1;
            }
            Told::Counted {
                minutes,
                completed,
                failure,
            } => {
                self.boots += 1;
                self.counted += 1;
                self.minutes += minutes;
                self.completed += u32::from(*completed);
                if let Some(failure) = failure {
                    self.failed += 1;
                    let clock = failure.clock();
                    self.failures
                        .push((failure.clone(), self.clock(clock) - lead(clock)));
                }
            }
        }
    }

    /// Whether any trial said anything about the kernel.
    pub fn tells(&self) -> bool {
        self.boots > 0
    }

    /// How far a clock came.
    pub fn clock(&self, clock: Clock) -> f64 {
        match clock {
            Clock::Exposed => self.minutes,
            Clock::Completed => f64::from(self.completed),
            Clock::Boots => f64::from(self.boots),
        }
    }

    /// Failures of a kind.
    pub fn count(&self, failure: &Failure) -> u32 {
        let same = self.failures.iter().filter(|(one, _)| one == failure);
        same.count() as u32
    }
}

/// How long before a clock is read a failure is taken to have been. Where trials are counted it is in the
/// middle of its own: at the end, failures of clocks that run at different speeds would come at the very same
/// time, and such ones are left out, more often on one side than on the other.
fn lead(clock: Clock) -> f64 {
    match clock {
        Clock::Exposed => 0.0,
        Clock::Completed | Clock::Boots => 0.5,
    }
}

/// How far a clock came in some nights.
pub(crate) fn clock(nights: &[Tally], clock: Clock) -> f64 {
    nights.iter().map(|night| night.clock(clock)).sum()
}

/// Failures of a kind in some nights.
pub(crate) fn count(nights: &[Tally], failure: &Failure) -> u32 {
    nights.iter().map(|night| night.count(failure)).sum()
}

/// Failures of a kind on its clock, which starts with the first of the nights.
pub(crate) fn path(nights: &[Tally], failure: &Failure) -> Path {
    let of = failure.clock();
    let (mut begin, mut events) = (0.0, Vec::new());
    for night in nights {
        let same = night.failures.iter().filter(|(one, _)| one == failure);
        events.extend(same.map(|(_, at)| begin + at));
        begin += night.clock(of);
    }
    Path::new(events, begin)
}

/// Kinds of failure in some nights, each once, in the order in which they came.
pub(crate) fn kinds(nights: &[Tally]) -> Vec<&Failure> {
    let mut found: Vec<&Failure> = Vec::new();
    for (failure, _) in nights.iter().flat_map(|night| &night.failures) {
        if !found.contains(&failure) {
            found.push(failure);
        }
    }
    found
}
