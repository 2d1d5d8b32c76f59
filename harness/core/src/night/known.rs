//! Failures that somebody has filed: until they expire, they make no night red.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cell::{CellId, matches};
use crate::compare::failure::Failure;
use crate::console::Outcome;
use crate::yaml::{self, Problem, Problems};

/// Version of the format.
pub const SCHEMA_VERSION: u32 = 1;

/// A file of known issues.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssues {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// The issues.
    pub issues: Vec<KnownIssue>,
}

/// A failure that somebody has filed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssue {
    /// Where it is filed; also its name.
    #[schemars(regex(pattern = r"\S"))]
    pub link: String,
    /// Why it does not count, for people.
    #[serde(default)]
    pub reason: String,
    /// Last day on which it does not count, `YYYY-MM-DD`: somebody has to look again.
    #[schemars(regex(pattern = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"))]
    pub expires: String,
    /// How a trial ends that has it: `target` for the campaign's lockup, or an outcome such as `soft-lockup`.
    pub failure: String,
    /// Regular expression that is found in the trial's title; absent: whatever the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Cells that have it, as kernel/load/topology/detectors, in which `*` stands for any characters; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
}

/// The word for the lockup that the campaign is about.
const TARGET: &str = "target";

impl KnownIssues {
    /// Parses a file.
    ///
    /// # Errors
    /// All problems together.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        yaml::parse_checked(file, text, |known: &Self| {
            let issues = (0..).zip(&known.issues);
            issues
                .flat_map(|(index, issue)| issue.problems(index))
                .collect()
        })
    }
}

impl KnownIssue {
    fn problems(&self, index: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, text| {
            problems.push(Problem::new(format!("issues.{index}.{field}"), text));
        };
        if self.failure != TARGET && self.outcome().is_none() {
            let known: Vec<String> = Outcome::ALL.iter().map(word).collect();
            let text = format!(
                "`{}` is no way for a trial to end; there are: {TARGET}, {}",
                self.failure,
                known.join(", ")
            );
            problem("failure", text);
        }
        if let Some(Err(error)) = self.title.as_deref().map(Regex::new) {
            problem("title", format!("no regular expression: {error}"));
        }
        if let Some(cell) = &self.cell
            && !cell.contains('*')
            && let Err(why) = cell.parse::<CellId>()
        {
            problem("cell", why);
        }
        problems
    }

    fn outcome(&self) -> Option<Outcome> {
        serde_json::from_value(Value::String(self.failure.clone())).ok()
    }

    /// Whether this is it: a failure of a cell, in trials with these titles.
    pub fn is<'a>(
        &self,
        cell: &CellId,
        failure: &Failure,
        titles: impl IntoIterator<Item = &'a str>,
    ) -> bool {
        let is_kind = match failure {
            Failure::Target => self.failure == TARGET,
            Failure::Other { outcome, .. } => self.outcome() == Some(*outcome),
        };
        let is_cell = |glob: &String| matches(glob, &cell.to_string());
        if !is_kind || !self.cell.as_ref().is_none_or(is_cell) {
            return false;
        }
        // Checked when the file was read.
        let title = self.title.as_deref().map(Regex::new);
        match title {
            None => true,
            Some(Ok(title)) => titles.into_iter().any(|text| title.is_match(text)),
            Some(Err(_)) => false,
        }
    }

    /// Whether it still counts as filed at a time, RFC 3339.
    pub fn holds_at(&self, time: &str) -> bool {
        time.get(..self.expires.len()).unwrap_or(time) <= self.expires.as_str()
    }
}

/// An outcome as files have it.
fn word(outcome: &Outcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => outcome.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::failure::Clock;

    const GOOD: &str = "
schema: 1
issues:
  - link: https://bugs/1
    reason: waits for a fix upstream
    expires: 2026-12-31
    failure: soft-lockup
    title: soft lockup .* kv-poller
    cell: vendor/*
";

    fn soft_lockup() -> Failure {
        Failure::Other {
            clock: Clock::Exposed,
            outcome: Outcome::SoftLockup,
            title: String::new(),
        }
    }

    #[test]
    fn an_issue_is_a_kind_a_title_and_a_cell() {
        let issue = &KnownIssues::parse("k.yaml", GOOD).unwrap().issues[0];
        let vendor: CellId = "vendor/a/b/c".parse().unwrap();
        let title = "BUG: soft lockup - CPU#3 kv-poller-0";
        assert!(issue.is(&vendor, &soft_lockup(), ["x", title]));
        assert!(!issue.is(&vendor, &soft_lockup(), ["x"]));
        assert!(!issue.is(&vendor, &Failure::Target, [title]));
        let other: CellId = "fixed/a/b/c".parse().unwrap();
        assert!(!issue.is(&other, &soft_lockup(), [title]));
    }

    #[test]
    fn an_issue_counts_up_to_its_last_day() {
        let issue = &KnownIssues::parse("k.yaml", GOOD).unwrap().issues[0];
        assert!(issue.holds_at("2026-12-31T23:59:59Z"));
        assert!(!issue.holds_at("2027-01-01T00:00:00Z"));
    }

    #[test]
    fn everything_wrong_in_a_file_is_said_at_once() {
        let text = GOOD
            .replace("soft-lockup", "softlockup")
            .replace("soft lockup .*", "soft lockup (")
            .replace("vendor/*", "vendor");
        let error = KnownIssues::parse("k.yaml", &text).unwrap_err().to_string();
        for words in [
            "k.yaml: 3 problems",
            "issues.0.failure: `softlockup` is no way for a trial to end; there are: target, clean,",
            "issues.0.title: no regular expression",
            "issues.0.cell: `vendor` is no cell",
        ] {
            assert!(error.contains(words), "{words}\n{error}");
        }
        for (from, to, words) in [
            ("2026-12-31", "soon", "issues.0.expires:"),
            ("link: https://bugs/1", "link: ''", "issues.0.link:"),
            ("reason:", "why:", "issues.0.why: unknown key"),
        ] {
            let text = GOOD.replace(from, to);
            let error = KnownIssues::parse("k.yaml", &text).unwrap_err().to_string();
            assert!(error.contains(words), "{words}\n{error}");
        }
    }
}
