//! What one trial of a tune gave.

use serde::{Deserialize, Serialize};

use super::space::{Point, Space};
use crate::campaign::MinExposure;
use crate::console::Outcome;
use crate::record::{Standing, TrialRecord};

/// A finished trial of a tune.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuneTrial {
    /// The campaign it was a trial of.
    pub point: Point,
    /// The trial itself.
    pub trial: TrialRecord,
}

impl AsRef<TrialRecord> for TuneTrial {
    fn as_ref(&self) -> &TrialRecord {
        &self.trial
    }
}

/// What a trial says about its point.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// How often the race ran.
    Counted(Counts),
    /// Nothing, and the point may be why: what went wrong.
    Failed(String),
    /// Nothing, for reasons outside of the guest: what went wrong.
    HostTrouble(String),
}

/// How often the race ran in a trial. Absent: not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Minutes under load.
    pub minutes: f64,
    /// Both sides in flight for the same pair of CPUs.
    pub meetings: Option<u64>,
    /// Active balances out of a sleeping migration thread: side A.
    pub windows: Option<u64>,
    /// Active balances of any kind: what comes nearest to side A where that is not counted.
    pub active_balances: Option<u64>,
    /// Swaps: side B.
    pub swaps: Option<u64>,
    /// Packets of all pollers.
    pub packets: u64,
    /// Lockups with the signature of the campaign's bug: 0 or 1.
    pub lockups: u64,
}

impl Reading {
    /// Reads a trial of a point with these settings of its own, as
    /// [`Space::own_settings`] names them.
    pub fn of(record: &TrialRecord, own_settings: &[String]) -> Self {
        // Too little exposure is a result here, not a doubt.
        match record.standing(&MinExposure::default()) {
            Standing::TargetLockup | Standing::Survived => {}
            Standing::NotExposed => return Self::Failed("no time under load".to_owned()),
            Standing::Suspect | Standing::OtherFailure => return Self::Failed(words(record)),
            Standing::Infrastructure if record.outcome == Outcome::Unfit => {
                return Self::Failed(words(record));
            }
            Standing::Infrastructure => return Self::HostTrouble(words(record)),
        }
        let refused = record.refused_settings.iter().find(|refused| {
            // The agent adds which CPUs it took away.
            let is_of = |setting: &String| {
                let rest = refused.strip_prefix(setting.as_str());
                rest.is_some_and(|rest| rest.starts_with([':', ' ']))
            };
            own_settings.iter().any(is_of)
        });
        if let Some(refused) = refused {
            return Self::Failed(format!("refused by the guest: {refused}"));
        }
        let exposure = &record.exposure;
        if exposure.load_ms == 0 {
            return Self::Failed(words(record));
        }
        Self::Counted(Counts {
            minutes: exposure.minutes(),
            meetings: exposure.meetings(),
            windows: exposure.windows(),
            active_balances: exposure.counters.active_balances,
            swaps: exposure.swaps(),
            packets: exposure.counters.packets,
            lockups: u64::from(is_target(record)),
        })
    }
}

/// Whether a trial ended in the lockup that the campaign is about.
pub fn is_target(record: &TrialRecord) -> bool {
    record.standing(&MinExposure::default()) == Standing::TargetLockup
}

fn words(record: &TrialRecord) -> String {
    let colon = if record.title.is_empty() { "" } else { ": " };
    format!("{}{colon}{}", record.outcome, record.title)
}

/// The readings of all trials, in their order.
pub fn of_all(space: &Space, trials: &[TuneTrial]) -> Vec<(Point, Reading)> {
    let read = |one: &TuneTrial| {
        let own = space.own_settings(&one.point);
        (one.point.clone(), Reading::of(&one.trial, &own))
    };
    trials.iter().map(read).collect()
}
