//! Who is where in the race, and who has to wait for whom.
//!
//! B is a CPU whose task swaps with the one that runs on A. Side A is migration/A, which goes to sleep
//! and asks B's stopper for an active balance; side B is the swap, which takes both stoppers' locks
//! and wakes migration/A.
//!
//! ```text
//!   A: migration/A, in schedule()           B: migrate_swap()
//!                                              in stop_two_cpus(A, B), no lock taken yet: waits
//!   in stop_one_cpu_nowait(B), B's
//!   lock not taken yet: waits                  sees that A is there: goes on, takes both locks
//!                                              try_to_wake_up(migration/A): with the defect it spins
//!   sees that B is there: goes on,             here, for migration/A has not left its CPU
//!   and with the defect waits for B's lock
//! ```
//!
//! A waits for nobody unless B waits for it already, so that balances cost the kernel no more than
//! they do anyway; once migration/A runs, B would not choose A's task for a partner any more.
//!
//! Each CPU has room for one request of an active balance (`rq->active_balance`), until its stopper has
//! seen to it, which a CPU that is held cannot. So a swap is not held while such a request is under way,
//! and while one is held, other CPUs' migration threads are kept from going to sleep.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use std::time::{Duration, Instant};

use crate::board::Board;

/// vCPUs that a guest may have.
pub const CPUS: usize = 256;
/// Between two looks for the partner.
const STEP: Duration = Duration::from_micros(50);
/// A swap is held only where the partner has balanced towards its CPU within so many seconds: holding
/// a CPU costs load, and elsewhere nobody would come.
const RECENT_SECONDS: u32 = 60;
const NOBODY: u32 = u32::MAX;
/// Asks a stopper on the way to sleep.
const ASLEEP: u8 = 1;
/// Asks a stopper otherwise, such as for the move of a task.
const AWAKE: u8 = 2;

/// How long a side waits for the other at most. Zero: it does not wait, and is only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the swap.
    pub swap: Duration,
    /// For the balance.
    pub balance: Duration,
}

/// The race as the holder sees it.
pub struct Race<'a> {
    board: &'a Board,
    limits: Limits,
    start: Instant,
    cpus: Vec<Cpu>,
    /// Swaps that are being held.
    waiting: AtomicU32,
    /// When CPU A last balanced towards CPU B, in seconds since the start, plus 1; 0: never.
    balanced: Vec<AtomicU32>,
}

/// What one CPU is about. Only `swap_with`, `balance_of` and `woke` are read by others.
struct Cpu {
    /// Its migration thread found nothing to do, and no other task has run since.
    falls_asleep: AtomicBool,
    /// It is in stop_one_cpu_nowait(), called from there or elsewhere: [`ASLEEP`], [`AWAKE`] or 0.
    asks_stopper: AtomicU8,
    /// Another CPU asked its stopper for something that this has not begun yet.
    is_asked: AtomicBool,
    /// Swaps that are held for it.
    awaited_by: AtomicU32,
    /// It is in stop_two_cpus().
    stops_two: AtomicBool,
    /// It was interrupted, and is not back in its swap.
    interrupted: AtomicBool,
    /// Partner of its swap, until that has woken the partner's migration thread.
    swap_with: AtomicU32,
    /// The CPU that its migration thread is about to ask, until it has the lock or is gone.
    balance_of: AtomicU32,
    /// Its swap has come to the wake-up.
    woke: AtomicBool,
}

impl Cpu {
    fn new() -> Self {
        Self {
            falls_asleep: AtomicBool::new(false),
            asks_stopper: AtomicU8::new(0),
            is_asked: AtomicBool::new(false),
            awaited_by: AtomicU32::new(0),
            stops_two: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            swap_with: AtomicU32::new(NOBODY),
            balance_of: AtomicU32::new(NOBODY),
            woke: AtomicBool::new(false),
        }
    }
}

impl<'a> Race<'a> {
    /// A race of which nothing was seen yet.
    pub fn new(board: &'a Board, limits: Limits) -> Self {
        Self {
            board,
            limits,
            start: Instant::now(),
            cpus: (0..CPUS).map(|_| Cpu::new()).collect(),
            waiting: AtomicU32::new(0),
            balanced: (0..CPUS * CPUS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The CPU's migration thread looks for work: without any, it is about to sleep.
    pub fn looks_for_work(&self, cpu: usize) {
        Board::add(&self.board.looks, 1);
        let in_the_way =
            || self.waiting.load(SeqCst) > 0 && self.cpus[cpu].awaited_by.load(SeqCst) == 0;
        if in_the_way() {
            wait(self.limits.swap, || !in_the_way());
        }
        self.cpus[cpu].falls_asleep.store(true, Relaxed);
    }

    /// It found some.
    pub fn works(&self, cpu: usize) {
        self.cpus[cpu].falls_asleep.store(false, Relaxed);
        self.cpus[cpu].is_asked.store(false, SeqCst);
    }

    /// The CPU switches to another task.
    pub fn switches(&self, cpu: usize) {
        self.cpus[cpu].falls_asleep.store(false, Relaxed);
        self.cpus[cpu].balance_of.store(NOBODY, SeqCst);
    }

    /// The CPU is about to ask another one's stopper for an active balance or a migration.
    pub fn asks_stopper(&self, cpu: usize) {
        let cpu = &self.cpus[cpu];
        let how = match cpu.falls_asleep.load(Relaxed) {
            true => ASLEEP,
            false => AWAKE,
        };
        cpu.asks_stopper.store(how, Relaxed);
    }

    /// The CPU begins to swap two tasks.
    pub fn stops_two(&self, cpu: usize) {
        self.cpus[cpu].stops_two.store(true, Relaxed);
    }

    /// On its way to another stopper's lock the CPU read the per-CPU offset of CPU `of`.
    pub fn asked(&self, cpu: usize, of: usize) {
        let asks = self.cpus[cpu].asks_stopper.swap(0, Relaxed);
        if asks == ASLEEP {
            self.balance(cpu, of);
        }
        if asks != 0 {
            self.cpus[of].is_asked.store(true, SeqCst);
        }
    }

    /// In its swap the CPU accessed memory; `of` is the CPU whose per-CPU offset it read.
    pub fn swapped(&self, cpu: usize, of: Option<usize>) {
        let me = &self.cpus[cpu];
        me.interrupted.store(false, Relaxed);
        if let Some(of) = of
            && of != cpu
            && me.stops_two.swap(false, Relaxed)
        {
            self.swap(cpu, of);
        }
    }

    /// The CPU is interrupted. A swap that was held mostly is, as soon as it goes on: the ticks of all
    /// that time are due, and wake others before it takes its locks.
    pub fn is_interrupted(&self, cpu: usize) {
        self.cpus[cpu].interrupted.store(true, Relaxed);
    }

    /// The CPU wakes a task.
    pub fn wakes(&self, cpu: usize) {
        let me = &self.cpus[cpu];
        // A balance that has the lock wakes the stopper.
        me.balance_of.store(NOBODY, SeqCst);
        let partner = me.swap_with.load(SeqCst);
        if partner == NOBODY || me.interrupted.load(Relaxed) {
            return;
        }
        if self.cpus[partner as usize].balance_of.load(SeqCst) == cpu as u32 {
            Board::add(&self.board.meetings, 1);
        }
        me.woke.store(true, SeqCst);
        me.swap_with.store(NOBODY, SeqCst);
    }

    /// Side A, before the lock.
    fn balance(&self, cpu: usize, of: usize) {
        Board::add(&self.board.balances, 1);
        self.balanced[cpu * CPUS + of].store(self.seconds() + 1, Relaxed);
        let (me, other) = (&self.cpus[cpu], &self.cpus[of]);
        me.balance_of.store(of as u32, SeqCst);
        let awaited = || other.swap_with.load(SeqCst) == cpu as u32;
        if self.limits.balance.is_zero() || !awaited() {
            return;
        }
        Board::add(&self.board.balances_held, 1);
        let gone = || other.woke.load(SeqCst) || !awaited();
        let held = wait(self.limits.balance, gone);
        Board::add(&self.board.balances_held_us, held.as_micros() as u64);
    }

    /// Side B, before the locks.
    fn swap(&self, cpu: usize, with: usize) {
        Board::add(&self.board.swaps, 1);
        let (me, other) = (&self.cpus[cpu], &self.cpus[with]);
        me.woke.store(false, SeqCst);
        me.swap_with.store(with as u32, SeqCst);
        let hopeless = me.is_asked.load(SeqCst) || !self.may_come(with, cpu);
        if self.limits.swap.is_zero() || hopeless {
            return;
        }
        other.awaited_by.fetch_add(1, SeqCst);
        self.waiting.fetch_add(1, SeqCst);
        Board::add(&self.board.swaps_held, 1);
        let there = || other.balance_of.load(SeqCst) == cpu as u32;
        let held = wait(self.limits.swap, there);
        self.waiting.fetch_sub(1, SeqCst);
        other.awaited_by.fetch_sub(1, SeqCst);
        Board::add(&self.board.swaps_held_us, held.as_micros() as u64);
    }

    /// Whether CPU `from` has lately balanced towards CPU `to`.
    fn may_come(&self, from: usize, to: usize) -> bool {
        let last = self.balanced[from * CPUS + to].load(Relaxed);
        last > 0 && self.seconds() + 1 - last <= RECENT_SECONDS
    }

    fn seconds(&self) -> u32 {
        self.start.elapsed().as_secs() as u32
    }
}

/// Waits until `over`, but no longer than `limit`; says how long it was.
fn wait(limit: Duration, over: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !over() && start.elapsed() < limit {
        std::thread::sleep(STEP);
    }
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: usize = 1;
    const B: usize = 7;
    /// Far longer than any test takes: a wait that ends by its limit fails the test.
    const LONG: Duration = Duration::from_secs(600);

    fn race(board: &Board, limit: Duration) -> Race<'_> {
        Race::new(
            board,
            Limits {
                swap: limit,
                balance: limit,
            },
        )
    }

    fn counts(board: &Board) -> [u64; 5] {
        [
            &board.balances,
            &board.swaps,
            &board.meetings,
            &board.balances_held,
            &board.swaps_held,
        ]
        .map(|counter| counter.load(SeqCst))
    }

    /// Migration/`cpu` goes to sleep and asks the stopper of `of`, without having its lock yet.
    fn begin_balance(race: &Race<'_>, cpu: usize, of: usize) {
        race.looks_for_work(cpu);
        race.asks_stopper(cpu);
        race.asked(cpu, of);
    }

    fn end_balance(race: &Race<'_>, cpu: usize) {
        race.wakes(cpu);
        race.switches(cpu);
    }

    fn begin_swap(race: &Race<'_>, cpu: usize, with: usize) {
        race.stops_two(cpu);
        race.swapped(cpu, Some(with.min(cpu)));
        race.swapped(cpu, Some(with.max(cpu)));
    }

    fn end_swap(race: &Race<'_>, cpu: usize) {
        race.swapped(cpu, None);
        race.wakes(cpu);
    }

    #[test]
    fn a_held_swap_and_its_balance_release_each_other() {
        let board = Board::default();
        let race = race(&board, LONG);
        // Or the swap would not be held.
        begin_balance(&race, A, B);
        end_balance(&race, A);
        race.works(B);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begin_swap(&race, B, A);
                end_swap(&race, B);
            });
            while board.swaps_held.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            begin_balance(&race, A, B);
            end_balance(&race, A);
        });
        assert_eq!(counts(&board), [2, 1, 1, 1, 1]);
    }

    #[test]
    fn nobody_waits_for_the_wrong_cpu() {
        let board = Board::default();
        let race = race(&board, LONG);
        // B has not been balanced from C: its swap with C is not held.
        begin_balance(&race, A, B);
        end_balance(&race, A);
        begin_swap(&race, B, 2);
        // And A does not wait for a swap with C.
        begin_balance(&race, A, B);
        end_balance(&race, A);
        end_swap(&race, B);
        assert_eq!(counts(&board), [2, 1, 0, 0, 0]);
    }

    #[test]
    fn a_cpu_that_is_asked_already_is_not_held() {
        let board = Board::default();
        let race = race(&board, LONG);
        begin_balance(&race, A, B);
        end_balance(&race, A);
        // B's stopper has not seen to it: no other balance could ask.
        begin_swap(&race, B, A);
        end_swap(&race, B);
        assert_eq!(counts(&board), [1, 1, 0, 0, 0]);
    }

    #[test]
    fn others_do_not_fall_asleep_while_a_swap_is_held() {
        let board = Board::default();
        let race = race(&board, LONG);
        let other = AtomicU32::new(0);
        begin_balance(&race, A, B);
        end_balance(&race, A);
        race.works(B);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begin_swap(&race, B, A);
                end_swap(&race, B);
            });
            while board.swaps_held.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            scope.spawn(|| {
                race.looks_for_work(2);
                other.store(board.meetings.load(SeqCst) as u32 + 1, SeqCst);
            });
            while board.looks.load(SeqCst) < 2 {
                std::thread::yield_now();
            }
            assert_eq!(other.load(SeqCst), 0);
            begin_balance(&race, A, B);
            end_balance(&race, A);
        });
        assert_ne!(other.load(SeqCst), 0);
        assert_eq!(counts(&board), [2, 1, 1, 1, 1]);
    }

    #[test]
    fn without_limits_it_only_counts() {
        let board = Board::default();
        let race = race(&board, Duration::ZERO);
        begin_swap(&race, B, A);
        begin_balance(&race, A, B);
        end_swap(&race, B);
        end_balance(&race, A);
        assert_eq!(counts(&board), [1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_balance_that_is_over_meets_nobody() {
        let board = Board::default();
        let race = race(&board, Duration::ZERO);
        begin_swap(&race, B, A);
        begin_balance(&race, A, B);
        end_balance(&race, A);
        end_swap(&race, B);
        assert_eq!(counts(&board), [1, 1, 0, 0, 0]);
    }

    #[test]
    fn an_interrupts_wake_up_is_not_the_swaps() {
        let board = Board::default();
        let race = race(&board, Duration::ZERO);
        begin_swap(&race, B, A);
        begin_balance(&race, A, B);
        race.is_interrupted(B);
        race.wakes(B);
        assert_eq!(board.meetings.load(SeqCst), 0);
        end_swap(&race, B);
        assert_eq!(board.meetings.load(SeqCst), 1);
    }

    #[test]
    fn a_balance_in_an_interrupt_is_not_the_swaps_return() {
        let board = Board::default();
        let race = race(&board, Duration::ZERO);
        begin_swap(&race, B, A);
        begin_balance(&race, A, B);
        race.is_interrupted(B);
        // A periodic balance, which wakes the stopper of a third CPU.
        race.asks_stopper(B);
        race.asked(B, 3);
        race.wakes(B);
        assert_eq!(board.meetings.load(SeqCst), 0);
        end_swap(&race, B);
        assert_eq!(board.meetings.load(SeqCst), 1);
    }

    #[test]
    fn only_a_migration_thread_that_falls_asleep_is_side_a() {
        let board = Board::default();
        let race = race(&board, Duration::ZERO);
        // An ordinary task's affinity change or idle balance.
        race.asks_stopper(A);
        race.asked(A, B);
        // A stopper at work.
        race.looks_for_work(A);
        race.works(A);
        race.asks_stopper(A);
        race.asked(A, B);
        // Another task runs already.
        race.looks_for_work(A);
        race.switches(A);
        race.asks_stopper(A);
        race.asked(A, B);
        assert_eq!(counts(&board), [0; 5]);
        begin_balance(&race, A, B);
        assert_eq!(counts(&board), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_wait_is_bounded() {
        let board = Board::default();
        let race = race(&board, Duration::from_millis(2));
        begin_balance(&race, A, B);
        end_balance(&race, A);
        race.works(B);
        begin_swap(&race, B, A);
        end_swap(&race, B);
        assert_eq!(counts(&board), [1, 1, 0, 0, 1]);
        assert!(board.swaps_held_us.load(SeqCst) >= 2000);
    }
}
