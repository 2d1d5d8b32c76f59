//! Pages that people look at: a run, a night, the history, each as one self-contained HTML file.
//!
//! Data in, text out: nothing here reads a file or the clock. A page opens from disk, needs no network and has no
//! script; its policy forbids both, should something slip in. What guests and people wrote is escaped wherever
//! it stands, and what cannot be seen, such as control bytes, is made visible.
//!
//! *Bounds.* A page holds at most [`CLOSE_UPS_MAX`] trials in detail, each with at most
//! [`console::EXCERPT_BYTES_MAX`] bytes of console, [`TRIALS_MAX`] trials in its table, and in a history
//! [`history::NIGHTS_MAX`] nights of [`history::CELLS_MAX`] cells. It says so where something was left out.

mod activity;
mod anchor;
mod closeup;
pub mod console;
mod cycle;
mod figure;
pub mod history;
mod ink;
pub mod left;
pub mod night;
mod plot;
pub mod run;
mod template;
mod text;

pub use closeup::close_ups;

/// Trials that a page shows in detail.
pub const CLOSE_UPS_MAX: usize = 6;
/// Rows of a page's table of trials.
pub const TRIALS_MAX: usize = 400;

/// Why a page could not be made. Both are mistakes of this crate, not of the data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A template does not fit its data.
    #[error("cannot make the page: {0:#}")]
    Template(#[from] minijinja::Error),
    /// A plot could not be drawn.
    #[error("cannot draw a plot: {0}")]
    Drawing(String),
}
