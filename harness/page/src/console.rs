//! The lines of a console that decided, with those around them.

use kverdict_core::record::TrialRecord;
use memchr::memchr_iter;
use serde::Serialize;

use crate::{anchor, text};

/// Bytes that an excerpt takes up in a page, at most, markup included.
pub const EXCERPT_BYTES_MAX: usize = 200_000;
/// Lines around each deciding one, as many as fit.
const CONTEXTS: [u64; 6] = [40, 20, 10, 5, 2, 0];
/// Characters of a line.
const LINE_CHARS_MAX: usize = 400;
/// Lines that decide: reports, and each side of a deadlock.
const DECISIVE_MAX: usize = 12;
/// What a line's markup takes up besides its text.
const MARKUP_BYTES: usize = 160;
/// A stack's frames come within so many lines of its first one.
const STACK_LINES: u64 = 100;

/// A line that decided something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisive {
    /// Its number, from 1.
    pub line: u64,
    /// What it decided.
    pub why: String,
    /// Words that also matter if they come soon after it: a stack's functions.
    pub frames: Vec<String>,
}

/// What of a console decided how its trial counts; with nothing to go by, how far the kernel got.
pub fn decisive(record: &TrialRecord) -> Vec<Decisive> {
    let console = &record.console;
    let plain = |line, why: &str| Decisive {
        line,
        why: why.to_owned(),
        frames: Vec::new(),
    };
    let mut all = Vec::new();
    if let Some(first) = console.first_report() {
        all.push(plain(first.line, "the first report, which gives the title"));
    }
    if let Some(worst) = console.worst_report()
        && console.first != console.worst
    {
        all.push(plain(worst.line, "the most severe report"));
    }
    let sides = console.signature.iter().flat_map(|found| &found.sides);
    all.extend(sides.map(|side| {
        Decisive {
            line: side.stack.line,
            why: format!("side {}: {}", side.side, side.about),
            frames: side
                .stack
                .frames
                .iter()
                .filter(|frame| frame.reliable)
                .map(|frame| format!("{}+{:#x}/{:#x}", frame.symbol, frame.offset, frame.size))
                .collect(),
        }
    }));
    let last = console.boot_markers.last_kernel_line.as_ref();
    if let Some(last) = last.filter(|_| all.is_empty()) {
        all.push(plain(last.line, "the last line of the kernel"));
    }
    all.truncate(DECISIVE_MAX);
    all
}

/// Part of a console, fit to be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excerpt {
    /// Stretches of lines.
    pub parts: Vec<Part>,
    /// What was left out, in words.
    pub note: String,
    /// The deciding lines.
    pub links: Vec<Link>,
}

/// A stretch of lines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Lines left out before it.
    pub skipped: u64,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a console.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Name of its place in the page.
    pub anchor: String,
    /// What stands in it, made visible.
    pub text: String,
    /// What it decided, if it did.
    pub why: Option<String>,
    /// Whether it belongs to what decided.
    pub marked: bool,
}

/// A link to a deciding line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    /// Its number.
    pub number: u64,
    /// Name of its place.
    pub anchor: String,
    /// What it decided.
    pub why: String,
}

impl Excerpt {
    /// Cuts a trial's console down to what decided.
    pub fn new(trial: &str, console: &[u8], decisive: &[Decisive]) -> Self {
        let lines = Lines::new(console);
        let decisive = lines.known(decisive);
        let mut parts = Vec::new();
        for context in CONTEXTS {
            parts = lines.around(trial, &decisive, context);
            if parts.iter().map(Part::bytes).sum::<usize>() <= EXCERPT_BYTES_MAX {
                break;
            }
        }
        let shown: u64 = parts.iter().map(|part| part.lines.len() as u64).sum();
        let note = match lines.count() {
            0 => "The console is empty.".to_owned(),
            count if count == shown => format!("All {count} lines, {} bytes.", console.len()),
            count => format!("{shown} of {count} lines ({} bytes).", console.len()),
        };
        let links = decisive.iter().map(|one| Link {
            number: one.line,
            anchor: anchor::line(trial, one.line),
            why: one.why.clone(),
        });
        Self {
            parts,
            note,
            links: links.collect(),
        }
    }

    /// Whether a line is in it.
    pub fn has(&self, number: u64) -> bool {
        let lines = self.parts.iter().flat_map(|part| &part.lines);
        lines.into_iter().any(|line| line.number == number)
    }
}

impl Part {
    fn bytes(&self) -> usize {
        let of = |line: &Line| {
            let words = line.why.as_deref().unwrap_or_default();
            [line.text.as_str(), words]
                .into_iter()
                .flat_map(str::chars)
                .map(|c| match c {
                    // As long as their escapes.
                    '<' | '>' | '&' | '"' | '\'' | '/' => 6,
                    c => c.len_utf8(),
                })
                .sum::<usize>()
                + MARKUP_BYTES
        };
        self.lines.iter().map(of).sum()
    }
}

/// A console, line by line.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where each line ends.
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut ends: Vec<usize> = memchr_iter(b'\n', bytes).collect();
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    fn count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The line with this number, from 1; empty: there is none.
    fn line(&self, number: u64) -> &'a [u8] {
        let Some(index) = number.checked_sub(1).map(|index| index as usize) else {
            return &[];
        };
        let Some(end) = self.ends.get(index) else {
            return &[];
        };
        let begin = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] + 1);
        let line = &self.bytes[begin..*end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Deciding lines that are there, each once; without any, the last line.
    fn known(&self, decisive: &[Decisive]) -> Vec<Decisive> {
        let mut known: Vec<Decisive> = Vec::new();
        let there = |one: &&Decisive| (1..=self.count()).contains(&one.line);
        for one in decisive.iter().filter(there).take(DECISIVE_MAX) {
            match known.iter_mut().find(|other| other.line == one.line) {
                Some(other) => {
                    other.why = format!("{}; {}", other.why, one.why);
                    other.frames.extend(one.frames.iter().cloned());
                }
                None => known.push(one.clone()),
            }
        }
        if known.is_empty() && self.count() > 0 {
            known.push(Decisive {
                line: self.count(),
                why: "the last line".to_owned(),
                frames: Vec::new(),
            });
        }
        known.sort_by_key(|one| one.line);
        known
    }

    fn around(&self, trial: &str, decisive: &[Decisive], context: u64) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut next = 1;
        for one in decisive {
            let first = one.line.saturating_sub(context).max(next);
            let last = (one.line + context).min(self.count());
            if first > next || parts.is_empty() {
                parts.push(Part {
                    skipped: first - next,
                    lines: Vec::new(),
                });
            }
            if let Some(part) = parts.last_mut() {
                part.lines
                    .extend((first..=last).map(|number| self.shown(trial, decisive, number)));
            }
            next = next.max(last + 1);
        }
        parts
    }

    fn shown(&self, trial: &str, decisive: &[Decisive], number: u64) -> Line {
        let bytes = self.line(number);
        let mut words = text::visible_bytes(bytes, LINE_CHARS_MAX);
        if bytes.len() > LINE_CHARS_MAX {
            words = format!("{words} ... ({} bytes in this line)", bytes.len());
        }
        let decided = decisive.iter().find(|one| one.line == number);
        let soon = |one: &&Decisive| (one.line..one.line + STACK_LINES).contains(&number);
        let frames = decisive.iter().filter(soon).flat_map(|one| &one.frames);
        let marked = decided.is_some() || frames.into_iter().any(|frame| is_frame(&words, frame));
        Line {
            number,
            anchor: anchor::line(trial, number),
            text: words,
            why: decided.map(|one| one.why.clone()),
            marked,
        }
    }
}

/// Whether a line is a sure frame of a stack: the unwinder prints `?` before others.
fn is_frame(line: &str, frame: &str) -> bool {
    line.find(frame)
        .is_some_and(|at| !line[..at].trim_end().ends_with('?'))
}
