//! One commit tried on a tree: how it fits, and what the tree is after it.

use serde::{Deserialize, Serialize};

use crate::catalogue::diff::{Landing, Reject};
use crate::inspect::finding::{Finding, State};
use crate::inspect::fix::{Commit, Part};

/// The most context that a try leaves out, as with `patch` by itself.
pub const MOST_FUZZ: u32 = 2;

/// How a commit's diff fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Fit {
    /// As it is written.
    Clean,
    /// At other lines.
    Moved {
        /// The hunks that did.
        hunks: Vec<Landing>,
    },
    /// Only where lines of its context are left out.
    Fuzzy {
        /// How many, at either end.
        fuzz: u32,
        /// The hunks that did not fit as they are written.
        hunks: Vec<Landing>,
    },
    /// What it brings is there.
    AlreadyThere,
    /// It does not.
    Conflict {
        /// The hunks that do not.
        rejects: Vec<Reject>,
    },
    /// There is no diff to try.
    Lacking {
        /// Why not.
        why: String,
    },
}

impl Fit {
    /// Of a diff that went in, from the hunks that did not fit as they are written.
    pub fn landed(hunks: Vec<Landing>) -> Self {
        match hunks.iter().map(|hunk| hunk.fuzz).max() {
            None => Self::Clean,
            Some(0) => Self::Moved { hunks },
            Some(fuzz) => Self::Fuzzy { fuzz, hunks },
        }
    }

    /// Whether it is put in where so much fuzz is allowed. A hunk that lands by guess may land in the
    /// wrong place.
    pub fn is_used(&self, allowed: u32) -> bool {
        match self {
            Self::Clean | Self::Moved { .. } => true,
            Self::Fuzzy { fuzz, .. } => *fuzz <= allowed,
            Self::AlreadyThere | Self::Conflict { .. } | Self::Lacking { .. } => false,
        }
    }

    /// In a few words.
    pub fn words(&self) -> String {
        match self {
            Self::Clean => "applies cleanly".to_owned(),
            Self::Moved { .. } => "applies at another line".to_owned(),
            Self::Fuzzy { fuzz, .. } => format!("applies with fuzz {fuzz}"),
            Self::AlreadyThere => "already there".to_owned(),
            Self::Conflict { rejects } => match rejects.len() {
                1 => "conflicts in 1 place".to_owned(),
                more => format!("conflicts in {more} places"),
            },
            Self::Lacking { .. } => "not found".to_owned(),
        }
    }

    /// Where exactly, a line each.
    pub fn places(&self) -> Vec<String> {
        match self {
            Self::Clean | Self::AlreadyThere => Vec::new(),
            Self::Moved { hunks } | Self::Fuzzy { hunks, .. } => {
                hunks.iter().map(landing_words).collect()
            }
            Self::Conflict { rejects } => rejects.iter().map(reject_words).collect(),
            Self::Lacking { why } => vec![why.clone()],
        }
    }
}

fn landing_words(landing: &Landing) -> String {
    let mut words = format!("{}:{} (hunk {}", landing.file, landing.line, landing.hunk);
    if landing.offset != 0 {
        words += &format!(", {:+} lines", landing.offset);
    }
    if landing.fuzz != 0 {
        words += &format!(", fuzz {}", landing.fuzz);
    }
    words + ")"
}

/// A place that does not fit, as an editor opens it.
pub fn reject_words(reject: &Reject) -> String {
    match (reject.hunk, &reject.why) {
        (Some((hunk, line)), _) => format!("{}:{line} (hunk {hunk})", reject.file),
        (None, Some(why)) => format!("{} {why}", reject.file),
        (None, None) => format!("{} does not fit", reject.file),
    }
}

/// What a tree is, as its source shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it has the fix.
    pub state: State,
    /// Why, in one sentence.
    pub why: String,
    /// Ids of the commits that may be missing.
    pub missing: Vec<String>,
}

impl Standing {
    /// What an inspection found.
    pub fn of(finding: &Finding) -> Self {
        Self {
            state: finding.state,
            why: finding.why.clone(),
            missing: finding.missing.iter().map(|one| one.id.clone()).collect(),
        }
    }

    /// Whether the fix is there with all its follow-ups.
    pub fn is_whole(&self) -> bool {
        self.state == State::Fixed && self.missing.is_empty()
    }

    /// Whether there is something to mend.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Affected | State::Partial => true,
            State::Fixed | State::CannotHaveIt | State::Unknown => false,
        }
    }

    /// In a few words.
    pub fn words(&self) -> String {
        match self.state {
            State::Partial => format!("partial: lacks {}", self.missing.join(", ")),
            State::Fixed => "fixed, whole".to_owned(),
            State::Affected | State::CannotHaveIt | State::Unknown => self.state.word().to_owned(),
        }
    }
}

/// A commit that was tried, after those before it that were put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The commit.
    pub commit: Commit,
    /// What it is to the fix.
    pub part: Part,
    /// How it fits.
    pub fit: Fit,
    /// What the tree is with it; absent: it was not put in.
    pub after: Option<Standing>,
}

impl Attempt {
    /// Whether it was put in.
    pub fn is_in(&self) -> bool {
        self.after.is_some()
    }
}
