//! `kverdict compare`: hold kernels against each other under the same load.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::compare::Demands;
use kverdict_core::compare::evidence::Evidence;
use kverdict_core::compare::failure::Failure;
use kverdict_core::compare::judge;
use kverdict_core::compare::schedule::{self, Next};
use kverdict_core::order::Order;

use crate::build;
use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::{TrialArgs, Usage};
use crate::compared::{self, KnownSide};
use crate::dependencies;
use crate::dispatch::{self, Schedule, Step};
use crate::executor::ExecutorArgs;
use crate::history;
use crate::layout::RunDir;
use crate::manifest::{CompareManifest, Manifest, Start};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::reports;
use crate::session::{Means, Session};
use crate::sides::{self, SidePatch, side_patch};
use crate::store::{Records, Run};
use crate::verification::prove_detectors;

const HELP: &str = "\
`verify` asks whether a fix works; `compare` asks which of some kernels fails more often, with nobody known \
to have the bug. Each SIDE is

  a kernel of the catalogue          debian-6.12
  a package or an image              kernel-3.10.0-957.el7.x86_64.rpm, /boot/vmlinuz-6.12
  a source tree, built like one of   debian-6.12=/usr/src/linux
  the catalogue

The first one is the reference, A; the others are B, C and so on. All run in the same guest under the same \
load and with the same amplifiers: those of `migrate-swap` if they fit every side's source, otherwise those \
of `unmodified`, which need no patch.

  kverdict compare kernel-514.rpm kernel-1160.rpm
  kverdict compare debian-6.12 debian-6.12 --apply reintroduce-0b26351b910f@B

Trials go to the side with the least exposed minutes, until every pair of sides is

  worse, better         one fails more often: by the target lockup, or by any other kind of failure
  no difference shown   one that matters would have been seen
  could not tell        the trials are used up, or a side does not build, boot, or notice lockups

It is looked at after every trial, and the error rates hold all the same: the report says how that is known. \
With 1 % each it takes nine lockups of one side while the other has none, or some six minutes of trials of a \
minute without any on either.

Exit status:
  0    nothing is worse than A
  1    some side is worse than A
  125  could not tell";

/// Arguments of `kverdict compare`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct CompareArgs {
    /// Kernels to compare, the reference first
    #[arg(required_unless_present = "resume", num_args = 2.., value_name = "SIDE")]
    sides: Vec<String>,
    /// Go on with a comparison that was interrupted: its folder
    #[arg(long, value_name = "RUN", conflicts_with = "sides")]
    resume: Option<PathBuf>,
    /// Put a patch into the source of one side: a name of the catalogue or a path
    #[arg(long, value_name = "PATCH@SIDE", value_parser = side_patch, conflicts_with = "resume")]
    apply: Vec<SidePatch>,
    /// Take a patch out of the source of one side
    #[arg(long, value_name = "PATCH@SIDE", value_parser = side_patch, conflicts_with = "resume")]
    revert: Vec<SidePatch>,
    /// Campaign whose guest, load and amplifiers to use: a path or a name [default: migrate-swap if its
    /// amplifier fits all sides, otherwise unmodified]
    #[arg(long, value_name = "CAMPAIGN", conflicts_with = "resume")]
    campaign: Option<String>,
    /// Probability, at most, that sides are called different which are not
    #[arg(long, value_name = "P", default_value = "0.01", value_parser = probability, conflicts_with = "resume")]
    alpha: f64,
    /// Probability, at most, that a difference that matters goes unseen where none is shown
    #[arg(long, value_name = "P", default_value = "0.01", value_parser = probability, conflicts_with = "resume")]
    beta: f64,
    /// Failures per exposed minute that matter [default: one in a full trial]
    #[arg(long, value_name = "RATE", value_parser = positive, conflicts_with = "resume")]
    rate: Option<f64>,
    /// How many times the other side's rate matters
    #[arg(long, value_name = "N", default_value = "4", value_parser = above_one, conflicts_with = "resume")]
    ratio: f64,
    /// Trials of each side after which an undecided comparison ends
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u32).range(1..=100000), conflicts_with = "resume")]
    max_trials: u32,
    /// Exposed minutes of each side after which it ends, too
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "resume")]
    max_minutes: Option<f64>,
    /// Seconds of load in a trial that does not fail [default: the campaign's load_seconds]
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=86400))]
    load_seconds: Option<u32>,
    #[command(flatten)]
    common: TrialArgs,
    #[command(flatten)]
    executor: ExecutorArgs,
}

fn number(text: &str, good: fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("expected {expected}"))?;
    if good(value) {
        Ok(value)
    } else {
        Err(format!("expected {expected}"))
    }
}

fn probability(text: &str) -> Result<f64, String> {
    let good = |value| (1e-6..=0.2).contains(&value);
    number(text, good, "a number from 0.000001 to 0.2")
}

fn positive(text: &str) -> Result<f64, String> {
    number(
        text,
        |value| value > 0.0 && value.is_finite(),
        "a number above 0",
    )
}

fn above_one(text: &str) -> Result<f64, String> {
    number(
        text,
        |value| value > 1.0 && value.is_finite(),
        "a number above 1",
    )
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let cache = Cache::from_environment()?;
    let (mut run, manifest, mut records) = open_run(args, &cache, &progress)?;
    progress.line(introduction(&run, &manifest));
    let catalogue = sides::catalogue_of(&args.common.catalogue, run.dir())?;
    let means = Means {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        qemu: &manifest.run.start.qemu,
        compile_jobs: args.common.compile_jobs,
    };
    let outcome = run_trials(&means, &manifest, &args.executor, &mut run, &mut records);
    history::keep(run.dir(), &progress);
    let known = outcome.inspect_err(|error| {
        if build::is_interrupt(error) {
            progress.line(format!(
                "interrupted; {} trials are kept. Go on with: kverdict compare --resume {}",
                records.trials.len(),
                run.dir().root().display()
            ));
        }
    })?;
    let report = reports::write_compare(run.dir(), &manifest, &known, &records)?;
    let code = compared::print(&report, args.common.json)?;
    progress.line(format!("results: {}", run.dir().root().display()));
    Ok(code)
}

fn introduction(run: &Run, manifest: &CompareManifest) -> String {
    let sides: Vec<String> = manifest
        .sides
        .iter()
        .map(|side| format!("{} {}", side.name.to_uppercase(), side.label))
        .collect();
    format!(
        "run {}: {}, under campaign {}",
        run.dir().id(),
        sides.join(" against "),
        manifest.run.campaign.name
    )
}

fn open_run(
    args: &CompareArgs,
    cache: &Cache,
    progress: &Progress,
) -> Result<(Run, CompareManifest, Records)> {
    if let Some(dir) = &args.resume {
        return Run::resume(RunDir::new(dir)?);
    }
    let catalogue = Catalogue::open(&args.common.catalogue)?;
    let sides = sides::read(&args.sides, &args.apply, &args.revert, &catalogue)?;
    let start = Start::now()?;
    let word = match &args.campaign {
        Some(word) => word,
        None => sides::campaign_for(&sides, &catalogue, cache, progress)?,
    };
    let mut campaign = campaigns::load(word)?;
    let policy = &mut campaign.policy;
    policy.load_seconds = args.load_seconds.unwrap_or(policy.load_seconds);
    policy.max_trials_per_arm = args.max_trials;
    policy.alpha = args.alpha;
    // A side's silence counts for something only if it would have spoken.
    policy.prove_detectors = true;
    let trial_minutes = f64::from(policy.load_seconds) / 60.0;
    let mut demands = Demands::of_trials(trial_minutes, args.alpha, args.beta);
    demands.rate = args.rate.unwrap_or(demands.rate);
    demands.ratio = args.ratio;
    demands.minutes = args.max_minutes;
    sides::put_into(&mut campaign, &sides, &catalogue)?;
    let dir = RunDir::new(args.common.results.join(start.run_id("compare")))?;
    sides::write_kernels(&sides, &dir)?;
    let catalogue = sides::catalogue_of(&args.common.catalogue, &dir)?;
    let amplifiers = campaigns::resolve(&mut campaign, &catalogue)?;
    let manifest = CompareManifest {
        run: Manifest {
            start,
            campaign,
            amplifiers,
        },
        demands,
        sides,
    };
    let run = Run::create(dir, &manifest)?;
    Ok((run, manifest, Records::default()))
}

/// Looks at the kernels and runs trials until there is nothing more to run.
fn run_trials(
    means: &Means<'_>,
    manifest: &CompareManifest,
    executor: &ExecutorArgs,
    run: &mut Run,
    records: &mut Records,
) -> Result<Vec<KnownSide>> {
    let fixes = means.catalogue.fixes(&[]);
    let fixes = fixes.map_err(|error| Usage(format!("{error:#}")))?;
    let mut known = compared::look_at(means, manifest, &fixes)?;
    compared::write(run.dir(), &known)?;
    let campaign = &manifest.run.campaign;
    let testable = known.iter().filter(|one| one.side.untestable.is_none());
    let arms: Vec<String> = testable.map(|one| one.side.name.clone()).collect();
    let arms: Vec<&str> = arms.iter().map(String::as_str).collect();
    if arms.len() < 2 {
        means
            .progress
            .line("there are no two sides left to compare");
        return Ok(known);
    }
    let check = |arm: &str, build: &str| records.check_build(arm, build);
    let mut session = Session::prepare(means, campaign, &arms, run, &check)?;
    session.lay_out(campaign, run.dir())?;
    prove_detectors(&mut session, campaign, &arms, run, &mut records.armings)?;
    for one in &mut known {
        if one.side.untestable.is_none() {
            one.side.untestable = session.refusal(campaign, &one.side.name)?;
        }
    }
    compared::write(run.dir(), &known)?;
    let until_told_apart = UntilToldApart {
        manifest,
        known: &known,
        progress: means.progress,
        pace: Pace::default(),
    };
    dispatch::run(
        session.guests(),
        campaign,
        executor,
        means.progress,
        &until_told_apart,
        run,
        records,
    )?;
    Ok(known)
}

/// Trials until everything that can be told of the sides is.
struct UntilToldApart<'a> {
    manifest: &'a CompareManifest,
    known: &'a [KnownSide],
    progress: &'a Progress,
    /// Of the report.
    pace: Pace,
}

impl Schedule for UntilToldApart<'_> {
    fn next(&self, records: &Records, out: &[Order]) -> Result<Step> {
        let sides = compared::sides(self.known);
        let comparison = compared::comparison(self.manifest, &sides, records);
        Ok(
            match schedule::next(&comparison, &records.trials, out, &records.earlier) {
                Next::Trial(arm) => Step::Trial(arm),
                Next::Wait => Step::Wait,
                Next::Decided => Step::End(Some("everything that can be told is")),
                Next::Exhausted => {
                    Step::End(Some("the trials or minutes that are allowed are used up"))
                }
                Next::HostTrouble => Step::End(Some(
                    "the last trials all failed for reasons outside the kernels; giving up",
                )),
            },
        )
    }

    fn told(&self, run: &Run, records: &Records) -> Result<()> {
        // A killed run has a report, too.
        let write = || reports::write_compare(run.dir(), self.manifest, self.known, records);
        self.pace.keep(write).transpose()?;
        self.progress
            .line(outlook(self.manifest, self.known, records));
        Ok(())
    }
}

/// Where the comparison stands, in a line.
fn outlook(manifest: &CompareManifest, known: &[KnownSide], records: &Records) -> String {
    let sides = compared::sides(known);
    let comparison = compared::comparison(manifest, &sides, records);
    let evidence = Evidence::of(&comparison, &records.trials);
    let letter = |index: usize| sides[index].name.to_uppercase();
    let mut parts: Vec<String> = (0..)
        .zip(&evidence.sides)
        .map(|(index, side)| {
            format!(
                "{} {}/{} locked up in {:.1} min",
                letter(index),
                side.count(&Failure::Target),
                side.trials,
                side.minutes
            )
        })
        .collect();
    for pair in judge::judge(&comparison, &evidence) {
        let rest = pair.needed.map_or(String::new(), |needed| {
            format!(", {:.1} min of each to go at these rates", needed.minutes)
        });
        parts.push(format!(
            "{} against {}: {}{rest}",
            letter(pair.side),
            letter(pair.reference),
            pair.judgement
        ));
    }
    format!("  {}", parts.join("; "))
}
