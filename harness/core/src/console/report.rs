//! What a console amounts to: the model that is stored with a trial.

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::signature::{Match, SignatureFinding};
use super::stack::Stack;

/// A line worth pointing at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// 1-based line of the raw file.
    pub line: u64,
    /// Byte offset of that line.
    pub offset: u64,
    /// The message, prefix taken off.
    pub text: String,
}

/// One report of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Id of the rule that found it.
    pub rule: String,
    /// What it amounts to.
    pub outcome: Outcome,
    /// Its first line, prefix taken off.
    pub title: String,
    /// 1-based line of the raw file.
    pub line: u64,
    /// Byte offset of that line.
    pub offset: u64,
    /// The kernel's time, if printed.
    pub time_us: Option<u64>,
    /// Lines that go with it, such as `Oops: 0000 [#1]` after `BUG: unable to handle`.
    pub also: Vec<Note>,
    /// Stacks that came with it.
    pub stacks: Vec<Stack>,
    /// Stacks that were not kept.
    pub stacks_suppressed: u64,
}

/// How far the kernel got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootMarkers {
    /// The kernel's banner, without what comes before and after the release.
    pub linux_version: Option<String>,
    /// How many banners there were: more than one is a guest that rebooted.
    pub boots: u32,
    /// Whether init ran, or was about to.
    pub init_ran: bool,
    /// Whether the kernel said that it powers off, halts or restarts.
    pub powered_off: bool,
    /// The last line that the kernel printed.
    pub last_kernel_line: Option<Note>,
}

/// A detector that said it started or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectorNote {
    /// Which one, such as `hard lockup`.
    pub detector: String,
    /// Whether it started.
    pub on: bool,
    /// Where it said so.
    pub note: Note,
}

/// Everything that one console says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleFindings {
    /// The most severe report's outcome.
    pub outcome: Outcome,
    /// Reports in the order of the console, not all if there were too many.
    pub reports: Vec<Report>,
    /// Reports that were not kept.
    pub reports_suppressed: u64,
    /// Index of the first report: it gives the title.
    pub first: Option<usize>,
    /// Index of the first one of the most severe ones: it gives the outcome.
    pub worst: Option<usize>,
    /// What was seen of a known bug; absent when nothing got stuck.
    pub signature: Option<SignatureFinding>,
    /// How far the kernel got.
    pub boot_markers: BootMarkers,
    /// Detectors that said something about themselves.
    pub detectors: Vec<DetectorNote>,
    /// Lines that look like a report but were written by somebody else.
    pub quoted: Vec<Note>,
    /// Size of the console in bytes.
    pub bytes: u64,
    /// Number of lines.
    pub lines: u64,
}

impl ConsoleFindings {
    /// The first report.
    pub fn first_report(&self) -> Option<&Report> {
        self.reports.get(self.first?)
    }

    /// The most severe report.
    pub fn worst_report(&self) -> Option<&Report> {
        self.reports.get(self.worst?)
    }

    /// The first report's title.
    pub fn title(&self) -> Option<&str> {
        self.first_report().map(|report| report.title.as_str())
    }

    /// How much of a known bug was seen.
    pub fn matched(&self) -> Option<Match> {
        self.signature.as_ref().map(|signature| signature.matched)
    }

    /// Why a console without a report proves nothing; `None` if it does.
    pub fn inconclusive(&self) -> Option<&'static str> {
        let markers = &self.boot_markers;
        if !self.reports.is_empty() {
            None
        } else if self.bytes == 0 {
            Some("it is empty")
        } else if markers.last_kernel_line.is_none() {
            Some("no line in it comes from a kernel")
        } else if markers.linux_version.is_some() && !markers.init_ran {
            Some("it ends before the kernel ran init")
        } else {
            None
        }
    }
}

/// Bytes of a console as text that is safe to show: at most `bytes_max` of them, control
/// characters replaced.
pub(super) fn printable(bytes: &[u8], bytes_max: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(bytes_max)])
        .chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}
