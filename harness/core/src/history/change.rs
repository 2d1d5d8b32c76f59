//! What changed in a cell, as far as statistics support it.

use serde::{Deserialize, Serialize};

use crate::compare::failure::Failure;
use crate::statistics::Rate;

/// What a cell's night is against its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// There is no past to hold it against.
    New,
    /// Nothing failed, as before.
    Unchanged,
    /// It fails more often than before, as far as that can be shown.
    Regression,
    /// It fails less often than before, in the same sense.
    Recovery,
    /// It failed in a way of which the past has less, and that may still be chance: more trials will tell.
    Suspicion,
    /// It fails sometimes, about as often as before.
    Flake,
    /// It fails in (nearly) every trial, as before.
    StillFailing,
    /// No trial said anything about the kernel: the host failed, or the guest was not what was asked for.
    Infrastructure,
    /// Trials ran to the end, but the race hardly ran in any.
    NotExposed,
    /// There was no trial.
    NotRun,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
            Self::Regression => "regression",
            Self::Recovery => "recovery",
            Self::Suspicion => "suspicion",
            Self::Flake => "flake",
            Self::StillFailing => "still failing",
            Self::Infrastructure => "infrastructure",
            Self::NotExposed => "not exposed",
            Self::NotRun => "not run",
        })
    }
}

/// What is said of a cell's night.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What it is against its past.
    pub change: Change,
    /// Why, in words, the most important one first.
    pub reasons: Vec<String>,
    /// The kind of failure that decided.
    pub failure: Option<Failure>,
    /// Its rate before, per unit of its clock (minutes, if the clock is exposed minutes).
    pub before: Option<Rate>,
    /// Its rate tonight, in the same unit.
    pub tonight: Option<Rate>,
    /// Largest evidence against equal rates; 1: none.
    pub evidence: f64,
    /// From so much evidence a change is supported.
    pub needed: f64,
}

/// What is asked of the judgement of a night.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// Probability, at most, of any false regression or recovery in a night; 0 to 1.
    pub alpha: f64,
    /// Cells that the night tests.
    pub cells: usize,
    /// Nights that the later side may reach back, tonight among them; at least 1.
    pub reach: usize,
}
