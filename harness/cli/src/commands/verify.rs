//! `kverdict verify`: build both arms, run trials until the verdict stands, report.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::campaign::Campaign;
use kverdict_core::schedule::{self, Next};
use kverdict_core::verdict;

use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::kernel_args::KernelArgs;
use crate::commands::{TrialArgs, print};
use crate::dependencies;
use crate::layout::RunDir;
use crate::process::Interrupted;
use crate::progress::Progress;
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{Manifest, Records, Run, Start};

/// Arguments of `kverdict verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Campaign: the path of a YAML file, or the name of one that comes with kverdict
    #[arg(default_value = campaigns::DEFAULT)]
    campaign: String,
    /// Go on with a run that was interrupted: its folder
    #[arg(long, value_name = "RUN", conflicts_with = "campaign")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    kernels: KernelArgs,
    /// Target lockups that the control has to show [default: the campaign's min_control_lockups]
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=1000))]
    lockups: Option<u32>,
    /// Seconds of load in a trial that does not lock up [default: the campaign's load_seconds]
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=86400))]
    load_seconds: Option<u32>,
    #[command(flatten)]
    common: TrialArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let catalogue = Catalogue::open(&args.common.catalogue)?;
    let cache = Cache::from_environment()?;
    let (mut run, manifest, mut records) = open_run(args, &catalogue)?;
    let campaign = &manifest.campaign;
    progress.line(format!(
        "run {}: campaign {}",
        run.dir().id(),
        campaign.name
    ));
    let means = Means {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        qemu: &manifest.start.qemu,
        jobs: args.common.jobs,
    };
    let outcome = run_trials(&means, campaign, &mut run, &mut records);
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
    print(&report, args.common.json)?;
    progress.line(format!("results: {}", run.dir().root().display()));
    Ok(ExitCode::from(report.verdict.conclusion.exit_code()))
}

fn open_run(args: &VerifyArgs, catalogue: &Catalogue) -> Result<(Run, Manifest, Records)> {
    if let Some(dir) = &args.resume {
        return Run::resume(RunDir::new(dir)?);
    }
    let mut campaign = campaigns::load(&args.campaign)?;
    args.kernels.put_into(&mut campaign)?;
    let policy = &mut campaign.policy;
    policy.min_control_lockups = args.lockups.unwrap_or(policy.min_control_lockups);
    policy.load_seconds = args.load_seconds.unwrap_or(policy.load_seconds);
    campaigns::check_names(&args.campaign, &campaign, catalogue)?;
    let amplifiers = campaigns::resolve(&mut campaign, catalogue)?;
    let start = Start::now()?;
    let id = start.run_id(&campaign.name);
    let manifest = Manifest {
        start,
        campaign,
        amplifiers,
    };
    let run = Run::create(RunDir::new(args.common.results.join(id))?, &manifest)?;
    Ok((run, manifest, Records::default()))
}

/// Prepares the kernels and runs trials until there is nothing more to run.
fn run_trials(
    means: &Means<'_>,
    campaign: &Campaign,
    run: &mut Run,
    records: &mut Records,
) -> Result<()> {
    let arms: Vec<&str> = campaign.arms.keys().map(String::as_str).collect();
    let check = |arm: &str, build: &str| records.check_build(arm, build);
    let mut session = Session::prepare(means, campaign, &arms, run, &check)?;
    session.lay_out(campaign, run.dir())?;
    prove_detectors(&mut session, campaign, &arms, run, records)?;
    let stopped = loop {
        match schedule::next(campaign, &records.armings, &records.trials) {
            Next::Decided => return Ok(()),
            Next::Exhausted => break "the policy's trials are used up",
            Next::Unproven => {
                break "no detector is proven to work on every arm; trials would prove nothing";
            }
            Next::HostTrouble => {
                break "the last trials all failed for reasons outside the kernels; giving up";
            }
            Next::Trial(arm) => {
                let record = session.trial(campaign, &arm, records.next_number(), run)?;
                run.record(&record)?;
                records.trials.push(record);
                means.progress.line(outlook(campaign, records));
            }
        }
    };
    means.progress.line(stopped);
    Ok(())
}

/// A silent guest proves nothing unless something would have spoken: each arm's kernel is locked up
/// once on purpose.
///
/// # Errors
/// Trouble of the host, or an interrupt.
pub fn prove_detectors(
    session: &mut Session<'_>,
    campaign: &Campaign,
    arms: &[&str],
    run: &mut Run,
    records: &mut Records,
) -> Result<()> {
    for arm in arms {
        let proven = records.armings.iter().any(|arming| arming.arm == *arm);
        let wanted = campaign.policy.prove_detectors && !proven;
        // The holder's places are asked for in the same boot.
        if !wanted && !session.lacks_names(campaign, arm)? {
            continue;
        }
        let arming = session.prove_detectors(campaign, arm, run.dir())?;
        run.record_arming(&arming)?;
        records.armings.push(arming);
    }
    Ok(())
}

/// Where the campaign stands, in a line.
fn outlook(campaign: &Campaign, records: &Records) -> String {
    let verdict = verdict::judge(campaign, &records.armings, &records.trials);
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
