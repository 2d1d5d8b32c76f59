//! Which arm is tried next: arms are interleaved, so that drift of the host hits both, until one has all
//! that is asked of it.

use crate::arming::Arming;
use crate::campaign::{Campaign, Role};
use crate::record::{Standing, TrialRecord};
use crate::verdict::{self, Conclusion, StillNeeded};

/// So many trials in a row that say nothing about a kernel: something is wrong with the host.
const INFRASTRUCTURE_LIMIT: usize = 3;

/// What a campaign needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A trial of this arm.
    Trial(String),
    /// The verdict stands.
    Decided,
    /// The trials that the policy allows are used up.
    Exhausted,
    /// No detector is proven to work on some arm: its survival would prove nothing.
    Unproven,
    /// The last trials all failed for reasons outside the kernels.
    HostTrouble,
}

/// Decides by the records alone, so that a resumed run goes on where it stopped.
pub fn next(campaign: &Campaign, armings: &[Arming], records: &[TrialRecord]) -> Next {
    let count = |role| {
        records
            .iter()
            .filter(|record| record.arm == campaign.arm_with(role))
            .count()
    };
    if armings.iter().any(|arming| arming.doubt().is_some()) {
        return Next::Unproven;
    }
    let (controls, subjects) = (count(Role::Control), count(Role::Subject));
    let verdict = verdict::judge(campaign, armings, records);
    // A refutation needs one lockup only; one trial of each arm makes the report worth reading.
    if controls > 0 && subjects > 0 {
        match verdict.conclusion {
            Conclusion::Verified | Conclusion::Refuted => return Next::Decided,
            Conclusion::Inconclusive => {}
        }
    }
    let tail = records.iter().rev().take(INFRASTRUCTURE_LIMIT);
    let failed = tail
        .filter(|record| record.standing(&campaign.policy.min_exposure) == Standing::Infrastructure)
        .count();
    if failed == INFRASTRUCTURE_LIMIT {
        return Next::HostTrouble;
    }
    let needed = verdict.still_needed.as_ref();
    let role = needed.and_then(StillNeeded::only_of).unwrap_or({
        if controls <= subjects {
            Role::Control
        } else {
            Role::Subject
        }
    });
    let done = match role {
        Role::Control => controls,
        Role::Subject => subjects,
    };
    if done >= campaign.policy.max_trials_per_arm as usize {
        return Next::Exhausted;
    }
    Next::Trial(campaign.arm_with(role).to_owned())
}
