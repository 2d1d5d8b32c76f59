//! Pure logic of kverdict: no I/O, no clock, no processes.
//!
//! Data flows one way: a [`campaign`] is resolved against the [`catalogue`], trials leave records
//! made of what the [`console`] and the guest's agent ([`protocol`]) said, and statistics turn
//! the records into a verdict.

pub mod catalogue;
pub mod load;
pub mod protocol;
