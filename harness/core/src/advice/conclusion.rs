//! What follows from the attempts.

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Fit, Standing, reject_words};
use super::needed::{Need, is_of_set, needs, smallest_whole};
use crate::inspect::finding::State;
use crate::inspect::fix::Commit;
use crate::verdict;

/// Everything that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The kernel, as it was named.
    pub kernel: String,
    /// What its source is.
    pub source: String,
    /// Patches that were put in first.
    pub series: Vec<String>,
    /// The fix itself.
    pub commit: Commit,
    /// Where the commits were taken from.
    pub commits_from: String,
    /// Fuzz that is allowed.
    pub fuzz: u32,
    /// What the tree is before.
    pub before: Standing,
    /// The commits in upstream's order; empty where there is nothing to mend.
    pub attempts: Vec<Attempt>,
    /// Whether the smallest whole prefix was tried without its commits that change nothing, fitted, and
    /// is whole; absent: it has none.
    pub lean: Option<bool>,
    /// The catalogue's own patch, where it was tried.
    pub own: Option<Own>,
    /// Whether the set builds, when that was asked for.
    pub build: Option<Build>,
    /// Whether it survives a campaign's load, when that was asked for.
    pub verification: Option<Verification>,
}

/// The catalogue's own patch, tried where the commits do not make the tree whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of the catalogue's own patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Outcome {
    /// It applies.
    Applies {
        /// What the tree is with it.
        after: Standing,
    },
    /// It does not, or could not be tried.
    DoesNot {
        /// Why.
        why: String,
    },
}

impl Own {
    fn is_whole(&self) -> bool {
        match &self.outcome {
            Outcome::Applies { after } => after.is_whole(),
            Outcome::DoesNot { .. } => false,
        }
    }
}

/// What a compiler said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Build {
    /// It builds.
    Builds {
        /// What `uname -r` says.
        release: String,
        /// The build's key.
        key: String,
    },
    /// It does not, while the tree without the set does.
    Breaks {
        /// The first errors with their places.
        said: String,
    },
    /// Nothing can be told of the set.
    CannotTell {
        /// Why.
        why: String,
    },
}

/// What a campaign said, with the tree as control and the tree with the set as subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The run's folder.
    pub run: String,
    /// Its conclusion.
    pub conclusion: verdict::Conclusion,
    /// Why, one sentence each.
    pub reasons: Vec<String>,
}

/// What the advice comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// There is a set that makes the tree whole, and nothing that was asked for speaks against it.
    Applies,
    /// There is none, or it was found wanting.
    DoesNot,
    /// It cannot be told, or there is nothing to mend.
    CannotTell,
}

impl Conclusion {
    /// Exit status of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Applies => 0,
            Self::DoesNot => 1,
            Self::CannotTell => 125,
        }
    }
}

/// The advice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What it comes to.
    pub conclusion: Conclusion,
    /// In one sentence.
    pub sentence: String,
    /// What to put in, in this order: ids of commits, or the name of the catalogue's own patch.
    pub set: Vec<String>,
    /// What each attempt is good for.
    pub needs: Vec<Need>,
    /// How it is known.
    #[serde(flatten)]
    pub facts: Facts,
}

impl Facts {
    /// What each attempt is good for.
    pub fn needs(&self) -> Vec<Need> {
        needs(&self.before, &self.attempts, self.lean == Some(true))
    }

    /// The smallest set that makes the tree whole; empty: there is none.
    pub fn set(&self) -> Vec<String> {
        if smallest_whole(&self.attempts).is_some() {
            let needs = self.needs();
            let tried = self.attempts.iter().zip(needs);
            let of_set = tried.filter(|(_, need)| is_of_set(*need));
            return of_set.map(|(one, _)| one.commit.id.clone()).collect();
        }
        let own = self.own.iter().filter(|own| own.is_whole());
        own.map(|own| own.name.clone()).collect()
    }

    /// Whether the set is the catalogue's own patch.
    pub fn is_own(&self) -> bool {
        smallest_whole(&self.attempts).is_none() && self.own.as_ref().is_some_and(Own::is_whole)
    }
}

impl Advice {
    /// Draws the conclusion.
    pub fn of(facts: Facts) -> Self {
        let set = facts.set();
        let (conclusion, sentence) = if !facts.before.is_open() {
            (Conclusion::CannotTell, nothing_to_mend(&facts))
        } else if set.is_empty() {
            no_set(&facts)
        } else {
            checked(&facts, &set)
        };
        Self {
            conclusion,
            sentence,
            set,
            needs: facts.needs(),
            facts,
        }
    }
}

fn nothing_to_mend(facts: &Facts) -> String {
    let Facts { kernel, before, .. } = facts;
    match before.state {
        State::Unknown => format!(
            "could not tell whether {kernel} has the fix: {}",
            before.why
        ),
        State::Fixed | State::Partial | State::Affected => {
            format!("nothing to advise: {kernel} has the fix")
        }
        State::CannotHaveIt => {
            format!(
                "nothing to advise: {kernel} cannot have the bug: {}",
                before.why
            )
        }
    }
}

/// No set makes the tree whole. What stood in the way first decides: those after it may only not fit for
/// its sake.
fn no_set(facts: &Facts) -> (Conclusion, String) {
    let kernel = &facts.kernel;
    let none = format!("no set of the commits makes {kernel} whole");
    for Attempt {
        commit, fit, after, ..
    } in &facts.attempts
    {
        let id = &commit.id;
        match fit {
            Fit::Conflict { rejects } => {
                let place = rejects.first().map(reject_words).unwrap_or_default();
                let text = format!("{none}: {id} conflicts at {place}; port it by hand");
                return (Conclusion::DoesNot, text);
            }
            Fit::Fuzzy { fuzz, .. } if after.is_none() => {
                let text = format!(
                    "{none} without guessing: {id} applies with fuzz {fuzz} only; look where it lands, and say --fuzz {fuzz} if it is right"
                );
                return (Conclusion::DoesNot, text);
            }
            Fit::Lacking { why } => {
                let text = format!("could not tell what makes {kernel} whole: {id}: {why}");
                return (Conclusion::CannotTell, text);
            }
            Fit::Fuzzy { .. } | Fit::Clean | Fit::Moved { .. } | Fit::AlreadyThere => {}
        }
    }
    let last = facts
        .attempts
        .iter()
        .rev()
        .find_map(|one| one.after.as_ref());
    let left = last.unwrap_or(&facts.before).words();
    let text = format!("{none}: with all that apply it is {left}");
    (Conclusion::DoesNot, text)
}

/// There is a set: what building and running say of it.
fn checked(facts: &Facts, set: &[String]) -> (Conclusion, String) {
    let kernel = &facts.kernel;
    let put_in = match (facts.is_own(), set.len()) {
        (true, _) => format!(
            "the commits do not make {kernel} whole: put in the patch {}",
            set[0]
        ),
        (false, 1) => format!("put in {}", set[0]),
        (false, _) => {
            let ids: Vec<&str> = set.iter().map(String::as_str).collect();
            format!("put in {}, in this order", listed(&ids))
        }
    };
    let mut text = format!(
        "{put_in}: {} then has the fix, whole",
        if facts.is_own() { "it" } else { kernel }
    );
    let mut conclusion = Conclusion::Applies;
    match &facts.build {
        None => {}
        Some(Build::Builds { .. }) => text += ", and builds",
        Some(Build::Breaks { .. }) => {
            conclusion = Conclusion::DoesNot;
            text += ", but does not build any more";
        }
        Some(Build::CannotTell { .. }) => {
            conclusion = Conclusion::CannotTell;
            text += ", but whether it builds could not be told";
        }
    }
    match facts.verification.as_ref().map(|one| one.conclusion) {
        None => {}
        Some(verdict::Conclusion::Verified) => {
            text += ", and survives the load that locks it up without"
        }
        Some(verdict::Conclusion::Refuted) => {
            conclusion = Conclusion::DoesNot;
            text += ", but still locks up under load";
        }
        Some(verdict::Conclusion::Inconclusive) => {
            conclusion = worse(conclusion, Conclusion::CannotTell);
            text += ", but the trials do not tell whether that works";
        }
    }
    (conclusion, text)
}

/// What was found wanting stays so.
fn worse(one: Conclusion, other: Conclusion) -> Conclusion {
    match one {
        Conclusion::DoesNot => one,
        Conclusion::Applies | Conclusion::CannotTell => other,
    }
}

/// `a, b and c`
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
