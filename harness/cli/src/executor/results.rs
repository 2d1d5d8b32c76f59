//! Which results are of a run's trials: a folder of trials may have those of other runs, under the same names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

use crate::commands::Usage;
use crate::guests::Guests;
use crate::layout::TrialDir;
use crate::store;

/// In a trial's folder: which run it is of.
const OF_RUN: &str = "run";

/// Of what a folder of others says, so many characters are repeated.
const FOREIGN_WORDS_MAX: usize = 200;

/// Tells a run's results from others'.
#[derive(Debug, Clone)]
pub struct Results {
    run: String,
    /// Key of each arm's build.
    builds: BTreeMap<String, String>,
}

impl Results {
    /// Those of the run of this name, with the key of each arm's build.
    pub fn new(run: String, builds: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            run,
            builds: builds.into_iter().collect(),
        }
    }

    /// Those of a run with these guests.
    pub fn of(guests: &Guests) -> Self {
        let kernels = guests.kernels.iter();
        let builds = kernels.map(|kernel| (kernel.arm.clone(), kernel.build.clone()));
        Self::new(guests.run.id(), builds)
    }

    /// Has a trial's folder say that it is of this run. To be done before its record is there: without, that
    /// counts nowhere.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sign(&self, dir: &TrialDir) -> Result<()> {
        store::replace(&dir.root().join(OF_RUN), self.run.as_bytes())
    }

    /// The record of a trial in a folder of trials; none: it is not there, or not whole.
    ///
    /// # Errors
    /// When what is there is whole, and of another run or kernel: it neither counts nor may it be lost.
    pub fn find(&self, trials: &Path, order: &Order) -> Result<Option<TrialRecord>> {
        let dir = TrialDir::among(trials, &order.id());
        let record = fs::read(dir.record()).ok();
        let record = record.and_then(|bytes| serde_json::from_slice::<TrialRecord>(&bytes).ok());
        let Some(record) = record else {
            return Ok(None);
        };
        let of_run = dir.root().join(OF_RUN);
        let run = match fs::read(&of_run) {
            Ok(run) => String::from_utf8_lossy(&run).into_owned(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot read {}", of_run.display()));
            }
            Err(_) if dir.record().exists() => String::new(),
            // Somebody has just taken the whole folder away.
            Err(_) => return Ok(None),
        };
        let Some(why) = self.objection(order, &run, &record)? else {
            return Ok(Some(record));
        };
        let why: String = why.escape_debug().take(FOREIGN_WORDS_MAX).collect();
        bail!(Usage(format!(
            "{} is in the way of trial {} of run {}: {why}. Move it away, or have `kverdict trial --spec` write into another folder (--out)",
            dir.root().display(),
            order.id(),
            self.run
        )))
    }

    /// Why a record, with the name that its folder has of its run, is not of this order.
    fn objection(&self, order: &Order, run: &str, record: &TrialRecord) -> Result<Option<String>> {
        let build = self.builds.get(&order.arm);
        let build =
            build.with_context(|| format!("the run has no kernel of arm `{}`", order.arm))?;
        Ok(if run.is_empty() {
            Some("it does not say of which run it is".to_owned())
        } else if run != self.run {
            Some(format!("it is of run {run}"))
        } else if record.number != order.number || record.arm != order.arm {
            Some(format!("it is trial {}", record.id))
        } else if record.build != *build {
            Some(format!("it is of build {}, not {build}", record.build))
        } else {
            None
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Of a recorded run, called so, with its first trial.
    pub fn recorded(run: &str) -> (Results, TrialRecord) {
        let trials = include_str!("../../tests/recorded/verified/trials.jsonl");
        let record: TrialRecord = serde_json::from_str(trials.lines().next().unwrap()).unwrap();
        let build = (record.arm.clone(), record.build.clone());
        (Results::new(run.to_owned(), [build]), record)
    }

    /// The order of a record.
    pub fn order_of(record: &TrialRecord) -> Order {
        Order {
            number: record.number,
            arm: record.arm.clone(),
            cell: None,
        }
    }

    fn write(dir: &TrialDir, record: &TrialRecord) {
        fs::create_dir_all(dir.root()).unwrap();
        fs::write(dir.record(), serde_json::to_vec(record).unwrap()).unwrap();
    }

    #[test]
    fn a_result_counts_for_its_run_its_order_and_its_kernel_only() {
        let trials = tempfile::tempdir().unwrap();
        let (results, record) = recorded("this");
        let order = order_of(&record);
        let dir = TrialDir::among(trials.path(), &order.id());
        let look = |results: &Results| results.find(trials.path(), &order);
        assert!(look(&results).unwrap().is_none());

        write(&dir, &record);
        let error = look(&results).unwrap_err().to_string();
        assert!(error.contains("does not say of which run"), "{error}");
        results.sign(&dir).unwrap();
        assert_eq!(look(&results).unwrap().unwrap(), record);

        let error = look(&recorded("other").0).unwrap_err();
        assert!(error.is::<Usage>());
        let error = error.to_string();
        for words in ["it is of run this", "Move it away", &order.id()] {
            assert!(error.contains(words), "{words}: {error}");
        }
        let rebuilt = (record.arm.clone(), "another".to_owned());
        let error = look(&Results::new("this".to_owned(), [rebuilt]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(", not another"), "{error}");
        let mut next = record.clone();
        next.number += 1;
        write(&dir, &next);
        let error = look(&results).unwrap_err().to_string();
        assert!(error.contains("it is trial "), "{error}");
    }

    #[test]
    fn what_another_run_calls_itself_reaches_no_terminal_as_it_is() {
        let trials = tempfile::tempdir().unwrap();
        let (results, record) = recorded("this");
        let order = order_of(&record);
        let dir = TrialDir::among(trials.path(), &order.id());
        write(&dir, &record);
        let (theirs, _) = recorded(&"\u{1b}[2J".repeat(1000));
        theirs.sign(&dir).unwrap();
        let error = results.find(trials.path(), &order).unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.len() < 1000, "{error}");
    }
}
