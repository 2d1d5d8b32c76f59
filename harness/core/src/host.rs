//! Which of a host's CPUs a guest gets when several guests run side by side.

use std::collections::BTreeSet;

/// The CPUs that may be used, node by node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    nodes: Vec<BTreeSet<u32>>,
}

impl Host {
    /// A host of these nodes; those without a CPU are left out.
    pub fn new(nodes: impl IntoIterator<Item = BTreeSet<u32>>) -> Self {
        let nodes = nodes.into_iter().filter(|cpus| !cpus.is_empty());
        Self {
            nodes: nodes.collect(),
        }
    }

    /// All its CPUs.
    pub fn cpus(&self) -> BTreeSet<u32> {
        self.nodes.iter().flatten().copied().collect()
    }

    /// CPUs for a guest of so many vCPUs, one each: out of `free`, and of one node if one has enough, so that
    /// the guest's memory is near. Of several nodes the fullest is taken, which leaves room for larger guests
    /// elsewhere. `None`: so many are not free.
    pub fn place(&self, free: &BTreeSet<u32>, vcpus: u32) -> Option<BTreeSet<u32>> {
        let vcpus = vcpus as usize;
        let of_nodes = self.nodes.iter().map(|node| node & free);
        let fitting = of_nodes.filter(|cpus| cpus.len() >= vcpus);
        let place = fitting
            .min_by_key(BTreeSet::len)
            .unwrap_or_else(|| &self.cpus() & free);
        (place.len() >= vcpus).then(|| place.into_iter().take(vcpus).collect())
    }
}

/// A list of CPUs as the kernel writes it, such as `0-3,8,10-11`; see cpuset(7). `None`: it is none.
pub fn cpu_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Linux has at most 8192 CPUs on x86 (`CONFIG_NR_CPUS`); a damaged list must not fill the memory.
const CPU_MAX: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> BTreeSet<u32> {
        cpu_list(text).unwrap()
    }

    fn host() -> Host {
        Host::new([set("0-7,16-23"), set("8-15,24-31"), set("")])
    }

    #[test]
    fn lists_of_cpus_are_read_and_nonsense_is_not() {
        assert_eq!(set("0-2,8,10-11\n"), [0, 1, 2, 8, 10, 11].into());
        assert_eq!(set(""), [].into());
        for wrong in ["3-1", "a", "1-", "0-99999999999", "0-4000000000", "-1"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_guest_stays_on_one_node_and_takes_the_fullest_that_has_room() {
        let host = host();
        let all = host.cpus();
        let first = host.place(&all, 8).unwrap();
        assert_eq!(first, set("0-7"));
        let free = &all - &first;
        assert_eq!(host.place(&free, 8).unwrap(), set("16-23"));
        assert_eq!(host.place(&free, 12).unwrap(), set("8-15,24-27"));
    }

    #[test]
    fn a_guest_that_no_node_can_hold_is_spread_and_one_that_does_not_fit_gets_nothing() {
        let host = host();
        let all = host.cpus();
        assert_eq!(host.place(&all, 20).unwrap().len(), 20);
        assert_eq!(host.place(&all, 33), None);
        assert_eq!(host.place(&set("0-3,8-10"), 8), None);
        assert_eq!(host.place(&set("0-3,8-11"), 8).unwrap(), set("0-3,8-11"));
    }
}
