//! From trial records to a verdict: a function of the records alone.

use serde::{Deserialize, Serialize};

use crate::arming::Arming;
use crate::campaign::{Campaign, Role};
use crate::protocol::Detector;
use crate::record::{Standing, TrialRecord};
use crate::statistics::{self, Rate};

/// What the campaign says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// The control showed the bug, the subject survived long enough.
    Verified,
    /// The subject showed the bug.
    Refuted,
    /// The evidence does not suffice.
    Inconclusive,
}

impl Conclusion {
    /// Exit status of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Refuted => 1,
            Self::Inconclusive => 125,
        }
    }
}

impl std::fmt::Display for Conclusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Verified => "verified",
            Self::Refuted => "refuted",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// One arm in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmTally {
    /// Its name.
    pub arm: String,
    /// What it is there for.
    pub role: Role,
    /// Its kernel, from the catalogue.
    pub kernel: String,
    /// Finished trials.
    pub trials: u32,
    /// Trials that locked up with the campaign's signature.
    pub target_lockups: u32,
    /// Trials that ran to the end, exposed.
    pub survived: u32,
    /// Trials that ran to the end with too little exposure.
    pub not_exposed: u32,
    /// Lockups and hangs that may be the target.
    pub suspect: u32,
    /// Other failures.
    pub other_failures: u32,
    /// Trials that say nothing about the kernel.
    pub infrastructure: u32,
    /// Minutes under load in the trials that count (lockups and survivals).
    pub exposed_minutes: f64,
    /// Target lockups per exposed minute, with its interval; absent without exposure.
    pub rate: Option<Rate>,
    /// Swaps per minute (side B); absent: the kernel does not tell.
    pub swaps_per_minute: Option<f64>,
    /// Tasks that NUMA balancing moved without a swap, per minute; absent: the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves_per_minute: Option<f64>,
    /// Tasks that wanted to another node and stayed, per minute; absent: the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticks_per_minute: Option<f64>,
    /// Runs of migration threads per minute, all CPUs together; absent: the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_runs_per_minute: Option<f64>,
    /// Active balances per minute (side A); absent: the kernel does not tell.
    pub active_balances_per_minute: Option<f64>,
    /// Active balances out of a sleeping migration thread (side A of this race), per minute; absent
    /// without an amplifier or holder.
    pub windows_per_minute: Option<f64>,
    /// Near misses, both sides in flight for the same pair of CPUs, per minute; absent without an
    /// amplifier or holder.
    pub meetings_per_minute: Option<f64>,
    /// The same as a count over all exposed minutes.
    pub meetings: Option<u64>,
    /// Near misses per minute as [`crate::record::Exposure::modelled_meetings`] expects them; absent
    /// where they are counted, or one side is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modelled_meetings_per_minute: Option<f64>,
    /// Median seconds of load until a target lockup was noticed; absent without any.
    pub median_load_to_lockup: Option<f64>,
    /// Packets per second over the exposed time, all pollers together.
    pub packets_per_second: f64,
    /// Detectors that the arm's trials had running, and those they had not.
    pub detectors: Vec<Detector>,
}

/// A campaign's verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The verdict itself.
    pub conclusion: Conclusion,
    /// Why, one sentence each; never empty.
    pub reasons: Vec<String>,
    /// Control first.
    pub arms: Vec<ArmTally>,
    /// Probability of the subject's survival by luck ([`statistics::luck`]).
    pub luck: f64,
    /// The same with the control's rate taken as exact, `exp(-rate × minutes)`.
    pub luck_at_estimated_rate: f64,
    /// What an inconclusive verdict still needs.
    pub still_needed: Option<StillNeeded>,
}

impl Verdict {
    /// Whether nothing that was asked for is missing, and yet there is a suspect trial of the subject.
    pub fn is_in_doubt_only(&self) -> bool {
        let of_subject = self.arms.iter().find(|arm| arm.role == Role::Subject);
        let has_suspects = of_subject.is_some_and(|subject| subject.suspect > 0);
        let lacks_nothing = |needed: &StillNeeded| {
            needed.control_lockups == 0
                && needed.subject_minutes.is_some_and(|minutes| minutes <= 0.0)
        };
        has_suspects && self.still_needed.as_ref().is_some_and(lacks_nothing)
    }
}

/// What is missing to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StillNeeded {
    /// Target lockups of the control.
    pub control_lockups: u32,
    /// Trials of the control that these take at its rate so far; absent: it has not locked up.
    pub control_trials: Option<u32>,
    /// Minutes of exposed survival of the subject; absent: the control has not locked up.
    pub subject_minutes: Option<f64>,
    /// The same in trials of full length.
    pub subject_trials: Option<u32>,
}

/// Judges a campaign by its records; trials of unknown arms are ignored.
pub fn judge(campaign: &Campaign, armings: &[Arming], records: &[TrialRecord]) -> Verdict {
    let tally = |role| tally(campaign, campaign.arm_with(role), role, records);
    let (control, subject) = (tally(Role::Control), tally(Role::Subject));
    let luck = statistics::luck(
        control.target_lockups,
        control.exposed_minutes,
        subject.exposed_minutes,
    );
    let rate = control.rate.map_or(0.0, |rate| rate.per_minute);
    let luck_at_estimated_rate = (-rate * subject.exposed_minutes).exp();
    let (conclusion, reasons) = conclude(campaign, armings, &control, &subject, luck);
    let still_needed = (conclusion == Conclusion::Inconclusive)
        .then(|| still_needed(campaign, &control, &subject));
    Verdict {
        conclusion,
        reasons,
        arms: vec![control, subject],
        luck,
        luck_at_estimated_rate,
        still_needed,
    }
}

fn conclude(
    campaign: &Campaign,
    armings: &[Arming],
    control: &ArmTally,
    subject: &ArmTally,
    luck: f64,
) -> (Conclusion, Vec<String>) {
    if subject.target_lockups > 0 {
        return (Conclusion::Refuted, refutation(control, subject));
    }
    let mut doubts = unproven_detectors(armings, &[&control.arm, &subject.arm]);
    if control.target_lockups < campaign.policy.min_control_lockups {
        doubts.push(format!(
            "the control `{}` showed {} target lockups, {} are required: what the subject did proves nothing",
            control.arm, control.target_lockups, campaign.policy.min_control_lockups
        ));
    }
    if subject.suspect > 0 {
        doubts.push(format!(
            "the subject `{}` hung or locked up {} times without the target's signature; look at those trials",
            subject.arm, subject.suspect
        ));
    }
    if luck >= campaign.policy.alpha {
        doubts.push(format!(
            "the subject `{}` survived {:.1} exposed minutes, which luck alone gives with probability {luck:.2}; \
             below {} is asked for",
            subject.arm, subject.exposed_minutes, campaign.policy.alpha
        ));
    }
    if !doubts.is_empty() {
        return (Conclusion::Inconclusive, doubts);
    }
    let met = subject.meetings.map_or(String::new(), |count| {
        format!(" (in which both sides of the race met {count} times)")
    });
    let reason = format!(
        "`{}` locked up {} times with the target's signature; `{}` survived {:.1} exposed minutes{met} under the same \
         load, which with the same bug has probability {luck:.2e} (below {})",
        control.arm,
        control.target_lockups,
        subject.arm,
        subject.exposed_minutes,
        campaign.policy.alpha
    );
    (Conclusion::Verified, vec![reason])
}

/// A silent guest proves nothing unless something would have spoken.
fn unproven_detectors(armings: &[Arming], arms: &[&str]) -> Vec<String> {
    arms.iter()
        .filter_map(
            |arm| match armings.iter().rev().find(|one| one.arm == *arm) {
                Some(arming) => arming.doubt(),
                None => Some(format!(
                    "`{arm}`: no lockup was made on purpose, so that no detector is proven to work"
                )),
            },
        )
        .collect()
}

fn refutation(control: &ArmTally, subject: &ArmTally) -> Vec<String> {
    let mut reasons = vec![format!(
        "`{}`, which should have the fix, locked up {} times with the target's signature: \
         it has the bug, whatever the other arm did",
        subject.arm, subject.target_lockups
    )];
    if control.target_lockups == 0 && control.survived > 0 {
        reasons.push(format!(
            "`{}`, which should have the bug, survived {:.1} exposed minutes: the two kernels look swapped",
            control.arm, control.exposed_minutes
        ));
    }
    reasons
}

fn still_needed(campaign: &Campaign, control: &ArmTally, subject: &ArmTally) -> StillNeeded {
    let lockups = control.target_lockups;
    let missing = campaign.policy.min_control_lockups.saturating_sub(lockups);
    let control_trials = (lockups > 0)
        .then(|| (f64::from(missing * control.trials) / f64::from(lockups)).ceil() as u32);
    // With lockups still missing, assume that they come at the rate seen so far.
    let final_lockups = lockups + missing;
    let final_minutes =
        control.exposed_minutes * f64::from(final_lockups) / f64::from(lockups.max(1));
    let subject_minutes = (lockups > 0)
        .then(|| {
            statistics::minutes_to_survive(final_lockups, final_minutes, campaign.policy.alpha)
        })
        .flatten()
        .map(|minutes| (minutes - subject.exposed_minutes).max(0.0));
    let trial_minutes = f64::from(campaign.policy.load_seconds) / 60.0;
    StillNeeded {
        control_lockups: missing,
        control_trials,
        subject_minutes,
        subject_trials: subject_minutes.map(|minutes| (minutes / trial_minutes).ceil() as u32),
    }
}

/// A suspect control trial had its time under load and is not counted as a lockup: leaving its time
/// out would make the control's rate look higher than it is.
pub(crate) fn counts_as_exposed(role: Role, standing: Standing) -> bool {
    match standing {
        Standing::TargetLockup | Standing::Survived => true,
        Standing::Suspect => role == Role::Control,
        Standing::NotExposed | Standing::OtherFailure | Standing::Infrastructure => false,
    }
}

/// An arm in figures, as its role counts them.
pub fn tally(campaign: &Campaign, arm: &str, role: Role, records: &[TrialRecord]) -> ArmTally {
    let mine: Vec<(&TrialRecord, Standing)> = records
        .iter()
        .filter(|record| record.arm == arm)
        .map(|record| (record, record.standing(&campaign.policy.min_exposure)))
        .collect();
    let count = |standing| {
        u32::try_from(mine.iter().filter(|(_, s)| *s == standing).count()).unwrap_or(u32::MAX)
    };
    let exposed: Vec<&TrialRecord> = mine
        .iter()
        .filter(|(_, standing)| counts_as_exposed(role, *standing))
        .map(|(record, _)| *record)
        .collect();
    let load_ms: u64 = exposed.iter().map(|record| record.exposure.load_ms).sum();
    let minutes = load_ms as f64 / 60_000.0;
    // A lockup may come before the first heartbeat: such a trial says nothing about rates. It is reported
    // seconds after it happened, in which nothing is counted any more.
    let per_minute = |get: &dyn Fn(&TrialRecord) -> Option<u64>| -> Option<f64> {
        let known = exposed.iter().filter_map(|record| {
            let exposure = &record.exposure;
            Some((
                get(record)?,
                exposure.counted_ms.unwrap_or(exposure.load_ms),
            ))
        });
        let (total, load_ms) = known.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (load_ms > 0).then(|| total as f64 / (load_ms as f64 / 60_000.0))
    };
    let target_lockups = count(Standing::TargetLockup);
    ArmTally {
        arm: arm.to_owned(),
        role,
        kernel: campaign
            .arms
            .get(arm)
            .map(|arm| arm.kernel.clone())
            .unwrap_or_default(),
        trials: u32::try_from(mine.len()).unwrap_or(u32::MAX),
        target_lockups,
        survived: count(Standing::Survived),
        not_exposed: count(Standing::NotExposed),
        suspect: count(Standing::Suspect),
        other_failures: count(Standing::OtherFailure),
        infrastructure: count(Standing::Infrastructure),
        exposed_minutes: minutes,
        rate: statistics::rate(target_lockups, minutes),
        swaps_per_minute: per_minute(&|record| record.exposure.swaps()),
        moves_per_minute: per_minute(&|record| record.exposure.counters.moves),
        sticks_per_minute: per_minute(&|record| record.exposure.counters.sticks),
        migration_runs_per_minute: per_minute(&|record| record.exposure.counters.migration_runs),
        active_balances_per_minute: per_minute(&|record| record.exposure.counters.active_balances),
        windows_per_minute: per_minute(&|record| record.exposure.windows()),
        meetings: exposed
            .iter()
            .filter_map(|record| record.exposure.meetings())
            .reduce(|sum, more| sum + more),
        meetings_per_minute: per_minute(&|record| record.exposure.meetings()),
        modelled_meetings_per_minute: modelled_meetings_per_minute(campaign, &exposed),
        median_load_to_lockup: statistics::median(
            mine.iter()
                .filter(|(_, standing)| *standing == Standing::TargetLockup)
                .map(|(record, _)| record.exposure.load_ms as f64 / 1000.0),
        ),
        packets_per_second: per_minute(&|record| Some(record.exposure.counters.packets))
            .unwrap_or(0.0)
            / 60.0,
        detectors: mine
            .iter()
            .rev()
            .map(|(record, _)| &record.detectors)
            .find(|detectors| !detectors.is_empty())
            .cloned()
            .unwrap_or_default(),
    }
}

/// Only where no trial has them counted.
fn modelled_meetings_per_minute(campaign: &Campaign, exposed: &[&TrialRecord]) -> Option<f64> {
    let mut exposures = exposed.iter().map(|record| &record.exposure);
    if exposures.any(|one| one.meetings().is_some()) {
        return None;
    }
    let pairs = campaign.guest.pairs_across_nodes();
    let known = exposed.iter().filter_map(|record| {
        let exposure = &record.exposure;
        Some((exposure.modelled_meetings(pairs)?, exposure.minutes()))
    });
    let (total, minutes) = known.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (minutes > 0.0).then(|| total / minutes)
}
