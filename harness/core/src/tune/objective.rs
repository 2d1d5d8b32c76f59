//! What a tune makes large, and how far a few trials tell it.

use std::fmt;

use super::reading::Counts;
use crate::statistics::{self, Rate};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Near misses: both sides of the race in flight for the same pair of CPUs. A lockup of the
    /// campaign's kind is the meeting that it came from.
    Meetings,
    /// Where these are not counted, what they come from: the geometric mean of the rates of both sides.
    /// Were the sides independent, near misses would grow with the product.
    BothSides,
}

impl Objective {
    /// What a kernel's trials let one count; absent before there is one.
    pub fn of<'a>(counts: impl IntoIterator<Item = &'a Counts>) -> Option<Self> {
        let counted = counts.into_iter().map(|counts| counts.meetings.is_some());
        counted.max().map(|meetings| match meetings {
            true => Self::Meetings,
            false => Self::BothSides,
        })
    }

    /// The events that make up the objective, as one series of `(events, minutes)` each.
    fn series(self, trials: &[Counts]) -> Vec<Vec<(u64, f64)>> {
        let series = |get: &dyn Fn(&Counts) -> Option<u64>| {
            let known = trials
                .iter()
                .filter_map(|one| Some((get(one)?, one.minutes)));
            known.collect::<Vec<_>>()
        };
        match self {
            Self::Meetings => vec![series(&|one| {
                let met = (one.lockups > 0).then_some(one.lockups);
                one.meetings.max(met)
            })],
            Self::BothSides => vec![
                series(&|one| one.windows.or(one.active_balances)),
                series(&|one| one.swaps),
            ],
        }
    }

    /// How many times as much as by chance the counts of trials of the same point differ, at least 1.
    pub fn dispersion<'a>(self, points: impl IntoIterator<Item = &'a [Counts]>) -> f64 {
        let points = points.into_iter();
        let groups: Vec<_> = points.flat_map(|trials| self.series(trials)).collect();
        statistics::dispersion(&groups)
    }

    /// The objective per minute over all trials of one point, without saying how far it is known; absent
    /// without any.
    pub fn estimate(self, trials: &[Counts]) -> Option<f64> {
        let rates = self
            .totals(trials)
            .map(|(events, minutes)| (minutes > 0.0).then(|| events as f64 / minutes));
        Some(geometric_mean(&rates.collect::<Option<Vec<_>>>()?))
    }

    /// The objective per minute over all trials of one point, with its interval; absent without any.
    pub fn rate(self, trials: &[Counts], dispersion: f64) -> Option<Rate> {
        let rates = self
            .totals(trials)
            .map(|(events, minutes)| statistics::dispersed_rate(events, minutes, dispersion));
        let rates: Vec<Rate> = rates.collect::<Option<_>>()?;
        let mean =
            |get: fn(&Rate) -> f64| geometric_mean(&rates.iter().map(get).collect::<Vec<_>>());
        Some(Rate {
            per_minute: mean(|rate| rate.per_minute),
            low: mean(|rate| rate.low),
            high: mean(|rate| rate.high),
        })
    }

    fn totals(self, trials: &[Counts]) -> impl Iterator<Item = (u64, f64)> {
        let add = |sum: (u64, f64), one: (u64, f64)| (sum.0 + one.0, sum.1 + one.1);
        let series = self.series(trials).into_iter();
        series.map(move |series| series.into_iter().fold((0, 0.0), add))
    }
}

fn geometric_mean(values: &[f64]) -> f64 {
    let product: f64 = values.iter().product();
    product.powf(1.0 / values.len() as f64)
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meetings => "near misses",
            Self::BothSides => "proxy for near misses",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(meetings: Option<u64>, windows: Option<u64>, swaps: u64) -> Counts {
        Counts {
            minutes: 0.5,
            meetings,
            windows,
            active_balances: Some(1),
            swaps: Some(swaps),
            ..Counts::default()
        }
    }

    #[test]
    fn near_misses_count_where_the_kernel_counts_them() {
        let trials = [counts(Some(10), Some(5), 0), counts(Some(14), Some(5), 0)];
        assert_eq!(Objective::of(&trials), Some(Objective::Meetings));
        let rate = Objective::Meetings.rate(&trials, 1.0).unwrap();
        assert_eq!(rate.per_minute, 24.0);
        assert!(rate.low > 15.0 && rate.high < 36.0, "{rate:?}");
        let wider = Objective::Meetings.rate(&trials, 3.0).unwrap();
        assert!(wider.low < rate.low && wider.high > rate.high, "{wider:?}");
        assert_eq!(Objective::of(&[]), None);
        assert_eq!(Objective::Meetings.rate(&[], 1.0), None);
    }

    #[test]
    fn a_lockup_is_the_meeting_it_came_from() {
        let mut trial = counts(Some(0), None, 0);
        trial.lockups = 1;
        assert_eq!(
            Objective::Meetings.rate(&[trial], 1.0).unwrap().per_minute,
            2.0
        );
        trial.meetings = Some(1);
        assert_eq!(
            Objective::Meetings.rate(&[trial], 1.0).unwrap().per_minute,
            2.0
        );
    }

    #[test]
    fn the_proxy_is_the_geometric_mean_of_both_sides() {
        let trials = [counts(None, Some(50), 200)];
        assert_eq!(Objective::of(&trials), Some(Objective::BothSides));
        let rate = Objective::BothSides.rate(&trials, 1.0).unwrap();
        assert!((rate.per_minute - 200.0).abs() < 1e-9, "{rate:?}");
        // Without windows, active balances stand for side A.
        let rate = Objective::BothSides
            .rate(&[counts(None, None, 200)], 1.0)
            .unwrap();
        assert!((rate.per_minute - 28.28).abs() < 0.01, "{rate:?}");
        // One side that never ran is no exposure.
        let rate = Objective::BothSides
            .rate(&[counts(None, Some(0), 200)], 1.0)
            .unwrap();
        assert!(rate.per_minute == 0.0 && rate.high > 0.0, "{rate:?}");
    }
}
