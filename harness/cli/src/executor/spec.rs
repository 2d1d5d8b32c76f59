//! What somebody elsewhere has to know to make trials of a run: `spec.json` in its folder. All it names is in
//! the same folder, which has to be there under any path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use serde::{Deserialize, Serialize};

use crate::boot_path::{self, BootPath};
use crate::commands::Usage;
use crate::guests::{Bootable, Guests};
use crate::layout::{RunDir, TrialDir};
use crate::qemu::Acceleration;
use crate::session;
use crate::store;

/// Version of [`Spec`].
pub const SCHEMA_VERSION: u32 = 1;

/// In a trial's folder: which run it is of. Another run has trials of the same names.
const OF_RUN: &str = "run";

/// Of what a folder of others says, so many characters are repeated.
const FOREIGN_WORDS_MAX: usize = 200;

/// A run, as far as its trials have to know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// Name of the run.
    pub run: String,
    /// The campaign as resolved.
    pub campaign: Campaign,
    /// What has to run the guests' instructions: trials of both kinds cannot be held against each other.
    pub acceleration: Acceleration,
    /// The arms' kernels.
    pub kernels: Vec<Kernel>,
    /// The trials, which only become more.
    pub orders: Vec<Order>,
}

/// An arm's kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The arm.
    pub arm: String,
    /// Key of the build, which names its folder.
    pub build: String,
}

impl Spec {
    /// Of a run of which no trial is asked for yet.
    pub fn new(guests: &Guests, campaign: &Campaign) -> Self {
        let kernels = guests.kernels.iter().map(|kernel| Kernel {
            arm: kernel.arm.clone(),
            build: kernel.build.clone(),
        });
        Self {
            schema: SCHEMA_VERSION,
            run: guests.run.id(),
            campaign: campaign.clone(),
            acceleration: guests.acceleration,
            kernels: kernels.collect(),
            orders: Vec::new(),
        }
    }

    /// The same, and puts what trials need into the run's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn lay_out(guests: &Guests, campaign: &Campaign) -> Result<Self> {
        let run = &guests.run;
        for kernel in &guests.kernels {
            copy(
                &kernel.boot.image,
                &run.image(&kernel.build),
                store::replace,
            )?;
        }
        // Every machine has to run the same one, and it needs nothing but itself.
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        copy(&own, &run.program(), store::replace_program)?;
        let logs = run.elsewhere();
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self::new(guests, campaign))
    }

    /// Writes it into the run's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, run: &RunDir) -> Result<()> {
        store::replace(&run.spec(), &serde_json::to_vec_pretty(self)?)
    }

    /// Reads one, with the folder of its run.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn read(path: &Path) -> Result<(Self, RunDir)> {
        let wrong = |why: String| Usage(format!("--spec {}: {why}", path.display()));
        let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let spec: Self = serde_json::from_slice(&bytes).map_err(|error| {
            wrong(format!(
                "{error}; expected the spec.json of a run, written by the same version of kverdict"
            ))
        })?;
        if spec.schema != SCHEMA_VERSION {
            bail!(wrong(format!(
                "it is of version {}, this kverdict reads {SCHEMA_VERSION}",
                spec.schema
            )));
        }
        let folder = path.parent().filter(|parent| *parent != Path::new(""));
        Ok((spec, RunDir::new(folder.unwrap_or(Path::new(".")))?))
    }

    /// The trial of this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn order(&self, number: u32) -> Result<&Order> {
        let found = self.orders.iter().find(|order| order.number == number);
        Ok(found.ok_or_else(|| {
            let last = self.orders.last().map_or(0, |order| order.number);
            Usage(format!(
                "--index {number}: the spec has no such trial; its numbers go up to {last}"
            ))
        })?)
    }

    fn kernel(&self, arm: &str) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|kernel| kernel.arm == arm);
        found.with_context(|| format!("the spec has no kernel of arm `{arm}`"))
    }

    /// The guests of an arm, made with this machine's `qemu` (its version line).
    ///
    /// # Errors
    /// When its kernel is not in the folder.
    pub fn guests(&self, run: &RunDir, arm: &str, qemu: String) -> Result<Guests> {
        let kernel = self.kernel(arm)?;
        let map: PathBuf = run.system_map(&kernel.build);
        Ok(Guests {
            kernels: vec![Bootable {
                arm: arm.to_owned(),
                build: kernel.build.clone(),
                // Firmware is this machine's own.
                boot: BootPath::of_image(
                    &run.image(&kernel.build),
                    &self.campaign.guest,
                    boot_path::qboot().as_deref(),
                )?,
                symbols: session::symbols(map.is_file().then_some(&*map))?,
            }],
            acceleration: self.acceleration,
            qemu,
            run: run.clone(),
        })
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
    pub fn result(&self, trials: &Path, order: &Order) -> Result<Option<TrialRecord>> {
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
        let build = &self.kernel(&order.arm)?.build;
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

/// Copies a file, unless it is there already: others may be reading it.
fn copy(from: &Path, to: &Path, write: fn(&Path, &[u8]) -> Result<()>) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    match fs::read(to).is_ok_and(|there| there == content) {
        true => Ok(()),
        false => write(to, &content),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::manifest::Manifest;

    /// Of a recorded run, which is named `this`, with its first trial.
    pub fn recorded() -> (Spec, TrialRecord) {
        let run = include_str!("../../tests/recorded/verified/run.json");
        let trials = include_str!("../../tests/recorded/verified/trials.jsonl");
        let run: Manifest = serde_json::from_str(run).unwrap();
        let record: TrialRecord = serde_json::from_str(trials.lines().next().unwrap()).unwrap();
        let spec = Spec {
            schema: SCHEMA_VERSION,
            run: "this".to_owned(),
            campaign: run.campaign,
            acceleration: Acceleration::Tcg,
            kernels: vec![Kernel {
                arm: record.arm.clone(),
                build: record.build.clone(),
            }],
            orders: Vec::new(),
        };
        (spec, record)
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
        let (spec, record) = recorded();
        let order = order_of(&record);
        let dir = TrialDir::among(trials.path(), &order.id());
        let look = |spec: &Spec| spec.result(trials.path(), &order);
        assert!(look(&spec).unwrap().is_none());

        write(&dir, &record);
        let error = look(&spec).unwrap_err().to_string();
        assert!(error.contains("does not say of which run"), "{error}");
        spec.sign(&dir).unwrap();
        assert_eq!(look(&spec).unwrap().unwrap(), record);

        let other = Spec {
            run: "other".to_owned(),
            ..spec.clone()
        };
        let error = look(&other).unwrap_err();
        assert!(error.is::<Usage>());
        let error = error.to_string();
        for words in ["it is of run this", "Move it away", &order.id()] {
            assert!(error.contains(words), "{words}: {error}");
        }
        let mut rebuilt = spec.clone();
        rebuilt.kernels[0].build = "another".to_owned();
        let error = look(&rebuilt).unwrap_err().to_string();
        assert!(error.contains(", not another"), "{error}");
        let mut next = record.clone();
        next.number += 1;
        write(&dir, &next);
        let error = look(&spec).unwrap_err().to_string();
        assert!(error.contains("it is trial "), "{error}");
    }

    #[test]
    fn what_another_run_calls_itself_reaches_no_terminal_as_it_is() {
        let trials = tempfile::tempdir().unwrap();
        let (mut spec, record) = recorded();
        let order = order_of(&record);
        let dir = TrialDir::among(trials.path(), &order.id());
        write(&dir, &record);
        spec.run = "\u{1b}[2J".repeat(1000);
        spec.sign(&dir).unwrap();
        spec.run = "this".to_owned();
        let error = spec.result(trials.path(), &order).unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.len() < 1000, "{error}");
    }
}
