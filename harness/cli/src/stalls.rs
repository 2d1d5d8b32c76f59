//! Times in which this machine stood still, and a guest with it: what the machine runs on did not run it, it was
//! suspended, or all of this run was stopped. The guest's clocks went on, and its detectors call that a lockup.
//!
//! That kverdict was not run is no proof: somebody may have stopped it alone. So it also counts what went on
//! meanwhile, on the whole machine and in the guest.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::process::Child;
use crate::qemu::Acceleration;

/// Between two looks. What ran for that long, and then not at all, passes for having run a little.
const INTERVAL: Duration = Duration::from_millis(100);
/// What a busy machine keeps a process waiting now and then is no stall.
const LEAST: Duration = Duration::from_secs(1);
/// With fewer context switches a second, of all CPUs together, nothing ran: where a guest's vCPUs are busy there are
/// hundreds.
const SWITCHES_PER_SECOND: f64 = 20.0;
/// What a busy machine does on top in the intervals before and after.
const SWITCHES_AROUND: f64 = 400.0;
/// A guest that used fewer CPUs did not run: a CPU that is locked up uses all of one.
const CPUS: f64 = 0.1;
/// Of what a guest uses as a rule, this much is left of a peak at the next look: half of it after seven seconds.
const FADING: f64 = 0.99;

/// Follows one guest, and remembers when it stood still together with this process.
#[derive(Debug)]
pub struct Stalls {
    clock: ClockId,
    last: Look,
    /// CPUs that the guest uses when it runs, at most.
    usual: f64,
    found: Vec<Stall>,
}

/// What had gone on until some moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    /// The same by the clock that the guest goes by.
    time: Duration,
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
    /// By the clock that the guest goes by.
    length: Duration,
}

impl Stalls {
    /// From now on.
    pub fn of(guest: &Child, acceleration: Acceleration) -> Self {
        // While this machine is suspended, the clock of KVM goes on (get_kvmclock_base_ns() in arch/x86/kvm/x86.c), and
        // that of TCG does not (get_clock() in QEMU's include/qemu/timer.h).
        let clock = match acceleration {
            Acceleration::Kvm => ClockId::Boottime,
            Acceleration::Tcg => ClockId::Monotonic,
        };
        Self {
            clock,
            last: Look::at(clock, guest),
            // What a boot uses.
            usual: 1.0,
            found: Vec::new(),
        }
    }

    /// To be called all the time, while the guest was not waited for yet; it looks as often as it has to.
    pub fn look(&mut self, guest: &Child) {
        if self.last.at.elapsed() < INTERVAL {
            return;
        }
        let now = Look::at(self.clock, guest);
        match stall(&self.last, &now, self.usual) {
            Some(stall) => self.found.push(stall),
            None => {
                let used = self.last.cpus_until(&now).unwrap_or_default();
                self.usual = used.max(self.usual * FADING);
            }
        }
        self.last = now;
    }

    /// Time since `from` in which the guest could do something, until the last look: what came after may turn out to
    /// be a stall.
    pub fn lived_since(&self, from: Instant) -> Duration {
        let all = self.last.at.saturating_duration_since(from);
        all.saturating_sub(self.lost(from, self.last.at))
    }

    /// Of the time between these two, how much was lost; suspension not counted, as [`Instant`] does not either.
    pub fn lost(&self, from: Instant, to: Instant) -> Duration {
        let overlap = |stall: &Stall| {
            stall
                .to
                .min(to)
                .saturating_duration_since(stall.from.max(from))
        };
        self.found.iter().map(overlap).sum()
    }

    /// How long the guest stood still in all, by its clocks, as far as that was over after `from`, and began before
    /// `to`.
    pub fn between(&self, from: Instant, to: Instant) -> Duration {
        let those = self.found.iter();
        let those = those.filter(|stall| stall.to > from && stall.from < to);
        those.map(|stall| stall.length).sum()
    }
}

impl Look {
    fn at(clock: ClockId, guest: &Child) -> Self {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self {
            at: Instant::now(),
            time: Duration::new(seconds, nanoseconds),
            switches: switches(),
            cpu_time: guest.cpu_time(),
        }
    }

    fn time_until(&self, later: &Self) -> Duration {
        later.time.saturating_sub(self.time)
    }

    /// CPUs that the guest used until then; none: it is gone, and may have been for long.
    fn cpus_until(&self, later: &Self) -> Option<f64> {
        let had = later.cpu_time?.saturating_sub(self.cpu_time?);
        let time = self.time_until(later).max(INTERVAL);
        Some(had.as_secs_f64() / time.as_secs_f64())
    }
}

/// Read once for all guests: with many CPUs the file is long.
fn switches() -> Option<u64> {
    static READ: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let mut read = READ.lock().ok()?;
    if let Some((at, switches)) = *read
        && at.elapsed() < INTERVAL / 2
    {
        return Some(switches);
    }
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "))?;
    let switches = line.trim().parse().ok()?;
    *read = Some((Instant::now(), switches));
    Some(switches)
}

/// Whether machine or guest stood still between two looks, if the guest uses so many CPUs where it runs.
fn stall(before: &Look, now: &Look, usual: f64) -> Option<Stall> {
    let time = before.time_until(now);
    let length = time.saturating_sub(INTERVAL);
    if length < LEAST {
        return None;
    }
    let seconds = time.as_secs_f64();
    // Never so much that what goes on all the time passes for nothing.
    let most =
        |steady: f64, around: f64, going: f64| (steady * seconds + around).min(going * seconds);
    let machine_stood = before
        .switches
        .zip(now.switches)
        .is_some_and(|(before, now)| {
            let most = most(
                SWITCHES_PER_SECOND,
                SWITCHES_AROUND,
                5.0 * SWITCHES_PER_SECOND,
            );
            (now.saturating_sub(before) as f64) < most
        });
    let guest_stood = before.cpus_until(now).is_some_and(|cpus| {
        let around = usual * 2.0 * INTERVAL.as_secs_f64();
        cpus * seconds < most(CPUS, around, 5.0 * CPUS)
    });
    // An interval it had in any case: deadlines come, however slow the looks are.
    (machine_stood || guest_stood).then_some(Stall {
        from: before.at + INTERVAL,
        to: now.at,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds between two looks, in which so much went on; the guest uses eight CPUs when it runs.
    fn ten_seconds(switches: u64, cpu_ms: Option<u64>) -> Option<Stall> {
        gap(Duration::from_secs(10), switches, cpu_ms)
    }

    fn gap(time: Duration, switches: u64, cpu_ms: Option<u64>) -> Option<Stall> {
        let before = Look {
            at: Instant::now(),
            time: Duration::from_secs(99),
            switches: Some(1_000_000),
            cpu_time: Some(Duration::from_secs(7)),
        };
        let now = Look {
            at: before.at + time,
            time: before.time + time,
            switches: Some(1_000_000 + switches),
            cpu_time: cpu_ms.map(|more| Duration::from_millis(7_000 + more)),
        };
        stall(&before, &now, 8.0)
    }

    #[test]
    fn a_machine_or_a_guest_that_did_not_run_stood_still() {
        let still = Some(Duration::from_millis(9_900));
        let length = |stall: Option<Stall>| stall.map(|stall| stall.length);
        // A paused machine may charge the time to whom it ran last, and was busy until then.
        assert_eq!(length(ten_seconds(30, Some(9_900))), still);
        assert_eq!(length(ten_seconds(500, Some(9_900))), still);
        // A run that was stopped as a whole, while others went on; it was busy, too.
        assert_eq!(length(ten_seconds(90_000, Some(20))), still);
        assert_eq!(length(ten_seconds(90_000, Some(1_600))), still);
    }

    #[test]
    fn that_only_kverdict_was_stopped_is_no_stall() {
        assert_eq!(ten_seconds(90_000, Some(80_000)), None);
        // All CPUs but the one that is locked up are quiet.
        assert_eq!(ten_seconds(90_000, Some(10_000)), None);
        let minutes = Duration::from_secs(600);
        assert_eq!(gap(minutes, 600 * 300, Some(600_000)), None);
    }

    #[test]
    fn a_guest_that_ended_meanwhile_did_run() {
        assert_eq!(ten_seconds(90_000, None), None);
        assert!(ten_seconds(30, None).is_some(), "unless nothing did");
    }

    #[test]
    fn a_short_wait_is_no_stall() {
        assert_eq!(gap(INTERVAL + LEAST / 2, 0, Some(0)), None);
        let just_late = INTERVAL + LEAST;
        assert_eq!(gap(just_late, 300, Some(1_000)), None);
        assert!(gap(just_late, 0, Some(1_000)).is_some());
    }

    #[test]
    fn deadlines_come_however_slow_the_looks_are() {
        let found = ten_seconds(0, Some(0)).unwrap();
        assert_eq!(found.to - found.from, Duration::from_millis(9_900));
    }

    #[test]
    fn only_what_lies_between_two_moments_is_lost_there() {
        let child = crate::process::Job::new("true", Duration::from_secs(60));
        let mut stalls = Stalls::of(&child.start().unwrap(), Acceleration::Tcg);
        let at = stalls.last.at;
        let second = |count| at + Duration::from_secs(count);
        stalls.found.push(Stall {
            from: second(10),
            to: second(20),
            length: Duration::from_secs(600),
        });
        stalls.last.at = second(30);
        let lost = |from, to| stalls.lost(second(from), second(to)).as_secs();
        assert_eq!(lost(0, 30), 10);
        assert_eq!(lost(15, 30), 5);
        assert_eq!(lost(12, 13), 1);
        assert_eq!(lost(20, 30), 0);
        let all = |from, to| stalls.between(second(from), second(to)).as_secs();
        assert_eq!((all(19, 30), all(21, 30), all(0, 9)), (600, 0, 0));
        let lived = |from| stalls.lived_since(second(from)).as_secs();
        assert_eq!((lived(0), lived(15), lived(25), lived(31)), (20, 10, 5, 0));
    }
}
