//! What a tune is asked to do: its YAML file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::field::{Field, Step};
use crate::yaml::{self, Problem, Problems};

/// Version of the format.
pub const SCHEMA_VERSION: u32 = 1;

/// A tune as its YAML file states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneSpec {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// Short name, used in run ids.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{0,63}$"))]
    pub name: String,
    /// What it is after, for people.
    #[serde(default)]
    pub about: String,
    /// Campaign to start from: the name of one that comes with kverdict, or a path from this file's
    /// folder.
    pub campaign: String,
    /// Arm whose kernel is run; absent: the subject, because a kernel with the defect ends at the first
    /// meeting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// Load in one trial, in seconds of guest time.
    #[schemars(range(min = 1, max = 86400))]
    pub load_seconds: u32,
    /// Trials after which the search ends, those that failed included. A quarter is kept to tell the
    /// best points apart.
    #[schemars(range(min = 1, max = 100000))]
    pub max_trials: u32,
    /// Decides in which order things are tried.
    #[serde(default)]
    pub seed: u64,
    /// What is varied.
    #[schemars(length(min = 1, max = 32))]
    pub parameters: Vec<Parameter>,
}

/// A field of the campaign and what it may be, beside what it is: either `values` or a `range`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The steps to the field, such as `[load, shuffler, interval_us]` or
    /// `[tuning, sysctls, kernel.numa_balancing_scan_size_mb]`.
    pub at: Field,
    /// Values, also whole lists and mappings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<serde_json::Value>>", length(min = 1, max = 64))]
    pub values: Option<Vec<Value>>,
    /// Whole numbers between two ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// Whole numbers from one end to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    pub from: i64,
    /// The greatest.
    pub to: i64,
    /// How many, with both ends.
    #[schemars(range(min = 2, max = 64))]
    pub steps: u32,
    /// How they lie between the ends.
    #[serde(default)]
    pub scale: Scale,
}

/// How the values of a range lie between its ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// With equal differences.
    #[default]
    Linear,
    /// With equal ratios.
    Log,
}

impl Range {
    /// The numbers, rounded, each once.
    pub fn numbers(&self) -> Vec<i64> {
        let (from, to) = (self.from as f64, self.to as f64);
        let number = |step: u32| {
            let part = f64::from(step) / f64::from(self.steps - 1);
            let number = match self.scale {
                Scale::Linear => from + (to - from) * part,
                Scale::Log => from * (to / from).powf(part),
            };
            number.round() as i64
        };
        let mut numbers: Vec<i64> = (0..self.steps).map(number).collect();
        numbers.dedup();
        numbers
    }

    fn problem(&self) -> Option<String> {
        let Self { from, to, .. } = self;
        if from >= to {
            Some(format!("from {from} to {to} is no way upwards"))
        } else if self.scale == Scale::Log && *from < 1 {
            Some(format!(
                "a logarithmic scale begins at 1 or above, not at {from}"
            ))
        } else {
            None
        }
    }
}

impl Parameter {
    /// All values that are named.
    pub fn choices(&self) -> Vec<Value> {
        let values = self.values.iter().flatten().cloned();
        let numbers = self.range.iter().flat_map(Range::numbers);
        values.chain(numbers.map(Value::from)).collect()
    }

    fn problem(&self) -> Option<Problem> {
        if let Some(why) = untunable(&self.at) {
            return Some(Problem::new("at", format!("`{}`: {why}", self.at)));
        }
        match (&self.values, &self.range) {
            (Some(_), None) => None,
            (None, Some(range)) => range.problem().map(|text| Problem::new("range", text)),
            (Some(_), Some(_)) => {
                Some(Problem::new("", "has `values` and a `range`; take one out"))
            }
            (None, None) => Some(Problem::new("", "has neither `values` nor a `range`")),
        }
    }
}

/// Why a field of the campaign cannot be varied.
fn untunable(field: &Field) -> Option<&'static str> {
    let key = |depth: usize| match field.steps().get(depth) {
        Some(Step::Key(key)) => key.as_str(),
        Some(Step::Index(_)) | None => "",
    };
    match (key(0), key(1)) {
        ("schema" | "name" | "about" | "signature", _) => Some("changes nothing in a guest"),
        ("arms", _) => Some("all trials of a tune have the same kernel"),
        ("policy", _) => Some("says how trials are judged; their length is `load_seconds` here"),
        ("holder", "") => Some("is there in all trials or in none; vary what is in it"),
        ("guest", "accelerator") => Some("is chosen once for all trials"),
        (_, _) => None,
    }
}

impl TuneSpec {
    /// Parses a tune's file and checks everything that needs no other file.
    ///
    /// # Errors
    /// All problems together.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        yaml::parse_checked(file, text, Self::problems)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, parameter) in self.parameters.iter().enumerate() {
            let place = format!("parameters.{index}");
            if let Some(Problem { field, message }) = parameter.problem() {
                let dot = if field.is_empty() { "" } else { "." };
                problems.push(Problem::new(format!("{place}{dot}{field}"), message));
            }
            let mut before = self.parameters[..index].iter();
            if let Some(other) = before.find(|other| other.at.overlaps(&parameter.at)) {
                let text = format!("`{}` overlaps `{}`", parameter.at, other.at);
                problems.push(Problem::new(format!("{place}.at"), text));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_reach_both_ends_in_equal_steps_or_ratios() {
        let range = |from, to, steps, scale| {
            Range {
                from,
                to,
                steps,
                scale,
            }
            .numbers()
        };
        assert_eq!(
            range(500, 8000, 5, Scale::Log),
            [500, 1000, 2000, 4000, 8000]
        );
        assert_eq!(range(0, 10, 3, Scale::Linear), [0, 5, 10]);
        assert_eq!(range(1, 3, 9, Scale::Linear), [1, 2, 3], "each once");
        assert_eq!(range(-4, 4, 2, Scale::Linear), [-4, 4]);
    }
}
