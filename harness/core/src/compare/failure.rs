//! What a trial's end counts as when kernels are compared.

use serde::{Deserialize, Serialize};

use crate::campaign::MinExposure;
use crate::console::Outcome;
use crate::record::{Ending, Standing, TrialRecord};

/// What a kind of failure is counted over.
///
/// A failure that ends the load is one per time under load. What is there before the load began has nothing
/// to do with that time: a side that locks up often boots often. And a report that ends nothing can only be
/// held against trials of one length, which are those that ran to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// Exposed minutes.
    Exposed,
    /// Trials that ran to the end, exposed.
    Completed,
    /// Trials that said anything about the kernel.
    Boots,
}

impl Clock {
    /// Its unit, in words.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Exposed => "exposed minutes",
            Self::Completed => "trials that ran to the end",
            Self::Boots => "boots",
        }
    }
}

/// A kind of failure: trials with the same one are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Failure {
    /// The lockup that the campaign is about.
    Target,
    /// Anything else that went wrong.
    Other {
        /// What it is counted over.
        clock: Clock,
        /// How the trial ended.
        outcome: Outcome,
        /// Its title without what differs from boot to boot; see [`stable`].
        title: String,
    },
}

impl Failure {
    /// What it is counted over.
    pub fn clock(&self) -> Clock {
        match self {
            Self::Target => Clock::Exposed,
            Self::Other { clock, .. } => *clock,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target => f.write_str("target lockup"),
            Self::Other { outcome, title, .. } if title.is_empty() => write!(f, "{outcome}"),
            Self::Other { outcome, title, .. } => write!(f, "{outcome}: {title}"),
        }
    }
}

/// What one trial says about its side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Nothing: the host failed.
    HostTrouble,
    /// The guest is not what was asked for: it says that this kernel cannot be tried so.
    Unfit(String),
    /// It ran to the end, but the race hardly ran.
    NotExposed,
    /// It counts.
    Counted {
        /// Exposed minutes; 0: it never came under load.
        minutes: f64,
        /// Whether it ran to the end.
        completed: bool,
        /// What went wrong, if anything did.
        failure: Option<Failure>,
    },
}

impl Told {
    /// What a trial says. A hang that only may be the target is a kind of failure of its own, on every side:
    /// no side is taken for the one that has the bug.
    pub fn by(record: &TrialRecord, least: &MinExposure) -> Self {
        Self::of(record.ending(), least)
    }

    /// The same, of a trial of which only the ending is at hand.
    pub fn of(record: Ending<'_>, least: &MinExposure) -> Self {
        let standing = record.standing(least);
        let failure = |clock| match standing {
            Standing::TargetLockup => Failure::Target,
            Standing::Survived
            | Standing::NotExposed
            | Standing::Suspect
            | Standing::OtherFailure
            | Standing::Infrastructure => Failure::Other {
                clock,
                outcome: record.outcome,
                title: stable(record.title),
            },
        };
        match standing {
            Standing::Infrastructure if record.outcome == Outcome::Unfit => {
                Self::Unfit(record.title.to_owned())
            }
            Standing::Infrastructure => Self::HostTrouble,
            Standing::NotExposed => Self::NotExposed,
            Standing::Survived => Self::Counted {
                minutes: record.exposure.minutes(),
                completed: true,
                failure: (record.outcome != Outcome::Clean).then(|| failure(Clock::Completed)),
            },
            Standing::TargetLockup | Standing::Suspect | Standing::OtherFailure => {
                let clock = if record.exposure.load_ms > 0 {
                    Clock::Exposed
                } else {
                    Clock::Boots
                };
                Self::Counted {
                    minutes: record.exposure.minutes(),
                    completed: false,
                    failure: Some(failure(clock)),
                }
            }
        }
    }
}

/// A title without numbers, addresses, CPUs, tasks and what stands in brackets, so that the same failure has
/// the same one on every boot. Of several stuck CPUs only the first counts.
pub fn stable(title: &str) -> String {
    let first = title.split(';').next().unwrap_or_default();
    let mut depth = 0_u32;
    let mut text = String::new();
    let mut word = String::new();
    for c in first.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if depth == 0 {
            push_word(&mut text, &word);
        }
        word.clear();
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Length from which a word of hex digits is an address.
const ADDRESS_DIGITS: usize = 8;

fn push_word(text: &mut String, word: &str) {
    let has_digit = word.contains(|c: char| c.is_ascii_digit());
    let is_hex = |digits: &str| digits.chars().all(|c| c.is_ascii_hexdigit());
    let is_number = word.strip_prefix("0x").is_some_and(is_hex)
        || (word.len() >= ADDRESS_DIGITS && is_hex(word) && has_digit);
    if is_number {
        push_number(text);
        return;
    }
    for c in word.chars() {
        if c.is_ascii_digit() {
            push_number(text);
        } else {
            text.push(c);
        }
    }
}

/// One sign for digits however many there are.
fn push_number(text: &mut String) {
    if !text.ends_with('#') {
        text.push('#');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_has_the_same_title_on_every_boot() {
        for (one, other) in [
            (
                "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kv-roamer-3:512]",
                "watchdog: BUG: soft lockup - CPU#11 stuck for 26s! [kv-poller-0:7]",
            ),
            (
                "BUG: unable to handle page fault for address: ffff88800012a000",
                "BUG: unable to handle page fault for address: ffffc90000dd1008",
            ),
            (
                "from outside: hard lockup of CPU 2 in foo+0x84/0x280, 3.5 s of CPU time; hard lockup of CPU 5 in bar",
                "from outside: hard lockup of CPU 0 in foo+0x84/0x290, 12.0 s of CPU time",
            ),
            (
                "INFO: task kworker/3:1:40 blocked for more than 122 seconds.",
                "INFO: task kworker/0:12:9 blocked for more than 245 seconds.",
            ),
        ] {
            assert_eq!(stable(one), stable(other));
        }
    }

    #[test]
    fn different_failures_stay_apart() {
        for (one, other) in [
            (
                "WARNING: at kernel/a.c:12 foo",
                "WARNING: at kernel/a.c:12 bar",
            ),
            ("kernel BUG at mm/slub.c:4", "kernel BUG at mm/slab.c:4"),
            ("Oops: 0000", "invalid opcode: 0000"),
        ] {
            assert_ne!(stable(one), stable(other));
        }
        assert_eq!(
            stable("deadbeef facade"),
            "deadbeef facade",
            "words are no addresses"
        );
        assert_eq!(stable(""), "");
    }
}
