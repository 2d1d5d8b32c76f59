//! What a night is asked to do: its YAML file.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Mapping;

use super::cell::Cells;
use crate::campaign::{MinExposure, Node, Setting};
use crate::holder::HolderSpec;
use crate::yaml::{self, Problem, Problems};

/// Version of the format.
pub const SCHEMA_VERSION: u32 = 1;

/// What a topology or a set of detectors is called that is the campaign's own.
pub const BASE: &str = "base";

/// A night as its YAML file states it: every kernel under every load, in every topology, with every set of
/// detectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NightSpec {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// Short name, used in run ids; two nights of one name do not run at a time.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{0,63}$"))]
    pub name: String,
    /// What it watches over, for people.
    #[serde(default)]
    pub about: String,
    /// Campaign whose guest, tuning, load, policy and signature are the base: the name of one that comes with
    /// kverdict, or a path from this file's folder. Its arms are not used.
    pub campaign: String,
    /// The kernels, by name.
    #[schemars(length(min = 1))]
    pub kernels: IndexMap<String, NightKernel>,
    /// The loads, by name; absent: the campaign's, by its name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub loads: IndexMap<String, NightLoad>,
    /// The topologies, by name; absent: the campaign's, named `base`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub topologies: IndexMap<String, NightTopology>,
    /// Sets of detectors in the guest, by name; absent: the campaign's, named `base`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub detectors: IndexMap<String, NightDetectors>,
    /// Cells that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Cells>,
    /// The time that a night may take, in minutes. Builds count.
    #[schemars(range(min = 1.0, max = 10080.0))]
    pub budget_minutes: f64,
    /// How often cells are tried.
    #[serde(default)]
    pub trials: Trials,
    /// Probability, at most, that a night calls anything a regression or a recovery that is none.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.000001, max = 0.2))]
    pub alpha: f64,
    /// Nights over which failures of a cell may add up to a regression.
    #[serde(default = "default_reach")]
    #[schemars(range(min = 1, max = 365))]
    pub reach: u32,
    /// File of failures that somebody has filed, a path from this file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_issues: Option<String>,
    /// Command for `sh -c` that is run when a night ends with a regression; a summary in Markdown is its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"\S"))]
    pub notify: Option<String>,
    /// What is kept of older nights; absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

fn default_alpha() -> f64 {
    0.01
}
fn default_reach() -> u32 {
    14
}

/// One kernel: what it is by `kernel`, `package`, or `git` or `tree` with the `kernel` that it is built like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NightKernel {
    /// Name of a catalogue entry; of a package of apt's, the newest version is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// A package or an image that boots as it is; in its last part `*` stands for any characters, and of several
    /// files the one of the newest version is taken. A path from this file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// What a branch of a git repository holds when the night begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitHead>,
    /// A source tree, a path from this file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Patches to apply, in order: names from the catalogue, or paths of unified diffs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apply: Vec<String>,
    /// Patches to take out, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revert: Vec<String>,
    /// It has the bug and has to lock up in every night: while it does not, nobody knows whether anything would.
    #[serde(default)]
    pub control: bool,
}

/// A branch, tag or commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitHead {
    /// A path from this file's folder, or a URL.
    #[schemars(regex(pattern = r"^[^-]"))]
    pub repository: String,
    /// Branch, tag or commit.
    #[serde(rename = "ref")]
    #[schemars(regex(pattern = r"^[^-]"))]
    pub reference: String,
}

impl GitHead {
    /// Whether the repository is on another machine.
    pub fn is_remote(&self) -> bool {
        self.repository.contains("://")
    }
}

/// One load: what differs from the campaign's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NightLoad {
    /// Another campaign whose load, tuning, amplifiers, holder, length of trials and least exposure are taken; a name
    /// or a path from this file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Fields of the load that are otherwise, as in a campaign.
    #[serde(default, skip_serializing_if = "Mapping::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub load: Mapping,
    /// Fields of the tuning that are otherwise, as in a campaign.
    #[serde(default, skip_serializing_if = "Mapping::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub tuning: Mapping,
    /// Run-time amplifiers, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amplifiers: Option<Vec<String>>,
    /// Delays made from outside the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderSpec>,
    /// Load in one trial that does not lock up, in seconds of guest time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub load_seconds: Option<u32>,
    /// How often both sides of the race have to run for a trial's time to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_exposure: Option<MinExposure>,
}

/// One topology.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NightTopology {
    /// NUMA nodes in order.
    #[schemars(length(min = 1, max = 8))]
    pub nodes: Vec<Node>,
    /// Distance between different nodes; absent: the campaign's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 11, max = 254))]
    pub distance: Option<u8>,
}

/// One set of detectors in the guest: what is added to the campaign's, or takes its place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NightDetectors {
    /// Words added to the kernel's cmdline, such as `nowatchdog`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmdline: Vec<String>,
    /// Dotted sysctl names and their values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub sysctls: IndexMap<String, Setting>,
    /// Files under /proc or /sys and what is written to them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, Setting>,
    /// How long the kernel's own detectors may take to speak, in seconds of host time; 0: the lockup that is seen
    /// from outside is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 600))]
    pub console_wait_seconds: Option<u32>,
}

/// How often each cell is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trials {
    /// Trials that each cell gets before any gets more, but for those that something depends on.
    #[serde(default = "default_min")]
    #[schemars(range(min = 1, max = 1000))]
    pub min: u32,
    /// Trials after which a cell has had enough.
    #[serde(default = "default_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub max: u32,
}

fn default_min() -> u32 {
    2
}
fn default_max() -> u32 {
    20
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            min: default_min(),
            max: default_max(),
        }
    }
}

/// What is kept of older nights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Nights of which everything is kept; of older ones, what survived loses its console and samples.
    #[schemars(range(min = 1, max = 100000))]
    pub keep_nights: u32,
}

impl NightKernel {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let given = [
            ("package", self.package.is_some()),
            ("git", self.git.is_some()),
            ("tree", self.tree.is_some()),
        ];
        let given: Vec<&str> = given
            .into_iter()
            .filter_map(|(name, is)| is.then_some(name))
            .collect();
        match given[..] {
            [] if self.kernel.is_none() => {
                let text = "says nothing of where the kernel is: give `kernel` or `package`, or `git` or `tree` with the `kernel` that it is built like";
                problems.push(Problem::new("", text));
            }
            ["package"] => problems.extend(self.package_problems()),
            ["git" | "tree"] if self.kernel.is_none() => {
                let text = format!(
                    "missing: name the kernel of the catalogue with whose configuration and compiler the `{}` is built",
                    given[0]
                );
                problems.push(Problem::new("kernel", text));
            }
            [] | [_] => {}
            [..] => {
                let text = format!("has {}; give one of them", given.join(" and "));
                problems.push(Problem::new("", text));
            }
        }
        problems
    }

    fn package_problems(&self) -> Vec<Problem> {
        let is_there = [
            ("kernel", self.kernel.is_some()),
            ("apply", !self.apply.is_empty()),
            ("revert", !self.revert.is_empty()),
        ];
        let without = is_there.into_iter().filter(|(_, is)| *is).map(|(field, _)| {
            let text =
                "has no meaning for a `package`, which boots as it is: leave it out, or name a source";
            Problem::new(field, text)
        });
        without.collect()
    }
}

impl NightSpec {
    /// Parses a night's file and checks everything that needs no other file.
    ///
    /// # Errors
    /// All problems together.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        yaml::parse_checked(file, text, Self::problems)
    }

    /// Every campaign that it names, with the field that does.
    pub fn campaigns(&self) -> Vec<(String, &str)> {
        let mut found = vec![("campaign".to_owned(), self.campaign.as_str())];
        for (name, load) in &self.loads {
            if let Some(campaign) = &load.campaign {
                found.push((format!("loads.{name}.campaign"), campaign));
            }
        }
        found
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.name_problems();
        for (name, kernel) in &self.kernels {
            problems.extend(
                kernel
                    .problems()
                    .into_iter()
                    .map(|Problem { field, message }| {
                        let dot = if field.is_empty() { "" } else { "." };
                        Problem::new(format!("kernels.{name}{dot}{field}"), message)
                    }),
            );
        }
        let controls = self.kernels.values().filter(|one| one.control).count();
        if controls == 0 {
            let text = "none is a control: give a kernel that has the bug, with `control: true`; without one that locks up, silence proves nothing";
            problems.push(Problem::new("kernels", text));
        } else if controls == self.kernels.len() {
            let text =
                "all are controls: there is nothing to test; add a kernel that should not lock up";
            problems.push(Problem::new("kernels", text));
        }
        if self.trials.min > self.trials.max {
            let text = format!(
                "min {} is more than max {}",
                self.trials.min, self.trials.max
            );
            problems.push(Problem::new("trials", text));
        }
        for (index, cells) in self.exclude.iter().enumerate() {
            if *cells == Cells::default() {
                let text = "names nothing, which would leave out every cell; name a kernel, load, topology or set of detectors";
                problems.push(Problem::new(format!("exclude.{index}"), text));
            }
        }
        problems
    }

    /// Names become parts of file names and of a guest's command line.
    fn name_problems(&self) -> Vec<Problem> {
        let lists: [(&str, Vec<&String>); 4] = [
            ("kernels", self.kernels.keys().collect()),
            ("loads", self.loads.keys().collect()),
            ("topologies", self.topologies.keys().collect()),
            ("detectors", self.detectors.keys().collect()),
        ];
        let mut problems = Vec::new();
        for (list, names) in lists {
            for name in names.into_iter().filter(|name| !is_name(name)) {
                let text = "is no good name: use up to 40 of a-z, 0-9, `.`, `_` and `-`, and begin with a letter or digit";
                problems.push(Problem::new(format!("{list}.{name}"), text));
            }
        }
        problems
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain)
        && text.len() <= 40
        && text
            .chars()
            .all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
}
