//! Why there is no kernel, sorted by who is to blame.

use super::compile::CompileError;
use super::config::ConfigMismatch;
use super::overlay::Misfit;
use crate::process::Interrupted;

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// What was asked for does not exist or is written wrongly.
    #[error("{0:#}")]
    Request(anyhow::Error),
    /// The source cannot be had, or is not what its digest says.
    #[error("{0:#}")]
    Source(anyhow::Error),
    /// A patch does not fit the source.
    #[error("{0}")]
    Patch(Misfit),
    /// The configuration did not become what was asked for.
    #[error("{0}")]
    Config(ConfigMismatch),
    /// The code does not compile or link.
    #[error("{0}")]
    Compile(CompileError),
    /// A compiler or another tool is missing.
    #[error("{0:#}")]
    Tools(anyhow::Error),
    /// The machine is in trouble: disk, files, a tool that broke.
    #[error("{0:#}")]
    Host(anyhow::Error),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// Whether the user asked for the end that this error is about, while building or otherwise.
pub fn is_interrupt(error: &anyhow::Error) -> bool {
    let building = error.downcast_ref();
    error.is::<Interrupted>() || matches!(building, Some(BuildFailure::Interrupted))
}

impl BuildFailure {
    /// Sorts an error that came up while building.
    pub(super) fn of(error: anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<Interrupted>()) {
            return Self::Interrupted;
        }
        let error = match error.downcast::<Self>() {
            Ok(Self::Source(inner) | Self::Tools(inner))
                if inner.chain().any(|cause| cause.is::<Interrupted>()) =>
            {
                return Self::Interrupted;
            }
            Ok(sorted) => return sorted,
            Err(error) => error,
        };
        let error = match error.downcast::<Misfit>() {
            Ok(misfit) => return Self::Patch(misfit),
            Err(error) => error,
        };
        let error = match error.downcast::<ConfigMismatch>() {
            Ok(mismatch) => return Self::Config(mismatch),
            Err(error) => error,
        };
        match error.downcast::<CompileError>() {
            Ok(failed) => Self::Compile(failed),
            Err(error) => Self::Host(error),
        }
    }

    /// One word for records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Source(_) => "source",
            Self::Patch(_) => "patch",
            Self::Config(_) => "config",
            Self::Compile(_) => "compile",
            Self::Tools(_) => "tools",
            Self::Host(_) => "host",
            Self::Interrupted => "interrupted",
        }
    }

    /// The program's exit code for it: 125 when this kernel cannot be tested, which makes a bisection
    /// skip it; 129 and above when going on makes no sense.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Patch(_) | Self::Config(_) | Self::Compile(_) => 125,
            Self::Request(_) => 129,
            Self::Interrupted => 130,
            Self::Source(_) | Self::Tools(_) | Self::Host(_) => 131,
        }
    }
}
