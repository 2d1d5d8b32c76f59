//! Which entries of a cache go, when it has become too large or they too old: the least recently
//! used first, and none that is in use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What identifies a file that has several names: device and inode.
pub type FileId = (u64, u64);

/// One thing in a cache, which is there whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it was used last, in seconds since 1970.
    pub last_used: u64,
    /// Whether a running process uses it.
    pub in_use: bool,
    /// Disk space of files that only it has, in bytes.
    pub own_bytes: u64,
    /// Files that other entries may have as well (hard links), with the disk space of each in bytes.
    pub shared: Vec<(FileId, u64)>,
}

/// What is to be reached. Entries go for either reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aim {
    /// Bytes that may stay; none: as many as there are.
    pub at_most: Option<u64>,
    /// Entries that were used last before this second since 1970 go in any case.
    pub not_used_since: Option<u64>,
}

/// What goes, and what that brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Indices of the entries that go, in this order, with the bytes that each frees.
    pub removals: Vec<(usize, u64)>,
    /// Bytes that stay.
    pub left: u64,
}

/// What each entry takes, in bytes: a file that several have counts for the first of them.
pub fn sizes(entries: &[Entry]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let sizes = entries.iter().map(|entry| {
        let shared = entry.shared.iter();
        let first_seen = shared.filter(|(file, _)| seen.insert(*file));
        entry.own_bytes + first_seen.map(|(_, bytes)| bytes).sum::<u64>()
    });
    sizes.collect()
}

/// Works out what goes.
///
/// Removing an entry frees what it alone has by then: of two that share a file, the second one frees
/// it. For size alone nothing goes that would free nothing.
pub fn plan(entries: &[Entry], aim: Aim) -> Plan {
    let mut names: BTreeMap<FileId, u64> = BTreeMap::new();
    for (file, _) in entries.iter().flat_map(|entry| &entry.shared) {
        *names.entry(*file).or_default() += 1;
    }
    let mut plan = Plan {
        removals: Vec::new(),
        left: sizes(entries).iter().sum(),
    };
    let mut candidates: Vec<usize> = (0..entries.len()).collect();
    candidates.retain(|index| !entries[*index].in_use);
    // Those that others share files with come first in lists, and go last.
    candidates.sort_by_key(|index| (entries[*index].last_used, Reverse(*index)));
    for index in candidates {
        let entry = &entries[index];
        let too_old = aim
            .not_used_since
            .is_some_and(|time| entry.last_used < time);
        let too_much = aim.at_most.is_some_and(|bytes| plan.left > bytes);
        let last_names = entry.shared.iter().filter(|(file, _)| names[file] == 1);
        let frees = entry.own_bytes + last_names.map(|(_, bytes)| bytes).sum::<u64>();
        let helps = too_much && frees > 0;
        if !(too_old || helps) {
            continue;
        }
        for (file, _) in &entry.shared {
            names.entry(*file).and_modify(|count| *count -= 1);
        }
        plan.left -= frees;
        plan.removals.push((index, frees));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(last_used: u64, own_bytes: u64) -> Entry {
        Entry {
            last_used,
            own_bytes,
            ..Entry::default()
        }
    }

    fn at_most(bytes: u64) -> Aim {
        Aim {
            at_most: Some(bytes),
            not_used_since: None,
        }
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let entries = [entry(30, 5), entry(10, 5), entry(20, 5)];
        let plan = plan(&entries, at_most(9));
        assert_eq!(plan.removals, [(1, 5), (2, 5)]);
        assert_eq!(plan.left, 5);
        assert_eq!(super::plan(&entries, at_most(15)).removals, []);
        assert_eq!(super::plan(&entries, Aim::default()).removals, []);
    }

    #[test]
    fn what_is_in_use_stays_however_old_and_large() {
        let mut entries = [entry(10, 50), entry(20, 5)];
        entries[0].in_use = true;
        let aim = Aim {
            at_most: Some(0),
            not_used_since: Some(100),
        };
        let plan = plan(&entries, aim);
        assert_eq!(plan.removals, [(1, 5)]);
        assert_eq!(plan.left, 50);
    }

    #[test]
    fn what_is_too_old_goes_also_when_there_is_room() {
        let entries = [entry(10, 5), entry(20, 5), entry(30, 5)];
        let aim = Aim {
            at_most: Some(100),
            not_used_since: Some(20),
        };
        assert_eq!(plan(&entries, aim).removals, [(0, 5)]);
    }

    #[test]
    fn a_file_of_two_entries_counts_once_and_is_freed_with_the_last_of_them() {
        let mut work = entry(10, 3);
        work.shared = vec![((1, 1), 40), ((1, 2), 2)];
        let mut source = entry(20, 1);
        source.shared = vec![((1, 1), 40)];
        let entries = [source, work];
        assert_eq!(sizes(&entries), [41, 5]);
        let plan = plan(&entries, at_most(0));
        assert_eq!(plan.removals, [(1, 5), (0, 41)]);
        assert_eq!(plan.left, 0);
    }

    #[test]
    fn for_size_nothing_goes_that_frees_nothing() {
        let mut source = entry(10, 0);
        source.shared = vec![((1, 1), 40)];
        let mut work = entry(20, 3);
        work.shared = vec![((1, 1), 40)];
        work.in_use = true;
        let plan = plan(&[source, work], at_most(0));
        assert_eq!(plan.removals, []);
        assert_eq!(plan.left, 43);
    }
}
