//! Reads a kernel's console: what went wrong, where it says so, and whether it is the bug in question.
//!
//! [`Scanner`] takes raw bytes as they come and holds little more than what it found. Lines are
//! taken apart into messages (`line`), messages are held against a table of [`rules`], stacks are
//! collected (`stack`) and held against the [`signature`]s of known bugs.

mod line;
mod outcome;
mod report;
pub mod rules;
mod scanner;
pub mod signature;
mod stack;

pub use outcome::Outcome;
pub use report::{BootMarkers, ConsoleFindings, DetectorNote, Note, Report};
pub use scanner::{Scanner, Terminal};
pub use signature::{Match, SideFinding, SignatureFinding};
pub use stack::{Frame, Stack};
