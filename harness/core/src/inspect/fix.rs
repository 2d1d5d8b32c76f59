//! A fix as data: what to look for, where, and what it looks like when it is there.

use serde::{Deserialize, Serialize};

/// A commit of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Abbreviated id.
    pub id: String,
    /// Its first line.
    pub title: String,
    /// The first release with it.
    pub since: String,
}

/// One fix: a wake-up that must not happen with a lock held, and what makes it whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fix {
    /// Name, which is also the file's.
    pub name: String,
    /// What goes wrong without it.
    pub about: String,
    /// The fix itself.
    pub commit: Commit,
    /// What has to be there for the bug to be possible.
    pub needs: Vec<Need>,
    /// The source file with the entries.
    pub file: String,
    /// Functions that everything starts from.
    pub entries: Vec<String>,
    /// Functions that these call, inlined or not.
    pub helpers: Vec<String>,
    /// Last member of the lock's expression in source.
    pub lock: String,
    /// Calls that put something into the queue.
    pub queues: Vec<String>,
    /// Calls that wake.
    pub wakes: Vec<String>,
    /// What the fix looks like.
    pub forms: Vec<Form>,
    /// What makes it whole.
    pub follow_ups: Vec<FollowUp>,
    /// Commits of the same series that mend nothing.
    #[serde(default)]
    pub tidies: Vec<Commit>,
    /// Other bugs that a form leaves open.
    #[serde(default)]
    pub related: Vec<Related>,
    /// Ids of all these commits in the order that upstream has them; empty: as they are listed.
    #[serde(default)]
    pub upstream_order: Vec<String>,
    /// A patch of the catalogue that does the same where the commits do not apply.
    #[serde(default)]
    pub semantic_patch: Option<String>,
}

/// What a commit is to a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The fix itself.
    Fix,
    /// It makes the fix whole.
    FollowUp,
    /// In the same series without mending anything.
    Tidy,
    /// The fix in another form, as later kernels have it.
    OtherForm,
}

/// A commit and what it is to a fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The commit.
    pub commit: Commit,
    /// What it is.
    pub part: Part,
}

/// A function and where source has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name.
    pub function: String,
    /// Where source has it.
    pub file: String,
}

/// A function without which there is no bug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The function.
    #[serde(flatten)]
    pub what: Function,
    /// Why a kernel without it cannot have the bug.
    pub without: String,
}

/// Another bug that a form of the fix leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Related {
    /// What mends it.
    pub commit: Commit,
    /// It is open where one of these calls wakes,
    pub wakes: Vec<String>,
    /// and this is there.
    pub with: Function,
    /// In words.
    pub about: String,
}

/// One form of the fix, known by what wakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// One of these calls wakes.
    pub wakes: Vec<String>,
    /// In words.
    pub about: String,
    /// Where it comes from.
    pub commit: Commit,
}

/// A commit that makes the fix whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FollowUp {
    /// The commit.
    pub commit: Commit,
    /// Entries whose wake-ups it is about.
    pub entries: Vec<String>,
    /// When preemption has to be off.
    pub preemption_off: Span,
}

/// When preemption has to be off on the way to a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    /// While it wakes.
    AtWakeUp,
    /// All the time since the lock was dropped.
    SinceUnlock,
}

impl Fix {
    /// Reads a fix from its file.
    ///
    /// # Errors
    /// When the text is none, or names entries that it does not have.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let fix: Self = serde_yaml::from_str(text)
            .map_err(|error| format!("{file}: {error}; expected a fix as in kernels/fixes/"))?;
        match fix.complaint() {
            Some(complaint) => Err(format!("{file}: {complaint}")),
            None => Ok(fix),
        }
    }

    fn complaint(&self) -> Option<String> {
        let strange = self
            .follow_ups
            .iter()
            .flat_map(|follow_up| &follow_up.entries)
            .find(|entry| !self.entries.contains(entry));
        if let Some(entry) = strange {
            return Some(format!(
                "follow-ups: `{entry}` is none of the entries ({})",
                self.entries.join(", ")
            ));
        }
        let commits = self.commits();
        let mut ids: Vec<&str> = commits.iter().map(|one| one.commit.id.as_str()).collect();
        let mut ordered: Vec<&str> = self.upstream_order.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ordered.sort_unstable();
        (!ordered.is_empty() && ids != ordered)
            .then(|| format!("upstream-order: name each commit once: {}", ids.join(", ")))
    }

    /// Every commit, in the order that upstream has them.
    pub fn upstream(&self) -> Vec<Listed> {
        let mut commits = self.commits();
        let place = |one: &Listed| {
            self.upstream_order
                .iter()
                .position(|id| *id == one.commit.id)
        };
        commits.sort_by_key(place);
        commits
    }

    /// Every commit once, as listed.
    fn commits(&self) -> Vec<Listed> {
        let of = |commit: &Commit, part| Listed {
            commit: commit.clone(),
            part,
        };
        let follow_ups = self
            .follow_ups
            .iter()
            .map(|one| of(&one.commit, Part::FollowUp));
        let tidies = self.tidies.iter().map(|one| of(one, Part::Tidy));
        let forms = self
            .forms
            .iter()
            .map(|one| of(&one.commit, Part::OtherForm));
        let mut commits = vec![of(&self.commit, Part::Fix)];
        for listed in follow_ups.chain(tidies).chain(forms) {
            if !commits.iter().any(|one| one.commit.id == listed.commit.id) {
                commits.push(listed);
            }
        }
        commits
    }

    /// Everything that a kernel without the fix lacks.
    pub fn series(&self) -> Vec<Commit> {
        let follow_ups = self.follow_ups.iter().map(|one| &one.commit);
        std::iter::once(&self.commit)
            .chain(follow_ups)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../../kernels/fixes/migrate-swap.yaml");

    #[test]
    fn the_fix_that_comes_with_the_program_is_one() {
        let fix = Fix::parse("migrate-swap.yaml", TEXT).unwrap();
        assert_eq!(fix.series().len(), 4);
        let parts: Vec<Part> = fix.upstream().iter().map(|one| one.part).collect();
        assert_eq!(
            parts,
            [
                Part::Fix,
                Part::FollowUp,
                Part::FollowUp,
                Part::Tidy,
                Part::FollowUp,
                Part::OtherForm
            ]
        );
        for form in &fix.forms {
            assert!(form.wakes.iter().all(|wake| fix.wakes.contains(wake)));
        }
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        for (from, to, words) in [
            ("helpers:", "helper:", "unknown field `helper`"),
            (
                "entries: [stop_two_cpus]",
                "entries: [stop_three]",
                "`stop_three` is none",
            ),
            ("at-wake-up\n", "sometimes\n", "sometimes"),
            (
                "order: [0b26351b910f, ",
                "order: [",
                "name each commit once: 009836b4fa52, 0b26351b910f",
            ),
        ] {
            let error = Fix::parse("f.yaml", &TEXT.replace(from, to)).unwrap_err();
            assert!(
                error.starts_with("f.yaml: ") && error.contains(words),
                "{error}"
            );
        }
    }
}
