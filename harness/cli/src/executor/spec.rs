//! What somebody elsewhere has to know to make trials of a run: `spec.json` in its folder. All it names is in
//! the same folder, which has to be there under any path.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use serde::{Deserialize, Serialize};

use super::results::Results;
use crate::boot_path::{self, BootPath};
use crate::commands::Usage;
use crate::guests::{Bootable, Guests};
use crate::layout::RunDir;
use crate::qemu::Acceleration;
use crate::session;
use crate::store;

/// Version of [`Spec`].
pub const SCHEMA_VERSION: u32 = 1;

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
    /// Of a run of which no trial is asked for yet. Puts what trials need into its folder.
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
        let kernels = guests.kernels.iter().map(|kernel| Kernel {
            arm: kernel.arm.clone(),
            build: kernel.build.clone(),
        });
        Ok(Self {
            schema: SCHEMA_VERSION,
            run: run.id(),
            campaign: campaign.clone(),
            acceleration: guests.acceleration,
            kernels: kernels.collect(),
            orders: Vec::new(),
        })
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

    /// What counts as a result of its trials.
    pub fn results(&self) -> Results {
        let kernels = self.kernels.iter();
        let builds = kernels.map(|kernel| (kernel.arm.clone(), kernel.build.clone()));
        Results::new(self.run.clone(), builds)
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
