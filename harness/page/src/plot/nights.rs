//! How often a cell failed, night by night.

use plotters::prelude::*;

use super::{Area, DrawError, X_LABELS, end_of_axis, line, sheet, short, words};
use crate::Error;
use crate::figure::Width;
use crate::ink::Ink;
use kverdict_core::statistics::Rate;

/// A rate for each night that has one, by the night's position, the oldest first.
pub(crate) fn draw(
    nights: usize,
    rates: &[(usize, Rate)],
    days: &[String],
    width: Width,
) -> Result<String, Error> {
    sheet(width.pixels(), width.pick(170, 170), |area| {
        plot(area, nights, rates, days, width)
    })
}

fn plot(
    area: &Area<'_>,
    nights: usize,
    rates: &[(usize, Rate)],
    days: &[String],
    width: Width,
) -> Result<(), DrawError> {
    let most = rates.iter().map(|(_, rate)| rate.high).fold(0.0, f64::max);
    let day = |x: &f64| {
        let night = days.get(x.round().max(0.0) as usize);
        night
            .filter(|_| (x - x.round()).abs() < 0.01)
            .cloned()
            .unwrap_or_default()
    };
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(24)
        .x_label_area_size(X_LABELS / 2 + 4)
        .y_label_area_size(54)
        .build_cartesian_2d(-0.5..nights as f64 - 0.5, 0.0..end_of_axis(most))?;
    chart
        .configure_mesh()
        .axis_style(line(Ink::Faint, 1))
        .bold_line_style(line(Ink::Grid, 1))
        .light_line_style(TRANSPARENT)
        .disable_x_mesh()
        .label_style(words(Ink::Faint))
        .x_labels(width.pick(8, 3))
        .y_labels(4)
        .x_label_formatter(&day)
        .y_label_formatter(&|y| short(*y))
        .draw()?;
    for (night, rate) in rates {
        let at = |y: f64| (*night as f64, y);
        let whole = vec![at(rate.low), at(rate.high)];
        chart.draw_series([PathElement::new(whole, line(Ink::First, 2))])?;
        let dot = Circle::new(at(rate.per_minute), 4, Ink::First.color().filled());
        chart.draw_series([dot])?;
    }
    Ok(())
}
