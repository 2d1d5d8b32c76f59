//! What trials leave in their folders, as far as pages look at it.

use std::collections::BTreeMap;

use kverdict_core::holder::HolderCounts;
use kverdict_core::outside::sample::Sample;
use serde::{Deserialize, Serialize};

/// What is left of each trial, by its id.
pub type Leftovers = BTreeMap<String, Left>;

/// What is left of one trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Left {
    /// Its console, raw; absent: it is gone, or was not asked for.
    pub console: Option<Vec<u8>>,
    /// Its last samples, in order.
    pub samples: Vec<Sample>,
    /// What the holder had counted as the load went on, in order.
    pub exposure: Vec<Reading>,
}

/// A line of `exposure.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Guest milliseconds since the load began.
    pub load_ms: u64,
    /// Counts since QEMU's start.
    pub counts: HolderCounts,
}
