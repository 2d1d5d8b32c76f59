//! What the trials of a run share: kernels, the accelerator, and the way one trial is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use kverdict_core::arming::Arming;
use kverdict_core::campaign::{Arm, Campaign};
use kverdict_core::order::Order;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::protocol;
use kverdict_core::record::TrialRecord;
use serde_json::json;

use crate::accel::{self, Choice};
use crate::boot_path::{self, BootPath, Entry};
use crate::build::cache::Cache;
use crate::build::{BuildRecord, BuildRequest, Builder, BuiltKernel};
use crate::catalogue::Catalogue;
use crate::executor::room;
use crate::guests::{Bootable, Guests, IDLE, LOAD, Surroundings};
use crate::holder::Holder;
use crate::initramfs;
use crate::layout::RunDir;
use crate::progress::Progress;
use crate::store::{self, Run};

/// What a session gets its kernels with.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// Kernels and patches.
    pub catalogue: &'a Catalogue,
    /// Built kernels.
    pub cache: &'a Cache,
    /// Where to say what happens.
    pub progress: &'a Progress,
    /// QEMU's version line.
    pub qemu: &'a str,
    /// Parallel compile jobs; absent: one per processor.
    pub compile_jobs: Option<usize>,
}

/// Kernels that are ready to boot, and how their guests run.
#[derive(Debug)]
pub struct Session<'a> {
    progress: &'a Progress,
    records: Vec<(String, BuildRecord)>,
    /// Shared with the threads that make trials.
    guests: Arc<Guests>,
}

impl<'a> Session<'a> {
    /// Builds the kernels of `arms` and chooses the accelerator. `check` is asked about each arm's build
    /// as soon as its key is known.
    ///
    /// # Errors
    /// When a kernel cannot be built, `check` refuses it, or the host fails.
    pub fn prepare(
        means: &Means<'a>,
        campaign: &Campaign,
        arms: &[&str],
        run: &mut Run,
        check: &dyn Fn(&str, &str) -> Result<()>,
    ) -> Result<Self> {
        let (mut kernels, mut records) = (Vec::new(), Vec::new());
        let (mut shortest, qboot) = (Vec::new(), boot_path::qboot());
        for name in arms {
            let arm = campaign.arms.get(*name);
            let arm = arm.with_context(|| format!("the campaign has no arm `{name}`"))?;
            let kernel = build(means, name, arm, run)?;
            check(name, kernel.record.key.as_str())?;
            shortest.push(BootPath::of(&kernel, &campaign.guest, qboot.as_deref())?);
            kernels.push(Bootable {
                arm: (*name).to_owned(),
                build: kernel.record.key.as_str().to_owned(),
                symbols: symbols(kernel.system_map.as_deref())?,
                boot: BootPath::plain(&kernel.bzimage).by(&campaign.guest, qboot.as_deref()),
            });
            records.push(((*name).to_owned(), kernel.record));
        }
        // Arms have to differ in the fix alone: what one cannot do, none does.
        if shortest.iter().all(|boot| boot.entry == Entry::Pvh) {
            for (kernel, boot) in kernels.iter_mut().zip(shortest) {
                kernel.boot = boot;
            }
        }
        for Bootable { arm, boot, .. } in &kernels {
            means.progress.line(format!("arm {arm} boots as {boot}"));
            run.event("boot-path", json!({"arm": arm, "path": boot}));
        }
        let first = kernels.first().context("a session has arms")?;
        let acceleration = if campaign.holder.is_some() {
            Choice::tcg("the holder needs it")
        } else {
            accel::choose(
                campaign.guest.accelerator,
                &first.boot,
                &means.cache.kvm_probe(),
            )?
        };
        means.progress.line(format!(
            "accelerator: {} ({})",
            acceleration.acceleration, acceleration.why
        ));
        run.event(
            "accelerator",
            json!({"is": acceleration.acceleration, "why": acceleration.why}),
        );
        Ok(Self {
            progress: means.progress,
            records,
            guests: Arc::new(Guests {
                kernels,
                acceleration: acceleration.acceleration,
                qemu: means.qemu.to_owned(),
                run: run.dir().clone(),
            }),
        })
    }

    /// Writes what this campaign's guests boot. To be done before its first trial, and again for each
    /// trial of another campaign.
    ///
    /// # Errors
    /// When the run's folder cannot be written.
    pub fn lay_out(&self, campaign: &Campaign, run: &RunDir) -> Result<()> {
        initramfs::write(&run.initramfs(LOAD), &campaign.load_plan(), None)?;
        self.lay_out_idle(campaign, run)
    }

    /// The same for guests that are locked up on purpose alone.
    ///
    /// # Errors
    /// As [`Session::lay_out`].
    pub fn lay_out_idle(&self, campaign: &Campaign, run: &RunDir) -> Result<()> {
        let idle = campaign.guest_plan(protocol::Task::Idle);
        initramfs::write(&run.initramfs(IDLE), &idle, None)
    }

    /// Runs one trial of an arm, which is not recorded yet.
    ///
    /// # Errors
    /// Trouble of the host, or an interrupt; whatever the guest does is an outcome.
    pub fn trial(
        &self,
        campaign: &Campaign,
        arm: &str,
        number: u32,
        run: &mut Run,
    ) -> Result<TrialRecord> {
        let order = Order {
            number,
            arm: arm.to_owned(),
            cell: None,
        };
        let lease = room::for_one(&campaign.guest, self.progress)?;
        run.trial_started(&order);
        let around = Surroundings {
            dir: run.dir().trial(&order.id()),
            initramfs: run.dir().initramfs(LOAD),
            lease: lease.as_ref(),
            stop: &AtomicBool::new(false),
            progress: Some(self.progress),
        };
        let record = self.guests.trial(campaign, &order, &around)?;
        run.trial_ended(campaign, &record);
        Ok(record)
    }

    /// The kernels, and how their guests run.
    pub fn guests(&self) -> &Arc<Guests> {
        &self.guests
    }

    /// What an arm's kernel is made of.
    ///
    /// # Errors
    /// When the session has no such arm.
    pub fn record(&self, arm: &str) -> Result<&BuildRecord> {
        let found = self.records.iter().find(|(name, _)| name == arm);
        let (_, record) = found.with_context(|| format!("the session has no arm `{arm}`"))?;
        Ok(record)
    }

    /// Whether a campaign needs names of an arm's kernel that are not known: it came without a
    /// System.map, and has to be asked for them by [`Session::prove_detectors`].
    ///
    /// # Errors
    /// When the session has no such arm.
    pub fn lacks_names(&self, campaign: &Campaign, arm: &str) -> Result<bool> {
        Ok(campaign.holder.is_some() && self.guests.kernel(arm)?.symbols.is_empty())
    }

    /// Why a campaign's trials cannot be made with an arm's kernel: it lacks what the holder watches. `None`:
    /// they can.
    ///
    /// # Errors
    /// When the session has no such arm.
    pub fn refusal(&self, campaign: &Campaign, arm: &str) -> Result<Option<String>> {
        let symbols = &self.guests.kernel(arm)?.symbols;
        let holder = campaign.holder.as_ref();
        Ok(holder.and_then(|_| Holder::places(symbols).err()))
    }

    /// Locks an arm's kernel up on purpose, to see which detectors notice. Its names are known then.
    ///
    /// # Errors
    /// As [`Session::trial`].
    pub fn prove_detectors(&mut self, campaign: &Campaign, arm: &str) -> Result<Arming> {
        Arc::make_mut(&mut self.guests).prove_detectors(campaign, arm, self.progress)
    }
}

/// Builds an arm's kernel and keeps its papers with the run.
fn build(means: &Means<'_>, name: &str, arm: &Arm, run: &mut Run) -> Result<BuiltKernel> {
    let request = BuildRequest {
        kernel: arm.kernel.clone(),
        tree: arm.tree.as_ref().map(PathBuf::from),
        toolchain: arm.toolchain.clone(),
        revert: arm.revert.clone(),
        apply: arm.apply.clone(),
        jobs: means.compile_jobs,
        ..BuildRequest::default()
    };
    let kernel = Builder::new(means.catalogue, means.cache, means.progress)
        .build(&request)
        .with_context(|| format!("arm {name}"))?;
    let record = &kernel.record;
    let how = if kernel.from_cache {
        "from the cache".to_owned()
    } else if record.compiler.is_none() {
        format!("taken as it is in {:.1} s", kernel.seconds)
    } else {
        format!(
            "built in {:.1} s, {} objects compiled, {} reused",
            kernel.seconds, record.objects_compiled, record.objects_reused
        )
    };
    means.progress.line(format!(
        "arm {name}: {} {}, {how}",
        record.release, record.key
    ));
    run.event("built", json!({"arm": name, "kernel": record, "seconds": kernel.seconds, "from_cache": kernel.from_cache}));
    keep_papers(&kernel, &run.dir().build(record.key.as_str()))?;
    Ok(kernel)
}

/// Manifest, config, symbols and log of a kernel, so that a run can be read without the cache.
fn keep_papers(kernel: &BuiltKernel, dir: &Path) -> Result<()> {
    store::replace(
        &dir.join("manifest.json"),
        &serde_json::to_vec_pretty(&kernel.record)?,
    )?;
    for (from, name) in kernel.papers() {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        store::replace(&dir.join(name), &content)?;
    }
    Ok(())
}

/// Names of a kernel's functions and variables. A kernel that came without a System.map is asked for
/// its own once it runs.
///
/// # Errors
/// When the file cannot be read, or is none.
pub fn symbols(system_map: Option<&Path>) -> Result<Symbols> {
    let Some(path) = system_map else {
        return Ok(Symbols::default());
    };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Symbols::from_system_map(&text).with_context(|| path.display().to_string())
}
