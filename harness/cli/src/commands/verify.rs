//! `kverdict verify`: build both arms, run trials until the verdict stands, report.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::kernel_args::KernelArgs;
use crate::commands::{TrialArgs, print};
use crate::dependencies;
use crate::executor::ExecutorArgs;
use crate::progress::Progress;
use crate::verification::Verification;

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
    #[command(flatten)]
    executor: ExecutorArgs,
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
    let mut verification = open(args, &catalogue)?;
    let report = verification.go_on(
        &catalogue,
        &cache,
        &progress,
        args.common.compile_jobs,
        &args.executor,
    )?;
    print(&report, args.common.json)?;
    progress.line(format!("results: {}", verification.root().display()));
    Ok(ExitCode::from(report.verdict.conclusion.exit_code()))
}

fn open(args: &VerifyArgs, catalogue: &Catalogue) -> Result<Verification> {
    if let Some(dir) = &args.resume {
        return Verification::resume(dir);
    }
    let mut campaign = campaigns::load(&args.campaign)?;
    args.kernels.put_into(&mut campaign)?;
    let policy = &mut campaign.policy;
    policy.min_control_lockups = args.lockups.unwrap_or(policy.min_control_lockups);
    policy.load_seconds = args.load_seconds.unwrap_or(policy.load_seconds);
    campaigns::check_names(&args.campaign, &campaign, catalogue)?;
    Verification::begin(campaign, catalogue, &args.common.results)
}
