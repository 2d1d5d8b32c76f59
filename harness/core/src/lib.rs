//! Pure logic of kverdict: no I/O, no clock, no processes.
//!
//! Data flows one way: a [`campaign`] names arms, trials leave [`record`]s made of what the
//! [`console`] and the guest's agent ([`protocol`]) said, [`statistics`] turn the records into a
//! [`verdict`], and a [`report`] says how it is known.

pub mod advice;
pub mod agent_channel;
pub mod arming;
pub mod assessment;
pub mod bisect;
pub mod campaign;
pub mod case;
pub mod catalogue;
pub mod compare;
pub mod console;
mod ending;
pub mod export;
pub mod history;
pub mod holder;
pub mod host;
pub mod inspect;
pub mod load;
pub mod night;
pub mod order;
pub mod outside;
pub mod protocol;
pub mod pruning;
mod random;
pub mod record;
pub mod report;
pub mod schedule;
pub mod statistics;
pub mod tune;
pub mod verdict;
pub mod yaml;
