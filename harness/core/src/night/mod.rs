//! A night: many cells, each tried a few times, and held against the nights before.
//!
//! [`config`] is what is asked for, [`plan`] the cells that it comes to, [`schedule`] which of them is tried next;
//! [`known`] are failures that somebody has filed already, [`judge`] is what the trials say, and [`report`] how it is
//! known.

pub mod cell;
mod conclusion;
mod conditions;
pub mod config;
mod filed;
pub mod judge;
pub mod known;
pub mod plan;
pub mod report;
pub mod schedule;
mod text;
pub mod version;

use serde::{Deserialize, Serialize};

use crate::record::TrialRecord;

/// A finished trial of a night: a line of its list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NightTrial {
    /// Id of its cell, as [`cell::CellId`] writes it.
    pub cell: String,
    /// The trial.
    pub trial: TrialRecord,
    /// What the night had spent when it ended, in minutes; builds count, and pauses between two processes do not.
    #[serde(default)]
    pub spent_minutes: f64,
}

impl AsRef<TrialRecord> for NightTrial {
    fn as_ref(&self) -> &TrialRecord {
        &self.trial
    }
}

/// What a night says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Some cell fails more often than it used to, and nobody has filed that.
    Regression,
    /// No cell is known to fail more often, and the control showed that it would have been seen.
    Clean,
    /// A control stayed silent, nothing could be tested, or something failed of which nobody can say whether that
    /// is chance.
    CouldNotTell,
}

impl Conclusion {
    /// Exit status of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Regression => 1,
            Self::CouldNotTell => 125,
        }
    }
}

impl std::fmt::Display for Conclusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Regression => "regression",
            Self::Clean => "clean",
            Self::CouldNotTell => "could not tell",
        })
    }
}
