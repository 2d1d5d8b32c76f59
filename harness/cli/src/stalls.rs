//! When this machine stood still: it was suspended, what it runs on did not run it, or it was so busy that not even
//! a thread ran that wants nothing but to be woken. The clocks of its guests went on, and their detectors call that
//! a lockup.

use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(200);
/// What a busy machine keeps a thread waiting now and then is no stall.
const LEAST: Duration = Duration::from_secs(1);
/// Stalls that are remembered, the latest ones.
const KEPT_MAX: usize = 1000;

static STALLS: Mutex<Vec<Stall>> = Mutex::new(Vec::new());

/// One time of standing still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When the machine went on.
    pub end: Instant,
    /// How long it stood still, up to one tick less.
    pub length: Duration,
}

/// Begins to watch this machine, once for the whole program.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        thread::spawn(|| {
            let mut slept_at = Instant::now();
            loop {
                thread::sleep(TICK);
                let now = Instant::now();
                if let Some(stall) = between(slept_at, now) {
                    let mut stalls = STALLS.lock().unwrap_or_else(PoisonError::into_inner);
                    let surplus = (stalls.len() + 1).saturating_sub(KEPT_MAX);
                    stalls.drain(..surplus);
                    stalls.push(stall);
                }
                slept_at = now;
            }
        });
    });
}

/// All stalls that ended after `start`, as far as [`watch`] ran.
pub fn since(start: Instant) -> Vec<Stall> {
    let stalls = STALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let ended_later = stalls.iter().filter(|stall| stall.end > start);
    ended_later.copied().collect()
}

fn between(slept_at: Instant, woke_at: Instant) -> Option<Stall> {
    let length = woke_at.duration_since(slept_at).saturating_sub(TICK);
    (length >= LEAST).then_some(Stall {
        end: woke_at,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_much_longer_than_a_tick_is_a_stall() {
        let start = Instant::now();
        let wakes = |after: Duration| between(start, start + after);
        assert_eq!(wakes(TICK), None);
        assert_eq!(wakes(TICK + LEAST / 2), None);
        let stall = wakes(TICK + LEAST * 9).unwrap();
        assert_eq!(
            (stall.length, stall.end),
            (LEAST * 9, start + TICK + LEAST * 9)
        );
    }
}
