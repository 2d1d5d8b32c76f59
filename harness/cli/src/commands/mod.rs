//! The program's commands, one module each.

pub mod boot;
pub mod build;
pub mod classify;
pub mod diagnose;
pub mod doctor;
pub mod inspect;
pub mod kernels;
pub mod report;
pub mod schema;
pub mod verify;

/// Input that is wrong in a way of its own: a missing file, a name that nothing has.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
