//! Counting trace events without reading them.
//!
//! Each event gets a tracing instance of its own with a small ring buffer. What was recorded is
//! the sum of what the buffer holds, what was overwritten and what was dropped, which the kernel
//! keeps per CPU: reading it needs no interrupt on that CPU, so it works when the CPU is locked up.

use std::fs;
use std::fs::File;
use std::path::Path;

use crate::collector::reread;
use crate::globs;

/// tracefs, and where it is before 4.1.
const TRACING: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// Per CPU; enough, as events are counted and not read.
const BUFFER_KIB: &str = "4";

/// Name of the instance and path of the event in it.
type Event = (&'static str, &'static str);
const SWAPS: Event = ("kv-swap", "sched/sched_swap_numa");
const MOVES: Event = ("kv-move", "sched/sched_move_numa");
const STICKS: Event = ("kv-stick", "sched/sched_stick_numa");

/// The events counted, with the statistics files of their instances.
pub struct EventCounts {
    swaps: Option<Vec<File>>,
    moves: Option<Vec<File>>,
    sticks: Option<Vec<File>>,
}

/// Makes the instances and enables the events; says whether any is counted now. An event or a
/// facility that the kernel lacks is left out.
pub fn start() -> bool {
    // Not lazily: one that works must not keep the others from being tried.
    let counted = [SWAPS, MOVES, STICKS].map(|event| count(event).is_some());
    counted.contains(&true)
}

impl EventCounts {
    /// Opens the statistics of the events that [`start`] enabled.
    pub fn open() -> Self {
        EventCounts {
            swaps: statistics(SWAPS),
            moves: statistics(MOVES),
            sticks: statistics(STICKS),
        }
    }

    /// Swaps of two tasks between nodes that were tried, since [`start`].
    pub fn swaps(&self) -> Option<u64> {
        total(self.swaps.as_ref()?)
    }

    /// Moves of one task to another node that were tried, since [`start`].
    pub fn moves(&self) -> Option<u64> {
        total(self.moves.as_ref()?)
    }

    /// Tasks that wanted to another node and stayed, since [`start`]: no place, or the move failed.
    pub fn sticks(&self) -> Option<u64> {
        total(self.sticks.as_ref()?)
    }
}

/// The directory of an event's instance; it need not exist.
fn instance((name, _): Event) -> Option<String> {
    let mut instances = TRACING.iter().map(|tracing| format!("{tracing}/instances"));
    let directory = instances.find(|path| Path::new(path).is_dir())?;
    Some(format!("{directory}/{name}"))
}

fn count(event: Event) -> Option<()> {
    let instance = instance(event)?;
    fs::create_dir_all(&instance).ok()?;
    fs::write(format!("{instance}/buffer_size_kb"), BUFFER_KIB).ok()?;
    fs::write(format!("{instance}/events/{}/enable", event.1), "1").ok()
}

fn statistics(event: Event) -> Option<Vec<File>> {
    let instance = instance(event)?;
    let enabled = fs::read_to_string(format!("{instance}/events/{}/enable", event.1)).ok()?;
    if !enabled.starts_with('1') {
        return None;
    }
    let paths = globs::expand(&format!("{instance}/per_cpu/cpu*/stats"));
    let files: Vec<File> = paths
        .iter()
        .filter_map(|path| File::open(path).ok())
        .collect();
    (!files.is_empty()).then_some(files)
}

fn total(files: &[File]) -> Option<u64> {
    files.iter().map(|file| recorded(&reread(file)?)).sum()
}

/// Events that a CPU ever recorded, out of its `stats`.
fn recorded(stats: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let value = stats.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse().ok()
    };
    let later = field("dropped events:").unwrap_or(0) + field("read events:").unwrap_or(0);
    Some(field("entries:")? + field("overrun:")? + later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_wherever_it_went() {
        let stats = "entries: 11\noverrun: 200\ncommit overrun: 0\nbytes: 484\n\
                     oldest event ts:    12.503911\nnow ts:    60.184418\ndropped events: 3\nread events: 0\n";
        assert_eq!(recorded(stats), Some(214));
        assert_eq!(recorded("entries: 5\noverrun: 0\n"), Some(5));
        assert_eq!(recorded(""), None);
    }
}
