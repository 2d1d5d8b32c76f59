//! Which candidate is tried next: a function of what came out so far and of what is under way alone, so that a killed
//! bisection goes on where it stopped.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::confirm;
use super::flips::{self, Doubt};
use super::group::{self, Group};
use super::observation::{Observation, Reading, Tally, tallies};
use super::plan;
use super::posterior::Posterior;
use super::range::Range;
use super::rate;
use super::sweep::Sweep;

/// When a bisection is decided, and what it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Greatest probability that the answer is wrong, above 0 and below 0.5.
    pub alpha: f64,
    /// Minutes under load of a trial that survives, above 0.
    pub trial_minutes: f64,
    /// Minutes from the start of a trial to its load, and from its end to the next one.
    pub boot_minutes: f64,
    /// Trials of the bad end without a lockup after which it is given up.
    pub end_trials: u32,
    /// Trials that may be made altogether, those without an answer among them.
    pub max_trials: u32,
    /// Minutes that it may take; absent: any.
    pub max_minutes: Option<f64>,
    /// Of a list: kernels in a row that may be left unshown before it is settled; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            trial_minutes: 1.0,
            boot_minutes: 0.5,
            end_trials: 44,
            max_trials: 2000,
            max_minutes: None,
            sweep: None,
        }
    }
}

/// What a bisection needs next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// A trial that is expected to tell most about the culprit.
    Trial {
        /// Index into the range.
        candidate: usize,
    },
    /// A trial of a kernel that is known to have the bug, because the rate is known too badly.
    Measure {
        /// Index into the range.
        candidate: usize,
    },
    /// A trial that shows the answer itself: the culprit's, or that of a kernel just before it.
    Confirm {
        /// Index into the range.
        candidate: usize,
    },
    /// A trial that looks whether the bug came and went where nothing was shown.
    Sweep {
        /// Index into the range.
        candidate: usize,
    },
    /// Nothing more.
    Done(Ending),
}

/// How a bisection ended. Candidates are indices into the range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// This candidate introduced the change.
    Found {
        /// The culprit.
        candidate: usize,
    },
    /// One of several did, that cannot be told apart by what can be tried.
    OneOf {
        /// The first of them that can be tried, which has the change; absent: none of them can be.
        testable: Option<usize>,
        /// The others, none of which can be tried.
        untestable: Vec<usize>,
    },
    /// The bug comes and goes: there is no single change.
    NotMonotone {
        /// The changes in a list of candidates; empty where branches are merged.
        flips: Vec<Flip>,
        /// What contradicts a single change.
        conflicts: Vec<Conflict>,
    },
    /// The end that should be good locked up with the campaign's signature.
    GoodEndBad,
    /// The end that should be bad never locked up.
    BadEndSilent,
    /// An end cannot be tried.
    EndUntestable {
        /// Which one.
        candidate: usize,
    },
    /// The trials that the policy allows are used up.
    TrialsSpent,
    /// The minutes that it allows are.
    MinutesSpent,
}

/// A change of several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// The most probable candidate to have made it.
    pub candidate: usize,
    /// Whether candidates have the bug from here on.
    pub to_bad: bool,
    /// How probable it is, 0 to 1, that the bug comes or goes at this very candidate.
    pub posterior: f64,
}

/// Two candidates that no single change explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// This one locked up.
    pub locked_up: usize,
    /// This one survived and should have the bug too, with any culprit that the lockup allows.
    pub survived: usize,
}

impl Ending {
    /// Exit status of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Found { .. } => 0,
            Self::GoodEndBad => 1,
            Self::OneOf { .. }
            | Self::NotMonotone { .. }
            | Self::BadEndSilent
            | Self::EndUntestable { .. }
            | Self::TrialsSpent
            | Self::MinutesSpent => 125,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Found { .. } => "found",
            Self::OneOf { .. } => "one of several that cannot be told apart",
            Self::NotMonotone { .. } => "there is more than one change",
            Self::GoodEndBad => "the good end has the bug",
            Self::BadEndSilent => "the bad end never failed: could not tell",
            Self::EndUntestable { .. } => "an end cannot be tried: could not tell",
            Self::TrialsSpent => "the trials are used up: could not tell",
            Self::MinutesSpent => "the minutes are used up: could not tell",
        })
    }
}

/// How far a bisection has come.
#[derive(Debug, Clone)]
pub struct Search {
    /// What it needs.
    pub next: Next,
    /// How probable each candidate is to be the culprit, if there is only one.
    pub posterior: Posterior,
    /// How probable it is, 0 to 1, that there is more than one change.
    pub more_than_one: f64,
}

/// Weighs all that was observed.
pub fn search(range: &Range, policy: &Policy, observations: &[Observation]) -> Search {
    let weighing = Weighing::of(range, policy, &tallies(range, observations));
    let mut next = weighing.next;
    if let Some(spent) = spent(policy, observations)
        && !matches!(next, Next::Done(_))
    {
        next = Next::Done(spent);
    }
    Search {
        next,
        more_than_one: weighing.more_than_one,
        posterior: weighing.posterior,
    }
}

/// What to try beside trials of these candidates that are under way: what would be wanted next had all of them
/// survived. Only a plan; what is believed rests on trials that have ended.
pub fn beside(
    range: &Range,
    policy: &Policy,
    observations: &[Observation],
    under_way: &[usize],
) -> Search {
    let survived = |candidate: &usize| Observation {
        candidate: *candidate,
        reading: Reading::Counted {
            lockups: 0,
            exposed_minutes: policy.trial_minutes,
        },
        minutes: 0.0,
    };
    let mut observations = observations.to_vec();
    observations.extend(under_way.iter().map(survived));
    search(range, policy, &observations)
}

/// What was found, and what comes next were there no limits.
pub(super) struct Weighing {
    pub next: Next,
    pub posterior: Posterior,
    /// Probability, 0 to 1.
    pub more_than_one: f64,
}

impl Weighing {
    pub fn of(range: &Range, policy: &Policy, tallies: &[Tally]) -> Self {
        let posterior = Posterior::of(range, tallies);
        let doubt = Doubt::of(range, tallies, &posterior);
        let state = State {
            range,
            policy,
            doubt,
            tallies,
            posterior: &posterior,
        };
        Self {
            next: state.wanted(),
            more_than_one: doubt.more_than_one,
            posterior,
        }
    }
}

/// What is used up, if anything is. What the host spoilt does not count.
fn spent(policy: &Policy, observations: &[Observation]) -> Option<Ending> {
    let (mut trials, mut minutes) = (0, 0.0);
    for observation in observations {
        match observation.reading {
            Reading::Counted { .. } | Reading::NoAnswer(_) => trials += 1,
            Reading::Untestable(_) => {}
            Reading::HostTrouble(_) => continue,
        }
        minutes += observation.minutes;
    }
    if trials >= policy.max_trials {
        return Some(Ending::TrialsSpent);
    }
    let over = policy.max_minutes.is_some_and(|most| minutes >= most);
    over.then_some(Ending::MinutesSpent)
}

/// All that a decision rests on.
struct State<'a> {
    range: &'a Range,
    policy: &'a Policy,
    tallies: &'a [Tally],
    posterior: &'a Posterior,
    doubt: Doubt,
}

impl State<'_> {
    /// What comes next, were there no limits.
    fn wanted(&self) -> Next {
        if let Some(next) = self.of_the_ends() {
            return next;
        }
        if self.doubt.more_than_one > 0.5 {
            return self.of_several_changes();
        }
        let group = group::best(self.range, self.tallies, self.posterior.masses());
        if group.mass >= 1.0 - self.policy.alpha {
            return self.confirm(&group);
        }
        if let Some(candidate) = self.for_the_rate() {
            return Next::Measure { candidate };
        }
        match plan::best(self.range, self.policy, self.tallies, self.posterior) {
            Some(candidate) => Next::Trial { candidate },
            None => self.confirm(&group),
        }
    }

    /// That there are several changes, or what is missing to believe it.
    fn of_several_changes(&self) -> Next {
        let sure = self.doubt.more_than_one > 1.0 - self.policy.alpha;
        let trial = flips::trial(self.range, self.tallies).filter(|_| !sure);
        match trial {
            Some(candidate) => Next::Trial { candidate },
            None => Next::Done(flips::ending(self.range, self.tallies)),
        }
    }

    /// The kernel whose next lockup pays, because the rate is known too badly.
    fn for_the_rate(&self) -> Option<usize> {
        let suspect = self.posterior.best();
        let shown = self.posterior.bug(suspect);
        rate::is_worth_knowing_better(shown, self.policy)
            .then(|| rate::kernel(self.range, self.tallies, suspect))
            .flatten()
    }

    /// What the claim about the ends needs, before anything between them is worth a trial.
    fn of_the_ends(&self) -> Option<Next> {
        let (good, bad) = (self.range.good_end(), self.range.bad_end());
        if self.tallies[good].lockups > 0 {
            return Some(Next::Done(Ending::GoodEndBad));
        }
        for end in [bad, good] {
            if self.tallies[end].skipped().is_some() {
                return Some(Next::Done(Ending::EndUntestable { candidate: end }));
            }
        }
        match &self.tallies[bad] {
            shown if shown.lockups > 0 => None,
            silent if silent.trials >= self.policy.end_trials => {
                Some(Next::Done(Ending::BadEndSilent))
            }
            // A control has shown the bug, and the answer has to show it anyway.
            _ if self.range.known().lockups > 0 => None,
            _ => Some(Next::Trial { candidate: bad }),
        }
    }

    /// The answer, or what is missing to believe it.
    fn confirm(&self, group: &Group) -> Next {
        let sides = confirm::sides(self.range, self.tallies, group);
        let figures = confirm::figures(self.range, self.tallies, self.posterior, group, &sides);
        if let Some(candidate) = figures.lacking(self.policy.alpha, self.tallies) {
            return Next::Confirm { candidate };
        }
        if self.doubt.more_than_one > self.policy.alpha
            && let Some(candidate) = flips::trial(self.range, self.tallies)
        {
            return Next::Trial { candidate };
        }
        if let Some(gap) = self.policy.sweep
            && let Some(candidate) = self.sweep(group).and_then(|sweep| sweep.next(gap))
        {
            // Each kernel that is shown to be without the bug has to outlive the rate.
            return match self.for_the_rate() {
                Some(candidate) => Next::Measure { candidate },
                None => Next::Sweep { candidate },
            };
        }
        let testable = |one: &usize| self.tallies[*one].skipped().is_none();
        let (mut can, cannot): (Vec<usize>, Vec<usize>) =
            group.members.iter().copied().partition(testable);
        Next::Done(match (can.pop(), cannot.is_empty()) {
            (Some(candidate), true) => Ending::Found { candidate },
            (testable, _) => Ending::OneOf {
                testable,
                untestable: cannot,
            },
        })
    }

    fn sweep(&self, group: &Group) -> Option<Sweep<'_>> {
        Sweep::of(self.range, self.policy, self.tallies, self.posterior, group)
    }
}
