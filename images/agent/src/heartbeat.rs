//! One heartbeat a second for as long as any CPU runs.
//!
//! One thread would not do: its timer sits on the CPU on which it went to sleep, and if that CPU
//! locks up, the timer never fires; and a thread that is woken there never runs. So there is one
//! thread per CPU, confined to it, and whichever is awake first when a heartbeat is due claims and
//! sends it. The claim is one atomic step, so nobody waits for a thread that got stuck.
//!
//! What remains: the kernel sends the port's bytes from an interrupt, and if the CPU that the
//! interrupt goes to is the one locked up, the port falls silent after what its buffer holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kverdict_core::protocol::{Counters, Message};
use kverdict_load::affinity;
use rustix::time::{ClockId, clock_gettime};

use crate::collector::Collector;
use crate::port::Port;

/// Between two heartbeats, in milliseconds.
const INTERVAL_MS: u64 = 1000;

/// What the threads share.
struct Pulse {
    port: Arc<Port>,
    collector: Arc<Collector>,
    /// When heartbeat 0 is due, in milliseconds of uptime.
    start_ms: u64,
    /// The next interval, counted from the start, that nobody has claimed.
    due: AtomicU64,
    /// The number of the next heartbeat.
    seq: AtomicU64,
}

/// Time since boot in milliseconds.
pub fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Starts the heartbeats.
pub fn start(port: &Arc<Port>, collector: &Arc<Collector>, nodes: &[Vec<u32>]) {
    let pulse = Arc::new(Pulse {
        port: Arc::clone(port),
        collector: Arc::clone(collector),
        start_ms: uptime_ms(),
        due: AtomicU64::new(0),
        seq: AtomicU64::new(0),
    });
    for &cpu in nodes.iter().flatten() {
        let pulse = Arc::clone(&pulse);
        std::thread::spawn(move || {
            // A CPU that cannot be had leaves the thread unconfined, which is no harm.
            let _ = affinity::confine(&[cpu]);
            pulse.beat()
        });
    }
}

impl Pulse {
    fn beat(&self) -> ! {
        let mut known = Arc::new(Counters::default());
        loop {
            let now_ms = uptime_ms();
            if let Some(seq) = self.claim(now_ms) {
                known = self.collector.latest().unwrap_or(known);
                let counters = Counters::clone(&known);
                self.port.send(&Message::Heartbeat {
                    seq,
                    uptime_ms: now_ms,
                    counters,
                });
            }
            std::thread::sleep(Duration::from_millis(self.until_next(uptime_ms())));
        }
    }

    /// Takes the heartbeat that is due. Intervals in which no thread ran are not made up for:
    /// the numbers go on without a gap and the times show the pause.
    fn claim(&self, now_ms: u64) -> Option<u64> {
        let interval = now_ms.saturating_sub(self.start_ms) / INTERVAL_MS;
        let claimed = self.due.fetch_max(interval + 1, Ordering::Relaxed) <= interval;
        claimed.then(|| self.seq.fetch_add(1, Ordering::Relaxed))
    }

    /// Milliseconds until the next heartbeat is due, at least one.
    fn until_next(&self, now_ms: u64) -> u64 {
        let since = now_ms.saturating_sub(self.start_ms);
        INTERVAL_MS - since % INTERVAL_MS
    }
}
