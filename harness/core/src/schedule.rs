//! Which arm is tried next: arms are interleaved, so that drift of the host hits both, until one has all
//! that is asked of it.

use std::collections::BTreeSet;

use crate::arming::{self, Arming};
use crate::campaign::{Campaign, Role};
use crate::order::{self, Order};
use crate::record::{Standing, TrialRecord};
use crate::verdict::{self, Conclusion};

/// So many trials in a row that say nothing about a kernel: something is wrong with the host.
const INFRASTRUCTURE_LIMIT: usize = 3;

/// What a campaign needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A trial of this arm.
    Trial(String),
    /// Nothing before one of the orders that are out is back.
    Wait,
    /// The verdict stands.
    Decided,
    /// All is there that was asked for, but the subject also failed in a way that may be the bug or not: more of the
    /// same would not make that trial clearer.
    InDoubt,
    /// The trials that the policy allows are used up.
    Exhausted,
    /// No detector is proven to work on some arm: its survival would prove nothing.
    Unproven,
    /// The last trials all failed for reasons outside the kernels.
    HostTrouble,
}

/// Decides by the records, which are in the order of their numbers, and by the orders that are out, so that a
/// resumed run goes on where it stopped. Whether the verdict stands is asked of what is [`order::settled`]
/// alone; `earlier` is for [`order::latest`].
pub fn next(
    campaign: &Campaign,
    armings: &[Arming],
    records: &[TrialRecord],
    out: &[Order],
    earlier: &BTreeSet<u32>,
) -> Next {
    if arming::is_any_in_doubt(armings) {
        return Next::Unproven;
    }
    if let Some(end) = end(campaign, armings, order::settled(records, out)) {
        return if out.is_empty() { end } else { Next::Wait };
    }
    let failed = order::latest(records, earlier)
        .take(INFRASTRUCTURE_LIMIT)
        .filter(|record| record.standing(&campaign.policy.min_exposure) == Standing::Infrastructure)
        .count();
    if failed == INFRASTRUCTURE_LIMIT {
        return Next::HostTrouble;
    }
    let Some(role) = wanted(campaign, armings, records, out) else {
        return Next::Wait;
    };
    match tried(campaign, role, records, out) < campaign.policy.max_trials_per_arm as usize {
        true => Next::Trial(campaign.arm_with(role).to_owned()),
        false if out.is_empty() => Next::Exhausted,
        false => Next::Wait,
    }
}

fn end(campaign: &Campaign, armings: &[Arming], settled: &[TrialRecord]) -> Option<Next> {
    // A refutation needs one lockup only; one trial of each arm makes the report worth reading.
    let both = [Role::Control, Role::Subject]
        .iter()
        .all(|role| tried(campaign, *role, settled, &[]) > 0);
    if !both {
        return None;
    }
    let verdict = verdict::judge(campaign, armings, settled);
    match verdict.conclusion {
        Conclusion::Verified | Conclusion::Refuted => Some(Next::Decided),
        Conclusion::Inconclusive => verdict.is_in_doubt_only().then_some(Next::InDoubt),
    }
}

/// Trials of an arm, finished and out.
fn tried(campaign: &Campaign, role: Role, records: &[TrialRecord], out: &[Order]) -> usize {
    let arm = campaign.arm_with(role);
    let finished = records.iter().filter(|record| record.arm == arm).count();
    finished + order::of_arm(out, arm)
}

/// The arm to try, if those that are out may not be enough: each control may lock up, and each subject
/// survive.
fn wanted(
    campaign: &Campaign,
    armings: &[Arming],
    records: &[TrialRecord],
    out: &[Order],
) -> Option<Role> {
    let out_of = |role| order::of_arm(out, campaign.arm_with(role));
    let (control, subject) = match verdict::judge(campaign, armings, records).still_needed {
        Some(needed) => {
            let trial_minutes = f64::from(campaign.policy.load_seconds) / 60.0;
            let minutes_out = out_of(Role::Subject) as f64 * trial_minutes;
            (
                needed.control_lockups as usize > out_of(Role::Control),
                needed
                    .subject_minutes
                    .is_none_or(|minutes| minutes > minutes_out),
            )
        }
        None => (false, false),
    };
    let behind = || {
        let count = |role| tried(campaign, role, records, out);
        if count(Role::Control) <= count(Role::Subject) {
            Role::Control
        } else {
            Role::Subject
        }
    };
    match (control, subject) {
        (true, true) => Some(behind()),
        (true, false) => Some(Role::Control),
        (false, true) => Some(Role::Subject),
        // Something else is lacking, such as a trial of each arm.
        (false, false) => out.is_empty().then(behind),
    }
}
