//! Times in which this machine stood still, and a guest with it: what the machine runs on did not run it, it was
//! suspended, or all of this run was stopped. The guest's clocks went on, and its detectors call that a lockup.
//!
//! That kverdict was not run is no proof: somebody may have stopped it alone. So it also counts what went on
//! meanwhile, on the whole machine and in the guest.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::process::Child;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// What a busy machine keeps a process waiting now and then is no stall.
const LEAST: Duration = Duration::from_secs(1);
/// With fewer context switches a second, of all CPUs together, nothing ran: where a guest's vCPUs are busy there are
/// hundreds.
const SWITCHES_PER_SECOND: f64 = 20.0;
/// A guest that has had this much of its usual CPU time, besides what it had around the gap, did not run in it.
const CPU_SHARE: f64 = 0.1;
/// Of a guest that uses less than so many CPUs, its CPU time does not tell whether it ran.
const IDLE: f64 = 0.1;

/// Follows one guest, and remembers when it stood still together with this process.
#[derive(Debug)]
pub struct Stalls {
    last: Look,
    /// CPUs that the guest used when it was looked at without a gap, the last time.
    usual: f64,
    found: Vec<Stall>,
}

/// What had gone on until some moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    /// The same by a clock that counts suspension, too.
    with_suspension: Duration,
    /// Context switches of this machine, see proc_stat(5).
    switches: Option<u64>,
    /// CPU time of the guest.
    cpu_time: Option<Duration>,
}

/// One time of standing still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stall {
    from: Instant,
    to: Instant,
    /// Suspension included.
    length: Duration,
}

impl Stalls {
    /// From now on.
    pub fn of(guest: &Child) -> Self {
        Self {
            last: Look::at(guest),
            // What a boot uses.
            usual: 1.0,
            found: Vec::new(),
        }
    }

    /// To be called all the time; it looks as often as it has to.
    pub fn look(&mut self, guest: &Child) {
        if self.last.at.elapsed() < INTERVAL {
            return;
        }
        let now = Look::at(guest);
        match self.last.gap(&now) {
            Some(_) => self.found.extend(between(&self.last, &now, self.usual)),
            None => self.usual = self.last.cpus_until(&now).unwrap_or(self.usual),
        }
        self.last = now;
    }

    /// Time since `from` in which the guest could do something.
    pub fn lived_since(&self, from: Instant) -> Duration {
        let now = Instant::now();
        (now - from).saturating_sub(self.lost(from, now))
    }

    /// Of the time between these two, how much was lost; suspension, which clocks of guests do not count either, is
    /// not.
    pub fn lost(&self, from: Instant, to: Instant) -> Duration {
        let overlap = |stall: &Stall| {
            stall
                .to
                .min(to)
                .saturating_duration_since(stall.from.max(from))
        };
        self.found.iter().map(overlap).sum()
    }

    /// How long the guest stood still in all, suspension included, as far as that was over after `from`, and began
    /// before `to`.
    pub fn between(&self, from: Instant, to: Instant) -> Duration {
        let those = self.found.iter();
        let those = those.filter(|stall| stall.to > from && stall.from < to);
        those.map(|stall| stall.length).sum()
    }
}

impl Look {
    fn at(guest: &Child) -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self {
            at: Instant::now(),
            with_suspension: Duration::new(seconds, nanoseconds),
            switches: switches(),
            cpu_time: guest.cpu_time(),
        }
    }

    fn seconds_until(&self, later: &Self) -> f64 {
        let time = later.with_suspension.saturating_sub(self.with_suspension);
        time.as_secs_f64()
    }

    /// How much later than it should the next look came; none: as soon as on any busy machine.
    fn gap(&self, later: &Self) -> Option<Duration> {
        let time = later.with_suspension.saturating_sub(self.with_suspension);
        let late = time.saturating_sub(INTERVAL);
        (late >= LEAST).then_some(late)
    }

    /// CPUs that the guest used until then.
    fn cpus_until(&self, later: &Self) -> Option<f64> {
        let had = later.cpu_time?.saturating_sub(self.cpu_time?);
        Some(had.as_secs_f64() / self.seconds_until(later))
    }
}

fn switches() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "))?;
    line.trim().parse().ok()
}

/// Whether machine or guest stood still between two looks, if the guest uses so many CPUs where it runs.
fn between(before: &Look, now: &Look, usual: f64) -> Option<Stall> {
    let length = before.gap(now)?;
    let seconds = before.seconds_until(now);
    let switches = before.switches.zip(now.switches);
    let machine_stood = switches.is_some_and(|(before, now)| {
        (now.saturating_sub(before) as f64) < SWITCHES_PER_SECOND * seconds
    });
    // It ran until it was stopped, and again before this process did.
    let around = 2.0 * INTERVAL.as_secs_f64();
    let most = (around + CPU_SHARE * seconds).min(seconds / 2.0);
    let cpus = before.cpus_until(now).filter(|_| usual > IDLE);
    let guest_stood = cpus.is_some_and(|cpus| cpus * seconds < usual * most);
    (machine_stood || guest_stood).then_some(Stall {
        from: before.at,
        to: now.at,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds between two looks, in which so much went on; the guest usually uses two CPUs.
    fn ten_seconds(switches: u64, cpu_ms: u64) -> Option<Stall> {
        gap(Duration::from_secs(10), switches, cpu_ms, 2.0)
    }

    fn gap(length: Duration, switches: u64, cpu_ms: u64, usual: f64) -> Option<Stall> {
        let at = Instant::now();
        let before = Look {
            at,
            with_suspension: Duration::from_secs(99),
            switches: Some(1_000_000),
            cpu_time: Some(Duration::from_secs(7)),
        };
        let now = Look {
            at: at + length,
            with_suspension: before.with_suspension + length,
            switches: Some(1_000_000 + switches),
            cpu_time: before
                .cpu_time
                .map(|time| time + Duration::from_millis(cpu_ms)),
        };
        between(&before, &now, usual)
    }

    #[test]
    fn a_machine_or_a_guest_that_did_not_run_stood_still() {
        let still = Some(Duration::from_millis(9_500));
        // A paused machine may charge the time to whom it ran last.
        assert_eq!(ten_seconds(30, 9_900).map(|stall| stall.length), still);
        // A run that was stopped as a whole, while others went on.
        assert_eq!(ten_seconds(90_000, 20).map(|stall| stall.length), still);
        // It ran for the rest of an interval before, and for a while until kverdict was run again.
        assert_eq!(ten_seconds(90_000, 1_900).map(|stall| stall.length), still);
    }

    #[test]
    fn that_only_kverdict_was_stopped_is_no_stall_and_nor_is_a_short_wait() {
        assert_eq!(ten_seconds(90_000, 19_000), None);
        assert_eq!(ten_seconds(90_000, 9_000), None, "quieter than before");
        assert_eq!(gap(INTERVAL + LEAST / 2, 0, 0, 2.0), None);
        let just_late = INTERVAL + LEAST;
        assert_eq!(gap(just_late, 90_000, 1_600, 2.0), None, "half as fast");
    }

    #[test]
    fn of_an_idle_guest_only_the_machine_tells() {
        let idle = |switches| gap(Duration::from_secs(10), switches, 0, 0.05);
        assert_eq!(idle(90_000), None);
        assert!(idle(30).is_some());
    }

    #[test]
    fn only_what_lies_between_two_moments_is_lost_there() {
        let at = Instant::now();
        let second = |count| at + Duration::from_secs(count);
        let child = crate::process::Job::new("true", Duration::from_secs(60));
        let mut stalls = Stalls::of(&child.start().unwrap());
        stalls.found.push(Stall {
            from: second(10),
            to: second(20),
            length: Duration::from_secs(600),
        });
        let lost = |from, to| stalls.lost(second(from), second(to)).as_secs();
        assert_eq!(lost(0, 30), 10);
        assert_eq!(lost(15, 30), 5);
        assert_eq!(lost(12, 13), 1);
        assert_eq!(lost(20, 30), 0);
        let all = |from, to| stalls.between(second(from), second(to)).as_secs();
        assert_eq!((all(19, 30), all(21, 30), all(0, 9)), (600, 0, 0));
    }
}
