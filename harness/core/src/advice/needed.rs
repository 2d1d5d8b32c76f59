//! Which of the commits that fit are needed.

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Fit, Standing};

/// Why a commit is, or is not, among those that are to be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// It changes the static verdict.
    Needed,
    /// It changes nothing there, but a later one that does only fits after it.
    MakesRoom,
    /// It changes nothing there, and the others do without it.
    NotNeeded,
    /// The tree is whole before it.
    ComesLater,
    /// It is in the tree.
    IsThere,
    /// It was not put in.
    LeftOut,
}

impl Need {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Needed => "needed",
            Self::MakesRoom => "a later one needs it",
            Self::NotNeeded => "not needed",
            Self::ComesLater => "not needed: whole before it",
            Self::IsThere => "is there",
            Self::LeftOut => "left out",
        }
    }
}

/// How many of the attempts it takes until the tree is whole.
pub fn smallest_whole(attempts: &[Attempt]) -> Option<usize> {
    let whole = |attempt: &Attempt| attempt.after.as_ref().is_some_and(Standing::is_whole);
    attempts.iter().position(whole).map(|last| last + 1)
}

/// Attempts of the smallest whole prefix that were put in and changed nothing in the static verdict.
pub fn idle(before: &Standing, attempts: &[Attempt]) -> Vec<usize> {
    let prefix = smallest_whole(attempts).unwrap_or_default();
    let mut standing = before;
    let mut idle = Vec::new();
    for (index, attempt) in attempts[..prefix].iter().enumerate() {
        if let Some(after) = &attempt.after {
            if after == standing {
                idle.push(index);
            }
            standing = after;
        }
    }
    idle
}

/// Whether those of the attempts that are in `which`, tried again by themselves, all went in that did before,
/// and make the tree whole.
pub fn same_and_whole(attempts: &[Attempt], which: &[usize], again: &[Attempt]) -> bool {
    let before = which.iter().map(|index| attempts[*index].is_in());
    let same = before.eq(again.iter().map(Attempt::is_in));
    same && smallest_whole(again).is_some()
}

/// What each attempt is good for. `lean`: the others were tried without the idle ones, fit, and make the
/// tree whole.
pub fn needs(before: &Standing, attempts: &[Attempt], lean: bool) -> Vec<Need> {
    let prefix = smallest_whole(attempts);
    let idle = idle(before, attempts);
    let need = |(index, attempt): (usize, &Attempt)| match (&attempt.fit, attempt.is_in(), prefix) {
        (Fit::AlreadyThere, _, _) => Need::IsThere,
        (_, false, _) => Need::LeftOut,
        (_, true, Some(prefix)) if index >= prefix => Need::ComesLater,
        (_, true, Some(_)) if idle.contains(&index) && lean => Need::NotNeeded,
        (_, true, Some(_)) if idle.contains(&index) => Need::MakesRoom,
        (_, true, Some(_) | None) => Need::Needed,
    };
    attempts.iter().enumerate().map(need).collect()
}

/// Whether a commit of that need belongs to the set.
pub fn is_of_set(need: Need) -> bool {
    match need {
        Need::Needed | Need::MakesRoom => true,
        Need::NotNeeded | Need::ComesLater | Need::IsThere | Need::LeftOut => false,
    }
}
