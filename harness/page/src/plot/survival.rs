//! How many trials are still alive after so much time under load.

use kverdict_core::statistics::survival::{Curve, Point};
use plotters::prelude::*;

use super::{DrawError, X_LABELS, end_of_axis, line, sheet, short, words};
use crate::Error;
use crate::figure::Width;
use crate::ink::Ink;

/// Height of a censoring mark, as part of the axis.
const MARK: f64 = 0.028;
/// Below so many minutes an axis counts seconds.
const SECONDS_BELOW: f64 = 5.0;

/// One staircase for each curve.
pub(crate) fn draw(curves: &[(Ink, Curve)], width: Width) -> Result<String, Error> {
    sheet(width.pixels(), width.pick(300, 260), |area| {
        plot(area, curves, width)
    })
}

fn plot(area: &super::Area<'_>, curves: &[(Ink, Curve)], width: Width) -> Result<(), DrawError> {
    let longest = curves
        .iter()
        .map(|(_, curve)| curve.minutes)
        .fold(0.0, f64::max);
    let (unit, name) = match longest < SECONDS_BELOW {
        true => (60.0, "seconds"),
        false => (1.0, "minutes"),
    };
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .margin_right(18)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end_of_axis(longest * unit), 0.0..1.03)?;
    chart
        .configure_mesh()
        .axis_style(line(Ink::Faint, 1))
        .bold_line_style(line(Ink::Grid, 1))
        .light_line_style(TRANSPARENT)
        .label_style(words(Ink::Faint))
        .x_labels(width.pick(10, 5))
        .y_labels(5)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| format!("{:.0}%", y * 100.0))
        .x_desc(format!("{name} under load"))
        .draw()?;
    for (ink, curve) in curves {
        let stairs = stairs(curve).into_iter();
        chart.draw_series(LineSeries::new(
            stairs.map(|point| (point.minutes * unit, point.alive)),
            line(*ink, 3),
        ))?;
        for left in &curve.censored {
            let at = left.minutes * unit;
            let tick = vec![(at, left.alive - MARK), (at, left.alive + MARK)];
            chart.draw_series([PathElement::new(tick, line(*ink, 2))])?;
        }
    }
    Ok(())
}

/// The corners of a staircase.
fn stairs(curve: &Curve) -> Vec<Point> {
    let at = |minutes, alive| Point { minutes, alive };
    let mut points = vec![at(0.0, 1.0)];
    let mut alive = 1.0;
    for step in &curve.steps {
        points.push(at(step.minutes, alive));
        alive = step.alive;
        points.push(*step);
    }
    points.push(at(curve.minutes, alive));
    points
}
