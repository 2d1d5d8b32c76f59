//! Results in the forms that other programs read: [`junit`] for build servers, [`ktap`] for what parses the
//! kernel's own tests, [`kcidb`] for databases of kernel tests, [`markdown`] for mails and merge requests.
//!
//! *Could not tell* never reads as a success in any of them.

pub mod junit;
pub mod kcidb;
pub mod ktap;
pub mod markdown;

#[cfg(test)]
mod made_up;
