//! What was read of a guest's vCPUs at one instant, as `vcpus.jsonl` keeps it.

use serde::{Deserialize, Serialize};

use super::memory::Chunk;
use super::registers::Registers;

/// One line of `vcpus.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line {
    /// All vCPUs, at regular intervals.
    Sample(Sample),
    /// A closer look at some of them.
    Look(Look),
}

/// All vCPUs at one instant, or nearly: they run on while they are read one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Host milliseconds since QEMU was started (or attached to).
    pub at_ms: u64,
    /// QEMU's run state, such as `running`, `paused`, `internal-error`, `guest-panicked`.
    pub run_state: String,
    /// By index.
    pub vcpus: Vec<Vcpu>,
}

impl Sample {
    /// A vCPU that is in the kernel: kernel memory is best read through one, for user space may not
    /// map it.
    pub fn vcpu_in_kernel(&self) -> Option<&Vcpu> {
        self.vcpus.iter().find(|vcpu| vcpu.registers.in_kernel())
    }
}

/// One vCPU of a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vcpu {
    /// QEMU's index, which is Linux' CPU number on the machines that kverdict starts.
    pub index: u32,
    /// Its registers.
    #[serde(flatten)]
    pub registers: Registers,
    /// CPU time that the host gave its thread so far, in nanoseconds. `None`: not known, because the
    /// thread is in another PID namespace, or serves all vCPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time_ns: Option<u64>,
}

/// A closer look: registers again, with the memory that unwinding and naming read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Host milliseconds since QEMU was started (or attached to).
    pub at_ms: u64,
    /// The vCPUs that were looked at.
    pub vcpus: Vec<Vcpu>,
    /// What was read of the guest's memory.
    pub memory: Vec<Chunk>,
}
