//! What each CPU did, as a strip for each.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, DrawError, X_LABELS, line, sheet, words};
use crate::Error;
use crate::activity::Timeline;
use crate::figure::Width;
use crate::ink::Ink;

/// Pixels of a CPU's strip.
const ROW: u32 = 24;
/// Room above the strips, for the signs of marks.
const HEAD: u32 = 22;
/// Room for the CPUs' names.
const NAMES: u32 = 64;

/// A strip for each CPU, the first one at the top; time runs to the right.
pub(crate) fn draw(timeline: &Timeline, width: Width) -> Result<String, Error> {
    let height = timeline.rows.len() as u32 * ROW + X_LABELS + HEAD + 8;
    sheet(width.pixels(), height, |area| plot(area, timeline, width))
}

fn plot(area: &Area<'_>, timeline: &Timeline, width: Width) -> Result<(), DrawError> {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let rows = timeline.rows.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .margin_top(HEAD)
        .margin_right(18)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(
            seconds(timeline.from_ms)..seconds(timeline.until_ms),
            0.5..rows + 0.5,
        )?;
    chart
        .configure_mesh()
        .axis_style(line(Ink::Faint, 1))
        .disable_mesh()
        .label_style(words(Ink::Faint))
        .x_labels(width.pick(10, 5))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|_| String::new())
        .x_desc("seconds since QEMU was started")
        .draw()?;
    let name = words(Ink::Text).pos(Pos::new(HPos::Right, VPos::Center));
    for (index, (cpu, spans)) in timeline.rows.iter().enumerate() {
        let middle = rows - index as f64;
        let (_, y) = chart.backend_coord(&(seconds(timeline.from_ms), middle));
        area.draw(&Text::new(
            format!("CPU {cpu}"),
            (NAMES as i32 - 4, y),
            name.clone(),
        ))?;
        let strip = spans.iter().map(|span| {
            let corners = [
                (seconds(span.from_ms), middle + 0.4),
                (seconds(span.until_ms), middle - 0.4),
            ];
            Rectangle::new(corners, span.activity.ink().color().filled())
        });
        chart.draw_series(strip)?;
    }
    let sign = words(Ink::Text).pos(Pos::new(HPos::Center, VPos::Bottom));
    for mark in &timeline.marks {
        let at = seconds(mark.at_ms);
        let whole = vec![(at, 0.5), (at, rows + 0.5)];
        chart.draw_series([PathElement::new(whole, line(Ink::Text, 2))])?;
        let place = (at, rows + 0.55);
        chart.draw_series([Text::new(mark.sign.clone(), place, sign.clone())])?;
    }
    Ok(())
}
