//! Rates with their intervals, one below the other.

use kverdict_core::statistics::Rate;
use plotters::prelude::*;

use super::{Area, DrawError, X_LABELS, end_of_axis, line, sheet, short, words};
use crate::Error;
use crate::figure::Width;
use crate::ink::Ink;
use crate::text;

/// Pixels of a row.
const ROW: u32 = 40;
/// Pixels of a letter, at most.
const LETTER: u32 = 8;

/// A rate and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Whose.
    pub name: String,
    /// What it is drawn with.
    pub ink: Ink,
    /// The rate and its interval.
    pub rate: Rate,
}

/// One line with a dot for each.
pub(crate) fn draw(rows: &[Row], x_label: &str, width: Width) -> Result<String, Error> {
    let height = rows.len() as u32 * ROW + X_LABELS + 12;
    sheet(width.pixels(), height, |area| {
        plot(area, rows, x_label, width)
    })
}

fn plot(area: &Area<'_>, rows: &[Row], x_label: &str, width: Width) -> Result<(), DrawError> {
    let most = rows.iter().map(|row| row.rate.high).fold(0.0, f64::max);
    let count = i32::try_from(rows.len()).unwrap_or(i32::MAX);
    let letters = width.pick(30, 14);
    let longest = rows.iter().map(|row| row.name.chars().count()).max();
    let names = longest.unwrap_or(0).min(letters) as u32 * LETTER + 14;
    let end = end_of_axis(most);
    let name = |value: &SegmentValue<i32>| match value {
        // The first row is at the top.
        SegmentValue::CenterOf(index) | SegmentValue::Exact(index) => rows
            .get((count - 1 - index) as usize)
            .map_or(String::new(), |row| text::cut(&row.name, letters)),
        SegmentValue::Last => String::new(),
    };
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .margin_right(18)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(names)
        // A bit more, so that a dot at 0 is whole and touches no name.
        .build_cartesian_2d(-0.02 * end..end, (0..count - 1).into_segmented())?;
    chart
        .configure_mesh()
        .axis_style(line(Ink::Faint, 1))
        .bold_line_style(line(Ink::Grid, 1))
        .light_line_style(TRANSPARENT)
        .disable_y_mesh()
        .label_style(words(Ink::Text))
        .x_label_style(words(Ink::Faint))
        .axis_desc_style(words(Ink::Faint))
        .x_labels(width.pick(9, 4))
        .y_labels(rows.len())
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&name)
        .x_desc(x_label)
        .draw()?;
    for (index, row) in (0..count).rev().zip(rows) {
        let at = |x: f64| (x, SegmentValue::CenterOf(index));
        let rate = row.rate;
        let whole = vec![at(rate.low), at(rate.high)];
        chart.draw_series([PathElement::new(whole, line(row.ink, 3))])?;
        let dots = [(rate.low, 3), (rate.high, 3), (rate.per_minute, 7)];
        chart.draw_series(
            dots.map(|(x, size)| Circle::new(at(x), size, row.ink.color().filled())),
        )?;
    }
    Ok(())
}
