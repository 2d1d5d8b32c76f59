//! Reading the counters, apart from sending them.
//!
//! Reading may get stuck behind a deadlocked CPU: some of these files take locks. So a thread of
//! its own reads, and the heartbeat sends whatever was read last, with the time it was read.
//! Every file is opened once and read again from its start: an open allocates, and when a CPU is
//! locked up, RCU frees nothing any more.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use kverdict_core::protocol::Counters;
use kverdict_load::board::Board;

use crate::counters;
use crate::heartbeat::uptime_ms;
use crate::trace::EventCounts;
use crate::{globs, trace};

/// How often the counters are read. Shorter than a heartbeat, so that none repeats the last one.
const INTERVAL: Duration = Duration::from_millis(500);
/// First size of a read buffer, in bytes; it grows as needed.
const BUFFER_BYTES: usize = 16 << 10;

/// The counters read last.
pub struct Collector {
    latest: Mutex<Arc<Counters>>,
    board: OnceLock<Board>,
}

/// The open files.
struct Sources {
    nodes: Vec<Vec<u32>>,
    stat: Option<File>,
    vmstat: Option<File>,
    schedstat: Option<File>,
    migration: Vec<File>,
    amplifier: Vec<(String, File)>,
    events: EventCounts,
    idle: Vec<(u32, u64)>,
    read_at_ms: u64,
}

impl Collector {
    /// Opens everything and reads it twice a second from now on.
    pub fn start(nodes: Vec<Vec<u32>>, events: trace::EventCounts) -> Arc<Self> {
        let mut sources = Sources::open(nodes, events);
        let collector = Arc::new(Collector {
            latest: Mutex::new(Arc::new(sources.read(0))),
            board: OnceLock::new(),
        });
        let shared = Arc::clone(&collector);
        std::thread::spawn(move || shared.collect(sources));
        collector
    }

    /// Counts the packets of a load from now on.
    pub fn count_packets(&self, board: Board) {
        // Set once: a plan has one load.
        let _ = self.board.set(board);
    }

    /// The counters read last, or `None` while they are being replaced: the caller has the ones
    /// before, and must not wait for a thread that may be stuck.
    pub fn latest(&self) -> Option<Arc<Counters>> {
        self.latest
            .try_lock()
            .ok()
            .map(|latest| Arc::clone(&latest))
    }

    fn collect(&self, mut sources: Sources) -> ! {
        loop {
            let started = Instant::now();
            let counters = Arc::new(sources.read(self.board.get().map_or(0, Board::packets)));
            // Nobody panics while holding the lock: all panics power off.
            *self.latest.lock().expect("a panic powers off") = counters;
            std::thread::sleep(INTERVAL.saturating_sub(started.elapsed()));
        }
    }
}

impl Sources {
    fn open(nodes: Vec<Vec<u32>>, events: EventCounts) -> Self {
        Sources {
            nodes,
            stat: File::open("/proc/stat").ok(),
            vmstat: File::open("/proc/vmstat").ok(),
            schedstat: File::open("/proc/schedstat").ok(),
            migration: migration_threads(),
            amplifier: amplifier_counters(),
            events,
            idle: Vec::new(),
            read_at_ms: 0,
        }
    }

    fn read(&mut self, packets: u64) -> Counters {
        let text = |file: &Option<File>| file.as_ref().and_then(reread);
        let vmstat = text(&self.vmstat).unwrap_or_default();
        let now_ms = uptime_ms();
        let idle = counters::idle_times(&text(&self.stat).unwrap_or_default());
        let elapsed_ms = now_ms - self.read_at_ms;
        let busy = counters::node_busy_percent(&self.idle, &idle, elapsed_ms, &self.nodes);
        (self.idle, self.read_at_ms) = (idle, now_ms);
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
            packets,
            node_busy_percent: busy,
            numa_hint_faults: counters::vmstat(&vmstat, "numa_hint_faults"),
            numa_pages_migrated: counters::vmstat(&vmstat, "numa_pages_migrated"),
            swaps: self.events.swaps(),
            moves: self.events.moves(),
            active_balances: text(&self.schedstat).and_then(|t| counters::active_balances(&t)),
            migration_runs: runs.filter(|_| !self.migration.is_empty()),
            amplifier: amplifier.collect::<BTreeMap<_, _>>(),
            read_at_ms: Some(now_ms),
        }
    }
}

/// The `schedstat` files of all migration threads.
fn migration_threads() -> Vec<File> {
    let directories = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_migration = |directory: &Path| {
        fs::read_to_string(directory.join("comm")).is_ok_and(|comm| comm.starts_with("migration/"))
    };
    directories
        .map(|entry| entry.path())
        .filter(|path| is_migration(path))
        .filter_map(|path| File::open(path.join("schedstat")).ok())
        .collect()
}

/// The amplifier's counters: parameters that start with `kv_` and can be read.
fn amplifier_counters() -> Vec<(String, File)> {
    let paths = globs::expand("/sys/module/fair/parameters/kv_*");
    let named = |path: &std::path::PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some((name, File::open(path).ok()?))
    };
    paths.iter().filter_map(named).collect()
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
