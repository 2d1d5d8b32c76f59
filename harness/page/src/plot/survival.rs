//! How many trials are still alive after so much time under load.

use kverdict_core::statistics::survival::{Curve, Point};
use plotters::prelude::*;

use super::time::Time;
use super::{DrawError, X_LABELS, line, sheet, words};
use crate::Error;
use crate::figure::Width;
use crate::ink::Ink;

/// Pixels.
const HEIGHT: u32 = 290;
/// Height of a censoring mark, as part of the axis.
const MARK: f64 = 0.028;

/// One staircase for each curve.
pub(crate) fn draw(curves: &[(Ink, Curve)], width: Width) -> Result<String, Error> {
    sheet(width.pixels(), HEIGHT, |area| plot(area, curves, width))
}

fn plot(area: &super::Area<'_>, curves: &[(Ink, Curve)], width: Width) -> Result<(), DrawError> {
    let time = Time::of(curves);
    let (from, until) = time.ends();
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .margin_right(18)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(56)
        .build_cartesian_2d(time.axis(width.pick(10, 5)), 0.0..1.03)?;
    chart
        .configure_mesh()
        .axis_style(line(Ink::Faint, 1))
        .bold_line_style(line(Ink::Grid, 1))
        .light_line_style(TRANSPARENT)
        .label_style(words(Ink::Faint))
        .y_labels(5)
        .x_label_formatter(&|x| time.label(*x))
        .y_label_formatter(&|y| format!("{:.0}%", y * 100.0))
        .x_desc(time.name())
        .draw()?;
    let pixel = (
        (until - from) / f64::from(width.pixels()),
        1.0 / f64::from(HEIGHT),
    );
    let place = |point: &Point| (time.place(point.minutes), point.alive);
    for (ink, curve) in curves {
        let corners = thinned(stairs(curve).iter().map(place), pixel);
        chart.draw_series(LineSeries::new(corners, line(*ink, 3)))?;
        for (x, alive) in thinned(curve.censored.iter().map(place), pixel) {
            let tick = vec![(x, alive - MARK), (x, alive + MARK)];
            chart.draw_series([PathElement::new(tick, line(*ink, 2))])?;
        }
    }
    Ok(())
}

/// Points without those that fall on the pixel of the one before, but for the last: thousands of trials make
/// no larger a drawing than a few hundred.
fn thinned(points: impl Iterator<Item = (f64, f64)>, pixel: (f64, f64)) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut skipped = None;
    for point in points {
        let near = kept.last().is_some_and(|last| {
            (point.0 - last.0).abs() < pixel.0 && (point.1 - last.1).abs() < pixel.1
        });
        skipped = near.then_some(point);
        if !near {
            kept.push(point);
        }
    }
    kept.extend(skipped);
    kept
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

#[cfg(test)]
mod tests {
    use kverdict_core::statistics::survival::{Watched, survival};

    use super::*;

    #[test]
    fn thousands_of_trials_make_no_large_drawing() {
        let watched: Vec<Watched> = (0..20_000)
            .map(|number| Watched {
                minutes: 1.0 + f64::from(number % 997) / 997.0,
                failed: number % 3 == 0,
            })
            .collect();
        let svg = draw(&[(Ink::First, survival(&watched))], Width::Wide).unwrap();
        assert!(svg.len() < 150_000, "{} bytes", svg.len());
        assert!(svg.matches("<polyline").count() > 100, "marks are there");
    }

    #[test]
    fn a_lockup_after_seconds_is_seen_beside_an_hour_of_survival() {
        let curve = |minutes: f64, failed| survival(&[Watched { minutes, failed }]);
        let far_apart = [
            (Ink::First, curve(0.05, true)),
            (Ink::Second, curve(60.0, false)),
        ];
        let svg = draw(&far_apart, Width::Wide).unwrap();
        for words in ["3 s", "1 min", "1 h", "logarithmic"] {
            assert!(svg.contains(words), "{words}\n{svg}");
        }
        let near = [
            (Ink::First, curve(3.0, true)),
            (Ink::Second, curve(60.0, false)),
        ];
        let svg = draw(&near, Width::Narrow).unwrap();
        assert!(svg.contains("minutes under load"), "{svg}");
    }

    #[test]
    fn the_first_and_the_last_point_stay() {
        let points = (0..100).map(|number| (f64::from(number) / 100.0, 1.0));
        let kept = thinned(points, (0.5, 0.5));
        assert_eq!(kept, [(0.0, 1.0), (0.5, 1.0), (0.99, 1.0)]);
        assert!(thinned(std::iter::empty(), (0.5, 0.5)).is_empty());
    }
}
