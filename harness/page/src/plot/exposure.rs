//! How near trials came to the race.

use plotters::prelude::*;

use super::{Area, DrawError, X_LABELS, end_of_axis, line, sheet, short, words};
use crate::Error;
use crate::figure::Width;
use crate::ink::Ink;

/// What is drawn of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    /// That of its arm.
    pub ink: Ink,
    /// Where it went; a single point is a dot.
    pub points: Vec<(f64, f64)>,
}

/// What the axes are, and what is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Axes {
    /// To the right.
    pub x: &'static str,
    /// Upwards.
    pub y: String,
    /// A limit, drawn across.
    pub least: Option<f64>,
}

/// A line or dot for each trial.
pub(crate) fn draw(courses: &[Course], axes: &Axes, width: Width) -> Result<String, Error> {
    sheet(width.pixels(), width.pick(280, 250), |area| {
        plot(area, courses, axes, width)
    })
}

fn plot(area: &Area<'_>, courses: &[Course], axes: &Axes, width: Width) -> Result<(), DrawError> {
    let points = || courses.iter().flat_map(|course| &course.points);
    let right = end_of_axis(points().map(|point| point.0).fold(0.0, f64::max));
    let top = points()
        .map(|point| point.1)
        .chain(axes.least)
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(18)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(width.pick(76, 66))
        .build_cartesian_2d(0.0..right, 0.0..end_of_axis(top))?;
    chart
        .configure_mesh()
        .axis_style(line(Ink::Faint, 1))
        .bold_line_style(line(Ink::Grid, 1))
        .light_line_style(TRANSPARENT)
        .label_style(words(Ink::Faint))
        .x_labels(width.pick(10, 5))
        .y_labels(5)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .x_desc(axes.x)
        .y_desc(axes.y.as_str())
        .draw()?;
    if let Some(least) = axes.least {
        let across = vec![(0.0, least), (right, least)];
        chart.draw_series([PathElement::new(across, line(Ink::Limit, 2))])?;
    }
    for course in courses {
        match course.points.as_slice() {
            [] => {}
            [dot] => {
                chart.draw_series([Circle::new(*dot, 5, course.ink.color().filled())])?;
            }
            many => {
                let path = many.iter().copied();
                chart.draw_series(LineSeries::new(path, line(course.ink, 2)))?;
                let last = many.last().copied();
                chart.draw_series(
                    last.map(|end| Circle::new(end, 4, course.ink.color().filled())),
                )?;
            }
        }
    }
    Ok(())
}
