//! Time under load, to the right.

use std::ops::Range;

use kverdict_core::statistics::survival::Curve;
use plotters::coord::ranged1d::{BoldPoints, DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

use super::{end_of_axis, short};
use crate::ink::Ink;

/// From this many times the shortest time on, the longest one would press it against the edge: a lockup after three
/// seconds is not to be seen beside an hour of survival.
const FAR_APART: f64 = 30.0;
/// Below so many minutes an axis counts seconds.
const SECONDS_BELOW: f64 = 5.0;
/// Round times, in seconds.
const ROUND: [f64; 15] = [
    0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10_800.0, 36_000.0,
    86_400.0, 259_200.0,
];

/// An axis of time: even, or logarithmic where times are far apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Time {
    /// Even.
    Even {
        /// Units in a minute.
        unit: f64,
        /// Their name.
        name: &'static str,
        /// The longest time, in units.
        longest: f64,
    },
    /// Each stroke is about three times as long as the one before; places are logarithms of seconds.
    Logarithmic {
        /// The shortest time, in seconds.
        shortest: f64,
        /// The longest one.
        longest: f64,
    },
}

/// Places from one end to the other, with numbers at some of them.
pub(super) struct Axis {
    places: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.places.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.places.range()
    }
}

impl Time {
    /// One that shows all trials of some curves.
    pub fn of(curves: &[(Ink, Curve)]) -> Self {
        let points = curves.iter().flat_map(|(_, curve)| {
            let points = curve.steps.iter().chain(&curve.censored);
            points.map(|point| point.minutes)
        });
        let (shortest, longest) = points.fold((f64::INFINITY, 0.0_f64), |(low, high), minutes| {
            (low.min(minutes), high.max(minutes))
        });
        if shortest > 0.0 && longest > FAR_APART * shortest {
            return Self::Logarithmic {
                shortest: shortest * 60.0,
                longest: longest * 60.0,
            };
        }
        let (unit, name) = match longest < SECONDS_BELOW {
            true => (60.0, "seconds"),
            false => (1.0, "minutes"),
        };
        Self::Even {
            unit,
            name,
            longest: longest * unit,
        }
    }

    /// Where it begins and ends.
    pub fn ends(&self) -> (f64, f64) {
        match self {
            Self::Even { longest, .. } => (0.0, end_of_axis(*longest)),
            Self::Logarithmic { shortest, longest } => {
                ((shortest / 2.0).ln(), (longest * 1.3).ln())
            }
        }
    }

    /// Where a time is; one before the beginning is at it.
    pub fn place(&self, minutes: f64) -> f64 {
        match self {
            Self::Even { unit, .. } => minutes * unit,
            Self::Logarithmic { .. } => (minutes * 60.0).ln().max(self.ends().0),
        }
    }

    /// With not many more numbers than `count`.
    pub fn axis(&self, count: usize) -> Axis {
        let (from, until) = self.ends();
        Axis {
            places: RangedCoordf64::from(from..until),
            ticks: self.ticks(count),
        }
    }

    /// Places of numbers.
    fn ticks(&self, count: usize) -> Vec<f64> {
        let (from, until) = self.ends();
        match self {
            Self::Even { .. } => RangedCoordf64::from(from..until).key_points(BoldPoints(count)),
            Self::Logarithmic { .. } => {
                let places = ROUND.map(f64::ln).into_iter();
                let seen: Vec<f64> = places
                    .filter(|place| (from..until).contains(place))
                    .collect();
                let every = seen.len().div_ceil(count.max(1)).max(1);
                seen.into_iter().step_by(every).collect()
            }
        }
    }

    /// What stands at a place.
    pub fn label(&self, place: f64) -> String {
        match self {
            Self::Even { .. } => short(place),
            Self::Logarithmic { .. } => {
                // The exponential of a minute's logarithm is a bit less or more than a minute.
                let seconds = (place.exp() * 1000.0).round() / 1000.0;
                if seconds < 60.0 {
                    format!("{} s", short(seconds))
                } else if seconds < 3600.0 {
                    format!("{} min", short(seconds / 60.0))
                } else {
                    format!("{} h", short(seconds / 3600.0))
                }
            }
        }
    }

    /// What it is.
    pub fn name(&self) -> String {
        match self {
            Self::Even { name, .. } => format!("{name} under load"),
            Self::Logarithmic { .. } => "time under load (logarithmic)".to_owned(),
        }
    }
}
