//! `kverdict trial`: has this one kernel the bug?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::arming;
use kverdict_core::assessment::{Assessment, Enough, Known, State};
use kverdict_core::campaign::{Arm, Campaign, Policy, Role};
use kverdict_core::order::{self, Order};
use kverdict_core::record::{Standing, TrialRecord};
use kverdict_core::verdict;

use crate::build::BuildFailure;
use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::{TrialArgs, Usage, print};
use crate::dependencies;
use crate::dispatch::{self, Schedule, Step};
use crate::executor::{ExecutorArgs, one};
use crate::history;
use crate::layout::RunDir;
use crate::manifest::{Manifest, Start, TrialManifest};
use crate::progress::Progress;
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{self, Records, Run};
use crate::verification::prove_detectors;

/// So many trials in a row that say nothing about a kernel: something is wrong with the host.
const HOST_TROUBLES: usize = 3;
/// Of a kernel that could not be tested.
const SKIP: u8 = 125;

const HELP: &str = "\
Boots one kernel under a campaign's load, again and again, until it locks up with the target's signature or has \
survived for long enough. For drivers of your own, such as git's:

  git bisect start BAD GOOD
  git bisect run kverdict trial --git-bisect --kernel debian-6.12 --control results/RUN

A race fires only sometimes, so that survival has to be worth something: with --control, the run of a `verify` \
whose control locked up under the same campaign, the kernel has to survive until luck has a probability below \
alpha. `kverdict bisect` does all that by itself, and with fewer trials.

The campaign's subject says what is built: its kernel, its toolchain, and the patches that go on top, such as \
the amplifier.

Exit status, as `git bisect run` wants it:
  0    no bug shown: survived for long enough (with --find-fix: it has the bug)
  1    it has the bug (with --find-fix: no bug shown)
  125  could not tell: it does not build or boot, hangs in another way, or is not exposed
  129 and above: bisection stops";

/// Arguments of `kverdict trial`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct TrialOneArgs {
    /// Campaign: the path of a YAML file, or the name of one that comes with kverdict
    #[arg(long, default_value = campaigns::DEFAULT)]
    campaign: String,
    /// Kernel of the catalogue [default: the one of the campaign's subject]
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Source tree to build it from; it is only read
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Build from the tree in the current folder, as `git bisect run` leaves it
    #[arg(long, conflicts_with = "tree")]
    git_bisect: bool,
    /// Patch to put in before the campaign's own; may be given several times
    #[arg(long, value_name = "PATCH")]
    apply: Vec<String>,
    /// Run of a `verify` whose control says how often the bug shows itself
    #[arg(long, value_name = "RUN")]
    control: Option<PathBuf>,
    /// Exposed minutes that are enough [default: what --control gives, or 3]
    #[arg(long, value_name = "N", conflicts_with = "control", value_parser = minutes)]
    minutes: Option<f64>,
    /// Exit with 0 for a kernel with the bug and with 1 for one without
    #[arg(long)]
    find_fix: bool,
    /// Make one trial of a run that is led elsewhere, and nothing else: the run's spec.json
    #[arg(long, value_name = "SPEC", requires_all = ["index", "out"], help_heading = "One trial of another run",
        conflicts_with_all = ["campaign", "kernel", "tree", "git_bisect", "apply", "control", "minutes", "find_fix"])]
    spec: Option<PathBuf>,
    /// Number of the trial
    #[arg(
        long,
        value_name = "N",
        requires = "spec",
        help_heading = "One trial of another run"
    )]
    index: Option<u32>,
    /// Folder that the trial's own folder is put into, whole or not at all; one that is there is left as it is
    #[arg(
        long,
        value_name = "DIR",
        requires = "spec",
        help_heading = "One trial of another run"
    )]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: TrialArgs,
    #[command(flatten)]
    executor: ExecutorArgs,
}

/// Without a control's record nothing says what is enough.
const DEFAULT_MINUTES: f64 = 3.0;

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= 10_000.0 => Ok(minutes),
        Ok(_) | Err(_) => Err("write a number of minutes above 0, at most 10000".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &TrialOneArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    if let (Some(spec), Some(index), Some(out)) = (&args.spec, args.index, &args.out) {
        let record = one::make(spec, index, out, &progress)?;
        println!("{}", serde_json::to_string(&record)?);
        return Ok(ExitCode::SUCCESS);
    }
    let catalogue = Catalogue::open(&args.common.catalogue)?;
    let cache = Cache::from_environment()?;
    let (mut run, manifest) = open_run(args, &catalogue)?;
    let means = Means {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        qemu: &manifest.start.qemu,
        compile_jobs: args.common.compile_jobs,
    };
    let mut records = Records::default();
    let outcome = run_trials(&means, &manifest, &args.executor, &mut run, &mut records);
    history::keep(run.dir(), &progress);
    if let Err(error) = outcome {
        // A kernel that cannot be built is skipped; whatever else went wrong ends a bisection.
        let untestable = error
            .downcast_ref::<BuildFailure>()
            .is_some_and(|failure| failure.exit_code() == SKIP);
        if !untestable {
            return Err(error);
        }
        progress.line(format!("could not tell: {error:#}"));
        return Ok(ExitCode::from(SKIP));
    }
    let assessment = reports::write_trial(run.dir(), &manifest, &records)?;
    print(&assessment, args.common.json)?;
    progress.line(format!("results: {}", run.dir().root().display()));
    Ok(ExitCode::from(exit_code(&assessment, args.find_fix)))
}

/// Exit status of the program for what was found.
pub fn exit_code(assessment: &Assessment, find_fix: bool) -> u8 {
    match assessment.state {
        State::HasBug => u8::from(!find_fix),
        State::NoBugShown => u8::from(find_fix),
        State::Unknown => SKIP,
    }
}

fn open_run(args: &TrialOneArgs, catalogue: &Catalogue) -> Result<(Run, TrialManifest)> {
    let mut campaign = campaigns::load(&args.campaign)?;
    let name = campaign.arm_with(Role::Subject).to_owned();
    campaign.arms.retain(|arm, _| *arm == name);
    for arm in campaign.arms.values_mut() {
        put_into(args, arm)?;
    }
    campaigns::check_names(&args.campaign, &campaign, catalogue)?;
    let enough = match &args.control {
        Some(dir) => Enough::Against(known(dir, &campaign)?),
        None => Enough::Minutes(args.minutes.unwrap_or(DEFAULT_MINUTES)),
    };
    campaigns::resolve(&mut campaign, catalogue)?;
    let start = Start::now()?;
    let id = start.run_id(&format!("trial-{}", campaign.name));
    let manifest = TrialManifest {
        start,
        campaign,
        enough,
    };
    let run = Run::create(RunDir::new(args.common.results.join(id))?, &manifest)?;
    Ok((run, manifest))
}

fn put_into(args: &TrialOneArgs, arm: &mut Arm) -> Result<()> {
    if let Some(kernel) = &args.kernel {
        arm.kernel.clone_from(kernel);
    }
    let here = args.git_bisect.then(|| PathBuf::from("."));
    if let Some(tree) = args.tree.as_ref().or(here.as_ref()) {
        let whole = std::fs::canonicalize(tree)
            .map_err(|error| Usage(format!("--tree: {}: {error}", tree.display())))?;
        arm.tree = Some(whole.display().to_string());
    }
    arm.apply.splice(0..0, args.apply.iter().cloned());
    Ok(())
}

/// How often the bug showed itself in another run, under the same load.
///
/// # Errors
/// When that is no run, or of another load, or its control never locked up.
pub fn known(dir: &Path, campaign: &Campaign) -> Result<Known> {
    let (manifest, records) = store::read::<Manifest, _>(&RunDir::new(dir)?)?;
    let theirs = &manifest.campaign;
    if theirs.name != campaign.name || theirs.load != campaign.load {
        return Err(Usage(format!(
            "--control: {} is a run of another campaign or load ({}): its rate says nothing about this one",
            dir.display(),
            theirs.name
        ))
        .into());
    }
    let verdict = verdict::judge(theirs, &records.armings, records.settled());
    let control = verdict.arms.iter().find(|arm| arm.role == Role::Control);
    match control {
        Some(arm) if arm.target_lockups > 0 => Ok(Known {
            lockups: arm.target_lockups,
            minutes: arm.exposed_minutes,
        }),
        Some(_) | None => Err(Usage(format!(
            "--control: the control of {} never locked up: it says nothing about what survival is worth",
            dir.display()
        ))
        .into()),
    }
}

/// Runs trials until they tell, or cannot.
fn run_trials(
    means: &Means<'_>,
    manifest: &TrialManifest,
    executor: &ExecutorArgs,
    run: &mut Run,
    records: &mut Records,
) -> Result<()> {
    let campaign = &manifest.campaign;
    let arm = campaign.arm_with(Role::Subject);
    let mut session = Session::prepare(means, campaign, &[arm], run, &|_, _| Ok(()))?;
    session.lay_out(campaign, run.dir())?;
    prove_detectors(&mut session, campaign, &[arm], run, &mut records.armings)?;
    let until_told = UntilTold {
        manifest,
        progress: means.progress,
    };
    dispatch::run(
        session.guests(),
        campaign,
        executor,
        means.progress,
        &until_told,
        run,
        records,
    )
}

/// Trials of the one kernel until they tell, or cannot.
struct UntilTold<'a> {
    manifest: &'a TrialManifest,
    progress: &'a Progress,
}

impl Schedule for UntilTold<'_> {
    fn next(&self, records: &Records, out: &[Order]) -> Result<Step> {
        let campaign = &self.manifest.campaign;
        let policy = &campaign.policy;
        let settled = order::settled(&records.trials, out);
        let assess = |trials| reports::assess(self.manifest, &records.armings, trials);
        let tried = records.trials.len() + out.len();
        let minutes_out = out.len() as f64 * f64::from(policy.load_seconds) / 60.0;
        let is_over = arming::is_any_in_doubt(&records.armings)
            || says_nothing(policy, &records.trials, &records.earlier)
            || tried >= policy.max_trials_per_arm as usize
            || assess(settled).state != State::Unknown
            || assess(&records.trials).minutes_to_go <= minutes_out;
        Ok(match (is_over, out.is_empty()) {
            (false, _) => Step::Trial(campaign.arm_with(Role::Subject).to_owned()),
            (true, true) => Step::End(None),
            (true, false) => Step::Wait,
        })
    }

    fn told(&self, _: &Run, records: &Records) -> Result<()> {
        let assessment = reports::assess(self.manifest, &records.armings, &records.trials);
        self.progress
            .line(format!("  {}", assessment.reasons.join("; ")));
        Ok(())
    }
}

/// Whether the last trials in a row all said nothing about the kernel.
fn says_nothing(policy: &Policy, trials: &[TrialRecord], earlier: &BTreeSet<u32>) -> bool {
    let last = order::latest(trials, earlier).take(HOST_TROUBLES);
    let idle = last.filter(|record| match record.standing(&policy.min_exposure) {
        Standing::TargetLockup | Standing::Survived => false,
        Standing::NotExposed
        | Standing::Suspect
        | Standing::OtherFailure
        | Standing::Infrastructure => true,
    });
    idle.count() == HOST_TROUBLES
}
