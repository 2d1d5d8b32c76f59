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
        let strange = fix
            .follow_ups
            .iter()
            .flat_map(|follow_up| &follow_up.entries)
            .find(|entry| !fix.entries.contains(entry));
        match strange {
            Some(entry) => Err(format!(
                "{file}: follow-ups: `{entry}` is none of the entries ({})",
                fix.entries.join(", ")
            )),
            None => Ok(fix),
        }
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
        ] {
            let error = Fix::parse("f.yaml", &TEXT.replace(from, to)).unwrap_err();
            assert!(
                error.starts_with("f.yaml: ") && error.contains(words),
                "{error}"
            );
        }
    }
}
