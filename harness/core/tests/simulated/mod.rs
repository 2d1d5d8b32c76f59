//! Campaigns without kernels: lockups come as a Poisson process of a known rate.

// Every test program uses another part of it.
#![allow(dead_code)]

#[path = "../made_up/mod.rs"]
pub mod made_up;

use fastrand::Rng;
use kverdict_core::console::{Match, Outcome};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

/// So many campaigns are behind every share.
pub const CAMPAIGNS: u32 = 10_000;

/// A share of campaigns is within chance of at most `promised`: three standard errors above. `--nocapture`
/// shows what it is.
#[track_caller]
pub fn at_most(found: u32, promised: f64) {
    let share = f64::from(found) / f64::from(CAMPAIGNS);
    let error = (promised * (1.0 - promised) / f64::from(CAMPAIGNS)).sqrt();
    println!("{share} of at most {promised}");
    assert!(share <= promised + 3.0 * error, "{share} of {promised}");
}

/// A share of campaigns is at least this large.
#[track_caller]
pub fn at_least(found: u32, expected: f64) {
    let share = f64::from(found) / f64::from(CAMPAIGNS);
    println!("{share} of at least {expected}");
    assert!(share >= expected, "{share} of {expected}");
}

/// Minutes until a lockup at `rate` per minute.
pub fn wait(rng: &mut Rng, rate: f64) -> f64 {
    -(1.0 - rng.f64()).ln() / rate
}

/// One trial of at most `limit` minutes: how long it ran, and whether it locked up.
pub fn trial(rng: &mut Rng, rate: f64, limit: f64) -> (f64, bool) {
    let waited = wait(rng, rate);
    (waited.min(limit), waited < limit)
}

/// The record of a trial that was exposed for so many minutes.
pub fn record(number: u32, arm: &str, outcome: Outcome, minutes: f64) -> TrialRecord {
    let mut record = made_up::record(number, arm, outcome, 0, 1_000);
    record.exposure.load_ms = (minutes * 60_000.0).round().max(1.0) as u64;
    record
}

/// The record of a made-up trial that locks up at `rate`, or survives.
pub fn made(rng: &mut Rng, number: u32, arm: &str, rate: f64, limit: f64) -> TrialRecord {
    let (minutes, locked_up) = trial(rng, rate, limit);
    let outcome = if locked_up {
        Outcome::HardLockup
    } else {
        Outcome::Clean
    };
    let mut record = record(number, arm, outcome, minutes);
    record.signature = locked_up.then_some(Match::Target);
    record
}

/// What a schedule says when some trials run side by side.
pub enum Step<E> {
    Trial(String),
    Wait,
    End(E),
}

/// Minutes that a trial takes besides its load.
const BOOT_MINUTES: f64 = 0.1;

/// Runs trials in so many slots, as the schedule asks for them: lockups come back first. Gives the records
/// in the order of their numbers.
pub fn side_by_side<E>(
    slots: usize,
    mut next: impl FnMut(&[TrialRecord], &[Order]) -> Step<E>,
    mut trial: impl FnMut(u32, &str) -> TrialRecord,
) -> (Vec<TrialRecord>, E) {
    let (mut records, mut running): (Vec<TrialRecord>, Vec<(f64, Order, TrialRecord)>) =
        Default::default();
    let (mut now, mut number) = (0.0, 0);
    loop {
        let out: Vec<Order> = running.iter().map(|(_, order, _)| order.clone()).collect();
        let step = next(&records, &out);
        match step {
            Step::Trial(arm) if out.len() < slots => {
                number += 1;
                let record = trial(number, &arm);
                let end = now + BOOT_MINUTES + record.exposure.minutes();
                running.push((
                    end,
                    Order {
                        number,
                        arm,
                        cell: None,
                    },
                    record,
                ));
                continue;
            }
            Step::End(end) if out.is_empty() => return (records, end),
            Step::Trial(_) | Step::Wait | Step::End(_) => {}
        }
        let ends = running.iter().map(|(end, _, _)| *end);
        let first = ends
            .enumerate()
            .min_by(|one, other| one.1.total_cmp(&other.1));
        let (index, end) = first.expect("a schedule waits only for what is out");
        let (_, order, record) = running.remove(index);
        now = end;
        let place = records.partition_point(|one| one.number < order.number);
        records.insert(place, record);
    }
}
