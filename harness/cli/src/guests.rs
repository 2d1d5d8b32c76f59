//! How the guests of a run are made: its kernels, what runs their instructions, and where their files are.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use kverdict_core::agent_channel::Phase;
use kverdict_core::arming::Arming;
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::record::TrialRecord;

use crate::arming;
use crate::boot_path::BootPath;
use crate::holder::Holder;
use crate::host::{Cpus, Lease};
use crate::layout::{RunDir, TrialDir};
use crate::process::Interrupted;
use crate::progress::{Progress, Task};
use crate::qemu::{Acceleration, Machine, Ports};
use crate::trial::{self, TrialSpec};

/// Guests that run the campaign's load.
pub const LOAD: &str = "load";
/// Guests that do nothing, to be locked up on purpose.
pub const IDLE: &str = "idle";

/// An arm's kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Bootable {
    /// The arm.
    pub arm: String,
    /// Key of the build.
    pub build: String,
    /// Its file, and the way from there into the guest.
    pub boot: BootPath,
    /// The names in it; empty: none are known.
    pub symbols: Symbols,
}

/// What all guests of a run have in common.
#[derive(Debug, Clone)]
pub struct Guests {
    /// The kernels.
    pub kernels: Vec<Bootable>,
    /// What runs their instructions.
    pub acceleration: Acceleration,
    /// QEMU's version line.
    pub qemu: String,
    /// Where initramfs and holder are.
    pub run: RunDir,
}

/// Where a trial runs and whom it tells.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Its folder, which is emptied first.
    pub dir: TrialDir,
    /// What the guest boots into.
    pub initramfs: PathBuf,
    /// CPUs of the host that are its own; absent: it runs on any.
    pub lease: Option<&'a Lease>,
    /// Ends the trial, without a result, when it is set.
    pub stop: &'a AtomicBool,
    /// Where to show how far it is; absent: nowhere.
    pub progress: Option<&'a Progress>,
}

impl Guests {
    /// The kernel of an arm.
    ///
    /// # Errors
    /// When there is none.
    pub fn kernel(&self, arm: &str) -> Result<&Bootable> {
        let found = self.kernels.iter().find(|one| one.arm == arm);
        found.with_context(|| format!("there is no kernel of arm `{arm}`"))
    }

    /// Runs one trial. May be called by several threads at once, for different orders.
    ///
    /// # Errors
    /// Trouble of the host, or an interrupt; whatever the guest does is an outcome.
    pub fn trial(
        &self,
        campaign: &Campaign,
        order: &Order,
        around: &Surroundings<'_>,
    ) -> Result<TrialRecord> {
        let id = order.id();
        let kernel = self.kernel(&order.arm)?;
        // Of each trial's own campaign, because holds may differ between trials.
        let holder = campaign.holder.as_ref();
        let holder = holder
            .map(|spec| Holder::prepare(spec, &self.qemu, &self.run, &kernel.symbols))
            .transpose()
            .with_context(|| format!("arm {}", order.arm))?;
        let spec = TrialSpec {
            id: id.clone(),
            number: order.number,
            arm: order.arm.clone(),
            build: kernel.build.clone(),
            dir: around.dir.clone(),
            machine: Machine {
                holder: holder.as_ref(),
                ..self.machine(campaign, &id, kernel, around.initramfs.clone())
            },
            symbols: &kernel.symbols,
            signature: &campaign.signature,
            policy: &campaign.policy,
            cpus: around.lease.map(Lease::cpus),
        };
        let length = u64::from(campaign.policy.load_seconds);
        let task = around
            .progress
            .map(|progress| progress.task(format!("trial {id}"), length));
        let record = trial::run(&spec, &mut |standing| {
            if let Some(task) = &task {
                show(task, &standing);
            }
            match around.stop.load(Ordering::Relaxed) {
                true => Err(Interrupted.into()),
                false => Ok(()),
            }
        })?;
        if let Some(task) = task {
            task.finish(ending(campaign, &record));
        }
        Ok(record)
    }

    /// Locks an arm's kernel up on purpose, to see which detectors notice. Its names are known then.
    ///
    /// # Errors
    /// As [`Guests::trial`].
    pub fn prove_detectors(
        &mut self,
        campaign: &Campaign,
        arm: &str,
        progress: &Progress,
    ) -> Result<Arming> {
        let id = format!("0000-{arm}");
        let kernel = self.kernel(arm)?;
        let task = progress.task(format!("detectors {arm}"), 0);
        task.set(0, "a lockup made on purpose");
        // Not waited for: other guests of this command may be the ones that have them.
        let lease = Cpus::of_this_host()?.lease(campaign.guest.cpus())?;
        let (arming, names) = arming::prove(
            arm,
            &kernel.build,
            &self.run.trial(&id),
            &self.machine(campaign, &id, kernel, self.run.initramfs(IDLE)),
            &kernel.symbols,
            &campaign.policy,
            lease.as_ref().map(Lease::cpus),
        )?;
        task.finish(arming.to_string());
        if let Some(one) = self.kernels.iter_mut().find(|one| one.arm == arm) {
            one.symbols = names;
        }
        Ok(arming)
    }

    fn machine<'b>(
        &self,
        campaign: &'b Campaign,
        id: &'b str,
        kernel: &'b Bootable,
        initramfs: PathBuf,
    ) -> Machine<'b> {
        Machine {
            name: id,
            guest: &campaign.guest,
            acceleration: self.acceleration,
            kernel: &kernel.boot,
            initramfs,
            cmdline: Vec::new(),
            ports: Ports::Files,
            holder: None,
        }
    }
}

/// How a trial ended, in a line.
pub fn ending(campaign: &Campaign, record: &TrialRecord) -> String {
    let title = match record.title.as_str() {
        "" => String::new(),
        title => format!(": {title}"),
    };
    format!(
        "{} after {:.1} s of load: {}{title}",
        record.standing(&campaign.policy.min_exposure),
        record.exposure.load_ms as f64 / 1000.0,
        record.outcome,
    )
}

fn show(task: &Task<'_>, standing: &trial::Standing<'_>) {
    let text = match standing.phase {
        Phase::Booting => "booting",
        Phase::SettingUp | Phase::Armed => "setting up",
        Phase::Loading => "under load",
        Phase::Ended => "shutting down",
        Phase::Unfit(_) | Phase::LoadFailed(_) => "failed",
    };
    task.set(standing.load_seconds, text);
}
