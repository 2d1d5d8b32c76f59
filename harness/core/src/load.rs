//! What runs in the guest: a DPDK-like load bound to one node beside ordinary tasks that roam.
//!
//! Every parameter carries its unit in its name and its range in its schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole load of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadSpec {
    /// NUMA node that the pollers and their memory are bound to.
    #[schemars(range(min = 0, max = 63))]
    pub node: u32,
    /// Pinned packet pipelines that never sleep.
    pub pollers: PollerSpec,
    /// Unpinned processes that NUMA balancing moves about.
    pub roamers: RoamerSpec,
    /// `sched_setaffinity` churn over the roamers; absent: none.
    #[serde(default)]
    pub shuffler: Option<ShufflerSpec>,
    /// Processes that bring both sides of the race to the same pair of CPUs; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swappers: Option<SwapperSpec>,
}

/// DPDK-like pollers: rx → work → tx in bursts, over lock-free rings and a pool of mbufs on the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollerSpec {
    /// Number of pollers.
    #[schemars(range(min = 0, max = 256))]
    pub count: u32,
    /// Which CPUs of the node they are pinned to.
    #[serde(default)]
    pub placement: Placement,
    /// Packets handled per turn; 32 is what DPDK applications use.
    #[serde(default = "default_burst")]
    #[schemars(range(min = 1, max = 512))]
    pub burst_packets: u32,
    /// Slots of each ring, a power of two.
    #[serde(default = "default_ring")]
    #[schemars(range(min = 64, max = 65536))]
    pub ring_slots: u32,
    /// Buffers of each poller's pool.
    #[serde(default = "default_mbufs")]
    #[schemars(range(min = 128, max = 262144))]
    pub mbufs: u32,
    /// Run with real-time priority, with pauses; absent: ordinary tasks that never sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realtime: Option<RealtimeSpec>,
}

/// Pollers of the class SCHED_FIFO. They take capacity of their CPU away from ordinary tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RealtimeSpec {
    /// Time that a poller polls without a pause, in microseconds.
    #[schemars(range(min = 10, max = 1000000))]
    pub work_us: u32,
    /// Pause after that, in microseconds.
    #[schemars(range(min = 10, max = 1000000))]
    pub rest_us: u32,
}

fn default_burst() -> u32 {
    32
}
fn default_ring() -> u32 {
    1024
}
fn default_mbufs() -> u32 {
    4096
}

/// How pollers are laid over the CPUs of their node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// One poller per CPU, from the node's first CPU upwards (wrapping when there are more pollers than CPUs).
    #[default]
    OnePerCpu,
    /// All pollers on the node's first CPU.
    StackedOnFirstCpu,
    /// All pollers on the node's last CPU: its queue stays overloaded and nothing can be pulled from it.
    StackedOnLastCpu,
}

/// Unpinned processes with ordinary memory policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoamerSpec {
    /// Number of processes.
    #[schemars(range(min = 0, max = 1024))]
    pub count: u32,
    /// Memory that each one walks, first touched on alternating nodes, in KiB.
    #[schemars(range(min = 64, max = 1048576))]
    pub working_set_kib: u32,
    /// Length of a burst of memory accesses, in microseconds; 0: one pass over the working set.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000000))]
    pub burst_us: u32,
    /// Sleep after each burst, in microseconds; 0: never sleeps.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000000))]
    pub sleep_us: u32,
}

/// Processes that rewrite the roamers' CPU affinity, which makes migration threads run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShufflerSpec {
    /// Number of shuffling processes.
    #[schemars(range(min = 1, max = 64))]
    pub count: u32,
    /// Pause between two changes made by one process, in microseconds.
    #[schemars(range(min = 100, max = 10000000))]
    pub interval_us: u32,
}

/// Processes placed where NUMA balancing has to swap them. Returners have their memory on the node
/// after the pollers' and go back to the pollers' last CPU again and again; hoppers have theirs on the
/// pollers' node and hop over the CPUs of the next one, each hop a run of that CPU's migration thread
/// that leaves it empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapperSpec {
    /// Processes that return to the pollers' CPU.
    #[schemars(range(min = 1, max = 256))]
    pub returners: u32,
    /// Processes that hop.
    #[schemars(range(min = 1, max = 256))]
    pub hoppers: u32,
    /// Memory that each one walks, in KiB. It is kept from migrating. Little memory makes every hinting
    /// fault count for much.
    #[schemars(range(min = 16, max = 16384))]
    pub working_set_kib: u32,
    /// Time that a returner stays before it returns again, in microseconds.
    #[schemars(range(min = 100, max = 10000000))]
    pub stay_us: u32,
    /// Niceness of the returners. A swap that makes the nodes' loads more unequal is not made: where the
    /// next node has more load, returners have to weigh less than hoppers.
    #[serde(default)]
    #[schemars(range(min = 0, max = 19))]
    pub returner_nice: u32,
    /// Time between two hops, in microseconds.
    #[schemars(range(min = 100, max = 10000000))]
    pub hop_us: u32,
}
