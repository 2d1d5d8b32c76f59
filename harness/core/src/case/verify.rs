//! A campaign as cases: the control should lock up, the subject should survive.

use super::{Answer, Case, Made, Results, trials};
use crate::campaign::{Campaign, Role};
use crate::record::{Standing, TrialRecord};
use crate::report::Report;
use crate::verdict::{ArmTally, Conclusion};

/// What is expected of a control.
pub(super) const LOCKS_UP: &str = "locks up";

impl Results {
    /// What a campaign's run tested.
    pub fn of_verify(
        made: &Made,
        campaign: &Campaign,
        records: &[TrialRecord],
        report: &Report,
    ) -> Self {
        let verdict = &report.verdict;
        let answer = of_conclusion(verdict.conclusion);
        let case = |tally: &ArmTally| {
            let (expected, answer, reasons) = match tally.role {
                Role::Control => of_control(campaign, tally),
                Role::Subject => ("survives", answer, verdict.reasons.clone()),
            };
            Case {
                name: tally.arm.clone(),
                about: made.kernel(&tally.arm, &tally.kernel),
                expected: expected.to_owned(),
                answer,
                reasons,
                known: None,
                trials: trials(campaign, &tally.arm, records, |standing| {
                    of_trial(tally.role, standing)
                }),
            }
        };
        Self {
            run: report.run.clone(),
            campaign: campaign.name.clone(),
            started: made.started.clone(),
            kverdict: made.kverdict.clone(),
            answer,
            reasons: verdict.reasons.clone(),
            environment: report.environment.clone(),
            cases: verdict.arms.iter().map(case).collect(),
        }
    }
}

fn of_conclusion(conclusion: Conclusion) -> Answer {
    match conclusion {
        Conclusion::Verified => Answer::Passed,
        Conclusion::Refuted => Answer::Failed,
        Conclusion::Inconclusive => Answer::CouldNotTell,
    }
}

/// A control that does not lock up has not failed: it may yet.
fn of_control(campaign: &Campaign, tally: &ArmTally) -> (&'static str, Answer, Vec<String>) {
    let asked = campaign.policy.min_control_lockups;
    let reason = format!(
        "`{}` locked up {} times with the target's signature in {:.1} exposed minutes, {asked} are required",
        tally.arm, tally.target_lockups, tally.exposed_minutes
    );
    let answer = if tally.target_lockups >= asked {
        Answer::Passed
    } else {
        Answer::CouldNotTell
    };
    (LOCKS_UP, answer, vec![reason])
}

/// A control's survival proves nothing, and neither does another failure of either arm.
pub(super) fn of_trial(role: Role, standing: Standing) -> Answer {
    match (role, standing) {
        (Role::Control, Standing::TargetLockup) | (Role::Subject, Standing::Survived) => {
            Answer::Passed
        }
        (Role::Subject, Standing::TargetLockup) => Answer::Failed,
        (Role::Control, Standing::Survived)
        | (
            _,
            Standing::NotExposed
            | Standing::Suspect
            | Standing::OtherFailure
            | Standing::Infrastructure,
        ) => Answer::CouldNotTell,
    }
}
