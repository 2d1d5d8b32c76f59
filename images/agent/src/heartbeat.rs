//! One heartbeat a second for as long as any CPU runs.
//!
//! One thread would not do: its timer sits on the CPU on which it went to sleep, and if that CPU
//! locks up, the timer never fires; and a thread that is woken there never runs. So there is one
//! thread per CPU, confined to it, and whichever is awake first when a heartbeat is due sends it.
//!
//! What remains: the kernel sends the port's bytes from an interrupt, and if the CPU that the
//! interrupt goes to is the one locked up, the port falls silent after what its buffer holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kverdict_core::protocol::Message;
use kverdict_load::affinity;

use crate::collector::Collector;
use crate::pace::{Pace, uptime_ms};
use crate::port::Port;

/// Between two heartbeats, in milliseconds.
const INTERVAL_MS: u64 = 1000;

/// What the threads share.
struct Pulse {
    port: Arc<Port>,
    collector: Arc<Collector>,
    pace: Pace,
    /// The number of the next heartbeat. A pause leaves no gap in the numbers; the times show it.
    seq: AtomicU64,
}

/// Starts the heartbeats.
pub fn start(port: &Arc<Port>, collector: &Arc<Collector>, nodes: &[Vec<u32>]) {
    let pulse = Arc::new(Pulse {
        port: Arc::clone(port),
        collector: Arc::clone(collector),
        pace: Pace::start(INTERVAL_MS),
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
        let mut known = None;
        loop {
            if self.pace.claim() {
                known = self.collector.latest().or(known);
                let counters = known.as_ref().map(|reading| reading.counters.clone());
                self.port.send(&Message::Heartbeat {
                    seq: self.seq.fetch_add(1, Ordering::Relaxed),
                    uptime_ms: uptime_ms(),
                    counters: counters.unwrap_or_default(),
                });
            }
            self.pace.rest();
        }
    }
}
