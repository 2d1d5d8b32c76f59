//! Bisection of races that fire only sometimes: which of many kernels is the first with a change, be it
//! the defect or its fix, when a surviving trial may be luck.
//!
//! A [`range`] of candidates lies between the two kernels that the user claims to be without and with the
//! change. Each [`observation`] moves the [`posterior`]: how probable each candidate is to have introduced
//! the change. The rate at which a kernel with the bug locks up is not known either; all of them share it,
//! and it is inferred along with the culprit. The [`search`] says which kernel is tried next, by what a
//! minute of it is expected to tell, and when it is known. The [`report`] shows how it came about.

pub mod confirm;
mod flips;
pub mod further;
mod group;
mod inside;
pub mod observation;
mod plan;
pub mod posterior;
pub mod range;
mod rate;
pub mod report;
pub mod search;
pub mod sweep;
mod text;
mod thin;
