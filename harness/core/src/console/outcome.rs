//! What a console, or a whole trial, amounts to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The closed list of ways one trial can end, from harmless to most severe.
///
/// The order is the order of severity: when a console holds several reports, the greatest one is
/// the outcome. A panic that policy turns another report into (`hardlockup_panic`,
/// `panic_on_oops`, ...) counts as that other report; [`Outcome::Panic`] is for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing to report.
    Clean,
    /// The host or the emulator failed; says nothing about the kernel. Decided by the trial.
    Infrastructure,
    /// The guest is not what was asked for: nodes, CPUs, NUMA balancing. Decided by the trial.
    Unfit,
    /// The load could not run as asked, such as processes killed for want of memory.
    LoadFailure,
    /// The guest went away before the trial was over. Decided by the trial.
    UnexpectedExit,
    /// kmemleak found unreferenced objects.
    MemoryLeak,
    /// A `WARN_ON()` fired.
    Warning,
    /// Lockdep proved a locking rule broken.
    Lockdep,
    /// KASAN, KCSAN, KMSAN, KFENCE or UBSAN.
    Sanitizer,
    /// An assertion of the kernel failed: `kernel BUG at`, `BUG: ...`.
    Bug,
    /// A task slept uninterruptibly for too long.
    HungTask,
    /// A worker pool made no progress.
    WorkqueueLockup,
    /// No grace period ended for too long.
    RcuStall,
    /// A CPU did not schedule for too long, interrupts on.
    SoftLockup,
    /// The console wrote more than any sane guest does. Decided by the trial.
    ConsoleFlood,
    /// The guest stopped making progress and said nothing. Decided by the trial.
    SilentHang,
    /// The kernel stopped before its init ran.
    BootFailure,
    /// The kernel faulted.
    Oops,
    /// `panic()` for a reason of its own.
    Panic,
    /// A CPU did not take interrupts for too long.
    HardLockup,
}

impl Outcome {
    /// Every outcome, in order of severity.
    pub const ALL: [Outcome; 20] = [
        Outcome::Clean,
        Outcome::Infrastructure,
        Outcome::Unfit,
        Outcome::LoadFailure,
        Outcome::UnexpectedExit,
        Outcome::MemoryLeak,
        Outcome::Warning,
        Outcome::Lockdep,
        Outcome::Sanitizer,
        Outcome::Bug,
        Outcome::HungTask,
        Outcome::WorkqueueLockup,
        Outcome::RcuStall,
        Outcome::SoftLockup,
        Outcome::ConsoleFlood,
        Outcome::SilentHang,
        Outcome::BootFailure,
        Outcome::Oops,
        Outcome::Panic,
        Outcome::HardLockup,
    ];

    /// The name as people write it, such as `hard lockup`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Clean => "clean",
            Outcome::Infrastructure => "infrastructure",
            Outcome::Unfit => "unfit guest",
            Outcome::ConsoleFlood => "console flood",
            Outcome::LoadFailure => "load failure",
            Outcome::UnexpectedExit => "unexpected exit",
            Outcome::MemoryLeak => "memory leak",
            Outcome::Warning => "warning",
            Outcome::Lockdep => "lockdep report",
            Outcome::Sanitizer => "sanitizer report",
            Outcome::HungTask => "hung task",
            Outcome::WorkqueueLockup => "workqueue lockup",
            Outcome::RcuStall => "RCU stall",
            Outcome::SoftLockup => "soft lockup",
            Outcome::SilentHang => "silent hang",
            Outcome::Bug => "BUG",
            Outcome::BootFailure => "boot failure",
            Outcome::Oops => "oops",
            Outcome::Panic => "panic",
            Outcome::HardLockup => "hard lockup",
        }
    }

    /// Whether a kernel that got here is not worth waiting for: a live trial may stop.
    pub fn is_fatal(self) -> bool {
        match self {
            Outcome::SilentHang
            | Outcome::BootFailure
            | Outcome::Oops
            | Outcome::Panic
            | Outcome::HardLockup => true,
            Outcome::Clean
            | Outcome::Infrastructure
            | Outcome::Unfit
            | Outcome::ConsoleFlood
            | Outcome::LoadFailure
            | Outcome::UnexpectedExit
            | Outcome::MemoryLeak
            | Outcome::Warning
            | Outcome::Lockdep
            | Outcome::Sanitizer
            | Outcome::HungTask
            | Outcome::WorkqueueLockup
            | Outcome::RcuStall
            | Outcome::SoftLockup
            | Outcome::Bug => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_sorted_and_names_are_unique() {
        assert!(Outcome::ALL.is_sorted());
        let mut names: Vec<_> = Outcome::ALL.iter().map(|o| o.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Outcome::ALL.len());
    }
}
