//! What watching a guest from outside amounts to: the model that is stored with a trial.

use serde::{Deserialize, Serialize};

use super::seen::Seen;
use super::stack::Stack;
use super::waits::Graph;

/// What was seen of a guest from outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What the guest as a whole does.
    pub state: State,
    /// vCPUs that are stuck, by index.
    pub stuck: Vec<Stuck>,
    /// Who waits for whom.
    pub graph: Graph,
    /// What was seen of a known bug; absent when nothing is stuck.
    pub signature: Option<Seen>,
    /// Host milliseconds since QEMU's start when this was decided.
    pub at_ms: u64,
    /// How well it was watched.
    pub watch: Watch,
}

impl Findings {
    /// Host milliseconds since QEMU's start at which the last of the CPUs that matter was first seen
    /// in its place: those of the cycle, or all that are stuck.
    pub fn stopped_ms(&self) -> Option<u64> {
        let cycle = self.graph.cycle.as_ref().map(|cycle| &cycle.cpus);
        let matters = |stuck: &&Stuck| {
            cycle.is_none_or(|cpus| cpus.contains(&stuck.cpu.unwrap_or(stuck.vcpu)))
        };
        let since = |stuck: &Stuck| stuck.since_ms;
        self.stuck.iter().filter(matters).map(since).max()
    }
}

/// What a guest as a whole does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing was sampled.
    #[default]
    Unwatched,
    /// No kernel runs yet: firmware, boot loader, decompressor, or early boot.
    Booting,
    /// Some vCPU does something, none is stuck.
    Moving,
    /// Every vCPU waits in HLT for an interrupt.
    Idle,
    /// Every vCPU waits in HLT with interrupts off: nothing wakes it.
    Stopped,
    /// At least one vCPU is stuck.
    Stuck,
    /// QEMU does not run the guest: paused, or ended by a triple fault, a reset, or an error.
    NotRunning,
}

/// A vCPU that burns CPU time in one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stuck {
    /// QEMU's index.
    pub vcpu: u32,
    /// Linux' number of this CPU, read from its per-CPU area.
    pub cpu: Option<u32>,
    /// Whether interrupts are off.
    pub kind: Kind,
    /// Host milliseconds since QEMU's start of the first sample that showed it there.
    pub since_ms: u64,
    /// CPU time that its thread burned there, in milliseconds; `None`: the host does not say.
    pub cpu_time_ms: Option<u64>,
    /// Whether the registers that a function has to preserve stayed as they were.
    pub frozen: bool,
    /// Where.
    pub stack: Stack,
}

/// What a stuck vCPU's interrupt flag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Interrupts off: no timer, no IPI reaches it.
    HardLockup,
    /// Interrupts on, but its task goes nowhere and nothing else runs.
    SoftLockup,
}

/// How well a guest was watched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Samples taken.
    pub samples: u64,
    /// Closer looks taken.
    pub looks: u64,
    /// Longest time between two samples, in milliseconds.
    pub longest_gap_ms: u64,
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::HardLockup => "hard lockup",
            Kind::SoftLockup => "soft lockup",
        };
        let place = self.stack.frames.first().map(ToString::to_string);
        write!(
            f,
            "{kind} of CPU {} in {}",
            self.cpu.unwrap_or(self.vcpu),
            place.as_deref().unwrap_or("an unknown place")
        )?;
        match self.cpu_time_ms {
            Some(ms) => write!(f, ", {:.1} s of CPU time", ms as f64 / 1000.0),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.stuck.is_empty() {
            return self.state.fmt(f);
        }
        let all: Vec<String> = self.stuck.iter().map(Stuck::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unwatched => "not watched",
            Self::Booting => "no kernel runs yet",
            Self::Moving => "the kernel runs, no vCPU is stuck",
            Self::Idle => "every vCPU waits for an interrupt",
            Self::Stopped => "every vCPU is halted with interrupts off",
            Self::Stuck => "vCPUs are stuck",
            Self::NotRunning => "QEMU does not run the guest",
        })
    }
}
