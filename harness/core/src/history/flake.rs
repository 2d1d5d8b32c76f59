//! Cells that fail sometimes.

use serde::{Deserialize, Serialize};

use super::CellNight;
use super::change::{Demands, NEARLY_ALL, Past};
use super::timeline::{clock, count, kinds};
use crate::compare::failure::Failure;
use crate::statistics::{Rate, rate};

/// One kind of failure of a cell in which some trials pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flake {
    /// The kind.
    pub failure: Failure,
    /// Trials that failed so.
    pub failed: u32,
    /// Trials that count.
    pub trials: u32,
    /// Nights in which they were made.
    pub nights: usize,
    /// Nights in which it failed so.
    pub nights_failed: usize,
    /// Failures per unit of the kind's clock (minutes, if that is exposed minutes).
    pub rate: Option<Rate>,
    /// The clock's unit, in words.
    pub unit: String,
    /// The last run in which it failed so.
    pub last_run: String,
    /// When that was started, RFC 3339.
    pub last_seen: String,
    /// When the first of these nights was started: the cell's rates have not changed since, as far as is known.
    pub since: String,
}

/// What fails sometimes in a cell, since its rates changed last; nights are in the order of their time. The most
/// frequent comes first.
pub fn flakes(nights: &[CellNight], demands: &Demands) -> Vec<Flake> {
    let past = Past::of(nights, demands);
    let (nights, _) = past.segment();
    let failed: u32 = nights.iter().map(|night| night.failed).sum();
    let trials: u32 = nights.iter().map(|night| night.counted).sum();
    if f64::from(failed) >= NEARLY_ALL * f64::from(trials) {
        return Vec::new();
    }
    let mut found: Vec<Flake> = kinds(nights)
        .into_iter()
        .filter_map(|failure| {
            let seen = nights.iter().filter(|night| night.count(failure) > 0);
            let last = seen.clone().next_back()?;
            let failed = count(nights, failure);
            Some(Flake {
                failure: failure.clone(),
                failed,
                trials,
                nights: nights.len(),
                nights_failed: seen.count(),
                rate: rate(failed, clock(nights, failure.clock())),
                unit: failure.clock().unit().to_owned(),
                last_run: last.run.clone(),
                last_seen: last.started.clone(),
                since: nights.first()?.started.clone(),
            })
        })
        .collect();
    found.sort_by_key(|flake| std::cmp::Reverse(flake.failed));
    found
}
