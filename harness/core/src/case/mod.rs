//! What a run tested, kernel by kernel, in the form in which other programs take it: a case is what was
//! asked of one kernel, with its trials. Made of a run's report and records alone.

mod compare;
mod night;
mod verify;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::campaign::Campaign;
use crate::record::{Standing, TrialRecord};
use crate::report::{self, TrialLine};

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

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::CouldNotTell => "could not tell",
        })
    }
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

/// What results say of a run that is not in its report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// When it began, RFC 3339.
    pub started: String,
    /// kverdict's own version.
    pub kverdict: String,
    /// By arm, its kernel: release and build.
    pub kernels: BTreeMap<String, String>,
}

impl Made {
    /// The kernel of an arm; `otherwise` if nobody knows.
    fn kernel(&self, arm: &str, otherwise: &str) -> String {
        let known = self.kernels.get(arm);
        known.cloned().unwrap_or_else(|| otherwise.to_owned())
    }
}

impl Results {
    /// What the run was made with, by its label.
    pub fn made_with(&self, label: &str) -> Option<&str> {
        let mut lines = self.environment.iter();
        let found = lines.find(|(name, _)| name == label);
        found.map(|(_, value)| value.as_str())
    }
}

impl Case {
    /// Its trials that did not go as expected.
    pub fn failed_trials(&self) -> impl Iterator<Item = &CaseTrial> {
        let trials = self.trials.iter();
        trials.filter(|trial| trial.answer == Answer::Failed)
    }

    /// Why, in one line.
    pub fn why(&self) -> String {
        let mut parts = self.reasons.clone();
        parts.extend(self.known.iter().map(|link| format!("known issue: {link}")));
        parts.join("; ")
    }
}

impl CaseTrial {
    /// Of a record, if `answer` says whether such an end was expected.
    pub fn of(
        campaign: &Campaign,
        record: &TrialRecord,
        answer: impl Fn(Standing) -> Answer,
    ) -> Self {
        let line = report::trial_line(campaign, record);
        Self {
            answer: answer(line.standing),
            started: record.started.clone(),
            total_seconds: record.timing.total_ms as f64 / 1000.0,
            evidence: report::evidence(record).map(|evidence| evidence.text),
            line,
        }
    }

    /// What came of it, in one line.
    pub fn what(&self) -> String {
        let line = &self.line;
        let mut text = format!("{}: {}", line.standing, line.outcome);
        if !line.title.is_empty() {
            text += &format!(": {}", line.title);
        }
        if let Some(number) = line.line {
            text += &format!(" (console line {number})");
        }
        text
    }
}

/// The trials of an arm, in order.
fn trials(
    campaign: &Campaign,
    arm: &str,
    records: &[TrialRecord],
    answer: impl Fn(Standing) -> Answer,
) -> Vec<CaseTrial> {
    let mine = records.iter().filter(|record| record.arm == arm);
    mine.map(|record| CaseTrial::of(campaign, record, &answer))
        .collect()
}

/// Of a kernel that nobody expects to fail, though it may fail as often as another one and be no worse.
fn of_trial(standing: Standing) -> Answer {
    match standing {
        Standing::Survived => Answer::Passed,
        Standing::TargetLockup | Standing::Suspect | Standing::OtherFailure => Answer::Failed,
        Standing::NotExposed | Standing::Infrastructure => Answer::CouldNotTell,
    }
}
