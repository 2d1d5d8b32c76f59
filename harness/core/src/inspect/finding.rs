//! What an inspection found.

use serde::{Deserialize, Serialize};

use super::fix::Commit;

/// Whether a kernel has a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is there, whole as far as can be told.
    Fixed,
    /// It is there without all its follow-ups.
    Partial,
    /// It is not there.
    Affected,
    /// The kernel has not what the bug needs.
    CannotHaveIt,
    /// The code was not understood.
    Unknown,
}

impl State {
    /// The state in words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Partial => "partial",
            Self::Affected => "affected",
            Self::CannotHaveIt => "cannot have it",
            Self::Unknown => "unknown",
        }
    }
}

/// A place in a kernel and what is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Evidence {
    /// `kernel/stop_machine.c:78`, or `cpu_stop_queue_work+0x4f`.
    pub place: String,
    /// What is there, as the kernel has it.
    pub code: String,
    /// What that means; empty: nothing but where it was come from.
    pub about: String,
}

/// Whether a follow-up is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// What it brings about holds.
    Present,
    /// It does not.
    Missing,
    /// This binary does not show it.
    CannotTell,
    /// It mends nothing: nobody is the worse for not having it.
    NoEffect,
}

/// A follow-up and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FollowUpFound {
    /// The commit.
    pub commit: Commit,
    /// Whether it is there.
    pub state: Presence,
}

/// A form of the fix that was found, or a bug that it leaves open, and its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormFound {
    /// In words.
    pub about: String,
    /// Where it comes from, or what mends it.
    pub commit: Commit,
}

/// What there is to say about one fix in one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the fix.
    pub fix: String,
    /// The fix itself.
    pub commit: Commit,
    /// Whether it is there.
    pub state: State,
    /// Why, in one sentence.
    pub why: String,
    /// What it looks like.
    pub forms: Vec<FormFound>,
    /// Where that can be seen.
    pub evidence: Vec<Evidence>,
    /// Its follow-ups; empty where they do not matter.
    pub follow_ups: Vec<FollowUpFound>,
    /// What may be missing.
    pub missing: Vec<Commit>,
    /// Other bugs that may be open; they do not change the state.
    pub related: Vec<FormFound>,
}
