//! Comparing several kernels under one load: which of them fails more often than which, and how.
//!
//! Nobody has to have the bug here. [`failure`] says what a trial's end counts as, and on which clock;
//! [`evidence`] collects that of all trials; [`judge`] holds every two sides against each other, kind of
//! failure by kind of failure; [`schedule`] says what to run next; [`report`] says how it is known. [`audit`]
//! is what can be said without booting.

pub mod audit;
pub mod evidence;
pub mod failure;
pub mod judge;
pub mod report;
pub mod schedule;
mod text;

use serde::{Deserialize, Serialize};

use crate::arming::Arming;
use crate::campaign::Campaign;

/// What is asked of a comparison. All of it is fixed before the first trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// Probability, at most, that sides which do not differ are called different anywhere; 0 to 1.
    pub alpha: f64,
    /// Probability, at most, that a difference of `ratio` and `rate` is said not to be there; 0 to 1, for
    /// each pair, kind of failure and direction.
    pub beta: f64,
    /// Failures per exposed minute below which a rate does not matter.
    pub rate: f64,
    /// How many times larger one rate has to be than the other to matter, above 1.
    pub ratio: f64,
    /// Exposed minutes of each side after which an undecided comparison ends; absent: trials alone count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
}

impl Demands {
    /// Demands that go with trials of so many minutes: a defect matters if it shows once in a full trial.
    pub fn of_trials(trial_minutes: f64, alpha: f64, beta: f64) -> Self {
        Self {
            alpha,
            beta,
            rate: 1.0 / trial_minutes,
            ratio: 4.0,
            minutes: None,
        }
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Name of its arm.
    pub name: String,
    /// What people call it: kernel, file or folder, with its patches.
    pub label: String,
    /// Why it cannot be tried at all, such as a kernel that does not build.
    pub untestable: Option<String>,
}

/// A comparison: what the judge and the schedule have to know besides the records.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// Guest, load and policy; its arms are the sides.
    pub campaign: &'a Campaign,
    /// What is asked.
    pub demands: &'a Demands,
    /// The reference first.
    pub sides: &'a [Side],
    /// Lockups made on purpose.
    pub armings: &'a [Arming],
}

impl Comparison<'_> {
    /// Minutes of a trial that does not fail.
    pub fn trial_minutes(&self) -> f64 {
        f64::from(self.campaign.policy.load_seconds) / 60.0
    }

    /// Every two sides, the one that is held against first.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.sides.len();
        (0..count).flat_map(move |one| (one + 1..count).map(move |other| (one, other)))
    }
}
