//! What a run tested, kernel by kernel, in the form in which other programs take it: a case is what was
//! asked of one kernel, with its trials. Made of a run's report and records alone.

use serde::{Deserialize, Serialize};

use crate::report::TrialLine;

/// Whether something went as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It did.
    Passed,
    /// It did not.
    Failed,
    /// Nobody can say.
    CouldNotTell,
}

/// What was asked of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Unique in its run: an arm, a side, a cell.
    pub name: String,
    /// The kernel: release and build.
    pub about: String,
    /// What it should have done, such as "locks up", "survives" or "as before".
    pub expected: String,
    /// Whether it did.
    pub answer: Answer,
    /// Why, one sentence each.
    pub reasons: Vec<String>,
    /// Link of the known issue that its failures are; absent: none, or it is not known.
    pub known: Option<String>,
    /// Its trials, in order.
    pub trials: Vec<CaseTrial>,
}

/// A trial of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseTrial {
    /// What the report says of it.
    pub line: TrialLine,
    /// When it began, RFC 3339.
    pub started: String,
    /// Host seconds from QEMU's start to its end.
    pub total_seconds: f64,
    /// Whether it went as expected.
    pub answer: Answer,
    /// The stacks of its target lockup; absent without one.
    pub evidence: Option<String>,
}

/// All that a run tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The run's name.
    pub run: String,
    /// The campaign's name, or the night's.
    pub campaign: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// kverdict's own version.
    pub kverdict: String,
    /// The run's answer.
    pub answer: Answer,
    /// Why, one sentence each.
    pub reasons: Vec<String>,
    /// What it was made with, as label and value.
    pub environment: Vec<(String, String)>,
    /// What was asked, and what came out.
    pub cases: Vec<Case>,
}
