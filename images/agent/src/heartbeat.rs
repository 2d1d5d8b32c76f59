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
use std::time::{Duration, Instant};

use kverdict_core::protocol::Message;
use kverdict_load::affinity;

use crate::collector::Collector;
use crate::pace::{Pace, uptime_ms};
use crate::port::Port;

/// Between two heartbeats, in milliseconds.
const INTERVAL_MS: u64 = 1000;

/// What the threads share.
pub struct Pulse {
    port: Arc<Port>,
    collector: Arc<Collector>,
    pace: Pace,
    /// When each CPU's thread last ran, in milliseconds since boot.
    ran_ms: Vec<(u32, AtomicU64)>,
    /// The number of the next heartbeat. A pause leaves no gap in the numbers; the times show it.
    seq: AtomicU64,
}

/// Starts the heartbeats.
pub fn start(port: &Arc<Port>, collector: &Arc<Collector>, nodes: &[Vec<u32>]) -> Arc<Pulse> {
    let cpus = nodes.iter().flatten();
    let pulse = Arc::new(Pulse {
        ran_ms: cpus.map(|&cpu| (cpu, AtomicU64::new(0))).collect(),
        port: Arc::clone(port),
        collector: Arc::clone(collector),
        pace: Pace::start(INTERVAL_MS),
        seq: AtomicU64::new(0),
    });
    for index in 0..pulse.ran_ms.len() {
        let pulse = Arc::clone(&pulse);
        std::thread::spawn(move || pulse.beat(index));
    }
    pulse
}

impl Pulse {
    /// The CPUs on which nothing ran since `since_ms`; waits up to `limit` for the last of them. Runs
    /// on whichever CPU will have the caller, which is alive by that.
    pub fn silent_cpus(&self, since_ms: u64, limit: Duration) -> Vec<u32> {
        let end = Instant::now() + limit;
        loop {
            let silent: Vec<u32> = self
                .ran_ms
                .iter()
                .filter(|(_, ran_ms)| ran_ms.load(Ordering::Relaxed) <= since_ms)
                .map(|(cpu, _)| *cpu)
                .collect();
            if silent.is_empty() || Instant::now() >= end {
                return silent;
            }
            self.pace.rest();
        }
    }

    fn beat(&self, index: usize) -> ! {
        let (cpu, ran_ms) = &self.ran_ms[index];
        // A thread that cannot have its CPU does not speak for it.
        let confined = affinity::confine(&[*cpu]).is_ok();
        let mut known = None;
        loop {
            if confined {
                ran_ms.store(uptime_ms(), Ordering::Relaxed);
            }
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
