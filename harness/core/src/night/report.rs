//! The report of a night, as data. Everything in it comes from stored records.

use serde::{Deserialize, Serialize};

use super::Conclusion;
use super::cell::CellId;
use crate::compare::failure::Failure;
use crate::history::change::Judged;
use crate::report::TrialLine;

/// Version of [`NightReport`].
pub const SCHEMA_VERSION: u32 = 1;

/// What `report.json` of a night holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NightReport {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// What the night says.
    pub conclusion: Conclusion,
    /// Why, one sentence each; never empty.
    pub reasons: Vec<String>,
    /// All cells, in the order of the night's file.
    pub cells: Vec<CellReport>,
    /// The time that it had.
    pub budget: Budget,
    /// What became of failures that somebody has filed.
    pub known: KnownReport,
    /// What the night was made with, as label and value.
    pub environment: Vec<(String, String)>,
    /// How each figure was made.
    pub methods: Vec<String>,
}

/// A cell in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// Which one.
    pub cell: CellId,
    /// Whether its kernel has the bug, and has to show it.
    pub control: bool,
    /// Release and build key of its kernel; empty: there is none.
    pub kernel: String,
    /// What tonight is against the past.
    pub judged: Judged,
    /// One line per trial.
    pub trials: Vec<TrialLine>,
    /// Kinds of failure, how many trials had each, and the known issue that it is, by its link.
    pub failures: Vec<(Failure, u32, Option<String>)>,
    /// Minutes under load in the trials that count.
    pub exposed_minutes: f64,
    /// Near misses in these trials; absent: not counted.
    pub meetings: Option<u64>,
    /// Why it cannot be tested; absent: it can.
    pub untestable: Option<String>,
}

/// The time that a night had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Minutes that it was given.
    pub minutes: f64,
    /// Minutes that it took, up to its last trial.
    pub spent: f64,
    /// Whether more trials would have been made in more time.
    pub cut_short: bool,
}

/// What became of failures that somebody has filed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownReport {
    /// Those that were seen.
    pub hits: Vec<Hit>,
    /// Those that were seen, and are filed no longer: they count again.
    pub expired: Vec<Hit>,
    /// Links of those that were not seen.
    pub never_hit: Vec<String>,
    /// Failures that nobody has filed and no earlier night has seen.
    pub new_signatures: Vec<NewSignature>,
}

/// A filed failure that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Where it is filed.
    pub link: String,
    /// Last day on which it counts as filed, `YYYY-MM-DD`.
    pub expires: String,
    /// Where it was seen.
    pub cell: CellId,
    /// What was seen.
    pub failure: Failure,
    /// In so many trials.
    pub count: u32,
}

/// A failure that nobody has seen before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewSignature {
    /// Where it was seen.
    pub cell: CellId,
    /// What was seen.
    pub failure: Failure,
    /// In so many trials.
    pub count: u32,
    /// The first of these.
    pub trial: String,
}
