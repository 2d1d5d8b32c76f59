//! Who waits for whom.

use serde::{Deserialize, Serialize};

use super::registers::hex;

/// A vCPU waits for something that another one has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The CPU that waits.
    pub cpu: u32,
    /// The rule of the table that knows this wait.
    pub rule: String,
    /// What it waits for, such as `lock of the stopper of CPU 6`.
    pub what: String,
    /// Address that is polled.
    #[serde(with = "hex")]
    pub address: u64,
    /// What is there.
    pub value: Option<u64>,
    /// The CPU that has to end the wait.
    pub holder: Option<u32>,
    /// How the holder is known.
    pub how: How,
}

/// How a wait's holder is known, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is not.
    Unknown,
    /// No other CPU can have it: they are idle, in user space, or move.
    Exclusion,
    /// The holder's stack shows a function that holds it, with its address.
    Stack,
    /// Guest memory says so: an owner field, or the current task of a CPU.
    Memory,
}

/// Who waits for whom, all CPUs together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// One for each stuck CPU whose wait is understood.
    pub waits: Vec<Wait>,
    /// CPUs that wait for each other, in order, the first one's wait first.
    pub cycle: Option<Cycle>,
    /// CPUs that wait for the cycle without being part of it.
    pub piled_up: Vec<u32>,
}

/// A deadlock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// Each waits for the next one, the last for the first.
    pub cpus: Vec<u32>,
    /// Whether every wait's holder is known from the stack or from memory.
    pub proven: bool,
}
