//! One kernel by itself: has it the bug? What `git bisect run` and the like ask, with a control's record
//! in place of a control.

use serde::{Deserialize, Serialize};

use crate::arming::Arming;
use crate::campaign::{Policy, Role};
use crate::record::{Standing, TrialRecord};
use crate::statistics;
use crate::verdict::counts_as_exposed;

/// How often a kernel with the bug locks up, as other trials under the same load showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Target lockups, at least 1.
    pub lockups: u32,
    /// Exposed minutes in which they came.
    pub minutes: f64,
}

/// When a kernel's survival is enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enough {
    /// When luck, had it this record's rate, is below the policy's alpha.
    Against(Known),
    /// After so many exposed minutes, whatever they are worth.
    Minutes(f64),
}

impl Enough {
    /// Exposed minutes that a kernel has to survive.
    pub fn minutes(&self, alpha: f64) -> f64 {
        match *self {
            Self::Minutes(minutes) => minutes,
            Self::Against(known) => {
                statistics::minutes_to_survive(known.lockups, known.minutes, alpha)
                    .unwrap_or(f64::INFINITY)
            }
        }
    }
}

/// Whether a kernel has the bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It locked up with the target's signature.
    HasBug,
    /// It survived for long enough.
    NoBugShown,
    /// The trials do not tell.
    Unknown,
}

/// What is known of a kernel, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Whether it has the bug.
    pub state: State,
    /// Why, one sentence each; never empty.
    pub reasons: Vec<String>,
    /// Finished trials.
    pub trials: u32,
    /// Those of them that locked up with the target's signature.
    pub lockups: u32,
    /// Exposed minutes.
    pub minutes: f64,
    /// Exposed minutes still to survive; 0 when the state is known.
    pub minutes_to_go: f64,
    /// Target lockups per exposed minute above which the kernel's rate is not, with
    /// [`statistics::CONFIDENCE`]; absent after a lockup, or without exposure.
    pub rate_below: Option<f64>,
}

/// Judges a kernel by its trials. One target lockup is proof; survival is worth its exposure.
pub fn assess(
    policy: &Policy,
    enough: &Enough,
    arming: Option<&Arming>,
    records: &[TrialRecord],
) -> Assessment {
    let standings: Vec<(Standing, f64)> = records
        .iter()
        .map(|one| (one.standing(&policy.min_exposure), one.exposure.minutes()))
        .collect();
    let count = |wanted| standings.iter().filter(|(one, _)| *one == wanted).count() as u32;
    let exposed = standings
        .iter()
        .filter(|(standing, _)| counts_as_exposed(Role::Subject, *standing));
    let minutes: f64 = exposed.map(|(_, minutes)| minutes).sum();
    let lockups = count(Standing::TargetLockup);
    let to_go = (enough.minutes(policy.alpha) - minutes).max(0.0);
    let doubts = doubts(policy, arming, &count, minutes, to_go);
    let (state, reasons) = if lockups > 0 {
        let text = format!("it locked up {lockups} times with the target's signature");
        (State::HasBug, vec![text])
    } else if doubts.is_empty() {
        (State::NoBugShown, vec![survival(policy, enough, minutes)])
    } else {
        (State::Unknown, doubts)
    };
    Assessment {
        minutes_to_go: if state == State::Unknown { to_go } else { 0.0 },
        state,
        reasons,
        trials: records.len() as u32,
        lockups,
        minutes,
        rate_below: statistics::rate(lockups, minutes)
            .filter(|_| lockups == 0)
            .map(|rate| rate.high),
    }
}

fn doubts(
    policy: &Policy,
    arming: Option<&Arming>,
    count: &dyn Fn(Standing) -> u32,
    minutes: f64,
    to_go: f64,
) -> Vec<String> {
    let mut doubts: Vec<String> = match arming {
        Some(arming) => arming.doubt().into_iter().collect(),
        None if policy.prove_detectors => vec!["no detector is proven to work".to_owned()],
        None => Vec::new(),
    };
    for (standing, why) in [
        (
            Standing::Suspect,
            "hung or locked up without the target's signature",
        ),
        (Standing::OtherFailure, "failed in another way"),
        (Standing::NotExposed, "were not exposed to the race"),
        (Standing::Infrastructure, "say nothing about the kernel"),
    ] {
        // Trials that say nothing are no reason by themselves, once others said enough.
        if count(standing) > 0 && (standing == Standing::Suspect || to_go > 0.0) {
            doubts.push(format!("{} trials {why}", count(standing)));
        }
    }
    if to_go > 0.0 {
        doubts.push(format!(
            "it survived {minutes:.1} exposed minutes; {to_go:.1} more are needed"
        ));
    }
    doubts
}

fn survival(policy: &Policy, enough: &Enough, minutes: f64) -> String {
    match enough {
        Enough::Minutes(_) => {
            format!("it survived {minutes:.1} exposed minutes, as many as were asked for")
        }
        Enough::Against(known) => format!(
            "it survived {minutes:.1} exposed minutes; with the bug, whose kernel locked up {} times in {:.1} minutes, \
             that has probability {:.1e} (below {})",
            known.lockups,
            known.minutes,
            statistics::luck(known.lockups, known.minutes, minutes),
            policy.alpha
        ),
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::HasBug => "has the bug",
            Self::NoBugShown => "no bug shown",
            Self::Unknown => "could not tell",
        })
    }
}

impl std::fmt::Display for Assessment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: {}", self.state, self.reasons.join("; "))?;
        write!(
            f,
            "trials {}, target lockups {}, exposed minutes {:.2}",
            self.trials, self.lockups, self.minutes
        )?;
        if let Some(rate) = self.rate_below {
            let percent = statistics::CONFIDENCE * 100.0;
            write!(
                f,
                "\nits rate is below {rate:.2} lockups/min (upper end of the exact {percent:.0} % Poisson interval)"
            )?;
        }
        Ok(())
    }
}
