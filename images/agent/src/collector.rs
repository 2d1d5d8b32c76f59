//! Reading the counters, apart from sending them.
//!
//! A reader gets stuck when its CPU locks up or when a file takes a lock that a locked up CPU
//! holds. So there are several, confined to different CPUs; whichever is awake first when a
//! reading is due claims it, and the heartbeat sends whatever was read last, with its time.
//! Each reader opens every file once and reads it again from its start: an open allocates, and
//! when a CPU is locked up, RCU frees nothing any more. The files are not shared, because a reader
//! that is stuck in one keeps it locked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use kverdict_core::protocol::Counters;
use kverdict_load::affinity;
use kverdict_load::board::Board;

use crate::pace::{Pace, uptime_ms};
use crate::trace::EventCounts;
use crate::{counters, globs};

/// Between two readings, in milliseconds. Less than between two heartbeats, so that none repeats
/// the last one.
const INTERVAL_MS: u64 = 500;
/// Readers at most: a deadlock takes some CPUs, not all, and each reader has a few files per CPU
/// open.
const READERS: usize = 6;
/// First size of a read buffer, in bytes; it grows as needed.
const BUFFER_BYTES: usize = 16 << 10;

/// The counters read last.
pub struct Collector {
    latest: Mutex<Arc<Reading>>,
    board: OnceLock<Board>,
    pace: Pace,
    nodes: Vec<Vec<u32>>,
}

/// What was read at one time.
pub struct Reading {
    /// To be sent.
    pub counters: Counters,
    /// Idle time per CPU, to compare the next reading with.
    idle: Vec<(u32, u64)>,
    at_ms: u64,
}

/// Where the counters are that not every kernel has in the same place.
struct Places {
    /// `schedstat` of every migration thread.
    migration: Vec<PathBuf>,
    /// The amplifier's counters: parameters whose names start with `kv_`.
    amplifier: Vec<PathBuf>,
}

/// One reader's open files.
struct Sources {
    stat: Option<File>,
    vmstat: Option<File>,
    schedstat: Option<File>,
    migration: Vec<File>,
    amplifier: Vec<(String, File)>,
    events: EventCounts,
}

impl Collector {
    /// Opens everything and reads it twice a second from now on.
    pub fn start(nodes: Vec<Vec<u32>>) -> Arc<Self> {
        let places = Places::find();
        let never = Reading {
            counters: Counters::default(),
            idle: Vec::new(),
            at_ms: 0,
        };
        let cpus = spread(&nodes);
        let collector = Arc::new(Collector {
            latest: Mutex::new(Arc::new(never)),
            board: OnceLock::new(),
            pace: Pace::start(INTERVAL_MS),
            nodes,
        });
        for cpu in cpus {
            let (shared, sources) = (Arc::clone(&collector), Sources::open(&places));
            std::thread::spawn(move || {
                // A CPU that cannot be had leaves the thread unconfined, which is no harm.
                let _ = affinity::confine(&[cpu]);
                shared.collect(&sources)
            });
        }
        collector
    }

    /// Counts the packets of a load from now on.
    pub fn count_packets(&self, board: Board) {
        // Set once: a plan has one load.
        let _ = self.board.set(board);
    }

    /// What was read last, or `None` while it is being replaced: the caller has the one before,
    /// and must not wait for a thread that may be stuck.
    pub fn latest(&self) -> Option<Arc<Reading>> {
        self.latest
            .try_lock()
            .ok()
            .map(|latest| Arc::clone(&latest))
    }

    fn collect(&self, sources: &Sources) -> ! {
        // Kept for when the lock is held by a reader that is stuck.
        let mut before = None;
        loop {
            if self.pace.claim() {
                before = self.latest().or(before);
                let reading = Arc::new(self.read(sources, before.as_deref()));
                if let Ok(mut latest) = self.latest.try_lock()
                    // A reader that was only slow must not bring old numbers back.
                    && latest.at_ms <= reading.at_ms
                {
                    *latest = reading;
                }
            }
            self.pace.rest();
        }
    }

    fn read(&self, sources: &Sources, before: Option<&Reading>) -> Reading {
        let packets = self.board.get().map_or(0, Board::packets);
        let mut counters = Counters {
            packets,
            ..sources.read()
        };
        let at_ms = uptime_ms();
        let idle = counters::idle_times(&text(&sources.stat).unwrap_or_default());
        if let Some(before) = before {
            let elapsed_ms = at_ms.saturating_sub(before.at_ms);
            counters.node_busy_percent =
                counters::node_busy_percent(&before.idle, &idle, elapsed_ms, &self.nodes);
        }
        counters.read_at_ms = Some(at_ms);
        Reading {
            counters,
            idle,
            at_ms,
        }
    }
}

/// CPUs for the readers, spread over all nodes.
fn spread(nodes: &[Vec<u32>]) -> Vec<u32> {
    let cpus: Vec<u32> = nodes.iter().flatten().copied().collect();
    let step = cpus.len().div_ceil(READERS).max(1);
    cpus.into_iter().step_by(step).collect()
}

impl Places {
    fn find() -> Self {
        let directories = fs::read_dir("/proc").into_iter().flatten().flatten();
        let is_migration = |directory: &Path| {
            let comm = fs::read_to_string(directory.join("comm"));
            comm.is_ok_and(|comm| comm.starts_with("migration/"))
        };
        let migration = directories
            .map(|entry| entry.path())
            .filter(|path| is_migration(path))
            .map(|path| path.join("schedstat"));
        Places {
            migration: migration.collect(),
            amplifier: globs::expand("/sys/module/fair/parameters/kv_*"),
        }
    }
}

impl Sources {
    fn open(places: &Places) -> Self {
        let named = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, File::open(path).ok()?))
        };
        Sources {
            stat: File::open("/proc/stat").ok(),
            vmstat: File::open("/proc/vmstat").ok(),
            schedstat: File::open("/proc/schedstat").ok(),
            migration: places
                .migration
                .iter()
                .filter_map(|path| File::open(path).ok())
                .collect(),
            amplifier: places.amplifier.iter().filter_map(named).collect(),
            events: EventCounts::open(),
        }
    }

    /// Everything but the packets, the busy time and the time of reading.
    fn read(&self) -> Counters {
        let vmstat = text(&self.vmstat).unwrap_or_default();
        let runs = self
            .migration
            .iter()
            .map(|file| counters::slices(&reread(file)?));
        let runs: Option<u64> = runs.sum();
        let amplifier = self
            .amplifier
            .iter()
            .filter_map(|(name, file)| Some((name.clone(), reread(file)?.trim().parse().ok()?)));
        Counters {
            numa_hint_faults: counters::vmstat(&vmstat, "numa_hint_faults"),
            numa_pages_migrated: counters::vmstat(&vmstat, "numa_pages_migrated"),
            swaps: self.events.swaps(),
            moves: self.events.moves(),
            sticks: self.events.sticks(),
            active_balances: text(&self.schedstat).and_then(|t| counters::active_balances(&t)),
            migration_runs: runs.filter(|_| !self.migration.is_empty()),
            amplifier: amplifier.collect::<BTreeMap<_, _>>(),
            ..Counters::default()
        }
    }
}

fn text(file: &Option<File>) -> Option<String> {
    file.as_ref().and_then(reread)
}

/// The whole text of an open file, from its start.
pub fn reread(file: &File) -> Option<String> {
    let mut bytes = vec![0; BUFFER_BYTES];
    let mut length = 0;
    loop {
        let count = file.read_at(&mut bytes[length..], length as u64).ok()?;
        length += count;
        if count == 0 {
            bytes.truncate(length);
            return String::from_utf8(bytes).ok();
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_spread_over_all_nodes() {
        assert_eq!(spread(&[vec![0, 1], vec![2, 3]]), [0, 1, 2, 3]);
        assert_eq!(spread(&[(0..4).collect(), (4..8).collect()]), [0, 2, 4, 6]);
        assert!(spread(&[(0..64).collect()]).len() <= READERS);
        assert!(spread(&[]).is_empty());
    }

    #[test]
    fn a_file_longer_than_the_buffer_is_read_whole() {
        let path = std::env::temp_dir().join(format!("kverdict-reread-{}", std::process::id()));
        let long = "0123456789".repeat(BUFFER_BYTES / 4);
        fs::write(&path, &long).unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(reread(&file).as_deref(), Some(long.as_str()));
        assert_eq!(reread(&file), Some(long));
    }
}
