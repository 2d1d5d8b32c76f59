//! The window holder's part of a campaign, and what it saw of a trial.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delays made from outside the guest, by a plugin of QEMU's translator (TCG): one side of the race is
/// held in front of its lock until the other is in front of its own. The kernel is not changed.
/// With both times 0 nothing is held, and the plugin only counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HolderSpec {
    /// How long a swap waits for its balance at most, in milliseconds of host time. Its CPU stands still
    /// as long.
    #[schemars(range(min = 0, max = 10000))]
    pub swap_hold_ms: u32,
    /// How long a balance for which a swap waits is held at most until that comes to its wake-up, in
    /// milliseconds of host time.
    #[schemars(range(min = 0, max = 10000))]
    pub balance_hold_ms: u32,
}

impl HolderSpec {
    /// Longest hold of a swap.
    pub fn swap_hold(&self) -> Duration {
        Duration::from_millis(u64::from(self.swap_hold_ms))
    }

    /// Longest hold of a balance.
    pub fn balance_hold(&self) -> Duration {
        Duration::from_millis(u64::from(self.balance_hold_ms))
    }
}

/// What the holder counted in a trial's time under load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderCounts {
    /// Times that a migration thread looked for work; 0: the holder saw nothing of this kernel.
    #[serde(default)]
    pub looks: u64,
    /// Active balances by migration threads going to sleep: side A.
    pub balances: u64,
    /// Swaps: side B.
    pub swaps: u64,
    /// Both in flight for the same two CPUs; with the defect each is a deadlock. Where nothing is held, a
    /// few more are counted: a balance may just have dropped the lock.
    pub meetings: u64,
    /// Swaps that were held.
    pub swaps_held: u64,
    /// Balances that were held.
    pub balances_held: u64,
    /// Host time that swaps were held, in microseconds.
    pub swaps_held_us: u64,
    /// Host time that balances were held, in microseconds.
    pub balances_held_us: u64,
}

impl HolderCounts {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            looks: self.looks - earlier.looks,
            balances: self.balances - earlier.balances,
            swaps: self.swaps - earlier.swaps,
            meetings: self.meetings - earlier.meetings,
            swaps_held: self.swaps_held - earlier.swaps_held,
            balances_held: self.balances_held - earlier.balances_held,
            swaps_held_us: self.swaps_held_us - earlier.swaps_held_us,
            balances_held_us: self.balances_held_us - earlier.balances_held_us,
        }
    }
}
