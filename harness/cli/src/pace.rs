//! How often what a run says is written anew while the run goes on.
//!
//! Reports, pages and the history are made of all trials so far, and of what the guests that locked up left behind. After
//! each trial that would be work that grows with the square of the trials' number, on the machine that the guests run
//! on. So it is done again only once it takes no more than a small part of the run's time. Nothing is lost by that: records are
//! written at once, a report can be made of them at any time, and at the end it always is.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// After something that took a second, so many pass until it is due again: 2 % of the time.
const PAUSE: u32 = 49;

/// Says when it is due again.
#[derive(Debug, Default)]
pub struct Pace {
    /// Absent: it was never done.
    due: Cell<Option<Instant>>,
}

impl Pace {
    /// Does it if it is due.
    pub fn keep<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let began = Instant::now();
        if !self.is_due(began) {
            return None;
        }
        let done = work();
        self.was_done(began, began.elapsed());
        Some(done)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.get().is_none_or(|due| due <= now)
    }

    fn was_done(&self, began: Instant, took: Duration) {
        self.due.set(Some(began + took * (PAUSE + 1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_small_part_of_the_time_however_long_it_takes() {
        let begun = Instant::now();
        for took in [1, 200, 5000].map(Duration::from_millis) {
            let pace = Pace::default();
            let (mut now, mut spent) = (begun, Duration::ZERO);
            // An hour of trials of ten seconds.
            for _ in 0..360 {
                if pace.is_due(now) {
                    pace.was_done(now, took);
                    now += took;
                    spent += took;
                }
                now += Duration::from_secs(10);
            }
            let all = (now - begun).as_secs_f64();
            assert!(
                spent.as_secs_f64() <= 0.02 * all + took.as_secs_f64(),
                "{took:?}"
            );
            let least = (all / (10.0 + 50.0 * took.as_secs_f64())).floor();
            assert!(
                spent.as_secs_f64() / took.as_secs_f64() >= least,
                "{took:?}"
            );
        }
    }

    #[test]
    fn what_takes_no_time_is_always_due() {
        let pace = Pace::default();
        let begun = Instant::now();
        pace.was_done(begun, Duration::ZERO);
        assert!(pace.is_due(begun));
        pace.was_done(begun, Duration::from_secs(1));
        assert!(!pace.is_due(begun + Duration::from_secs(49)));
        assert!(pace.is_due(begun + Duration::from_secs(50)));
    }
}
