//! What earlier nights say about this one.
//!
//! A night tries many cells, each of them a few times. One cell's night alone says little: [`change`] holds it
//! against the nights before it.

pub mod change;
pub mod diff;
pub mod flake;
mod shift;
mod timeline;
mod words;

use serde::{Deserialize, Serialize};

use crate::campaign::MinExposure;
use crate::compare::failure::{Failure, Told};
use crate::record::{Standing, TrialRecord};

/// One night's (or run's) trials of one cell, as the history keeps them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CellNight {
    /// Name of the run.
    pub run: String,
    /// When the run was started, RFC 3339.
    pub started: String,
    /// Release and build key of the kernel, such as `6.12.117 a1b2c3`.
    pub kernel: String,
    /// Digest of what its trials ran under: nights with another one are not held against this one. Empty: not
    /// known, of runs that were made before there was one, and of those that are no nights.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub conditions: String,
    /// In the order in which they were made.
    pub trials: Vec<PastTrial>,
}

/// What the history keeps of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastTrial {
    /// Its id, unique in its run.
    pub id: String,
    /// What it says about its kernel.
    pub told: Told,
    /// What it counts as.
    pub standing: Standing,
    /// The first report's title, or what the harness saw.
    pub title: String,
}

impl PastTrial {
    /// What there is to keep of a trial.
    pub fn of(record: &TrialRecord, least: &MinExposure) -> Self {
        Self {
            id: record.id.clone(),
            told: Told::by(record, least),
            standing: record.standing(least),
            title: record.title.clone(),
        }
    }

    /// Whether it ran to the end, exposed, and nothing at all went wrong.
    pub fn passed(&self) -> bool {
        match &self.told {
            Told::Counted { failure, .. } => failure.is_none(),
            Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => false,
        }
    }

    /// The kind of failure that it counts as; `None`: it did not fail, or says nothing.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.told {
            Told::Counted { failure, .. } => failure.as_ref(),
            Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => None,
        }
    }

    /// Exposed minutes.
    pub fn minutes(&self) -> f64 {
        match &self.told {
            Told::Counted { minutes, .. } => *minutes,
            Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => 0.0,
        }
    }
}
