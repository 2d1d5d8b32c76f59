//! Tuning: which load, of those that a spec allows, brings both sides of a race together most often.
//!
//! A [`spec`] names fields of a campaign and values for them, which is a [`space`] of campaigns. The
//! [`search`] says which of these is tried next, from what a [`reading`] of each trial so far gave, as
//! the [`objective`] counts it. The [`report`] shows every point that was tried.

pub mod field;
pub mod objective;
pub mod reading;
pub mod report;
pub mod search;
pub mod space;
pub mod spec;
mod text;
