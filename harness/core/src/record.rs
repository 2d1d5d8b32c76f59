//! What a trial leaves behind, and what it counts as.

use serde::{Deserialize, Serialize};

use crate::campaign::MinExposure;
use crate::console::{ConsoleFindings, Match, Outcome};
use crate::holder::HolderCounts;
use crate::outside::finding::Findings;
use crate::protocol::{Counters, Detector};

/// Version of [`TrialRecord`].
pub const SCHEMA_VERSION: u32 = 1;

/// One finished trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// `<number>-<arm>`, unique in its run.
    pub id: String,
    /// Position in the run's order, from 1.
    pub number: u32,
    /// Name of the arm.
    pub arm: String,
    /// Key of the kernel that was booted.
    pub build: String,
    /// What ran the guest's instructions: `KVM` or `TCG`.
    pub accelerator: String,
    /// When QEMU was started, RFC 3339.
    pub started: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The first report's title, or what the harness saw.
    pub title: String,
    /// Whether the console or the vCPUs carry the signature of the campaign's bug.
    pub signature: Option<Match>,
    /// What was seen from outside.
    #[serde(default)]
    pub outside: Findings,
    /// Why there is nothing, or no more, from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_lost: Option<String>,
    /// Where the layers contradict each other, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
    /// What ran, and for how long.
    pub exposure: Exposure,
    /// In-guest detectors as the agent found them; empty: it never said.
    pub detectors: Vec<Detector>,
    /// Settings that the guest refused, as `name=value: error`.
    pub refused_settings: Vec<String>,
    /// How long things took.
    pub timing: Timing,
    /// What the console showed.
    pub console: ConsoleFindings,
}

impl AsRef<Self> for TrialRecord {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// How long a trial's parts took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Host milliseconds from QEMU's start to the agent's hello.
    pub hello_ms: Option<u64>,
    /// Host milliseconds from QEMU's start to its end.
    pub total_ms: u64,
    /// Guest milliseconds from the start of the load to the console's most severe report, as far as
    /// that carries a time stamp.
    pub load_to_report_ms: Option<u64>,
    /// Host milliseconds from QEMU's start to the outside detector's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_ms: Option<u64>,
    /// Host milliseconds for which this machine, or all of the run, stood still while QEMU ran, and the guest with it;
    /// absent: it did not, but for less than a second at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
    /// Host milliseconds from QEMU's start to the console's first report that ended the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_ms: Option<u64>,
}

/// What a trial's time was worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// Guest milliseconds under load: from its start to the last heartbeat, without those for which the host stood still.
    pub load_ms: u64,
    /// Heartbeats received under load.
    pub heartbeats: u64,
    /// Guest milliseconds from the start of the load to the last reading of the counters, which a lockup
    /// ends long before it is reported; absent: they were not read under load, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_ms: Option<u64>,
    /// What the counters grew by under load.
    pub counters: Counters,
    /// What the holder counted under load, in campaigns that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderCounts>,
}

impl Exposure {
    /// Minutes under load.
    pub fn minutes(&self) -> f64 {
        self.load_ms as f64 / 60_000.0
    }

    /// Near misses: both sides in flight for the same pair of CPUs, as the amplifier in the kernel
    /// counts them, or the holder outside of it.
    pub fn meetings(&self) -> Option<u64> {
        let inside = self.counters.amplifier.get(AMPLIFIER_MEETINGS).copied();
        inside.max(self.holder.map(|holder| holder.meetings))
    }

    /// Active balances out of a sleeping migration thread (side A), counted in the same way.
    pub fn windows(&self) -> Option<u64> {
        let inside = self.counters.amplifier.get(AMPLIFIER_WINDOWS).copied();
        inside.max(self.holder.map(|holder| holder.balances))
    }

    /// Swaps (side B), by the kernel's trace event, or as the holder sees them.
    pub fn swaps(&self) -> Option<u64> {
        let outside = self.holder.map(|holder| holder.swaps);
        self.counters.swaps.max(outside)
    }

    /// Near misses to expect where nobody counts them: of so many balances and swaps, if both came at
    /// any time and fell on any of `pairs` (ordered, of CPUs on different nodes). Each swap then finds a
    /// given balance's window open, on its own pair, with probability window / (time * pairs). Balances
    /// of all kinds stand for side A where that is not counted by itself. A load that seeks the race
    /// comes near it far more often than that.
    pub fn modelled_meetings(&self, pairs: u64) -> Option<f64> {
        if self.load_ms == 0 || pairs == 0 {
            return None;
        }
        let balances = self.windows().or(self.counters.active_balances)? as f64;
        let open = balances * WINDOW_MS / self.load_ms as f64;
        Some(open * self.swaps()? as f64 / pairs as f64)
    }

    /// The rates that fall short of what the campaign asks for, in words; empty: exposed.
    pub fn shortfalls(&self, least: &MinExposure) -> Vec<String> {
        let asked = [
            ("swaps", self.swaps(), least.swaps_per_minute),
            (
                "active balances",
                self.counters.active_balances,
                least.active_balances_per_minute,
            ),
            ("near misses", self.meetings(), least.meetings_per_minute),
        ];
        let mut short = Vec::new();
        for (name, count, least) in asked {
            // What nobody counts may never have happened.
            let Some(count) = count else {
                if least > 0.0 {
                    short.push(format!("nobody counts {name}, {least:.1}/min asked for"));
                }
                continue;
            };
            let per_minute = count as f64 / self.minutes().max(f64::MIN_POSITIVE);
            if self.load_ms == 0 || per_minute < least {
                short.push(format!("{per_minute:.1} {name}/min, {least:.1} asked for"));
            }
        }
        if self.load_ms == 0 && short.is_empty() {
            short.push("no time under load".to_owned());
        }
        short
    }
}

/// For so long a migration thread on its way to sleep balances before it takes the other stopper's
/// lock, at most: that is newly-idle balancing, whose cost the kernel measures (`max_newidle_lb_cost`),
/// some 10 to 50 us on real machines of this size.
const WINDOW_MS: f64 = 0.05;
/// The amplifier's counter of meetings, by its file name.
const AMPLIFIER_MEETINGS: &str = "kv_met";
/// The amplifier's counter of active balances that a migration thread starts on its way to sleep.
const AMPLIFIER_WINDOWS: &str = "kv_a_windows";

/// What a trial counts as in the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The lockup that the campaign is about, named by the console with both sides.
    TargetLockup,
    /// Ran its load to the end, alive and exposed.
    Survived,
    /// Ran its load to the end, but the race hardly ran.
    NotExposed,
    /// A lockup or hang that may be the target: it blocks a good verdict and proves nothing.
    Suspect,
    /// Failed in another way of its own.
    OtherFailure,
    /// Said nothing about the kernel: host, QEMU, or a guest that is not what was asked for.
    Infrastructure,
}

impl TrialRecord {
    /// How it ended, as far as that decides what it counts as.
    pub fn ending(&self) -> Ending<'_> {
        Ending {
            outcome: self.outcome,
            title: &self.title,
            signature: self.signature,
            exposure: &self.exposure,
        }
    }

    /// What the trial counts as.
    pub fn standing(&self, least: &MinExposure) -> Standing {
        self.ending().standing(least)
    }
}

/// The part of a [`TrialRecord`] that decides what the trial counts as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ending<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// The first report's title, or what the harness saw.
    pub title: &'a str,
    /// Whether the console or the vCPUs carry the signature of the campaign's bug.
    pub signature: Option<Match>,
    /// What ran, and for how long.
    pub exposure: &'a Exposure,
}

impl Ending<'_> {
    /// What the trial counts as.
    pub fn standing(&self, least: &MinExposure) -> Standing {
        if self.signature == Some(Match::Target) {
            return Standing::TargetLockup;
        }
        match self.outcome {
            Outcome::Clean
            | Outcome::Warning
            | Outcome::Lockdep
            | Outcome::Sanitizer
            | Outcome::MemoryLeak => {
                if self.exposure.shortfalls(least).is_empty() {
                    Standing::Survived
                } else {
                    Standing::NotExposed
                }
            }
            Outcome::HardLockup
            | Outcome::SoftLockup
            | Outcome::RcuStall
            | Outcome::HungTask
            | Outcome::WorkqueueLockup
            | Outcome::SilentHang => Standing::Suspect,
            Outcome::Panic
            | Outcome::Oops
            | Outcome::Bug
            | Outcome::BootFailure
            | Outcome::LoadFailure
            | Outcome::UnexpectedExit
            | Outcome::ConsoleFlood => Standing::OtherFailure,
            Outcome::Unfit | Outcome::Infrastructure => Standing::Infrastructure,
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::TargetLockup => "target lockup",
            Self::Survived => "survived",
            Self::NotExposed => "not exposed",
            Self::Suspect => "suspect",
            Self::OtherFailure => "other failure",
            Self::Infrastructure => "infrastructure",
        })
    }
}
