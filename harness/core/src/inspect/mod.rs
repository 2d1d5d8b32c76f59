//! Whether a kernel has a fix, read from its source or its code, without booting it.
//!
//! A [`fix`] is data. Two front ends, [`source`] and [`code`], turn the functions that it names into
//! a [`flow`] of locks, wake-ups and preemption. [`walk`] follows all its ways, and [`judge`] holds
//! what happens there against the fix: what comes of it is a [`finding`].

pub mod boot_image;
pub mod calls;
pub mod code;
pub mod finding;
pub mod fix;
pub mod flow;
pub mod judge;
pub mod source;
pub mod walk;
