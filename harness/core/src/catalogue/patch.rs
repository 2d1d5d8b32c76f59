//! One patch of the catalogue: steps that change a source tree, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Problems;
use super::condition::{Condition, expression};
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
    /// When a compatibility patch is needed: all of these hold. Others are run when they are asked
    /// for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
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
    /// Lets an old tree build with newer tools; put into every tree that needs it, without being
    /// asked for.
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
    /// Text put in place of other text, where a rule for C is of no use: assembly, scripts, makefiles.
    Replace {
        /// Regular expression over the lines of the file; must match.
        pattern: String,
        /// What every match becomes; `${1}` is a group of the expression.
        by: String,
        /// The file.
        target: String,
    },
    /// Words added to a variable of make.
    Make {
        /// The variable, such as `KCFLAGS`.
        variable: String,
        /// The words.
        add: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    make: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    add: Option<String>,
}

const STEP_FORMS: &str = "a step is {cocci: RULE, in: FILE} (also with alternative: WORD), {copy: FILE, to: PATH}, {patch: FILE}, {replace: REGEX, by: TEXT, in: FILE} or {make: VARIABLE, add: TEXT}";

impl TryFrom<RawStep> for Step {
    type Error = String;

    fn try_from(raw: RawStep) -> Result<Self, String> {
        // What belongs to a form is taken out; what is left over makes the step another one.
        let mut rest = raw.clone();
        let step = rest.take_form();
        let Some(step) = step.filter(|_| rest == RawStep::default()) else {
            return Err(format!(
                "{} is no step: {STEP_FORMS}",
                serde_json::to_string(&raw).unwrap_or_default()
            ));
        };
        for path in step.paths() {
            check_inner_path(path)?;
        }
        if let Self::Replace { pattern, .. } = &step {
            expression(pattern)?;
        }
        Ok(step)
    }
}

impl RawStep {
    fn take_form(&mut self) -> Option<Step> {
        if let Some(rule) = self.cocci.take() {
            return Some(Step::Cocci {
                rule,
                target: self.target.take()?,
                alternative: self.alternative.take(),
            });
        }
        if let Some(pattern) = self.replace.take() {
            return Some(Step::Replace {
                pattern,
                by: self.by.take()?,
                target: self.target.take()?,
            });
        }
        if let Some(file) = self.copy.take() {
            return Some(Step::Copy {
                file,
                to: self.to.take()?,
            });
        }
        if let Some(variable) = self.make.take() {
            return Some(Step::Make {
                variable,
                add: self.add.take()?,
            });
        }
        let file = self.patch.take()?;
        Some(Step::Diff { file })
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
            Step::Replace {
                pattern,
                by,
                target,
            } => Self {
                replace: Some(pattern),
                by: Some(by),
                target: Some(target),
                ..Self::default()
            },
            Step::Make { variable, add } => Self {
                make: Some(variable),
                add: Some(add),
                ..Self::default()
            },
        }
    }
}

impl Step {
    /// The file of the patch's folder that the step uses.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Cocci { rule, .. } => Some(rule),
            Self::Copy { file, .. } | Self::Diff { file } => Some(file),
            Self::Replace { .. } | Self::Make { .. } => None,
        }
    }

    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Cocci { rule, target, .. } => vec![rule, target],
            Self::Copy { file, to } => vec![file, to],
            Self::Diff { file } => vec![file],
            Self::Replace { target, .. } => vec![target],
            Self::Make { .. } => Vec::new(),
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
        found.extend(self.when.iter().filter_map(Condition::complaint));
        if !self.when.is_empty() && self.kind != PatchKind::Compat {
            found.push(
                "when: only patches of kind `compat` are put in by themselves: drop it".to_owned(),
            );
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
            "{HEAD}  - {{copy: a.h, to: kernel/a.h}}\n  - {{cocci: x.cocci, in: kernel/x.c}}\n  - {{patch: y.patch}}\n  - {{replace: 'a(b)', by: 'c${{1}}', in: Makefile}}\n  - {{make: KCFLAGS, add: -w}}\n"
        );
        let spec = PatchSpec::parse("p/patch.yaml", "p", &text).unwrap();
        let files: Vec<_> = spec.steps.iter().filter_map(Step::file).collect();
        assert_eq!(files, ["a.h", "x.cocci", "y.patch"]);
    }

    #[test]
    fn conditions_are_for_compatibility_patches() {
        let when = "when:\n  - {lacks: a.h}\n";
        let text = format!("{HEAD}  - {{make: KCFLAGS, add: -w}}\n{when}");
        let error = PatchSpec::parse("p/patch.yaml", "p", &text)
            .unwrap_err()
            .to_string();
        assert!(error.contains("only patches of kind `compat`"), "{error}");
        let text = text.replace("kind: fix", "kind: compat");
        let spec = PatchSpec::parse("p/patch.yaml", "p", &text).unwrap();
        assert_eq!(spec.when.len(), 1);
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
