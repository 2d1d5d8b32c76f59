//! The report of a comparison, as data. Everything in it comes from stored records.

use serde::{Deserialize, Serialize};

use super::audit::{self, Difference, Facts};
use super::evidence::Evidence;
use super::failure::{Clock, Failure};
use super::judge::{self, Conclusion, Judgement, Pair, Row};
use super::{Comparison, Demands, Side};
use crate::arming::Arming;
use crate::campaign::Role;
use crate::catalogue::Config;
use crate::record::TrialRecord;
use crate::report::{self, TrialLine};
use crate::statistics::sequential::visible_rate;
use crate::statistics::{self, Rate};
use crate::verdict;

/// Version of [`CompareReport`].
pub const SCHEMA_VERSION: u32 = 1;

/// What `report.json` of a comparison holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// What it says of the sides against the first one.
    pub conclusion: Conclusion,
    /// The same in words, one sentence for each pair.
    pub verdict: Vec<String>,
    /// What was asked.
    pub demands: Demands,
    /// The campaign that they were compared under.
    pub campaign: String,
    /// What the run was made with, as label and value.
    pub environment: Vec<(String, String)>,
    /// The sides in figures, the reference first.
    pub sides: Vec<SideLine>,
    /// Every two sides.
    pub pairs: Vec<Pair>,
    /// Where configurations differ in what matters.
    pub config_differences: Vec<Difference>,
    /// Where releases, sources, compilers and patches differ.
    pub making_differences: Vec<Difference>,
    /// Which detectors noticed a lockup made on purpose.
    pub armings: Vec<Arming>,
    /// One line per trial.
    pub trials: Vec<TrialLine>,
    /// The stacks of the first target lockup.
    pub evidence: Option<report::Evidence>,
    /// What would have been seen, and how each figure was made.
    pub methods: Vec<String>,
}

/// A side in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideLine {
    /// What was compared.
    #[serde(flatten)]
    pub side: Side,
    /// Its kernel, without booting it.
    pub facts: Facts,
    /// Finished trials.
    pub trials: u32,
    /// Trials that locked up with the campaign's signature.
    pub target_lockups: u32,
    /// Trials that ran to the end, exposed.
    pub survived: u32,
    /// Trials that ran to the end with too little exposure.
    pub not_exposed: u32,
    /// Trials that failed in another way.
    pub other_failures: u32,
    /// Trials that say nothing about the kernel.
    pub infrastructure: u32,
    /// Minutes under load in the trials that count.
    pub exposed_minutes: f64,
    /// Target lockups per exposed minute; absent without exposure.
    pub rate: Option<Rate>,
    /// Without a lockup: the smallest rate per minute that would have shown itself but for beta; absent: it
    /// locked up, or was never exposed.
    pub visible_rate: Option<f64>,
    /// Swaps per minute (side B of the race); absent: the kernel does not tell.
    pub swaps_per_minute: Option<f64>,
    /// Active balances out of a sleeping migration thread (side A), per minute; absent: not counted.
    pub windows_per_minute: Option<f64>,
    /// Near misses per minute; absent: not counted.
    pub meetings_per_minute: Option<f64>,
    /// Median seconds of load until a target lockup; absent without any.
    pub median_load_to_lockup: Option<f64>,
    /// Packets per second, all pollers together.
    pub packets_per_second: f64,
}

/// What is known of the sides besides their trials, each in the order of the sides.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Kernels, and fixes in them.
    pub facts: Vec<Facts>,
    /// Their configurations; none: not known.
    pub configs: Vec<Option<Config>>,
}

/// Makes the report of a comparison.
pub fn report(
    run: &str,
    comparison: &Comparison<'_>,
    records: &[TrialRecord],
    environment: Vec<(String, String)>,
    known: &Known,
) -> CompareReport {
    let evidence = Evidence::of(comparison, records);
    let pairs = judge::judge(comparison, &evidence);
    let sides: Vec<SideLine> = (0..comparison.sides.len())
        .map(|index| side_line(comparison, &evidence, records, known, index))
        .collect();
    let campaign = comparison.campaign;
    let lines = records.iter();
    CompareReport {
        schema: SCHEMA_VERSION,
        run: run.to_owned(),
        conclusion: Conclusion::of(&pairs),
        verdict: pairs
            .iter()
            .map(|pair| sentence(comparison.demands, pair))
            .collect(),
        demands: *comparison.demands,
        campaign: campaign.name.clone(),
        environment,
        methods: methods(comparison, &sides),
        config_differences: audit::config_differences(&known.configs),
        making_differences: audit::making_differences(&known.facts),
        armings: comparison.armings.to_vec(),
        trials: lines
            .clone()
            .map(|one| report::trial_line(campaign, one))
            .collect(),
        evidence: records.iter().find_map(report::evidence),
        sides,
        pairs,
    }
}

fn side_line(
    comparison: &Comparison<'_>,
    evidence: &Evidence,
    records: &[TrialRecord],
    known: &Known,
    index: usize,
) -> SideLine {
    let side = &comparison.sides[index];
    let found = &evidence.sides[index];
    // Nobody has to be the one with the bug; a control's hangs count as time under load, as they do here.
    let tally = verdict::tally(comparison.campaign, &side.name, Role::Control, records);
    let lockups = found.count(&Failure::Target);
    let silent = lockups == 0 && found.minutes > 0.0;
    SideLine {
        side: Side {
            untestable: evidence.untestable[index].clone(),
            ..side.clone()
        },
        facts: known.facts.get(index).cloned().unwrap_or_default(),
        trials: found.trials,
        target_lockups: lockups,
        survived: tally.survived,
        not_exposed: tally.not_exposed,
        other_failures: tally.suspect + tally.other_failures,
        infrastructure: tally.infrastructure,
        exposed_minutes: found.minutes,
        rate: statistics::rate(lockups, found.minutes),
        visible_rate: silent.then(|| visible_rate(found.minutes, comparison.demands.beta)),
        swaps_per_minute: tally.swaps_per_minute,
        windows_per_minute: tally.windows_per_minute,
        meetings_per_minute: tally.meetings_per_minute,
        median_load_to_lockup: tally.median_load_to_lockup,
        packets_per_second: tally.packets_per_second,
    }
}

/// A side's name as reports have it: `A`, `B` and so on.
pub(crate) fn letter(index: usize) -> String {
    name_of(index).to_uppercase()
}

/// Name of the arm of the side with this index: `a`, `b` and so on.
pub fn name_of(index: usize) -> String {
    let letter = u8::try_from(index % 26).unwrap_or_default();
    let more = index / 26;
    let letter = char::from(b'a' + letter);
    if more == 0 {
        letter.to_string()
    } else {
        format!("{letter}{more}")
    }
}

/// What is said of a pair, and why.
fn sentence(demands: &Demands, pair: &Pair) -> String {
    let (reference, side) = (letter(pair.reference), letter(pair.side));
    let decisive = pair.rows.iter().find(|row| row.judgement == pair.judgement);
    match pair.judgement {
        Judgement::Worse | Judgement::Better => {
            let why = decisive.map_or(String::new(), |row| why_different(pair, row));
            format!("{side} is {} than {reference}: {why}", pair.judgement)
        }
        Judgement::NoDifference => {
            let locked_up = pair.rows.first().is_some_and(|row| row.counts != [0, 0]);
            let both = if locked_up { "" } else { "; neither locked up" };
            format!(
                "no difference shown between {side} and {reference}{both}: had one of them failed at least {:.2} times a \
                 minute and {} times as often as the other, that would have been seen with probability {}",
                demands.rate,
                demands.ratio,
                1.0 - demands.beta
            )
        }
        Judgement::CouldNotTell => {
            let why = match (&pair.untestable, &pair.needed) {
                (Some(why), _) => why.clone(),
                (None, Some(needed)) if needed.minutes > 0.0 => format!(
                    "at the rates so far, {:.1} more exposed minutes of each would do, {} trials",
                    needed.minutes, needed.trials
                ),
                (None, Some(_) | None) => {
                    "what was seen does not suffice, and how much would cannot be said".to_owned()
                }
            };
            format!("could not tell {side} from {reference}: {why}")
        }
    }
}

fn why_different(pair: &Pair, row: &Row) -> String {
    let said = |index: usize, side: usize| {
        let unit = row.failure.clock().unit();
        let over = match row.failure.clock() {
            Clock::Exposed => format!("{:.2}", row.over[index]),
            Clock::Completed | Clock::Boots => format!("{:.0}", row.over[index]),
        };
        format!(
            "{} {} times in {over} {unit}",
            letter(side),
            row.counts[index]
        )
    };
    format!(
        "{}, {}, {}; evidence {} against equal rates, {:.0} is asked for",
        row.failure,
        said(1, pair.side),
        said(0, pair.reference),
        plain(row.evidence),
        1.0 / row.error
    )
}

/// Evidence as people read it.
pub(super) fn plain(evidence: f64) -> String {
    if evidence < 1e6 {
        format!("{evidence:.1}")
    } else {
        format!("{evidence:.1e}")
    }
}

fn methods(comparison: &Comparison<'_>, sides: &[SideLine]) -> Vec<String> {
    let demands = comparison.demands;
    let mut lines: Vec<String> = (0..).zip(sides).filter_map(|(index, side)| {
        let visible = side.visible_rate?;
        Some(format!(
            "{} did not lock up in {:.2} exposed minutes: {visible:.2} lockups/min or more would have shown themselves with \
             probability {} (-ln(beta) / minutes){}",
            letter(index),
            side.exposed_minutes,
            1.0 - demands.beta,
            as_high_as_the_reference(sides, side)
        ))
    }).collect();
    let confidence = statistics::CONFIDENCE * 100.0;
    lines.extend([
        format!(
            "worse, better: the order in which lockups come on the two sides' exposed minutes, run side by side, has an \
             e-process against equal rates (Robbins 1970; Lindon & Malek 2022); by Ville's inequality, and however often one \
             looks, any side is called different wrongly with probability {} at most, over all pairs and kinds of failure, if waiting \
             for one has no memory; boots of one kernel that differ threefold in their rate make it about twice that",
            demands.alpha
        ),
        "kinds of failure: the target has half of each pair's part of alpha; others share the rest by the order in which \
         they were found, 1/(k(k+1)) each"
            .to_owned(),
        format!(
            "no difference shown: for the target and each kind that ends the load, both directions of {:.2}/min and {} times \
             the other's rate are refuted, wrongly with probability {} at most",
            demands.rate, demands.ratio, demands.beta
        ),
        format!(
            "rate: target lockups per exposed minute, {confidence:.0}% exact Poisson interval (Garwood 1936), for one look; the \
             ratio's interval holds at all looks, but for that row's part of alpha"
        ),
        format!(
            "exposed: at least {} swaps, {} active balances and {} near misses per minute of load, of those that the kernel \
             counts; trials without count for nothing, and neither does what failed outside of the kernels",
            comparison.campaign.policy.min_exposure.swaps_per_minute,
            comparison.campaign.policy.min_exposure.active_balances_per_minute,
            comparison.campaign.policy.min_exposure.meetings_per_minute
        ),
    ]);
    lines
}

/// What a silent side's survival is worth against the reference's lockups, if it had any.
fn as_high_as_the_reference(sides: &[SideLine], side: &SideLine) -> String {
    let Some(reference) = sides.first().filter(|one| one.target_lockups > 0) else {
        return String::new();
    };
    let luck = statistics::luck(
        reference.target_lockups,
        reference.exposed_minutes,
        side.exposed_minutes,
    );
    format!(
        "; a rate as high as A's would have stayed silent with probability {luck:.1e} (Przyborowski & Wilenski 1940, for one \
         look)"
    )
}
