//! A campaign: which kernels are compared, in which guest, under which load, and when it is decided.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::console::signature::SIGNATURES;
use crate::holder::HolderSpec;
use crate::load::LoadSpec;
use crate::protocol::{GuestPlan, Task, Topology};
use crate::yaml::{self, Problem, Problems};

/// Version of the campaign format.
pub const SCHEMA_VERSION: u32 = 1;

/// A campaign as its YAML file states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// Short name, used in run ids.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{0,63}$"))]
    pub name: String,
    /// What it shows and why, for people.
    #[serde(default)]
    pub about: String,
    /// Name of the lockup signature that the fix is about.
    pub signature: String,
    /// The sides of the comparison, by name.
    #[schemars(length(min = 2, max = 2))]
    pub arms: BTreeMap<String, Arm>,
    /// The virtual machine.
    pub guest: Guest,
    /// What the agent sets before the load starts.
    #[serde(default)]
    pub tuning: Tuning,
    /// Names of the catalogue's run-time amplifiers: settings that go to the tuning where that does not
    /// make them itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amplifiers: Vec<String>,
    /// Delays made from outside the guest, equally in every arm; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderSpec>,
    /// What runs in the guest.
    pub load: LoadSpec,
    /// How long, how often, and when it is decided.
    pub policy: Policy,
}

/// One side of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// What the arm is there for.
    pub role: Role,
    /// Name of a catalogue entry.
    pub kernel: String,
    /// A source tree to use instead of the kernel's own source; a relative one is taken from the
    /// campaign file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Toolchain of the catalogue that compiles it; without it, the first of the kernel's own that
    /// the machine has or can make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<String>,
    /// Patches to apply, in order: names from the catalogue, or paths of unified diffs.
    #[serde(default)]
    pub apply: Vec<String>,
    /// Patches to take out, in order.
    #[serde(default)]
    pub revert: Vec<String>,
}

/// What an arm is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Has the bug, and has to show it: without that nothing is proven.
    Control,
    /// Has the fix, and has to survive.
    Subject,
}

/// The virtual machine of every trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// NUMA nodes in order.
    #[schemars(length(min = 1, max = 8))]
    pub nodes: Vec<Node>,
    /// Distance between different nodes, as ACPI's SLIT counts it (10: local).
    #[serde(default = "default_distance")]
    #[schemars(range(min = 11, max = 254))]
    pub distance: u8,
    /// How the guest's instructions run.
    #[serde(default)]
    pub accelerator: Accelerator,
    /// QEMU machine type.
    #[serde(default = "default_machine")]
    pub machine: String,
    /// QEMU CPU model; under KVM always `host`.
    #[serde(default = "default_cpu_model")]
    pub cpu_model: String,
    /// Words added to the kernel's cmdline.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// How the kernel gets into the guest.
    #[serde(default, skip_serializing_if = "Boot::is_shortest")]
    pub boot: Boot,
}

/// How the kernel gets into the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// The shortest way that the kernel's file allows: unpacked, if it has a PVH entry, and past
    /// the machine's own firmware, if QEMU comes with qboot.
    #[default]
    Shortest,
    /// A bzImage that unpacks itself, by the machine's own firmware, as a PC does it.
    Bzimage,
}

impl Boot {
    fn is_shortest(&self) -> bool {
        *self == Self::Shortest
    }
}

impl Guest {
    /// Memory of all nodes, in MiB.
    pub fn memory_mib(&self) -> u64 {
        let of_nodes = self.nodes.iter().map(|node| u64::from(node.memory_mib));
        of_nodes.sum()
    }

    /// Ordered pairs of vCPUs that are on different nodes.
    pub fn pairs_across_nodes(&self) -> u64 {
        let cpus = || self.nodes.iter().map(|node| u64::from(node.cpus));
        cpus().sum::<u64>().pow(2) - cpus().map(|cpus| cpus.pow(2)).sum::<u64>()
    }
}

fn default_distance() -> u8 {
    20
}
fn default_machine() -> String {
    "pc".to_owned()
}
fn default_cpu_model() -> String {
    "max".to_owned()
}

/// A NUMA node of the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// vCPUs, numbered on from the node before.
    #[schemars(range(min = 1, max = 64))]
    pub cpus: u32,
    /// Memory in MiB.
    #[schemars(range(min = 64, max = 1048576))]
    pub memory_mib: u32,
}

/// How the guest's instructions run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// KVM if a probe boot under it succeeds, TCG otherwise.
    #[default]
    Auto,
    /// Hardware virtualization.
    Kvm,
    /// QEMU's translator, multi-threaded.
    Tcg,
}

/// Settings that the agent makes in the running guest, equally in every arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Dotted sysctl names and their values, in order.
    #[serde(default)]
    pub sysctls: IndexMap<String, Setting>,
    /// Scheduler features to switch, such as `NO_TTWU_QUEUE`.
    #[serde(default)]
    pub sched_features: Vec<String>,
    /// Files under /proc or /sys and what is written to them, in order; `*` matches in a path, and
    /// a value like `|=0x800` sets bits.
    #[serde(default)]
    pub files: IndexMap<String, Setting>,
    /// Like `files`, but written again and again, because the kernel changes them by itself.
    #[serde(default)]
    pub hold: IndexMap<String, Setting>,
    /// What becomes of the CPUs of the pollers' node on which no poller is; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare_cpus: Option<SpareCpus>,
}

/// What is done with CPUs that only help the pollers' CPU out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpareCpus {
    /// They are taken offline.
    Offline,
    /// The others get scheduling domains of their own, and the load stays on those.
    Apart,
}

impl Tuning {
    /// All settings, as `NAME=VALUE`.
    pub fn settings(&self) -> Vec<String> {
        let pairs = [&self.sysctls, &self.files, &self.hold];
        let mut settings: Vec<String> = pairs
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        settings.extend(self.sched_features.iter().cloned());
        settings.extend(self.spare_cpus.map(|spare| match spare {
            SpareCpus::Offline => "spare CPUs offline".to_owned(),
            SpareCpus::Apart => "spare CPUs outside the load's cpuset".to_owned(),
        }));
        settings
    }

    /// Adds the settings that are not made here already.
    pub fn add(&mut self, other: &Self) {
        let maps = [
            (&mut self.sysctls, &other.sysctls),
            (&mut self.files, &other.files),
            (&mut self.hold, &other.hold),
        ];
        for (mine, others) in maps {
            for (name, value) in others {
                mine.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.spare_cpus = self.spare_cpus.or(other.spare_cpus);
        for feature in &other.sched_features {
            if !self.sched_features.contains(feature) {
                self.sched_features.push(feature.clone());
            }
        }
    }
}

/// A number or a text to be written into a file of the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// A whole number.
    Number(i64),
    /// Anything else, verbatim.
    Text(String),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// When a trial ends and when the campaign is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Load in one trial that does not lock up, in seconds of guest time.
    #[schemars(range(min = 1, max = 86400))]
    pub load_seconds: u32,
    /// From QEMU's start to the agent's armed message, in seconds of host time.
    #[serde(default = "default_boot_deadline")]
    #[schemars(range(min = 1, max = 3600))]
    pub boot_deadline_seconds: u32,
    /// From the end of the load to QEMU's exit, in seconds of host time.
    #[serde(default = "default_shutdown_deadline")]
    #[schemars(range(min = 1, max = 600))]
    pub shutdown_deadline_seconds: u32,
    /// No word from the agent for so long is a silent hang, in seconds of host time.
    #[serde(default = "default_silence")]
    #[schemars(range(min = 5, max = 600))]
    pub silence_seconds: u32,
    /// How often the vCPUs are looked at from outside while nothing looks stuck, in milliseconds of
    /// host time. A sample of eight vCPUs costs a few milliseconds of CPU time.
    #[serde(default = "default_sample_interval")]
    #[schemars(range(min = 10, max = 1000))]
    pub sample_interval_ms: u32,
    /// After something was found stuck from outside, so long the kernel's own hard lockup detector
    /// may take to say so on the console, if it is armed; in seconds of host time.
    #[serde(default = "default_console_wait")]
    #[schemars(range(min = 0, max = 600))]
    pub console_wait_seconds: u32,
    /// Lock up each arm's kernel once on purpose, to prove that detectors notice. Without that
    /// proof no campaign is verified; leave it out only to see what trials do.
    #[serde(default = "default_prove_detectors")]
    pub prove_detectors: bool,
    /// Keep the memory of guests that are found stuck from outside, for crash or drgn.
    #[serde(default)]
    pub vmcore: bool,
    /// Probability below which the subject's survival does not count as luck.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.000001, max = 0.2))]
    pub alpha: f64,
    /// Target lockups that the control has to show.
    #[serde(default = "default_lockups")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_control_lockups: u32,
    /// Trials per arm after which an undecided campaign ends.
    #[serde(default = "default_trials")]
    #[schemars(range(min = 1, max = 100000))]
    pub max_trials_per_arm: u32,
    /// How often both sides of the race have to run for a trial's time to count.
    #[serde(default)]
    pub min_exposure: MinExposure,
}

impl Policy {
    /// From QEMU's start to the agent's armed message.
    pub fn boot_deadline(&self) -> Duration {
        Duration::from_secs(u64::from(self.boot_deadline_seconds))
    }

    /// Between two samples of the vCPUs.
    pub fn sample_interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.sample_interval_ms))
    }
}

fn default_boot_deadline() -> u32 {
    60
}
fn default_shutdown_deadline() -> u32 {
    20
}
fn default_silence() -> u32 {
    30
}
fn default_sample_interval() -> u32 {
    500
}
fn default_prove_detectors() -> bool {
    true
}
fn default_console_wait() -> u32 {
    20
}
fn default_alpha() -> f64 {
    0.01
}
fn default_lockups() -> u32 {
    3
}
fn default_trials() -> u32 {
    40
}

/// Rates below which a trial was not exposed. What is asked for and nobody counts counts as too little:
/// ask for 0 where a kernel does not tell and no amplifier or holder is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinExposure {
    /// NUMA swaps per minute of load (side B of the race).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub swaps_per_minute: f64,
    /// Active balances per minute of load (side A of the race).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub active_balances_per_minute: f64,
    /// Near misses per minute, as the amplifier or the holder counts them: both sides in flight for the
    /// same pair of CPUs.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub meetings_per_minute: f64,
}

impl Guest {
    /// vCPUs of all nodes.
    pub fn cpus(&self) -> u32 {
        self.nodes.iter().map(|node| node.cpus).sum()
    }
}

impl Campaign {
    /// Parses a campaign file and checks everything that needs no other file.
    ///
    /// # Errors
    /// All problems together.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        yaml::parse_checked(file, text, Self::problems)
    }

    /// Where the campaign's fields contradict each other, or cannot be what they are.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for role in [Role::Control, Role::Subject] {
            let count = self.arms.values().filter(|arm| arm.role == role).count();
            if count != 1 {
                let text = format!("{count} arms have the role `{role}`; exactly one must");
                problems.push(Problem::new("arms", text));
            }
        }
        let nodes = self.guest.nodes.len();
        if nodes < 2 {
            let text = "one node: NUMA balancing needs at least two; add a node";
            problems.push(Problem::new("guest.nodes", text));
        }
        if self.load.node as usize >= nodes {
            let text = format!(
                "node {} does not exist; the guest has nodes 0 to {}",
                self.load.node,
                nodes - 1
            );
            problems.push(Problem::new("load.node", text));
        }
        if !self.load.pollers.ring_slots.is_power_of_two() {
            let text = format!("{} is not a power of two", self.load.pollers.ring_slots);
            problems.push(Problem::new("load.pollers.ring_slots", text));
        }
        if self.load.shuffler.is_some() && self.load.roamers.count == 0 {
            let text =
                "there are no roamers to shuffle; set load.roamers.count or drop the shuffler";
            problems.push(Problem::new("load.shuffler", text));
        }
        if self.holder.is_some() && self.guest.accelerator == Accelerator::Kvm {
            let text =
                "the holder works under TCG only; set it to `tcg` or `auto`, or drop `holder`";
            problems.push(Problem::new("guest.accelerator", text));
        }
        let known: Vec<&str> = SIGNATURES.iter().map(|signature| signature.name).collect();
        if !known.contains(&self.signature.as_str()) {
            let text = format!(
                "unknown signature `{}`; known: {}",
                self.signature,
                known.join(", ")
            );
            problems.push(Problem::new("signature", text));
        }
        problems
    }

    /// The name of the arm with this role.
    pub fn arm_with(&self, role: Role) -> &str {
        self.arms
            .iter()
            .find(|(_, arm)| arm.role == role)
            .map_or("", |(name, _)| name.as_str())
    }

    /// What the agent is told for `task`.
    pub fn guest_plan(&self, task: Task) -> GuestPlan {
        let pairs = |map: &IndexMap<String, Setting>| {
            map.iter()
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect()
        };
        GuestPlan {
            expect: Topology {
                cpus_per_node: self.guest.nodes.iter().map(|node| node.cpus).collect(),
                numa_balancing: true,
            },
            sysctls: pairs(&self.tuning.sysctls),
            sched_features: self.tuning.sched_features.clone(),
            files: pairs(&self.tuning.files),
            hold: pairs(&self.tuning.hold),
            spare_cpus: self.tuning.spare_cpus,
            task,
        }
    }

    /// What the agent is told in every trial.
    pub fn load_plan(&self) -> GuestPlan {
        self.guest_plan(Task::Load {
            spec: self.load.clone(),
            seconds: self.policy.load_seconds,
        })
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Subject => "subject",
        })
    }
}
