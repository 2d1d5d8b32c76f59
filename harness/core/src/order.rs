//! Trials that were asked for and are not back yet, when several run side by side.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::record::TrialRecord;

/// A trial that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// Position in the run's order, from 1; no two orders of a run share it.
    pub number: u32,
    /// Name of the arm.
    pub arm: String,
    /// The cell, in a night: id as [`crate::night::cell::CellId`] writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
}

impl Order {
    /// `<number>-<arm>`: what the trial is called, and its folder.
    pub fn id(&self) -> String {
        format!("{:04}-{}", self.number, self.arm)
    }
}

/// The records that may be judged: those before the first order that is still out, as if trials had run one
/// after the other. Lockups come back sooner than survivals, so what happens to be back shows more of them
/// than there are. `records` are in the order of their numbers.
pub fn settled<'a>(records: &'a [TrialRecord], out: &[Order]) -> &'a [TrialRecord] {
    let first_out = out.iter().map(|order| order.number).min();
    let end = first_out.map_or(records.len(), |first| {
        records.partition_point(|record| record.number < first)
    });
    &records[..end]
}

/// The trials of this process, the latest first: those whose numbers are in `earlier` are of other processes, whose
/// host may have been mended since.
pub fn latest<'a>(
    records: &'a [TrialRecord],
    earlier: &'a BTreeSet<u32>,
) -> impl Iterator<Item = &'a TrialRecord> {
    let all = records.iter().rev();
    all.filter(|record| !earlier.contains(&record.number))
}

/// How many of these orders are for an arm.
pub fn of_arm(out: &[Order], arm: &str) -> usize {
    out.iter().filter(|order| order.arm == arm).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32) -> TrialRecord {
        let recorded = include_str!("../../cli/tests/recorded/verified/trials.jsonl");
        let first = recorded.lines().next().expect("a recorded run has trials");
        let record = serde_json::from_str(first).expect("they are records");
        TrialRecord { number, ..record }
    }

    #[test]
    fn only_this_processs_trials_are_its_latest() {
        let records = [1, 2, 4, 5].map(record);
        let earlier = BTreeSet::from([1, 4]);
        let latest: Vec<u32> = latest(&records, &earlier).map(|one| one.number).collect();
        assert_eq!(latest, [5, 2]);
    }

    #[test]
    fn what_came_back_before_an_earlier_one_is_not_judged_yet() {
        let order = |number| Order {
            number,
            arm: "fixed".to_owned(),
            cell: None,
        };
        let records = [1, 3, 4, 6].map(record);
        let judged = |out: &[Order]| settled(&records, out).len();
        assert_eq!(judged(&[order(2), order(5)]), 1);
        assert_eq!(judged(&[order(7), order(5)]), 3);
        assert_eq!(judged(&[order(7)]), 4);
        assert_eq!(judged(&[]), 4, "a number that nobody has any more");
        assert_eq!(of_arm(&[order(2), order(5)], "fixed"), 2);
    }
}
