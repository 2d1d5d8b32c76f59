//! CPUs of the pollers' node that no poller runs on: they only help the pollers' CPU out, and a campaign
//! may have them taken away from the load.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use kverdict_core::campaign::SpareCpus;
use kverdict_core::load::LoadSpec;
use kverdict_core::protocol::{Message, NodeInfo};

use crate::mounts;

/// Where the load's cpuset is made.
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
    let mut cpuset = None;
    let done = match how {
        SpareCpus::Offline => take_offline(&spare),
        SpareCpus::Apart => confine_load(&others(nodes, &spare), nodes).map(|made| {
            cpuset = Some(made);
        }),
    };
    if done.is_ok() {
        for node in nodes.iter_mut() {
            node.cpus.retain(|cpu| !spare.contains(cpu));
        }
    }
    let message = Message::Tuned {
        name: "spare_cpus".to_owned(),
        value: format!("{how:?} {spare:?}").to_lowercase(),
        error: done.err().map(|error| format!("{error:#}")),
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

/// Makes a cpuset with scheduling domains of its own: cgroup v2 calls that a partition; in v1 domains
/// are split where load balancing is switched off above.
fn confine_load(cpus: &[u32], nodes: &[NodeInfo]) -> Result<Cpuset> {
    let list = |numbers: Vec<String>| numbers.join(",");
    let cpus = list(cpus.iter().map(u32::to_string).collect());
    let mems = list(nodes.iter().map(|node| node.node.to_string()).collect());
    let v2 = mounts::cgroups(CGROUPS)?;
    if v2 {
        write(&format!("{CGROUPS}/cgroup.subtree_control"), "+cpuset")?;
    }
    if !Path::new(CPUSET).is_dir() {
        fs::create_dir(CPUSET).context(CPUSET)?;
    }
    write(&format!("{CPUSET}/cpuset.cpus"), &cpus)?;
    write(&format!("{CPUSET}/cpuset.mems"), &mems)?;
    if v2 {
        write(&format!("{CPUSET}/cpuset.cpus.partition"), "root")?;
    } else {
        write(&format!("{CGROUPS}/cpuset.sched_load_balance"), "0")?;
    }
    Ok(Cpuset)
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
