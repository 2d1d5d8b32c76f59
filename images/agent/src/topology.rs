//! Nodes and CPUs: what there is and what was expected.

use std::fs;

use kverdict_core::protocol::{NodeInfo, Topology};

const NODES: &str = "/sys/devices/system/node";
const BALANCING: &str = "/proc/sys/kernel/numa_balancing";

/// A difference between campaign and guest.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What was checked.
    pub what: String,
    /// The campaign's value.
    pub expected: String,
    /// The guest's value.
    pub found: String,
}

/// The online nodes as sysfs lists them; a kernel without NUMA support has none.
pub fn nodes() -> Vec<NodeInfo> {
    let online = fs::read_to_string(format!("{NODES}/online")).unwrap_or_default();
    let read = |node: u32, file: &str| {
        fs::read_to_string(format!("{NODES}/node{node}/{file}")).unwrap_or_default()
    };
    cpulist(&online)
        .unwrap_or_default()
        .into_iter()
        .map(|node| NodeInfo {
            node,
            cpus: cpulist(&read(node, "cpulist")).unwrap_or_default(),
            memory_kib: memory_kib(&read(node, "meminfo")).unwrap_or(0),
        })
        .collect()
}

/// Takes CPUs out that are not online any more.
pub fn keep_online(known: &mut [NodeInfo]) {
    let online: Vec<u32> = nodes().into_iter().flat_map(|node| node.cpus).collect();
    for node in known {
        node.cpus.retain(|cpu| online.contains(cpu));
    }
}

/// Compares number of nodes and CPUs of each.
pub fn check(expect: &Topology, nodes: &[NodeInfo]) -> Result<(), Misfit> {
    same("nodes", expect.cpus_per_node.len(), nodes.len())?;
    for (node, &expected) in nodes.iter().zip(&expect.cpus_per_node) {
        let what = format!("cpus of node {}", node.node);
        same(&what, expected as usize, node.cpus.len())?;
    }
    Ok(())
}

/// Whether NUMA balancing really is on, when the campaign needs it.
pub fn check_balancing(expect: &Topology) -> Result<(), Misfit> {
    if !expect.numa_balancing {
        return Ok(());
    }
    let found = match fs::read_to_string(BALANCING) {
        Ok(text) if text.trim() == "1" => return Ok(()),
        Ok(text) => text.trim().to_owned(),
        Err(error) => format!("{BALANCING}: {error}"),
    };
    Err(Misfit {
        what: "numa_balancing".into(),
        expected: "1".into(),
        found,
    })
}

fn same(what: &str, expected: usize, found: usize) -> Result<(), Misfit> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(Misfit {
        what: what.into(),
        expected,
        found,
    })
}

/// Parses a list such as `0-3,7`. `None` for anything else; an empty list is fine.
pub fn cpulist(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus)
}

/// `MemTotal` of a node's `meminfo`, in KiB.
fn memory_kib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.contains("MemTotal:"))?;
    line.split_whitespace().rev().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node: u32, cpus: std::ops::Range<u32>) -> NodeInfo {
        NodeInfo {
            node,
            cpus: cpus.collect(),
            memory_kib: 0,
        }
    }

    #[test]
    fn cpu_lists_are_ranges_and_numbers() {
        assert_eq!(cpulist("0-3,7\n"), Some(vec![0, 1, 2, 3, 7]));
        assert_eq!(cpulist("4\n"), Some(vec![4]));
        assert_eq!(cpulist("\n"), Some(vec![]));
        assert_eq!(cpulist("0-x"), None);
    }

    #[test]
    fn memory_is_the_total_of_the_node() {
        let meminfo = "Node 0 MemTotal:         507204 kB\nNode 0 MemFree:          480960 kB\n";
        assert_eq!(memory_kib(meminfo), Some(507_204));
    }

    #[test]
    fn a_missing_cpu_names_its_node() {
        let expect = Topology {
            cpus_per_node: vec![4, 4],
            numa_balancing: true,
        };
        assert_eq!(check(&expect, &[node(0, 0..4), node(1, 4..8)]), Ok(()));
        let misfit = check(&expect, &[node(0, 0..4), node(1, 4..7)]).unwrap_err();
        assert_eq!(misfit.what, "cpus of node 1");
        assert_eq!(
            (misfit.expected.as_str(), misfit.found.as_str()),
            ("4", "3")
        );
        assert_eq!(check(&expect, &[node(0, 0..8)]).unwrap_err().what, "nodes");
    }
}
