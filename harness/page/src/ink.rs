//! Colours by what they mean. Drawings carry a colour that stands for an ink, and the style sheet says how that
//! looks in light and in dark.

use plotters::style::RGBColor;

/// What something is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ink {
    /// Words.
    Text,
    /// Axes, words that matter less.
    Faint,
    /// Lines of a grid.
    Grid,
    /// A limit that is asked for.
    Limit,
    /// The first of several things.
    First,
    /// The second one.
    Second,
    /// The third one.
    Third,
    /// The fourth one.
    Fourth,
    /// The fifth one.
    Fifth,
    /// A CPU that waits for an interrupt.
    Idle,
    /// One that runs a program.
    User,
    /// One that runs the kernel.
    Kernel,
    /// The same with interrupts off.
    Masked,
    /// One that is stuck.
    Stuck,
    /// One that runs no kernel yet.
    Firmware,
}

impl Ink {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Text,
        Self::Faint,
        Self::Grid,
        Self::Limit,
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Fifth,
        Self::Idle,
        Self::User,
        Self::Kernel,
        Self::Masked,
        Self::Stuck,
        Self::Firmware,
    ];
    const SERIES: [Self; 5] = [
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Fifth,
    ];

    /// That of the thing with this index, over and over.
    pub fn of(index: usize) -> Self {
        Self::SERIES[index % Self::SERIES.len()]
    }

    /// The colour that stands for it.
    pub fn color(self) -> RGBColor {
        RGBColor(0xa1, 0x00, self as u8)
    }

    /// Its name in the style sheet.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Faint => "faint",
            Self::Grid => "grid",
            Self::Limit => "limit",
            Self::First => "first",
            Self::Second => "second",
            Self::Third => "third",
            Self::Fourth => "fourth",
            Self::Fifth => "fifth",
            Self::Idle => "idle",
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Masked => "masked",
            Self::Stuck => "stuck",
            Self::Firmware => "firmware",
        }
    }
}

/// Rules that put the look of each ink in place of the colour that stands for it.
pub(crate) fn css() -> String {
    let rule = |ink: Ink| {
        let RGBColor(red, green, blue) = ink.color();
        let (name, stands) = (ink.name(), format!("#{red:02X}{green:02X}{blue:02X}"));
        format!(
            "[fill=\"{stands}\"]{{fill:var(--{name})}}[stroke=\"{stands}\"]{{stroke:var(--{name})}}\
             .ink-{name}{{background:var(--{name})}}\n"
        )
    };
    Ink::ALL.into_iter().map(rule).collect()
}
