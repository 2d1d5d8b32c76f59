//! What a bisection found, as data. Everything in it comes from stored observations.

use serde::{Deserialize, Serialize};

use super::confirm::{self, Confirmation};
use super::further::{Further, further};
use super::group;
use super::observation::{Observation, Reading, tallies};
use super::posterior::{MISTAKEN_PER_MINUTE, PRIOR_MINUTES, PRIOR_SHAPE, Posterior};
use super::range::{Direction, Range};
use super::search::{self, Ending, Next, Policy};
use super::sweep::{Sweep, Unshown};
use crate::statistics::{self, Rate};

/// Version of [`BisectReport`].
pub const SCHEMA_VERSION: u32 = 1;
/// Suspects that are named.
const NAMED: usize = 5;
/// Suspects below that probability are not.
const NOT_NAMED: f64 = 1e-4;
/// What a further hour would bring is asked for so many minutes.
const FURTHER_MINUTES: f64 = 60.0;

/// What `report.json` of a bisection holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BisectReport {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// What was looked for.
    pub direction: Direction,
    /// The end that should be good, by its label.
    pub good: String,
    /// The end that should be bad.
    pub bad: String,
    /// How many candidates may have introduced the change.
    pub culprits: usize,
    /// What the run was made with, as label and value.
    pub environment: Vec<(String, String)>,
    /// How it ended; absent: it has not.
    pub ending: Option<Ending>,
    /// The same in a sentence, with names.
    pub conclusion: String,
    /// The most probable culprits, the first one first.
    pub suspects: Vec<Suspect>,
    /// Probability, 0 to 1, that there is more than one change.
    pub more_than_one: f64,
    /// Rate of target lockups that kernels with the bug share, were the first suspect the culprit; absent:
    /// none of them ran.
    pub rate: Option<Rate>,
    /// What was shown right beside the change that the first suspect would have made.
    pub confirmation: Confirmation,
    /// Candidates that cannot be tried.
    pub skipped: Vec<SkippedCandidate>,
    /// What was done, in order.
    pub path: Vec<Step>,
    /// Minutes of all steps together.
    pub minutes: f64,
    /// What an hour more is expected to bring.
    pub further: Further,
    /// Kernels that were not shown to be as the answer says; absent: there is none yet, or branches are
    /// merged.
    pub unshown: Option<Unshown>,
    /// How each figure was made.
    pub methods: Vec<String>,
    /// All labels, for the indices in other fields.
    pub labels: Vec<String>,
}

/// A candidate that may be the culprit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Its label.
    pub candidate: String,
    /// How probable it is to have introduced the change, 0 to 1, if one did.
    pub posterior: f64,
    /// Target lockups in its own trials.
    pub lockups: u32,
    /// Exposed minutes in these.
    pub exposed_minutes: f64,
}

/// A candidate that cannot be tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkippedCandidate {
    /// Its label.
    pub candidate: String,
    /// What went wrong last.
    pub why: String,
}

/// One step of the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Label of the candidate.
    pub candidate: String,
    /// What came out.
    pub reading: Reading,
    /// Minutes since the step before, with building and booting.
    pub minutes: f64,
    /// The most probable culprit after it.
    pub best: String,
    /// How probable that one is, 0 to 1.
    pub posterior: f64,
    /// Candidates that hold all but alpha of the probability.
    pub left: usize,
    /// Bits that are missing.
    pub entropy_bits: f64,
}

/// Makes the report of a bisection.
pub fn report(
    run: &str,
    range: &Range,
    policy: &Policy,
    environment: Vec<(String, String)>,
    observations: &[Observation],
) -> BisectReport {
    let found = search::search(range, policy, observations);
    let tallies = tallies(range, observations);
    let posterior = &found.posterior;
    let group = group::best(range, &tallies, posterior.masses());
    let sides = confirm::sides(range, &tallies, &group);
    let sums = posterior.bug(posterior.best());
    let ending = match found.next {
        Next::Trial { .. } | Next::Measure { .. } | Next::Confirm { .. } | Next::Sweep { .. } => {
            None
        }
        Next::Done(ending) => Some(ending),
    };
    let answered = matches!(ending, Some(Ending::Found { .. } | Ending::OneOf { .. }));
    let sweep = Sweep::of(range, policy, &tallies, posterior, &group).filter(|_| answered);
    let unshown = sweep.map(|sweep| sweep.unshown());
    let skipped = tallies.iter().enumerate().filter_map(|(index, tally)| {
        Some(SkippedCandidate {
            candidate: range.label(index).to_owned(),
            why: tally.skipped()?.to_owned(),
        })
    });
    let skipped: Vec<SkippedCandidate> = skipped.collect();
    BisectReport {
        schema: SCHEMA_VERSION,
        run: run.to_owned(),
        direction: range.direction(),
        good: range.label(range.good_end()).to_owned(),
        bad: range.label(range.bad_end()).to_owned(),
        culprits: range.culprits().len(),
        environment,
        conclusion: conclusion(range, ending.as_ref()),
        ending,
        suspects: suspects(range, observations, posterior),
        more_than_one: found.more_than_one,
        rate: statistics::rate(sums.lockups, sums.minutes),
        confirmation: confirm::figures(range, &tallies, posterior, &group, &sides),
        skipped,
        path: path(range, policy, observations),
        minutes: observations.iter().map(|one| one.minutes).sum(),
        further: further(range, policy, &tallies, posterior, FURTHER_MINUTES),
        unshown,
        methods: methods(range, policy),
        labels: (0..range.candidates().len())
            .map(|one| range.label(one).to_owned())
            .collect(),
    }
}

fn suspects(range: &Range, observations: &[Observation], posterior: &Posterior) -> Vec<Suspect> {
    let tallies = tallies(range, observations);
    let mut order: Vec<usize> = range.culprits().collect();
    let mass = |one: &usize| posterior.of_candidate(*one);
    order.sort_by(|one, other| mass(other).total_cmp(&mass(one)));
    let named = order
        .into_iter()
        .take(NAMED)
        .filter(|one| mass(one) > NOT_NAMED);
    named
        .map(|one| Suspect {
            candidate: range.label(one).to_owned(),
            posterior: posterior.of_candidate(one),
            lockups: tallies[one].lockups,
            exposed_minutes: tallies[one].minutes,
        })
        .collect()
}

fn path(range: &Range, policy: &Policy, observations: &[Observation]) -> Vec<Step> {
    let step = |(index, observation): (usize, &Observation)| {
        let posterior = Posterior::of(range, &tallies(range, &observations[..=index]));
        let best = posterior.best();
        Step {
            candidate: range.label(observation.candidate).to_owned(),
            reading: observation.reading.clone(),
            minutes: observation.minutes,
            best: range.label(best).to_owned(),
            posterior: posterior.of_candidate(best),
            left: posterior.holding(1.0 - policy.alpha),
            entropy_bits: posterior.entropy_bits(),
        }
    };
    observations.iter().enumerate().map(step).collect()
}

/// What came out, with names.
fn conclusion(range: &Range, ending: Option<&Ending>) -> String {
    let label = |one: &usize| range.label(*one);
    let labels = |all: &[usize]| all.iter().map(label).collect::<Vec<_>>().join(", ");
    let what = match range.direction() {
        Direction::Broke => "is the first with the bug",
        Direction::Fixed => "is the first without the bug",
    };
    let Some(ending) = ending else {
        return "it has not ended".to_owned();
    };
    match ending {
        Ending::Found { candidate } => format!("{} {what}", label(candidate)),
        Ending::OneOf {
            testable: Some(testable),
            untestable,
        } => format!(
            "one of these {what}: {} (the first that can be tried), or {}, which cannot be tried",
            label(testable),
            labels(untestable)
        ),
        Ending::OneOf {
            testable: None,
            untestable,
        } => format!(
            "one of these {what}: {}, none of which can be tried",
            labels(untestable)
        ),
        Ending::NotMonotone { flips, conflicts } => {
            let flips = flips.iter().map(|flip| {
                let what = if flip.to_bad { "breaks" } else { "mends" };
                format!(
                    "{} {what} it ({:.0} %)",
                    label(&flip.candidate),
                    flip.posterior * 100.0
                )
            });
            let conflicts = conflicts.iter().map(|one| {
                format!(
                    "{} locked up and {} survived",
                    label(&one.locked_up),
                    label(&one.survived)
                )
            });
            let all: Vec<String> = flips.chain(conflicts).collect();
            format!("{ending}: {}", all.join("; "))
        }
        Ending::GoodEndBad => format!("{ending}: {} locked up", range.label(range.good_end())),
        Ending::BadEndSilent => format!("{ending} ({})", range.label(range.bad_end())),
        Ending::EndUntestable { candidate } => format!("{ending} ({})", label(candidate)),
        Ending::TrialsSpent | Ending::MinutesSpent => ending.to_string(),
    }
}

fn methods(range: &Range, policy: &Policy) -> Vec<String> {
    let known = range.known();
    let control = (known.lockups > 0).then(|| {
        format!(
            "control: its {} target lockups in {:.2} exposed minutes count, in the posterior, in luck and in the rate, like those \
             of a further kernel that has the bug for certain",
            known.lockups, known.minutes
        )
    });
    let mut methods = vec![
        format!(
            "posterior: Bayes' rule over all candidates; kernels with the bug lock up as a Poisson process in exposed minutes \
             with one rate for all of them, which is summed out (Gamma({PRIOR_SHAPE}, {PRIOR_MINUTES} min): no rate is preferred); \
             a target lockup of a kernel without the bug is taken to come {MISTAKEN_PER_MINUTE:e} times a minute"
        ),
        format!(
            "decided: a posterior of {:.1} %, a lockup right at the change, and a survival beside it with luck below {:.1} %",
            (1.0 - policy.alpha) * 100.0,
            policy.alpha * 100.0
        ),
        "luck: (minutes with the bug / all minutes) ^ lockups, the exact conditional test of two Poisson rates \
         (Przyborowski & Wilenski 1940)"
            .to_owned(),
        format!(
            "rate: target lockups per exposed minute of kernels with the bug, {:.0}% exact Poisson interval (Garwood 1936), \
             as if the first suspect were the culprit for certain",
            statistics::CONFIDENCE * 100.0
        ),
        "more than one change: of a list, three changes anywhere against one, by the forward-backward recursion; where \
         branches are merged, any state of each kernel that was tried; 1 % before anything was tried"
            .to_owned(),
        "a further hour: the search played on 64 times with made-up trials, of culprits and rates as probable as they are now; \
         of more than 128 candidates some are taken together, so that it is rather too little; bits: Shannon's entropy of the \
         posterior"
            .to_owned(),
    ];
    methods.extend(control);
    methods
}
