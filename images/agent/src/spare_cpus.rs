//! CPUs of the pollers' node that no poller runs on: they only help the pollers' CPU out, and a campaign
//! may have them taken away from the load.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kverdict_core::campaign::SpareCpus;
use kverdict_core::load::LoadSpec;
use kverdict_core::protocol::{Message, NodeInfo};

use crate::mounts;

/// Where the cpuset is made.
const CGROUPS: &str = "/sys/fs/cgroup";
const CPUSET: &str = "/sys/fs/cgroup/kverdict";

/// A cpuset that load processes are put into.
#[derive(Debug, Clone, Copy)]
pub struct Cpuset;

impl Cpuset {
    /// Moves a process into it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn admit(self, pid: i32) -> Result<()> {
        write(&format!("{CPUSET}/cgroup.procs"), &pid.to_string())
    }
}

/// Takes the spare CPUs away and says how that went. `nodes` is left with the CPUs that the load has.
pub fn take_away(
    how: SpareCpus,
    load: &LoadSpec,
    nodes: &mut [NodeInfo],
) -> (Message, Option<Cpuset>) {
    let spare = spare(load, nodes);
    let done = match how {
        SpareCpus::Offline => take_offline(&spare).map(|()| None),
        SpareCpus::Apart => set_apart(&spare, nodes),
    };
    if done.is_ok() {
        for node in nodes.iter_mut() {
            node.cpus.retain(|cpu| !spare.contains(cpu));
        }
    }
    let (cpuset, error) = match done {
        Ok(cpuset) => (cpuset, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let message = Message::Tuned {
        name: "spare_cpus".to_owned(),
        value: format!("{how:?} {spare:?}").to_lowercase(),
        error,
    };
    (message, cpuset)
}

fn spare(load: &LoadSpec, nodes: &[NodeInfo]) -> Vec<u32> {
    let of_node = nodes.iter().find(|node| node.node == load.node);
    let cpus = of_node.map(|node| node.cpus.as_slice()).unwrap_or_default();
    let pinned = kverdict_load::pinned_to(load, cpus);
    let spare = cpus.iter().copied().filter(|cpu| !pinned.contains(cpu));
    spare.collect()
}

fn others(nodes: &[NodeInfo], spare: &[u32]) -> Vec<u32> {
    let all = nodes.iter().flat_map(|node| &node.cpus).copied();
    all.filter(|cpu| !spare.contains(cpu)).collect()
}

fn take_offline(cpus: &[u32]) -> Result<()> {
    cpus.iter()
        .try_for_each(|cpu| write(&format!("/sys/devices/system/cpu/cpu{cpu}/online"), "0"))
}

/// Splits the scheduling domains into those of the spare CPUs and those of the others. A partition of
/// cgroup v2 takes its CPUs away from everybody outside of it, the agent included, so it is made of the
/// spare ones. In v1 domains are split where load balancing is switched off above, and the load has
/// to be in a cpuset to stay away from the spare CPUs.
fn set_apart(spare: &[u32], nodes: &[NodeInfo]) -> Result<Option<Cpuset>> {
    let v2 = mounts::cgroups(CGROUPS)?;
    if v2 {
        write(&format!("{CGROUPS}/cgroup.subtree_control"), "+cpuset")?;
    }
    if !Path::new(CPUSET).is_dir() {
        fs::create_dir(CPUSET).context(CPUSET)?;
    }
    let cpus = if v2 {
        spare.to_vec()
    } else {
        others(nodes, spare)
    };
    let numbers: Vec<u32> = nodes.iter().map(|node| node.node).collect();
    write(&format!("{CPUSET}/cpuset.cpus"), &list(&cpus))?;
    write(&format!("{CPUSET}/cpuset.mems"), &list(&numbers))?;
    if !v2 {
        write(&format!("{CGROUPS}/cpuset.sched_load_balance"), "0")?;
        return Ok(Some(Cpuset));
    }
    let partition = format!("{CPUSET}/cpuset.cpus.partition");
    write(&partition, "root")?;
    // What makes no partition is taken all the same.
    let is = fs::read_to_string(&partition).context(partition)?;
    ensure!(is.trim() == "root", "no partition: {}", is.trim());
    Ok(None)
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(",")
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("{path}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_are_the_cpus_of_the_pollers_node_without_a_poller() {
        let load: LoadSpec = serde_json::from_str(
            r#"{"node": 1, "pollers": {"count": 3, "placement": "stacked-on-last-cpu"},
                "roamers": {"count": 0, "working_set_kib": 64}}"#,
        )
        .unwrap();
        let node = |node, cpus: std::ops::Range<u32>| NodeInfo {
            node,
            cpus: cpus.collect(),
            memory_kib: 0,
        };
        let nodes = [node(0, 0..4), node(1, 4..8)];
        let found = spare(&load, &nodes);
        assert_eq!(found, [4, 5, 6]);
        assert_eq!(others(&nodes, &found), [0, 1, 2, 3, 7]);
        assert!(spare(&load, &nodes[..1]).is_empty());
    }
}
