//! `kverdict bisect`: who broke it, or who fixed it, when each trial is only worth its exposure.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgGroup, Args};
use kverdict_core::bisect::range::Direction;
use kverdict_core::bisect::report::BisectReport;
use kverdict_core::bisect::search::{Ending, Policy};
use kverdict_core::campaign::{Arm, Campaign, Role};
use kverdict_core::console::signature::SIGNATURES;

use crate::attempts::Attempt;
use crate::bisection::Bisection;
use crate::build;
use crate::build::cache::Cache;
use crate::campaigns;
use crate::candidates::Candidates;
use crate::catalogue::Catalogue;
use crate::commands::{TrialArgs, Usage, print, trial};
use crate::dependencies;
use crate::executor::Jobs;
use crate::history;
use crate::layout::RunDir;
use crate::manifest::{BisectManifest, Start};
use crate::progress::Progress;
use crate::session::Means;
use crate::sides::{self, SideSpec};
use crate::store::{Records, Run};

const HELP: &str = "\
A race that fires in one trial of three makes an ordinary bisection go wrong most of the time. This one knows \
rates and exposure: a lockup with the target's signature is an answer for nearly certain, a survival only as far \
as its minutes under load are worth something, given the rate at which kernels with the bug lock up. Each step is \
the trial that is expected to tell most per minute; a kernel that is built already costs less. At the end, the \
culprit and the kernel before it are tried against each other. Where the host has CPUs for several guests, trials run \
side by side. With few lockups to know the rate from, a kernel with the \
bug is tried some more first, because that makes the rest shorter; --control saves it.

That there is one change is taken for granted unless a trial contradicts it. For a series or list the report names \
the kernels among which a bug may have come and gone unseen, and what a --sweep of them takes.

What to search:

  kverdict bisect --repository linux --good v6.1 --bad v6.2 --kernel upstream-6.12
      a range of commits. Who fixed it, if the bad one comes first
  kverdict bisect --series patches/ --kernel el7-1160 --tree el7-1160=linux
      a base with ever more patches of a quilt series or folder. --find-fix: the base is bad, all of them good
  kverdict bisect --kernels kernel-514.rpm,kernel-693.rpm,kernel-862.rpm --campaign unmodified
      kernels in order: of the catalogue, packages (.deb, .rpm), bzImages, or source trees (KERNEL=DIR). \
--find-fix: the first is bad, the last good. Packages carry no amplifier, so they want a campaign without

The campaign says how: its guest, load and tuning, and what its subject carries on top, such as the amplifier. \
A kernel that does not build, boot or carry these is skipped and named. Trouble of the host and other bugs are \
no answers.

Exit status:
  0    found
  1    the end that should be good has the bug
  125  could not tell: several cannot be told apart, there is more than one change, or the budget is used up";

/// Arguments of `kverdict bisect`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP, group = ArgGroup::new("what").required(true).args(["repository", "series", "kernels", "resume"]))]
pub struct BisectArgs {
    /// Git repository whose commits are searched; it is only read
    #[arg(long, value_name = "DIR", requires = "good", requires = "bad")]
    repository: Option<PathBuf>,
    /// Commit without the bug
    #[arg(long, value_name = "REF", requires = "repository")]
    good: Option<String>,
    /// Commit with the bug
    #[arg(long, value_name = "REF", requires = "repository")]
    bad: Option<String>,
    /// Patches on a base: a quilt series file, or a folder of .patch files
    #[arg(long, value_name = "PATH")]
    series: Option<PathBuf>,
    /// Kernels in order: of the catalogue, .deb, .rpm, bzImage, or KERNEL=DIR
    #[arg(long, value_name = "KERNEL,...", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Go on with a bisection that was interrupted: its folder
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Search the fix: of a series or list, the first kernel has the bug and the last has not
    #[arg(long, conflicts_with_all = ["repository", "resume"])]
    find_fix: bool,
    /// Campaign: the path of a YAML file, or the name of one that comes with kverdict
    #[arg(long, default_value = campaigns::DEFAULT, conflicts_with = "resume")]
    campaign: String,
    /// Kernel of the catalogue that says how commits or patches are built [default: the one of the
    /// campaign's subject]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kernels", "resume"])]
    kernel: Option<String>,
    /// Source tree that the patches of a series go on, instead of the kernel's own source
    #[arg(long, value_name = "DIR", requires = "series")]
    tree: Option<PathBuf>,
    /// Folder or file that the culprit probably touches; may be given several times [default: those of
    /// the bug's signature]
    #[arg(long, value_name = "PATH", conflicts_with = "resume")]
    likely: Vec<String>,
    /// Run of a `verify` whose control says how often the bug shows itself under the same load: the answer
    /// comes sooner
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    control: Option<PathBuf>,
    /// Greatest probability of a wrong answer [default: the campaign's alpha]
    #[arg(long, value_name = "P", conflicts_with = "resume", value_parser = probability)]
    alpha: Option<f64>,
    /// Minutes that it may take
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    minutes: Option<u32>,
    /// Seconds of load in a trial that does not lock up [default: the campaign's load_seconds]
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=86400))]
    load_seconds: Option<u32>,
    /// Look whether the bug came and went too, until at most N kernels in a row were not shown to be with or
    /// without it as the answer says; of a series or list. 0: all of them. The report says what it takes
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    sweep: Option<u32>,
    /// Trials side by side, of kernels that are ready: `auto` is as many as have a CPU of their own for each vCPU, and memory
    #[arg(long, short, default_value = "auto", value_name = "N")]
    jobs: Jobs,
    #[command(flatten)]
    common: TrialArgs,
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value < 0.5 => Ok(value),
        Ok(_) | Err(_) => Err("write a probability above 0 and below 0.5, such as 0.01".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &BisectArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let cache = Cache::from_environment()?;
    let (run, manifest, records) = open_run(args, &Catalogue::open(&args.common.catalogue)?)?;
    let catalogue = sides::catalogue_of(&args.common.catalogue, run.dir())?;
    progress.line(introduction(&run, &manifest));
    let means = Means {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        qemu: &manifest.start.qemu,
        compile_jobs: args.common.compile_jobs,
    };
    let dir = run.dir().clone();
    let root = dir.root();
    let mut bisection = Bisection::new(&manifest, run, records, args.jobs)?;
    let outcome = bisection.go_on(&means);
    history::keep(&dir, &progress);
    let report = outcome.inspect_err(|error| {
        if build::is_interrupt(error) {
            progress.line(format!(
                "interrupted; {} attempts are kept. Go on with: kverdict bisect --resume {}",
                bisection.attempts(),
                root.display()
            ));
        }
    })?;
    print(&report, args.common.json)?;
    progress.line(format!("results: {}", root.display()));
    Ok(ExitCode::from(exit_code(&report)))
}

/// Exit status of the program for what was found.
pub fn exit_code(report: &BisectReport) -> u8 {
    // A bisection that was cut short has not ended.
    report.ending.as_ref().map_or(125, Ending::exit_code)
}

fn open_run(
    args: &BisectArgs,
    catalogue: &Catalogue,
) -> Result<(Run, BisectManifest, Records<Attempt>)> {
    if let Some(dir) = &args.resume {
        return Run::resume(RunDir::new(dir)?);
    }
    let mut campaign = campaigns::load(&args.campaign)?;
    campaign.policy.load_seconds = args.load_seconds.unwrap_or(campaign.policy.load_seconds);
    let mut candidates = candidates(args, &campaign, catalogue)?;
    let control = args.control.as_deref();
    candidates.control = control
        .map(|run| trial::known(run, &campaign))
        .transpose()?;
    let range = candidates.range()?;
    if args.sweep.is_some() && !range.is_list() {
        let text = "--sweep: merged branches are no row of kernels; bisect commits without merges, a series or a list";
        return Err(Usage(text.to_owned()).into());
    }
    let start = Start::now()?;
    let id = start.run_id(&format!("bisect-{}", campaign.name));
    let dir = RunDir::new(args.common.results.join(id))?;
    let template = template(args, &campaign)?;
    campaign.arms = (0..candidates.entries.len())
        .map(|index| {
            let label = candidates.entries[index].candidate.label.clone();
            (label, candidates.arm(index, &template, None))
        })
        .collect();
    sides::check_arms(&campaign, candidates.kernels(), &args.campaign, catalogue)?;
    let kernels: Vec<SideSpec> = candidates.kernels().map(|(_, one)| one.clone()).collect();
    sides::write_kernels(&kernels, &dir)?;
    let catalogue = sides::catalogue_of(&args.common.catalogue, &dir)?;
    let amplifiers = campaigns::resolve(&mut campaign, &catalogue)?;
    let policy = Policy {
        alpha: args.alpha.unwrap_or(campaign.policy.alpha),
        trial_minutes: f64::from(campaign.policy.load_seconds) / 60.0,
        max_minutes: args.minutes.map(f64::from),
        sweep: args.sweep,
        ..Policy::default()
    };
    let manifest = BisectManifest {
        start,
        campaign,
        amplifiers,
        candidates,
        policy,
    };
    let run = Run::create(dir, &manifest)?;
    Ok((run, manifest, Records::default()))
}

fn candidates(args: &BisectArgs, campaign: &Campaign, catalogue: &Catalogue) -> Result<Candidates> {
    let likely = if args.likely.is_empty() {
        let known = SIGNATURES.iter().find(|one| one.name == campaign.signature);
        let paths = known.map_or(&[][..], |one| one.paths);
        paths.iter().map(|path| (*path).to_owned()).collect()
    } else {
        args.likely.clone()
    };
    let direction = if args.find_fix {
        Direction::Fixed
    } else {
        Direction::Broke
    };
    match (&args.repository, &args.good, &args.bad, &args.series) {
        (Some(folder), Some(good), Some(bad), _) => {
            Candidates::of_commits(folder, good, bad, &likely)
        }
        (_, _, _, Some(series)) => Candidates::of_series(series, direction, &likely),
        (_, _, _, None) => {
            let kernels = sides::read(&args.kernels, &[], &[], catalogue)?;
            Ok(Candidates::of_kernels(kernels, direction))
        }
    }
}

/// What every candidate's arm has in common: the campaign's subject.
fn template(args: &BisectArgs, campaign: &Campaign) -> Result<Arm> {
    let mut arm = campaign.arms[campaign.arm_with(Role::Subject)].clone();
    if let Some(kernel) = &args.kernel {
        arm.kernel.clone_from(kernel);
    }
    if let Some(tree) = &args.tree {
        let whole = std::fs::canonicalize(tree)
            .map_err(|error| Usage(format!("--tree: {}: {error}", tree.display())))?;
        arm.tree = Some(whole.display().to_string());
    }
    Ok(arm)
}

fn introduction(run: &Run, manifest: &BisectManifest) -> String {
    let entries = &manifest.candidates.entries;
    let label = |index: usize| entries[index].candidate.label.as_str();
    let what = match manifest.candidates.direction {
        Direction::Broke => "who broke it",
        Direction::Fixed => "who fixed it",
    };
    format!(
        "run {}: {what}, from {} to {}: {} candidates, campaign {}",
        run.dir().id(),
        label(0),
        label(entries.len() - 1),
        entries.len() - 1,
        manifest.campaign.name
    )
}
