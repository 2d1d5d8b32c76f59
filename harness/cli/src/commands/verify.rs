//! `kverdict verify`: build both arms, run trials until the verdict stands, report.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use kverdict_core::campaign::{Arm, Campaign};
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::protocol;
use kverdict_core::record::TrialRecord;
use kverdict_core::schedule::{self, Next};
use kverdict_core::verdict;
use kverdict_core::yaml::{Problem, Problems};
use serde_json::json;

use crate::accel::{self, Choice};
use crate::agent_channel::Phase;
use crate::arming;
use crate::build::cache::Cache;
use crate::build::{BuildRequest, Builder, BuiltKernel};
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::Usage;
use crate::dependencies;
use crate::holder::Holder;
use crate::initramfs;
use crate::layout::RunDir;
use crate::process::Interrupted;
use crate::progress::{Progress, Task};
use crate::qemu::{Machine, Ports};
use crate::reports;
use crate::store::{self, Host, Manifest, Records, Run};
use crate::trial::{self, TrialSpec};

/// Arguments of `kverdict verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Campaign: the path of a YAML file, or the name of one that comes with kverdict
    #[arg(default_value = campaigns::DEFAULT)]
    campaign: String,
    /// Folder for the results of all runs
    #[arg(long, default_value = "results", value_name = "DIR")]
    results: PathBuf,
    /// Go on with a run that was interrupted: its folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["campaign", "kernel"])]
    resume: Option<PathBuf>,
    /// Use this kernel of the catalogue in every arm
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Build this kernel from a source tree here instead of its public location; the tree is only
    /// read. May be given for several kernels
    #[arg(long, value_name = "KERNEL=DIR", value_parser = kernel_and_tree, conflicts_with = "resume")]
    tree: Vec<(String, PathBuf)>,
    /// Toolchain of the catalogue for every arm [default: the first of each kernel's own that this
    /// machine has or can make]
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    toolchain: Option<String>,
    /// Target lockups that the control has to show [default: the campaign's min_control_lockups]
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=1000))]
    lockups: Option<u32>,
    /// Seconds of load in a trial that does not lock up [default: the campaign's load_seconds]
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=86400))]
    load_seconds: Option<u32>,
    /// Install missing tools with apt first, after printing the command
    #[arg(long)]
    install_deps: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Folder with more kernels, fragments and patches; wins over what is embedded
    #[arg(long, value_name = "DIR")]
    catalogue: Vec<PathBuf>,
    /// Parallel compile jobs [default: number of processors]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let catalogue = Catalogue::open(&args.catalogue)?;
    let cache = Cache::from_environment()?;
    let (mut run, manifest, mut records) = open_run(args, &catalogue)?;
    let campaign = &manifest.campaign;
    progress.line(format!(
        "run {}: campaign {}",
        run.dir().id(),
        campaign.name
    ));
    let builder = Builder::new(&catalogue, &cache, &progress);
    let outcome = Session::prepare(
        campaign, &builder, args.jobs, &mut run, &records, &progress, &cache,
    )
    .and_then(|mut session| session.run(&mut run, &mut records, &manifest.qemu));
    if let Err(error) = outcome {
        if error.is::<Interrupted>() {
            let dir = run.dir().root().display();
            progress.line(format!(
                "interrupted; {} trials are kept. Go on with: kverdict verify --resume {dir}",
                records.trials.len()
            ));
        }
        return Err(error);
    }
    let report = reports::write(run.dir(), &manifest, &records)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    progress.line(format!("results: {}", run.dir().root().display()));
    Ok(ExitCode::from(report.verdict.conclusion.exit_code()))
}

fn open_run(args: &VerifyArgs, catalogue: &Catalogue) -> Result<(Run, Manifest, Records)> {
    if let Some(dir) = &args.resume {
        return Run::resume(RunDir::new(dir)?);
    }
    let mut campaign = campaigns::load(&args.campaign)?;
    if let Some(kernel) = &args.kernel {
        campaign
            .arms
            .values_mut()
            .for_each(|arm| arm.kernel.clone_from(kernel));
    }
    put_trees(&mut campaign, &args.tree)?;
    let policy = &mut campaign.policy;
    policy.min_control_lockups = args.lockups.unwrap_or(policy.min_control_lockups);
    policy.load_seconds = args.load_seconds.unwrap_or(policy.load_seconds);
    if let Some(toolchain) = &args.toolchain {
        campaign
            .arms
            .values_mut()
            .for_each(|arm| arm.toolchain = Some(toolchain.clone()));
    }
    check_names(&args.campaign, &campaign, catalogue)?;
    let amplifiers = campaigns::resolve(&mut campaign, catalogue)?;
    let manifest = Manifest {
        schema: store::SCHEMA_VERSION,
        kverdict: env!("CARGO_PKG_VERSION").to_owned(),
        argv: std::env::args().collect(),
        started: store::now(),
        host: Host::detect(),
        qemu: dependencies::qemu_version()?,
        campaign,
        amplifiers,
    };
    let stamp = manifest.started.replace([':', '-'], "");
    let id = format!("{stamp}-{}-{}", manifest.campaign.name, std::process::id());
    let run = Run::create(RunDir::new(args.results.join(id))?, &manifest)?;
    Ok((run, manifest, Records::default()))
}

/// `KERNEL=DIR`
fn kernel_and_tree(text: &str) -> Result<(String, PathBuf), String> {
    let (kernel, tree) = text
        .split_once('=')
        .ok_or("write the kernel's name, `=`, and the folder of its source")?;
    Ok((kernel.to_owned(), PathBuf::from(tree)))
}

/// Points the arms of a kernel at a tree on this machine. The path is kept whole, so that a run can
/// be gone on with from another folder.
fn put_trees(campaign: &mut Campaign, trees: &[(String, PathBuf)]) -> Result<()> {
    for (kernel, tree) in trees {
        let tree = fs::canonicalize(tree)
            .map_err(|error| Usage(format!("--tree: {}: {error}", tree.display())))?;
        let arms = campaign.arms.values_mut();
        let mut of_kernel = arms.filter(|arm| arm.kernel == *kernel).peekable();
        if of_kernel.peek().is_none() {
            let text = format!("--tree: no arm of the campaign has the kernel `{kernel}`");
            return Err(Usage(text).into());
        }
        of_kernel.for_each(|arm| arm.tree = Some(tree.display().to_string()));
    }
    Ok(())
}

/// Every name of the campaign that the catalogue does not have, all together and before a run is
/// started.
fn check_names(file: &str, campaign: &Campaign, catalogue: &Catalogue) -> Result<()> {
    let mut problems = Vec::new();
    for (index, name) in campaign.amplifiers.iter().enumerate() {
        if let Err(error) = catalogue.amplifier(name) {
            problems.push(Problem::new(
                format!("amplifiers[{index}]"),
                format!("{error:#}"),
            ));
        }
    }
    for (name, arm) in &campaign.arms {
        let kernel = catalogue.kernel(&arm.kernel);
        if let Err(error) = &kernel {
            problems.push(Problem::new(
                format!("arms.{name}.kernel"),
                format!("{error:#}"),
            ));
        }
        let tree: Vec<String> = arm.tree.iter().cloned().collect();
        for (list, asked) in [
            ("tree", &tree),
            ("apply", &arm.apply),
            ("revert", &arm.revert),
        ] {
            if let Some(why) = kernel
                .as_ref()
                .ok()
                .and_then(|kernel| kernel.refusal(asked))
            {
                problems.push(Problem::new(format!("arms.{name}.{list}"), why));
            }
        }
        if let Some(Err(error)) = arm.toolchain.as_ref().map(|name| catalogue.toolchain(name)) {
            problems.push(Problem::new(
                format!("arms.{name}.toolchain"),
                format!("{error:#}"),
            ));
        }
        for (list, patches) in [("apply", &arm.apply), ("revert", &arm.revert)] {
            for patch in patches {
                let text = match catalogue.patch(patch) {
                    Err(error) => format!("{error:#}"),
                    Ok(found) if found.kind == Some(PatchKind::Provoke) => format!(
                        "`{patch}` makes CPUs get stuck on purpose: it proves detectors, and no arm may carry it"
                    ),
                    Ok(_) => continue,
                };
                problems.push(Problem::new(format!("arms.{name}.{list}"), text));
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Problems {
        file: file.to_owned(),
        problems,
    }
    .into())
}

/// Builds an arm's kernel and keeps its papers with the run.
fn build(
    builder: &Builder<'_>,
    name: &str,
    arm: &Arm,
    jobs: Option<usize>,
    run: &mut Run,
    progress: &Progress,
) -> Result<BuiltKernel> {
    let request = BuildRequest {
        kernel: arm.kernel.clone(),
        tree: arm.tree.as_ref().map(PathBuf::from),
        toolchain: arm.toolchain.clone(),
        revert: arm.revert.clone(),
        apply: arm.apply.clone(),
        jobs,
        ..BuildRequest::default()
    };
    let kernel = builder
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
    progress.line(format!(
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
fn symbols(kernel: &BuiltKernel) -> Result<Symbols> {
    let Some(path) = &kernel.system_map else {
        return Ok(Symbols::default());
    };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Symbols::from_system_map(&text).with_context(|| path.display().to_string())
}

/// An arm's kernel, with the names in it.
struct ArmKernel {
    arm: String,
    kernel: BuiltKernel,
    symbols: Symbols,
    /// For campaigns that hold windows open.
    holder: Option<Holder>,
}

/// What all trials of a run share.
struct Session<'a> {
    campaign: &'a Campaign,
    progress: &'a Progress,
    kernels: Vec<ArmKernel>,
    acceleration: Choice,
}

impl<'a> Session<'a> {
    fn prepare(
        campaign: &'a Campaign,
        builder: &Builder<'_>,
        jobs: Option<usize>,
        run: &mut Run,
        records: &Records,
        progress: &'a Progress,
        cache: &Cache,
    ) -> Result<Self> {
        let mut kernels = Vec::new();
        for (name, arm) in &campaign.arms {
            let kernel = build(builder, name, arm, jobs, run, progress)?;
            records.check_build(name, kernel.record.key.as_str())?;
            kernels.push(ArmKernel {
                arm: name.clone(),
                symbols: symbols(&kernel)?,
                kernel,
                holder: None,
            });
        }
        initramfs::write(&run.dir().initramfs("load"), &campaign.load_plan(), None)?;
        let idle = campaign.guest_plan(protocol::Task::Idle);
        initramfs::write(&run.dir().initramfs("idle"), &idle, None)?;
        let first = kernels.first().context("a campaign has arms")?;
        let acceleration = if campaign.holder.is_some() {
            Choice::tcg("the holder needs it")
        } else {
            accel::choose(
                campaign.guest.accelerator,
                &first.kernel.bzimage,
                &cache.kvm_probe(),
            )?
        };
        progress.line(format!(
            "accelerator: {} ({})",
            acceleration.acceleration, acceleration.why
        ));
        run.event(
            "accelerator",
            json!({"is": acceleration.acceleration, "why": acceleration.why}),
        );
        Ok(Self {
            campaign,
            progress,
            kernels,
            acceleration,
        })
    }

    fn run(&mut self, run: &mut Run, records: &mut Records, qemu: &str) -> Result<()> {
        self.prove_detectors(run, records)?;
        self.prepare_holders(run, qemu)?;
        loop {
            match schedule::next(self.campaign, &records.armings, &records.trials) {
                Next::Decided => return Ok(()),
                Next::Exhausted => {
                    self.progress.line("the policy's trials are used up");
                    return Ok(());
                }
                Next::Unproven => {
                    self.progress.line(
                        "no detector is proven to work on every arm; trials would prove nothing",
                    );
                    return Ok(());
                }
                Next::HostTrouble => {
                    self.progress.line(
                        "the last trials all failed for reasons outside the kernels; giving up",
                    );
                    return Ok(());
                }
                Next::Trial(arm) => {
                    let record = self.run_trial(&arm, run, &records.trials)?;
                    run.record(&record)?;
                    records.trials.push(record);
                    self.progress.line(self.outlook(records));
                }
            }
        }
    }

    /// A silent guest proves nothing unless something would have spoken: each arm's kernel is locked
    /// up once on purpose.
    fn prove_detectors(&mut self, run: &mut Run, records: &mut Records) -> Result<()> {
        if !self.campaign.policy.prove_detectors {
            return Ok(());
        }
        for arm in self.campaign.arms.keys() {
            let ArmKernel {
                kernel, symbols, ..
            } = self.kernel(arm)?;
            // A kernel without System.map is asked for its names again when a run is resumed.
            let nameless = self.campaign.holder.is_some() && symbols.is_empty();
            if !nameless && records.armings.iter().any(|arming| arming.arm == *arm) {
                continue;
            }
            let id = format!("0000-{arm}");
            let task = self.progress.task(format!("detectors {arm}"), 0);
            task.set(0, "a lockup made on purpose");
            let (arming, names) = arming::prove(
                arm,
                kernel.record.key.as_str(),
                &run.dir().trial(&id),
                &self.machine(&id, kernel, run.dir().initramfs("idle")),
                symbols,
                &self.campaign.policy,
            )?;
            task.finish(arming.to_string());
            run.record_arming(&arming)?;
            records.armings.push(arming);
            let known = self.kernels.iter_mut().find(|one| one.arm == *arm);
            known.expect("its kernel was found above").symbols = names;
        }
        Ok(())
    }

    fn prepare_holders(&mut self, run: &Run, qemu: &str) -> Result<()> {
        let Some(spec) = &self.campaign.holder else {
            return Ok(());
        };
        for one in &mut self.kernels {
            let holder = Holder::prepare(spec, qemu, run.dir(), &one.symbols)
                .with_context(|| format!("arm {}", one.arm))?;
            one.holder = Some(holder);
        }
        Ok(())
    }

    fn kernel(&self, arm: &str) -> Result<&ArmKernel> {
        let found = self.kernels.iter().find(|one| one.arm == arm);
        found.context("the scheduler names arms of the campaign")
    }

    fn machine<'b>(&'b self, id: &'b str, kernel: &BuiltKernel, initramfs: PathBuf) -> Machine<'b> {
        Machine {
            name: id,
            guest: &self.campaign.guest,
            acceleration: self.acceleration.acceleration,
            kernel: kernel.bzimage.clone(),
            initramfs,
            cmdline: Vec::new(),
            ports: Ports::Files,
            holder: None,
        }
    }

    fn run_trial(&self, arm: &str, run: &mut Run, records: &[TrialRecord]) -> Result<TrialRecord> {
        let number = records
            .iter()
            .map(|record| record.number)
            .max()
            .unwrap_or(0)
            + 1;
        let id = format!("{number:04}-{arm}");
        let ArmKernel {
            kernel,
            symbols,
            holder,
            ..
        } = self.kernel(arm)?;
        let spec = TrialSpec {
            id: id.clone(),
            number,
            arm: arm.to_owned(),
            build: kernel.record.key.as_str().to_owned(),
            dir: run.dir().trial(&id),
            machine: Machine {
                holder: holder.as_ref(),
                ..self.machine(&id, kernel, run.dir().initramfs("load"))
            },
            symbols,
            signature: &self.campaign.signature,
            policy: &self.campaign.policy,
        };
        run.event("trial-started", json!({"id": id}));
        let task = self.progress.task(
            format!("trial {id}"),
            u64::from(self.campaign.policy.load_seconds),
        );
        let record = trial::run(&spec, &mut |standing| show(&task, &standing))?;
        let standing = record.standing(&self.campaign.policy.min_exposure);
        task.finish(format!(
            "{standing} after {:.1} s of load: {}{}",
            record.exposure.load_ms as f64 / 1000.0,
            record.outcome,
            if record.title.is_empty() {
                String::new()
            } else {
                format!(": {}", record.title)
            },
        ));
        run.event(
            "trial-ended",
            json!({"id": id, "standing": standing, "outcome": record.outcome}),
        );
        Ok(record)
    }

    /// Where the campaign stands, in a line.
    fn outlook(&self, records: &Records) -> String {
        let verdict = verdict::judge(self.campaign, &records.armings, &records.trials);
        let arms: Vec<String> = verdict
            .arms
            .iter()
            .map(|arm| {
                format!(
                    "{} {}/{} locked up in {:.1} min",
                    arm.arm, arm.target_lockups, arm.trials, arm.exposed_minutes
                )
            })
            .collect();
        let needed = verdict
            .still_needed
            .and_then(|needed| needed.subject_minutes);
        let rest = needed.map_or(String::new(), |minutes| {
            format!("; {minutes:.1} min of survival to go")
        });
        format!("  {}; luck {:.2e}{rest}", arms.join(", "), verdict.luck)
    }
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
