//! Plots, drawn as SVG with inks in place of colours.

pub(crate) mod exposure;
pub(crate) mod interval;
pub(crate) mod nights;
pub(crate) mod survival;
mod time;
pub(crate) mod timeline;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Error;
use crate::ink::Ink;

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Of words in plots; the library's own measure, some 13 pixels.
const FONT: f64 = 16.0;
/// Where numbers of an axis stand.
const X_LABELS: u32 = 46;

/// Draws on an empty sheet.
fn sheet(
    width: u32,
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        draw(&area)
            .and_then(|()| area.present())
            .map_err(|error| Error::Drawing(error.to_string()))?;
    }
    Ok(svg)
}

fn words(ink: Ink) -> TextStyle<'static> {
    ("system-ui", FONT).into_font().color(&ink.color())
}

fn line(ink: Ink, width: u32) -> ShapeStyle {
    ink.color().stroke_width(width)
}

/// Where an axis ends that has to show `most`: a bit above it.
fn end_of_axis(most: f64) -> f64 {
    if most > 0.0 { most * 1.06 } else { 1.0 }
}

/// A number of an axis, without needless digits.
fn short(number: f64) -> String {
    let size = number.abs();
    let text = if size >= 1e6 {
        format!("{:.1}M", number / 1e6)
    } else if size >= 1e4 {
        format!("{:.0}k", number / 1e3)
    } else if size >= 10.0 || size == 0.0 {
        format!("{number:.0}")
    } else if size >= 1.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    };
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
