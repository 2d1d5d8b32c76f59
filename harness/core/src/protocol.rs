//! What the agent (PID 1 of the guest) is told, and what it reports.
//!
//! The plan travels as `/plan.json` inside the initramfs; the reports come back as one JSON object a
//! line over the second ISA serial port (`ttyS1`), because even vendor kernels have that built in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::campaign::SpareCpus;
use crate::load::LoadSpec;

/// Version of [`Message`]; the agent names it in [`Message::Hello`].
pub const PROTOCOL_VERSION: u32 = 1;
/// Where the agent finds its [`GuestPlan`].
pub const PLAN_PATH: &str = "/plan.json";
/// Where the agent finds a busybox for [`Task::Idle`], when the host had one.
pub const SHELL_PATH: &str = "/bin/busybox";
/// The serial port that carries [`Message`] lines.
pub const AGENT_PORT: &str = "/dev/ttyS1";

/// What the agent has to do in one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestPlan {
    /// What the topology has to look like; anything else is a [`Message::Unfit`].
    pub expect: Topology,
    /// Values written under `/proc/sys`, dotted names, in order. A name the kernel does not have
    /// is reported as [`Message::Tuned`] with an error.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Words written to `sched/features` (debugfs) or its older places, such as `NO_TTWU_QUEUE`.
    #[serde(default)]
    pub sched_features: Vec<String>,
    /// Files to write, in order: absolute paths under /proc, /sys or debugfs. `*` in a path stands
    /// for any part of one name, and every match is written. A value is written verbatim, but
    /// `|=0x800` sets further bits in the number that is there.
    #[serde(default)]
    pub files: Vec<(String, String)>,
    /// Files to write like `files` and then again and again, about 20 times a second, because the
    /// kernel changes them by itself, such as `max_newidle_lb_cost`.
    #[serde(default)]
    pub hold: Vec<(String, String)>,
    /// What becomes of CPUs that the load does not need; only for [`Task::Load`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare_cpus: Option<SpareCpus>,
    /// What to do once all that is set.
    pub task: Task,
}

/// Nodes and CPUs as the campaign asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// CPUs per node, in the order of nodes.
    pub cpus_per_node: Vec<u32>,
    /// Whether `kernel.numa_balancing` has to read 1 after the sysctls were written.
    pub numa_balancing: bool,
}

/// The agent's work after set-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Run a load for so many seconds of guest time, then report [`Message::End`] and power off.
    Load {
        /// The load.
        spec: LoadSpec,
        /// Duration in seconds.
        seconds: u32,
    },
    /// Say hello and armed, then power off at once: accelerator probe and boot measurements.
    Hello,
    /// A shell on the console if there is one at [`SHELL_PATH`]; otherwise just stay up until the
    /// host stops the guest.
    Idle,
    /// Make the kernel fail on purpose, to prove that a detector fires: the words are written
    /// to a file, such as `c` to `/proc/sysrq-trigger`.
    Provoke {
        /// File to write to.
        path: String,
        /// What to write.
        value: String,
    },
}

/// One line from the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Message {
    /// First line: the agent runs.
    Hello {
        /// [`PROTOCOL_VERSION`].
        protocol: u32,
        /// `uname -r`.
        release: String,
        /// `uname -v`.
        version: String,
        /// Guest uptime in milliseconds.
        uptime_ms: u64,
        /// Nodes as sysfs lists them.
        nodes: Vec<NodeInfo>,
        /// `/proc/cmdline`.
        cmdline: String,
    },
    /// One setting was applied, or could not be.
    Tuned {
        /// Dotted sysctl, sched feature or file path.
        name: String,
        /// The value asked for.
        value: String,
        /// What went wrong; absent: it reads back as set (or the file cannot be read back).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The guest is not what the campaign asked for; the agent stops here and powers off.
    Unfit {
        /// What was checked, such as `nodes`, `cpus of node 1`, `numa_balancing`.
        what: String,
        /// The campaign's value.
        expected: String,
        /// The guest's value.
        found: String,
    },
    /// Which lockup detectors and sources of counters this kernel has running.
    Armed {
        /// In the guest.
        detectors: Vec<Detector>,
        /// Whether trace events can be counted.
        tracing: bool,
    },
    /// The load's processes run.
    LoadStarted {
        /// Guest uptime in milliseconds.
        uptime_ms: u64,
        /// Pollers, roamers and shufflers that were started.
        processes: u32,
        /// Whether the mbuf pools are in huge pages.
        hugepages: bool,
    },
    /// Every second.
    Heartbeat {
        /// Counts from 0.
        seq: u64,
        /// Guest uptime in milliseconds.
        uptime_ms: u64,
        /// Cumulative counters.
        counters: Counters,
    },
    /// The load could not be started or died.
    LoadFailed {
        /// Which process and how.
        reason: String,
    },
    /// After the load, every CPU was asked to run a thread of the agent's: a CPU that is locked up
    /// does not, even when no detector of the kernel noticed.
    RollCall {
        /// CPUs that did not run it in time.
        silent_cpus: Vec<u32>,
    },
    /// The plan is done.
    End {
        /// Guest uptime in milliseconds.
        uptime_ms: u64,
    },
}

/// A node as the guest sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Node number.
    pub node: u32,
    /// Its online CPUs.
    pub cpus: Vec<u32>,
    /// Its memory in KiB.
    pub memory_kib: u64,
}

/// One in-guest lockup detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    /// `hard-lockup`, `soft-lockup`, `rcu-stall`, `hung-task` or `workqueue`.
    pub name: String,
    /// Whether it is really running, as far as the kernel tells.
    pub armed: bool,
    /// How that is known, such as `buddy, watchdog_thresh=10`.
    pub how: String,
}

/// Cumulative counters since boot. `None`: this kernel does not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets sent by all pollers.
    pub packets: u64,
    /// Busy time per node in percent of its CPUs' time since the last heartbeat.
    pub node_busy_percent: Vec<u8>,
    /// `/proc/vmstat` `numa_hint_faults`.
    pub numa_hint_faults: Option<u64>,
    /// `/proc/vmstat` `numa_pages_migrated`.
    pub numa_pages_migrated: Option<u64>,
    /// Trace event `sched_swap_numa`: side B of the race.
    pub swaps: Option<u64>,
    /// Trace event `sched_move_numa`.
    pub moves: Option<u64>,
    /// Trace event `sched_stick_numa`: a task found no place on its preferred node, or did not get there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticks: Option<u64>,
    /// `alb_count` over all domains of `/proc/schedstat`, which is `alb_pushed` + `alb_failed`:
    /// side A.
    pub active_balances: Option<u64>,
    /// Time slices that the `migration/N` threads ran, over all CPUs.
    pub migration_runs: Option<u64>,
    /// Counters that the amplifier keeps in `/sys/module/fair/parameters`, by file name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub amplifier: BTreeMap<String, u64>,
    /// Guest uptime in milliseconds when all this was read. The heartbeats go on when the reading
    /// got stuck behind a deadlocked CPU; then this stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at_ms: Option<u64>,
}

impl Counters {
    /// What the counters grew by since `earlier`; the busy time is the later one's.
    pub fn grown_since(&self, earlier: &Self) -> Self {
        let grown = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            node_busy_percent: self.node_busy_percent.clone(),
            numa_hint_faults: grown(self.numa_hint_faults, earlier.numa_hint_faults),
            numa_pages_migrated: grown(self.numa_pages_migrated, earlier.numa_pages_migrated),
            swaps: grown(self.swaps, earlier.swaps),
            moves: grown(self.moves, earlier.moves),
            sticks: grown(self.sticks, earlier.sticks),
            active_balances: grown(self.active_balances, earlier.active_balances),
            migration_runs: grown(self.migration_runs, earlier.migration_runs),
            amplifier: self
                .amplifier
                .iter()
                .map(|(name, now)| {
                    (
                        name.clone(),
                        now.saturating_sub(earlier.amplifier.get(name).copied().unwrap_or(0)),
                    )
                })
                .collect(),
            read_at_ms: self.read_at_ms,
        }
    }
}
