//! Something that has to be done once per interval, by whichever of several threads is awake.
//!
//! The claim is one atomic step, so nobody ever waits for a thread that is stuck on a CPU that
//! locked up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The interval and what of it is done.
pub struct Pace {
    interval_ms: u64,
    start_ms: u64,
    /// The next interval, counted from the start, that nobody has claimed.
    due: AtomicU64,
}

/// Time since boot in milliseconds.
pub fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

impl Pace {
    /// The first interval begins now.
    pub fn start(interval_ms: u64) -> Self {
        Pace {
            interval_ms,
            start_ms: uptime_ms(),
            due: AtomicU64::new(0),
        }
    }

    /// Whether the caller has to do what is due. Intervals in which no thread ran are not made up
    /// for.
    pub fn claim(&self) -> bool {
        self.claim_at(uptime_ms())
    }

    fn claim_at(&self, now_ms: u64) -> bool {
        let interval = now_ms.saturating_sub(self.start_ms) / self.interval_ms;
        self.due.fetch_max(interval + 1, Ordering::Relaxed) <= interval
    }

    /// Sleeps until the next interval begins.
    pub fn rest(&self) {
        let since_ms = uptime_ms().saturating_sub(self.start_ms);
        std::thread::sleep(Duration::from_millis(
            self.interval_ms - since_ms % self.interval_ms,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interval_is_claimed_once() {
        let pace = Pace {
            interval_ms: 1000,
            start_ms: 5000,
            due: AtomicU64::new(0),
        };
        let claims = [5000, 5001, 5999, 6000, 6500].map(|now_ms| pace.claim_at(now_ms));
        assert_eq!(claims, [true, false, false, true, false]);
    }

    #[test]
    fn missed_intervals_are_not_made_up_for() {
        let pace = Pace {
            interval_ms: 1000,
            start_ms: 0,
            due: AtomicU64::new(0),
        };
        let claims = [0, 7900, 7901, 8000].map(|now_ms| pace.claim_at(now_ms));
        assert_eq!(claims, [true, true, false, true]);
    }
}
