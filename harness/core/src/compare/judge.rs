//! From evidence to judgements: every two sides, every kind of failure.
//!
//! *Many questions, one alpha.* `alpha` bounds the probability of any wrong "worse" or "better" in the whole
//! comparison (Bonferroni). Each pair of sides has an equal part of it. Of that, half is for the campaign's
//! target, and the rest for kinds of failure that nobody named beforehand: a quarter for those counted over
//! exposed minutes, an eighth for each of the other clocks. The k-th kind that the pair's common clock comes
//! by has 1 / (k (k + 1)) of its clock's part, which sums to 1. That a kind is found in the data and ranked
//! by them does no harm: evidence about it is exactly 1 before its first failure and still after it, whichever
//! side has that (see [`crate::statistics::sequential`]), so that the bet only begins once its rank is known.
//!
//! *No difference shown* takes that both directions are refuted for the target and for each kind counted over
//! exposed minutes: that one side fails at `rate` or more and `ratio` times as often as the other. Either
//! half of that may be refuted, at beta / 2 each.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, SideEvidence, discovered};
use super::failure::{Clock, Failure};
use super::{Comparison, Demands};
use crate::statistics::sequential::{
    Joint, Path, Ratio, minutes_until_alike, minutes_until_below, minutes_until_different,
};

/// What can be said about a side, held against another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It fails more often.
    Worse,
    /// It fails less often.
    Better,
    /// A difference that matters would have been seen.
    NoDifference,
    /// There is not enough to go by.
    CouldNotTell,
}

impl Judgement {
    /// The same seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::Worse => Self::Better,
            Self::Better => Self::Worse,
            Self::NoDifference => Self::NoDifference,
            Self::CouldNotTell => Self::CouldNotTell,
        }
    }

    /// Whether trials can stop.
    pub fn is_decided(self) -> bool {
        self != Self::CouldNotTell
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::NoDifference => "no difference shown",
            Self::CouldNotTell => "could not tell",
        })
    }
}

/// One kind of failure in one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The kind.
    pub failure: Failure,
    /// What is said of the side about it.
    pub judgement: Judgement,
    /// Failures of the reference and of the side, over the whole time of each.
    pub counts: [u32; 2],
    /// What they are counted over, in the kind's unit.
    pub over: [f64; 2],
    /// This question's part of alpha.
    pub error: f64,
    /// Largest evidence against equal rates; a difference is shown from 1 / `error`.
    pub evidence: f64,
    /// Rate of the side over that of the reference, but for `error`.
    pub ratio: Ratio,
}

/// Two sides, held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Index of the side that is held against.
    pub reference: usize,
    /// Index of the side that is judged.
    pub side: usize,
    /// What is said of the side.
    pub judgement: Judgement,
    /// Why it cannot be judged at all; absent: it can.
    pub untestable: Option<String>,
    /// The target first, then what else was found.
    pub rows: Vec<Row>,
    /// What an undecided pair still needs; absent: decided, or nobody knows.
    pub needed: Option<Needed>,
}

/// What is missing until a pair is decided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Needed {
    /// Exposed minutes of each of the two sides, if the target's rates stay what they were so far.
    pub minutes: f64,
    /// The same in trials of full length.
    pub trials: u32,
}

/// What the whole comparison says, seen from its first side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Every other side was held against the first one, and none is worse.
    NothingWorse,
    /// Some side is worse than the first one.
    SomeWorse,
    /// None is known to be worse, and for some it could not be told.
    CouldNotTell,
}

impl Conclusion {
    /// Of the pairs with the first side.
    pub fn of(pairs: &[Pair]) -> Self {
        let with_first = || pairs.iter().filter(|pair| pair.reference == 0);
        if with_first().any(|pair| pair.judgement == Judgement::Worse) {
            Self::SomeWorse
        } else if with_first().all(|pair| pair.judgement.is_decided()) {
            Self::NothingWorse
        } else {
            Self::CouldNotTell
        }
    }

    /// Exit status of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NothingWorse => 0,
            Self::SomeWorse => 1,
            Self::CouldNotTell => 125,
        }
    }
}

impl std::fmt::Display for Conclusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NothingWorse => "nothing is worse",
            Self::SomeWorse => "worse",
            Self::CouldNotTell => "could not tell",
        })
    }
}

/// Part of alpha that a pair has for its k-th kind (from 1) of a clock; k = 0: the target.
pub(crate) fn share(clock: Clock, k: usize) -> f64 {
    let of_clock = match (k, clock) {
        (0, _) => return 0.5,
        (_, Clock::Exposed) => 0.25,
        (_, Clock::Completed | Clock::Boots) => 0.125,
    };
    of_clock / (k * (k + 1)) as f64
}

/// Questions about two sides: kinds of failure, each with its part of the pair's alpha.
fn questions(alpha: f64, sides: [&SideEvidence; 2]) -> Vec<(Failure, f64)> {
    let mut found = vec![(Failure::Target, alpha * share(Clock::Exposed, 0))];
    for clock in [Clock::Exposed, Clock::Completed, Clock::Boots] {
        let kinds = discovered(sides, clock).into_iter();
        let ranked = kinds.zip(1..);
        found.extend(ranked.map(|(failure, k)| (failure, alpha * share(clock, k))));
    }
    found
}

/// Judges one kind of failure. A kind that is not counted over exposed minutes can only be better or worse:
/// what would matter is a rate per minute.
fn judge_kind(
    demands: &Demands,
    scale: f64,
    error: f64,
    clock: Clock,
    paths: &[Path; 2],
) -> Judgement {
    let joint = Joint::of(&paths[0], &paths[1]);
    match joint.place(1.0, error) {
        Some(Ordering::Greater) => return Judgement::Worse,
        Some(Ordering::Less) => return Judgement::Better,
        Some(Ordering::Equal) | None => {}
    }
    let half = demands.beta / 2.0;
    let below = |path: &Path| path.shows_below(demands.rate, scale, half);
    let not_worse = || below(&paths[1]) || joint.place(demands.ratio, half) == Some(Ordering::Less);
    let not_better =
        || below(&paths[0]) || joint.place(1.0 / demands.ratio, half) == Some(Ordering::Greater);
    if clock == Clock::Exposed && not_worse() && not_better() {
        Judgement::NoDifference
    } else {
        Judgement::CouldNotTell
    }
}

/// What all kinds together say: one that is worse makes the side worse, whatever else is better.
fn together(kinds: &[(Clock, Judgement)]) -> Judgement {
    let any = |judgement| kinds.iter().any(|(_, one)| *one == judgement);
    let waited_for = |(clock, judgement): &(Clock, Judgement)| {
        *clock != Clock::Exposed || *judgement == Judgement::NoDifference
    };
    if any(Judgement::Worse) {
        Judgement::Worse
    } else if any(Judgement::Better) {
        Judgement::Better
    } else if kinds.iter().all(waited_for) {
        Judgement::NoDifference
    } else {
        Judgement::CouldNotTell
    }
}

/// The two sides of a pair, the reference first, and what a pair has of alpha.
fn of_pair<'a>(
    comparison: &Comparison<'_>,
    evidence: &'a Evidence,
    pair: (usize, usize),
) -> ([&'a SideEvidence; 2], f64) {
    (
        [pair.0, pair.1].map(|side| &evidence.sides[side]),
        comparison.demands.alpha / comparison.pairs().count() as f64,
    )
}

/// Why two sides cannot be held against each other.
fn untestable(
    comparison: &Comparison<'_>,
    evidence: &Evidence,
    pair: (usize, usize),
) -> Option<String> {
    let why = |side: usize| {
        let why = evidence.untestable[side].as_ref()?;
        Some(format!(
            "{} is untestable: {why}",
            comparison.sides[side].name.to_uppercase()
        ))
    };
    why(pair.0).or_else(|| why(pair.1))
}

/// The judgement of a pair alone, for the schedule.
pub fn judgement(
    comparison: &Comparison<'_>,
    evidence: &Evidence,
    pair: (usize, usize),
) -> Judgement {
    if untestable(comparison, evidence, pair).is_some() {
        return Judgement::CouldNotTell;
    }
    let scale = comparison.trial_minutes() / 2.0;
    let (sides, alpha) = of_pair(comparison, evidence, pair);
    let kinds: Vec<(Clock, Judgement)> = questions(alpha, sides)
        .iter()
        .map(|(failure, error)| {
            let clock = failure.clock();
            let paths = sides.map(|side| side.path(failure));
            (
                clock,
                judge_kind(comparison.demands, scale, *error, clock, &paths),
            )
        })
        .collect();
    together(&kinds)
}

/// Judges every two sides, with all that a report says about it.
pub fn judge(comparison: &Comparison<'_>, evidence: &Evidence) -> Vec<Pair> {
    comparison
        .pairs()
        .map(|pair| judge_pair(comparison, evidence, pair))
        .collect()
}

/// Holds a side, the second one, against a reference, kind of failure by kind of failure. `scale` is in
/// minutes, about half a trial; `alpha` bounds the probability that sides which do not differ are called
/// different in any of the rows.
pub fn rows(demands: &Demands, scale: f64, alpha: f64, sides: [&SideEvidence; 2]) -> Vec<Row> {
    let row = |(failure, error): (Failure, f64)| {
        let paths = sides.map(|side| side.path(&failure));
        let joint = Joint::of(&paths[0], &paths[1]);
        Row {
            judgement: judge_kind(demands, scale, error, failure.clock(), &paths),
            counts: sides.map(|side| side.count(&failure)),
            over: [paths[0].exposed(), paths[1].exposed()],
            evidence: joint.evidence(1.0),
            ratio: joint.interval(error),
            failure,
            error,
        }
    };
    questions(alpha, sides).into_iter().map(row).collect()
}

/// What all rows together say of the side.
pub fn of_rows(rows: &[Row]) -> Judgement {
    let kinds: Vec<(Clock, Judgement)> = rows
        .iter()
        .map(|row| (row.failure.clock(), row.judgement))
        .collect();
    together(&kinds)
}

fn judge_pair(comparison: &Comparison<'_>, evidence: &Evidence, pair: (usize, usize)) -> Pair {
    let scale = comparison.trial_minutes() / 2.0;
    let (sides, alpha) = of_pair(comparison, evidence, pair);
    let rows = rows(comparison.demands, scale, alpha, sides);
    let untestable = untestable(comparison, evidence, pair);
    let judgement = judgement(comparison, evidence, pair);
    let undecided = !judgement.is_decided() && untestable.is_none();
    Pair {
        reference: pair.0,
        side: pair.1,
        judgement,
        untestable,
        needed: undecided.then(|| needed(comparison, &rows[0])).flatten(),
        rows,
    }
}

/// What the target still needs if both rates stay what they were so far, by whichever answer comes first.
fn needed(comparison: &Comparison<'_>, target: &Row) -> Option<Needed> {
    let demands = comparison.demands;
    let come = target.over[0].min(target.over[1]);
    let rate = |side: usize| match target.over[side] {
        minutes if minutes > 0.0 => f64::from(target.counts[side]) / minutes,
        _ => 0.0,
    };
    let (first, second) = (rate(0), rate(1));
    let half = demands.beta / 2.0;
    let silent = target.counts == [0, 0];
    let ways = [
        minutes_until_different(first, second, target.error),
        minutes_until_alike(first.max(second), demands.ratio, half)
            .filter(|_| first > 0.0 && second > 0.0),
        silent.then(|| minutes_until_below(demands.rate, half)),
    ];
    let minutes = ways.into_iter().flatten().min_by(f64::total_cmp)?;
    let minutes = (minutes - come).max(0.0);
    Some(Needed {
        minutes,
        trials: (minutes / comparison.trial_minutes()).ceil() as u32,
    })
}
