//! What can be built: kernels, patches and config fragments, and the rules that decide whether a
//! finished configuration is the one that was asked for.
//!
//! Texts come in as strings and problems go out as values; reading files and running tools is the
//! program's part.

pub mod amplifier;
pub mod apt_sources;
pub mod binary;
pub mod boot_files;
pub mod condition;
pub mod config;
pub mod diff;
pub mod dsc;
pub mod file;
pub mod fragment;
pub mod kconfig;
pub mod kernel;
pub mod key;
pub mod make_log;
pub mod patch;
mod problem;
pub mod pvh;
pub mod rpm_spec;
pub mod source;
pub mod toolchain;

pub use amplifier::AmplifierSpec;
pub use config::{Config, Unheld};
pub use fragment::Fragment;
pub use kernel::KernelSpec;
pub use key::BuildKey;
pub use patch::PatchSpec;
pub use problem::{Problem, Problems};
pub use toolchain::ToolchainSpec;
