//! `kverdict nightly`: test many kernels under many loads within a time, and hold them against the nights before.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::night::Conclusion;
use kverdict_core::night::plan::Cell;
use kverdict_core::night::report::NightReport;
use serde::Serialize;

use crate::build::cache::Cache;
use crate::build::{self, newest};
use crate::catalogue::Catalogue;
use crate::commands::{TrialArgs, print};
use crate::dependencies;
use crate::executor::Jobs;
use crate::history::{self, page, prune};
use crate::layout::RunDir;
use crate::manifest::{NightManifest, Start};
use crate::night::kernels::NightSide;
use crate::night::lock::NightLock;
use crate::night::planning::{self, Plan};
use crate::night::{Nightly, notice, past};
use crate::progress::Progress;
use crate::session::Means;
use crate::sides::{self, Place};
use crate::store::{Records, Run};

const HELP: &str = "\
A night tests cells: every kernel of its file under every load, in every topology, with every set of detectors. \
Branches, packages and patterns are looked up when it begins. The control has the bug and has to lock up; each \
cell is tried, and then the rest of the budget goes where doubt is greatest: to new kernels, to failures that may \
be new, to what fails sometimes.

  kverdict nightly --dry-run          what would be tested
  kverdict nightly my-night.yaml
  kverdict watch results/RUN          from another terminal

A regression is a rate of failures that is shown to be higher than in the nights before, at the file's error rate \
for the whole night; one failure after a green night is a suspicion, which gets more trials at once. A night that \
was killed is a smaller night: `kverdict report RUN` judges it, --resume goes on with the rest of its budget.

Exit status:
  0    clean: no regression, and the control locked up
  1    some cell fails more often than it used to, and nobody has filed that
  125  could not tell: a control stayed silent, nothing could be tested, or something failed for the first time and
       there was no time to see whether that is chance: the next night begins with it";

/// The night that is run when none is named.
const DEFAULT: &str = "default";

/// Arguments of `kverdict nightly`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct NightlyArgs {
    /// What to test: the path of a YAML file, or the name of one that comes with kverdict
    #[arg(default_value = DEFAULT)]
    config: String,
    /// Go on with a night that was interrupted: its folder
    #[arg(long, value_name = "RUN", conflicts_with = "config")]
    resume: Option<PathBuf>,
    /// Minutes that the night may take, builds included [default: the file's budget_minutes]
    #[arg(long, value_name = "N", value_parser = minutes, conflicts_with = "resume")]
    budget_minutes: Option<f64>,
    /// Print the cells, and what the names of kernels stand for now; leave nothing behind
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Trials side by side, each of another cell: `auto` is as many as have a CPU of their own for each vCPU, and memory
    #[arg(long, short, default_value = "auto", value_name = "N")]
    jobs: Jobs,
    #[command(flatten)]
    common: TrialArgs,
}

fn minutes(text: &str) -> Result<f64, String> {
    let expected = "expected minutes, from 1 to 10080 (a week)";
    let value: f64 = text.parse().map_err(|_| expected.to_owned())?;
    if (1.0..=10080.0).contains(&value) {
        Ok(value)
    } else {
        Err(expected.to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// Wrong input, another night of the same name, trouble of the host, or an interrupt.
pub fn run(args: &NightlyArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let cache = Cache::from_environment()?;
    if args.dry_run {
        let plan = plan(args, &cache, &progress)?;
        let catalogue = Catalogue::open(&args.common.catalogue)?;
        print(
            &DryRun::of(&plan, &catalogue, &cache, &progress),
            args.common.json,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let opened = open(args, &cache, &progress)?;
    let root = opened.run.dir().root().to_owned();
    let catalogue = sides::catalogue_of(&args.common.catalogue, opened.run.dir())?;
    let means = Means {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        qemu: &opened.manifest.start.qemu,
        compile_jobs: args.common.compile_jobs,
    };
    introduce(&opened.run, &opened.manifest, &progress);
    let mut nightly = Nightly::new(&opened.manifest, opened.run, opened.records, args.jobs)?;
    let outcome = nightly.go_on(&means);
    let report = outcome.inspect_err(|error| {
        if build::is_interrupt(error) {
            progress.line(format!(
                "interrupted; {} trials are kept. Go on with: kverdict nightly --resume {}",
                nightly.trials(),
                root.display()
            ));
        }
    })?;
    print(&report, args.common.json)?;
    finish(&opened.manifest, &report, nightly.run().dir(), &progress)?;
    progress.line(format!("results: {}", root.display()));
    Ok(ExitCode::from(report.conclusion.exit_code()))
}

/// What is done when a night has ended.
fn finish(
    manifest: &NightManifest,
    report: &NightReport,
    dir: &RunDir,
    progress: &Progress,
) -> Result<()> {
    match page::write(dir.results()) {
        Ok(path) => progress.line(format!("all nights: {}", path.display())),
        Err(error) => progress.line(format!("there is no page of all nights: {error:#}")),
    }
    let is_bad = match report.conclusion {
        Conclusion::Regression => true,
        Conclusion::Clean | Conclusion::CouldNotTell => false,
    };
    match &manifest.spec.notify {
        Some(command) if is_bad => notice::send(command, report, dir, progress)?,
        Some(_) | None => {}
    }
    let Some(retention) = &manifest.spec.retention else {
        return Ok(());
    };
    // The night is told already; that old ones take up room is no reason to fail it.
    match prune::prune(dir.results(), retention.keep_nights as usize, false) {
        Ok(freed) if freed.files > 0 => progress.line(format!(
            "older nights: {} files removed, {} MiB",
            freed.files,
            freed.bytes >> 20
        )),
        Ok(_) => {}
        Err(error) => progress.line(format!("older nights were not made smaller: {error:#}")),
    }
    Ok(())
}

/// A night that this process runs.
struct Opened {
    run: Run,
    manifest: NightManifest,
    records: Records<kverdict_core::night::NightTrial>,
    _lock: NightLock,
}

fn open(args: &NightlyArgs, cache: &Cache, progress: &Progress) -> Result<Opened> {
    if let Some(dir) = &args.resume {
        let (run, manifest, records) = Run::resume::<NightManifest, _>(RunDir::new(dir)?)?;
        let lock = NightLock::take(run.dir().results(), &manifest.spec.name)?;
        return Ok(Opened {
            run,
            manifest,
            records,
            _lock: lock,
        });
    }
    let plan = plan(args, cache, progress)?;
    let start = Start::now()?;
    let lock = NightLock::take(&args.common.results, &plan.spec.name)?;
    let id = start.run_id(&format!("night-{}", plan.spec.name));
    // A night without its past would call everything new, so that trouble with the history ends it here.
    let past = history::past(&args.common.results, &plan.spec.name, &id, &start.started)?;
    let dir = RunDir::new(args.common.results.join(id))?;
    for entry in &plan.entries {
        sides::write_kernel(entry, &dir)?;
    }
    past::write(&dir, &past)?;
    let manifest = NightManifest {
        start,
        spec: plan.spec,
        kernels: plan.kernels,
        cells: plan.cells,
        amplifiers: plan.amplifiers,
        known: plan.known,
    };
    Ok(Opened {
        run: Run::create(dir, &manifest)?,
        manifest,
        records: Records::default(),
        _lock: lock,
    })
}

fn plan(args: &NightlyArgs, cache: &Cache, progress: &Progress) -> Result<Plan> {
    let mut plan = planning::load(&args.config, &args.common.catalogue, cache, progress)?;
    let budget = &mut plan.spec.budget_minutes;
    *budget = args.budget_minutes.unwrap_or(*budget);
    Ok(plan)
}

/// What is tested, and what names that move stood for when the night began.
fn introduce(run: &Run, manifest: &NightManifest, progress: &Progress) {
    let spec = &manifest.spec;
    progress.line(format!(
        "run {}: night {}, {} cells, {:.0} minutes",
        run.dir().id(),
        spec.name,
        manifest.cells.len(),
        spec.budget_minutes
    ));
    for kernel in &manifest.kernels {
        let name = &kernel.side.name;
        match &kernel.missing {
            Some(why) => progress.line(format!("kernel {name} cannot be had: {why}")),
            None if kernel.stands_for.is_empty() => {}
            None => progress.line(format!("kernel {name}: {}", kernel.stands_for)),
        }
    }
}

/// What a night would test.
#[derive(Debug, Serialize)]
struct DryRun {
    night: String,
    budget_minutes: f64,
    /// Minutes under load of one trial of each cell.
    load_minutes: f64,
    kernels: Vec<KernelLine>,
    cells: Vec<CellLine>,
}

#[derive(Debug, Serialize)]
struct KernelLine {
    name: String,
    control: bool,
    /// What it is made of, with its patches.
    of: String,
    /// What names that move stand for now; absent: nothing moves.
    stands_for: Option<String>,
    /// Why it cannot be had now; absent: nothing is known against it.
    missing: Option<String>,
}

#[derive(Debug, Serialize)]
struct CellLine {
    cell: String,
    control: bool,
    load_seconds: u32,
}

impl DryRun {
    fn of(plan: &Plan, catalogue: &Catalogue, cache: &Cache, progress: &Progress) -> Self {
        let line = |cell: &Cell| CellLine {
            cell: cell.id.to_string(),
            control: cell.control,
            load_seconds: cell.campaign.policy.load_seconds,
        };
        let cells: Vec<CellLine> = plan.cells.iter().map(line).collect();
        let seconds: u32 = cells.iter().map(|cell| cell.load_seconds).sum();
        let kernels = plan.kernels.iter();
        Self {
            night: plan.spec.name.clone(),
            budget_minutes: plan.spec.budget_minutes,
            load_minutes: f64::from(seconds) / 60.0,
            kernels: kernels
                .map(|kernel| kernel_line(kernel, catalogue, cache, progress))
                .collect(),
            cells,
        }
    }
}

fn kernel_line(
    kernel: &NightSide,
    catalogue: &Catalogue,
    cache: &Cache,
    progress: &Progress,
) -> KernelLine {
    let side = &kernel.side;
    let moves = kernel.commit.is_none() && side.place == Place::Catalogue;
    let newest = catalogue.kernel(&side.kernel).ok().filter(|_| moves);
    let newest = newest.map(|found| newest::newest(&found.spec.origin, cache, progress));
    let (stands_for, missing) = match newest {
        Some(Ok(package)) => (package, None),
        Some(Err(error)) => (None, Some(format!("{error:#}"))),
        None => (Some(kernel.stands_for.clone()), None),
    };
    let patches = |sign, list: &[String]| -> String {
        list.iter()
            .map(|patch| format!(" {sign} {patch}"))
            .collect()
    };
    KernelLine {
        name: side.name.clone(),
        control: kernel.control,
        of: format!(
            "{}{}{}",
            side.kernel,
            patches('-', &side.revert),
            patches('+', &side.apply)
        ),
        stands_for: stands_for.filter(|text| !text.is_empty()),
        missing: kernel.missing.clone().or(missing),
    }
}

impl Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "night {}: {} cells, budget {:.0} minutes; one trial of each is {:.1} minutes under load",
            self.night,
            self.cells.len(),
            self.budget_minutes,
            self.load_minutes
        )?;
        writeln!(f, "\nkernels:")?;
        for kernel in &self.kernels {
            let control = if kernel.control { ", the control" } else { "" };
            let now = kernel
                .stands_for
                .as_ref()
                .map_or(String::new(), |text| format!(": now {text}"));
            writeln!(f, "  {}{control}: {}{now}", kernel.name, kernel.of)?;
            if let Some(why) = &kernel.missing {
                writeln!(f, "      CANNOT BE HAD: {why}")?;
            }
        }
        write!(f, "\ncells:")?;
        for cell in &self.cells {
            let control = if cell.control { ", the control" } else { "" };
            write!(f, "\n  {}{control}", cell.cell)?;
        }
        Ok(())
    }
}
