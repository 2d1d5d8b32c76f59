//! A drawing with what is said about it.

use serde::Serialize;

use crate::Error;
use crate::ink::Ink;
use crate::text;

/// A drawing, once for each width of a screen: words in it stay readable on a phone.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// Name of its place in the page.
    pub id: String,
    /// What it is.
    pub title: String,
    /// What to see in it.
    pub caption: String,
    /// SVG for [`Width::Wide`].
    wide: String,
    /// SVG for [`Width::Narrow`].
    narrow: String,
    /// What its inks stand for.
    pub legend: Vec<Key>,
}

/// What an ink stands for in a drawing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Key {
    ink: &'static str,
    text: String,
}

impl Key {
    pub fn new(ink: Ink, text: impl Into<String>) -> Self {
        Self {
            ink: ink.name(),
            text: text.into(),
        }
    }
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// A screen.
    Wide,
    /// A phone.
    Narrow,
}

impl Width {
    /// In pixels.
    pub fn pixels(self) -> u32 {
        match self {
            Self::Wide => 760,
            Self::Narrow => 340,
        }
    }

    /// `wide` or `narrow`, as there is room.
    pub fn pick<T>(self, wide: T, narrow: T) -> T {
        match self {
            Self::Wide => wide,
            Self::Narrow => narrow,
        }
    }
}

impl Figure {
    /// Draws it for each width. `draw` gives SVG in which everything is escaped.
    pub fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        caption: impl Into<String>,
        legend: Vec<Key>,
        draw: impl Fn(Width) -> Result<String, Error>,
    ) -> Result<Self, Error> {
        let title = title.into();
        let drawn = |width| {
            let named = format!("<svg role=\"img\" aria-label=\"{}\" ", text::escape(&title));
            draw(width).map(|svg| svg.replacen("<svg ", &named, 1))
        };
        Ok(Self {
            id: id.into(),
            caption: caption.into(),
            wide: drawn(Width::Wide)?,
            narrow: drawn(Width::Narrow)?,
            title,
            legend,
        })
    }
}
