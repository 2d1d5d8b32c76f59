//! The kernels of a run in figures, whatever kind of run it is.

use kverdict_core::compare::report::SideLine;
use kverdict_core::statistics::Rate;
use kverdict_core::verdict::ArmTally;

use super::compare::letter;
use super::table::{Cell, Table};
use crate::Error;
use crate::figure::Figure;
use crate::ink::Ink;
use crate::plot::interval;

/// A kernel in figures.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// Name of its arm.
    pub arm: String,
    /// What people call it.
    pub name: String,
    about: String,
    counts: [u32; 6],
    minutes: f64,
    rate: Option<Rate>,
    median: Option<f64>,
    /// Swaps, windows and near misses per minute.
    exposure: [Option<f64>; 3],
    packets: f64,
}

/// What the counts are of.
const COUNTS: [&str; 6] = [
    "trials",
    "locked up",
    "survived",
    "failed otherwise",
    "not exposed",
    "host trouble",
];
/// What the rates of exposure are of.
const EXPOSURE: [&str; 3] = ["swaps/min", "side A windows/min", "near misses/min"];

impl Side {
    pub fn of_arm(arm: &ArmTally) -> Self {
        Self {
            arm: arm.arm.clone(),
            name: arm.arm.clone(),
            about: format!("{}, {}", arm.role, arm.kernel),
            counts: [
                arm.trials,
                arm.target_lockups,
                arm.survived,
                arm.suspect + arm.other_failures,
                arm.not_exposed,
                arm.infrastructure,
            ],
            minutes: arm.exposed_minutes,
            rate: arm.rate,
            median: arm.median_load_to_lockup,
            exposure: [
                arm.swaps_per_minute,
                arm.windows_per_minute,
                arm.meetings_per_minute,
            ],
            packets: arm.packets_per_second,
        }
    }

    pub fn of_side((index, side): (usize, &SideLine)) -> Self {
        Self {
            arm: side.side.name.clone(),
            name: letter(index),
            about: side.side.label.clone(),
            counts: [
                side.trials,
                side.target_lockups,
                side.survived,
                side.other_failures,
                side.not_exposed,
                side.infrastructure,
            ],
            minutes: side.exposed_minutes,
            rate: side.rate,
            median: side.median_load_to_lockup,
            exposure: [
                side.swaps_per_minute,
                side.windows_per_minute,
                side.meetings_per_minute,
            ],
            packets: side.packets_per_second,
        }
    }

    /// All of them side by side; `None`: there are none.
    pub fn table(sides: &[Self]) -> Option<Table> {
        if sides.is_empty() {
            return None;
        }
        let mut table = Table::new(
            "arms",
            "The arms",
            "Rates are per minute under load in which the race really ran; in brackets their 95% interval. A near miss is \
             both sides of the race in flight for the same two CPUs.",
        );
        table.head.push(Cell::plain(""));
        table.head.extend(
            sides
                .iter()
                .map(|side| Cell::noted(&side.name, &side.about)),
        );
        let optional = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let mut row = |label: &str, cell: &dyn Fn(&Self) -> String| {
            let cells = sides.iter().map(|side| Cell::number(cell(side)));
            let mut row = vec![Cell::plain(label)];
            row.extend(cells);
            table.rows.push(row);
        };
        for (index, label) in COUNTS.iter().enumerate() {
            // Nothing of it anywhere is not worth a row.
            let any = sides.iter().any(|side| side.counts[index] > 0);
            if any || index < 3 {
                row(label, &|side| side.counts[index].to_string());
            }
        }
        row("exposed minutes", &|side| format!("{:.2}", side.minutes));
        row("lockups/min", &|side| {
            side.rate.map_or("-".to_owned(), |rate| {
                format!("{:.2} [{:.2}, {:.2}]", rate.per_minute, rate.low, rate.high)
            })
        });
        row("seconds of load until a lockup, median", &|side| {
            optional(side.median, 1)
        });
        for (index, label) in EXPOSURE.iter().enumerate() {
            if sides.iter().any(|side| side.exposure[index].is_some()) {
                row(label, &|side| optional(side.exposure[index], 1));
            }
        }
        row("packets/s", &|side| format!("{:.0}", side.packets));
        Some(table)
    }

    /// Their rates with intervals; `None`: none was exposed.
    pub fn rates(sides: &[Self]) -> Result<Option<Figure>, Error> {
        let rows: Vec<interval::Row> = sides
            .iter()
            .enumerate()
            .filter_map(|(index, side)| {
                Some(interval::Row {
                    name: side.name.clone(),
                    ink: Ink::of(index),
                    rate: side.rate?,
                })
            })
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        Figure::new(
            "rates",
            "How often each locks up",
            "The big dot is the rate that was seen, the line the 95% interval of what it may be in truth. Where two lines do \
             not come near each other, the kernels differ.",
            Vec::new(),
            |width| interval::draw(&rows, "lockups per minute under load", width),
        )
        .map(Some)
    }
}
