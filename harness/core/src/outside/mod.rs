//! A guest seen from outside: what its vCPUs do, read through QEMU's monitor, when the guest itself
//! says nothing.
//!
//! [`registers`] come in as [`sample`]s at short intervals. The [`detector`] finds vCPUs that burn
//! CPU time in one place; at these a closer look is taken: [`unwind`] walks their stacks in guest
//! [`memory`], [`symbols`] (or the kernel's own, [`kallsyms`]) name them, and [`waits`] say who waits
//! for whom. What comes of it is a [`finding`].

pub mod deadlock;
pub mod detector;
pub mod finding;
pub mod kallsyms;
pub mod lock;
pub mod memory;
pub mod monitor;
pub mod percpu;
pub mod polled;
pub mod registers;
pub mod sample;
pub mod seen;
pub mod stack;
pub mod symbols;
pub mod unwind;
pub mod wait_rules;
pub mod waits;
pub mod watch;
