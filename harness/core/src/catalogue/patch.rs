//! One patch of the catalogue: steps that change a source tree, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Problems;
use super::problem::{check_inner_path, check_name, parse_checked};

/// A patch as its `patch.yaml` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchSpec {
    /// Name, which is also the folder's.
    pub name: String,
    /// What it is for.
    pub kind: PatchKind,
    /// One line: why it exists.
    pub reason: String,
    /// More about it.
    #[serde(default)]
    pub about: String,
    /// Where it is known to apply; a hint for people.
    #[serde(default)]
    pub applies_to: String,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// What a patch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatchKind {
    /// Brings the fix.
    Fix,
    /// Takes the fix back out, for the positive control.
    Reintroduce,
    /// Widens the window, in all arms alike.
    Amplify,
    /// Lets an old tree build with newer tools.
    Compat,
    /// Makes CPUs get stuck on purpose, to prove detectors; no arm of a campaign may carry it.
    Provoke,
}

/// One step of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawStep", into = "RawStep")]
pub enum Step {
    /// A Coccinelle rule run on one source file.
    Cocci {
        /// The rule file, in the patch's folder.
        rule: String,
        /// The source file it must change.
        target: String,
        /// Of all steps with the same word, exactly one must change its file.
        alternative: Option<String>,
    },
    /// A new file.
    Copy {
        /// The file, in the patch's folder.
        file: String,
        /// Where it goes; nothing may be there yet.
        to: String,
    },
    /// A unified diff.
    Diff {
        /// The file, in the patch's folder.
        file: String,
    },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cocci: Option<String>,
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alternative: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

const STEP_FORMS: &str = "a step is {cocci: RULE, in: FILE} (also with alternative: WORD), {copy: FILE, to: PATH} or {patch: FILE}";

impl TryFrom<RawStep> for Step {
    type Error = String;

    fn try_from(raw: RawStep) -> Result<Self, String> {
        let step = match raw {
            RawStep {
                cocci: Some(rule),
                target: Some(target),
                alternative,
                copy: None,
                to: None,
                patch: None,
            } => Self::Cocci {
                rule,
                target,
                alternative,
            },
            RawStep {
                copy: Some(file),
                to: Some(to),
                cocci: None,
                target: None,
                alternative: None,
                patch: None,
            } => Self::Copy { file, to },
            RawStep {
                patch: Some(file),
                cocci: None,
                target: None,
                alternative: None,
                copy: None,
                to: None,
            } => Self::Diff { file },
            other => {
                return Err(format!(
                    "{} is no step: {STEP_FORMS}",
                    serde_json::to_string(&other).unwrap_or_default()
                ));
            }
        };
        for path in step.paths() {
            check_inner_path(path)?;
        }
        Ok(step)
    }
}

impl From<Step> for RawStep {
    fn from(step: Step) -> Self {
        match step {
            Step::Cocci {
                rule,
                target,
                alternative,
            } => Self {
                cocci: Some(rule),
                target: Some(target),
                alternative,
                ..Self::default()
            },
            Step::Copy { file, to } => Self {
                copy: Some(file),
                to: Some(to),
                ..Self::default()
            },
            Step::Diff { file } => Self {
                patch: Some(file),
                ..Self::default()
            },
        }
    }
}

impl Step {
    /// The file of the patch's folder that the step uses.
    pub fn file(&self) -> &str {
        match self {
            Self::Cocci { rule, .. } => rule,
            Self::Copy { file, .. } | Self::Diff { file } => file,
        }
    }

    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Cocci { rule, target, .. } => vec![rule, target],
            Self::Copy { file, to } => vec![file, to],
            Self::Diff { file } => vec![file],
        }
    }
}

impl PatchSpec {
    /// Reads one `patch.yaml`; `folder` is the name of the folder that holds it.
    ///
    /// # Errors
    /// Every problem of the file; YAML of the wrong shape stops at the first one.
    pub fn parse(file: &str, folder: &str, text: &str) -> Result<Self, Problems> {
        parse_checked(file, text, |spec: &Self| spec.complaints(folder))
    }

    fn complaints(&self, folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(check_name(&self.name).err());
        if self.name != folder {
            found.push(format!(
                "name: `{}` is not the folder's name `{folder}`: make them the same",
                self.name
            ));
        }
        if self.reason.trim().is_empty() {
            found.push("reason: is empty: say in a line why the patch exists".to_owned());
        }
        if self.steps.is_empty() {
            found.push(format!("steps: is empty: {STEP_FORMS}"));
        }
        for (word, count) in self.alternatives() {
            if count == 1 {
                found.push(format!(
                    "steps: `alternative: {word}` is on one step only: give it to another one or drop it"
                ));
            }
        }
        found
    }

    fn alternatives(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            if let Step::Cocci {
                alternative: Some(word),
                ..
            } = step
            {
                *counts.entry(word.as_str()).or_insert(0) += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name: p\nkind: fix\nreason: because\nsteps:\n";

    #[test]
    fn all_kinds_of_steps_are_read() {
        let text = format!(
            "{HEAD}  - {{copy: a.h, to: kernel/a.h}}\n  - {{cocci: x.cocci, in: kernel/x.c}}\n  - {{patch: y.patch}}\n"
        );
        let spec = PatchSpec::parse("p/patch.yaml", "p", &text).unwrap();
        let files: Vec<_> = spec.steps.iter().map(Step::file).collect();
        assert_eq!(files, ["a.h", "x.cocci", "y.patch"]);
    }

    #[test]
    fn a_mixed_step_is_shown_with_the_allowed_forms_and_its_place() {
        let text = format!("{HEAD}  - {{copy: a.h, in: kernel/a.h}}\n");
        let error = PatchSpec::parse("p/patch.yaml", "p", &text)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("{copy: FILE, to: PATH}") && error.contains("patch.yaml:5: steps"),
            "{error}"
        );
    }

    #[test]
    fn a_path_out_of_the_tree_is_refused() {
        let text = format!("{HEAD}  - {{copy: a.h, to: ../../etc/passwd}}\n");
        let error = PatchSpec::parse("p/patch.yaml", "p", &text)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a path inside the tree"), "{error}");
    }

    #[test]
    fn a_lonely_alternative_and_a_wrong_name_come_together() {
        let text = format!("{HEAD}  - {{cocci: x.cocci, in: kernel/x.c, alternative: w}}\n");
        let problems = PatchSpec::parse("q/patch.yaml", "q", &text).unwrap_err();
        assert_eq!(problems.0.len(), 2, "{problems}");
    }
}
