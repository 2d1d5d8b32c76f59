//! From a night's file to its cells: each one a campaign with a single arm.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

use super::cell::{CellId, Cells, matches};
use super::conditions;
use super::config::{BASE, NightDetectors, NightLoad, NightSpec, NightTopology};
use crate::campaign::{Arm, Campaign};
use crate::yaml::{self, Problem, Problems};

/// What a night tests: one kernel in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Its name.
    pub id: CellId,
    /// Whether its kernel has the bug, and has to show it.
    pub control: bool,
    /// Name of the campaign's only arm. Cells that share it boot the same kernel with the same detectors.
    pub arm: String,
    /// Guest, load and policy, with one arm.
    pub campaign: Campaign,
    /// Digest of what its trials run under; empty: of a night that was begun before there was one.
    #[serde(default)]
    pub conditions: String,
}

/// A load in a topology, with a set of detectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// The load's name.
    pub load: String,
    /// The topology's name.
    pub topology: String,
    /// Name of the set of detectors.
    pub detectors: String,
    /// The campaign; its arms are to be put in, by the kernels' names.
    pub campaign: Campaign,
}

/// The environments of a night, in the order of its file. `campaigns` holds those that it names.
///
/// # Errors
/// Everything that does not fit together.
pub fn environments(
    file: &str,
    spec: &NightSpec,
    campaigns: &BTreeMap<String, Campaign>,
) -> Result<Vec<Environment>, Problems> {
    let mut problems = Vec::new();
    let Some(base) = campaigns.get(&spec.campaign) else {
        return Err(Problems {
            file: file.to_owned(),
            problems: vec![Problem::new("campaign", "was not read")],
        });
    };
    let mut found = Vec::new();
    for (load, changes) in or_base(&spec.loads, &base.name) {
        let under_load = match changes {
            Some(changes) => with_load(base, &load, changes, campaigns, &mut problems),
            None => base.clone(),
        };
        for (topology, nodes) in or_base(&spec.topologies, BASE) {
            for (detectors, watched) in or_base(&spec.detectors, BASE) {
                let mut campaign = under_load.clone();
                put_topology(&mut campaign, nodes);
                put_detectors(&mut campaign, watched);
                campaign.arms.clear();
                found.push(Environment {
                    load: load.clone(),
                    topology: topology.clone(),
                    detectors,
                    campaign,
                });
            }
        }
    }
    problems.extend(found.iter().flat_map(Environment::problems));
    problems.extend(exclusion_problems(spec, &found));
    if problems.is_empty() {
        return Ok(found);
    }
    Err(Problems {
        file: file.to_owned(),
        problems,
    })
}

/// What is named, or what is there when nothing is.
fn or_base<'a, T>(named: &'a IndexMap<String, T>, base: &str) -> Vec<(String, Option<&'a T>)> {
    if named.is_empty() {
        return vec![(base.to_owned(), None)];
    }
    named
        .iter()
        .map(|(name, one)| (name.clone(), Some(one)))
        .collect()
}

impl Environment {
    /// What the campaign's fields say of each other. Its arms are none of them yet.
    fn problems(&self) -> Vec<Problem> {
        let place = format!("{}/{}/{}", self.load, self.topology, self.detectors);
        let found = self.campaign.problems().into_iter();
        found
            .filter(|problem| problem.field != "arms")
            .map(|problem| Problem::new(format!("{place}: {}", problem.field), problem.message))
            .collect()
    }

    fn cell_of(&self, kernel: &str) -> CellId {
        CellId {
            kernel: kernel.to_owned(),
            load: self.load.clone(),
            topology: self.topology.clone(),
            detectors: self.detectors.clone(),
        }
    }
}

/// The cells of a night: every kernel in every environment, but for those that are left out. `amplifier` gives the
/// digest of a patch if that is one.
pub fn cells(
    spec: &NightSpec,
    environments: &[Environment],
    amplifier: impl Fn(&str) -> Option<String>,
) -> Vec<Cell> {
    let mut found = Vec::new();
    for (kernel, asked) in &spec.kernels {
        for environment in environments {
            let id = environment.cell_of(kernel);
            if spec.exclude.iter().any(|cells| cells.have(&id)) {
                continue;
            }
            let mut campaign = environment.campaign.clone();
            let arm = arm_of(spec, &id);
            campaign.arms = campaign
                .arms
                .remove(kernel)
                .map(|one| (arm.clone(), one))
                .into_iter()
                .collect::<BTreeMap<String, Arm>>();
            found.push(Cell {
                id,
                control: asked.control,
                arm,
                conditions: conditions::digest(&campaign, &amplifier),
                campaign,
            });
        }
    }
    found
}

/// Detectors are proven for each kernel with each set of them.
fn arm_of(spec: &NightSpec, id: &CellId) -> String {
    if spec.detectors.len() > 1 {
        format!("{}.{}", id.kernel, id.detectors)
    } else {
        id.kernel.clone()
    }
}

fn with_load(
    base: &Campaign,
    name: &str,
    changes: &NightLoad,
    campaigns: &BTreeMap<String, Campaign>,
    problems: &mut Vec<Problem>,
) -> Campaign {
    let mut campaign = base.clone();
    let other = changes.campaign.as_ref();
    if let Some(other) = other.and_then(|word| campaigns.get(word)) {
        if other.signature != base.signature {
            let text = format!(
                "is about another lockup, `{}`, than the base, `{}`",
                other.signature, base.signature
            );
            problems.push(Problem::new(format!("loads.{name}.campaign"), text));
        }
        campaign.load = other.load.clone();
        campaign.tuning = other.tuning.clone();
        campaign.amplifiers.clone_from(&other.amplifiers);
        campaign.holder.clone_from(&other.holder);
        campaign.policy.load_seconds = other.policy.load_seconds;
        campaign.policy.min_exposure = other.policy.min_exposure.clone();
    }
    let mut merge = |field: &str, found: Vec<Problem>| {
        problems.extend(found.into_iter().map(|problem| {
            let dot = if problem.field.is_empty() { "" } else { "." };
            let field = format!("loads.{name}.{field}{dot}{}", problem.field);
            Problem::new(field, problem.message)
        }));
    };
    match merged(&campaign.load, &changes.load) {
        Ok(load) => campaign.load = load,
        Err(found) => merge("load", found),
    }
    match merged(&campaign.tuning, &changes.tuning) {
        Ok(tuning) => campaign.tuning = tuning,
        Err(found) => merge("tuning", found),
    }
    if let Some(amplifiers) = &changes.amplifiers {
        campaign.amplifiers.clone_from(amplifiers);
    }
    if let Some(holder) = &changes.holder {
        campaign.holder = Some(holder.clone());
    }
    let policy = &mut campaign.policy;
    policy.load_seconds = changes.load_seconds.unwrap_or(policy.load_seconds);
    if let Some(least) = &changes.min_exposure {
        policy.min_exposure = least.clone();
    }
    campaign
}

/// What `base` becomes with these fields: mappings are merged, and everything else is replaced.
fn merged<T: Serialize + DeserializeOwned + JsonSchema>(
    base: &T,
    changes: &Mapping,
) -> Result<T, Vec<Problem>> {
    let fail = |error: serde_yaml::Error| vec![Problem::new("", error.to_string())];
    let mut value = serde_yaml::to_value(base).map_err(fail)?;
    merge(&mut value, &Value::Mapping(changes.clone()));
    let text = serde_yaml::to_string(&value).map_err(fail)?;
    yaml::parse("", &text).map_err(|problems| problems.problems)
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Mapping(into), Value::Mapping(changes)) => {
            for (key, change) in changes {
                match into.get_mut(key) {
                    Some(old) => merge(old, change),
                    None => {
                        into.insert(key.clone(), change.clone());
                    }
                }
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

fn put_topology(campaign: &mut Campaign, topology: Option<&NightTopology>) {
    let Some(topology) = topology else { return };
    campaign.guest.nodes.clone_from(&topology.nodes);
    campaign.guest.distance = topology.distance.unwrap_or(campaign.guest.distance);
}

fn put_detectors(campaign: &mut Campaign, detectors: Option<&NightDetectors>) {
    let Some(detectors) = detectors else { return };
    campaign.guest.cmdline.extend(detectors.cmdline.clone());
    let tuning = &mut campaign.tuning;
    tuning.sysctls.extend(detectors.sysctls.clone());
    tuning.files.extend(detectors.files.clone());
    let policy = &mut campaign.policy;
    policy.console_wait_seconds = detectors
        .console_wait_seconds
        .unwrap_or(policy.console_wait_seconds);
}

/// Exclusions that leave out nothing, or all that there is to test.
fn exclusion_problems(spec: &NightSpec, environments: &[Environment]) -> Vec<Problem> {
    let names = |part: fn(&Environment) -> &String| {
        let mut names: Vec<&str> = environments.iter().map(|one| part(one).as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let known: [Vec<&str>; 4] = [
        spec.kernels.keys().map(String::as_str).collect(),
        names(|one| &one.load),
        names(|one| &one.topology),
        names(|one| &one.detectors),
    ];
    let mut problems = Vec::new();
    for (index, cells) in spec.exclude.iter().enumerate() {
        for ((field, glob), names) in cells.parts().into_iter().zip(&known) {
            let Some(glob) = glob else { continue };
            if !names.iter().any(|name| matches(glob, name)) {
                let text = format!("`{glob}` is none; there are: {}", names.join(", "));
                problems.push(Problem::new(format!("exclude.{index}.{field}"), text));
            }
        }
    }
    for (is_control, what) in [(true, "control"), (false, "kernel to test")] {
        let kernels = spec.kernels.iter();
        let kept = kernels
            .filter(|(_, one)| one.control == is_control)
            .any(|(name, _)| environments.iter().any(|one| is_kept(spec, one, name)));
        if !kept {
            problems.push(Problem::new("exclude", format!("leaves no {what}")));
        }
    }
    problems
}

fn is_kept(spec: &NightSpec, environment: &Environment, kernel: &str) -> bool {
    let id = environment.cell_of(kernel);
    !spec.exclude.iter().any(|cells: &Cells| cells.have(&id))
}
