//! The window holder: a TCG plugin of QEMU that sees both sides of the race in an unmodified kernel
//! and delays one until the other is there. It only ever delays, for a bounded time: a kernel that is
//! correct stays so.
//!
//! Built twice. As a plain library it gives the program the layout of the [`board`] and the names of
//! the [`places`]. As a shared object, with the feature `plugin`, it is what QEMU loads: the program's
//! build script makes that with the compiler alone, so it has no dependencies.

pub mod board;
pub mod places;
// The functions that it calls are in QEMU.
#[cfg(feature = "plugin")]
mod plugin;
pub mod race;
