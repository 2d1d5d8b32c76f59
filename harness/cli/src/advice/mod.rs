//! Trying a fix's commits on a source tree: where the diffs come from, how each fits, and what the tree
//! is with them. What follows from that is [`kverdict_core::advice`].

pub mod adviser;
pub mod checks;
pub mod commits;
mod fitting;
pub mod target;
