//! `kverdict tune`: search the load under which both sides of a race come together most often.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use kverdict_core::tune::reading::{self, Reading, TuneTrial};
use kverdict_core::tune::report::{self, TuneReport};
use kverdict_core::tune::search::{self, Next, Search};
use kverdict_core::tune::space::{Point, Space};

use crate::build;
use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::kernel_args::KernelArgs;
use crate::commands::{TrialArgs, Usage, print};
use crate::dependencies;
use crate::layout::RunDir;
use crate::manifest::{Start, TuneManifest};
use crate::progress::Progress;
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{self, Run};
use crate::tunes;

/// So many trials in a row that say nothing about a guest: something is wrong with the host.
const HOST_TROUBLES: usize = 3;

const HELP: &str = "\
A verification is worth as much as the exposure it had. `tune` searches, by trials, the values of a \
campaign's load and settings under which both sides of the race are most often in flight for the same \
pair of CPUs (near misses per minute). It runs the subject's kernel, which survives them; a kernel with \
the defect ends at the first.

What to search is a YAML file:

  schema: 1
  name: my-tune
  campaign: migrate-swap    # to start from: a name, or a path from this file's folder
  load_seconds: 20          # of each trial
  max_trials: 60
  parameters:               # fields of the campaign's load, tuning or guest, as the steps to them
    - at: [load, shuffler, interval_us]
      range: {from: 500, to: 8000, steps: 5, scale: log}
    - at: [tuning, sysctls, kernel.numa_balancing_scan_size_mb]
      values: [64, 256, 1024]

`kverdict schema tune` prints all of it; `kverdict tune migrate-swap` runs the one in configs/tune/.

The search walks along one parameter after the other. The values of each race: every round gives those \
that are left another trial, then the worse half goes out. At the end the best points are tried on until \
they can be told apart, or the trials are used up. The results folder then has tune.md, with all points, \
and tuned.yaml, a campaign for `kverdict verify`.

Exit status:
  0    a best point was found
  1    the subject's kernel locked up: it has the bug
  125  no point gave a reading";

/// Arguments of `kverdict tune`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct TuneArgs {
    /// What to search: the path of a YAML file, or the name of one that comes with kverdict
    #[arg(required_unless_present = "resume")]
    spec: Option<String>,
    /// Go on with a tune that was interrupted: its folder
    #[arg(long, value_name = "RUN", conflicts_with = "spec")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    common: TrialArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &TuneArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let catalogue = Catalogue::open(&args.common.catalogue)?;
    let cache = Cache::from_environment()?;
    let mut tuning = Tuning::open(args, &catalogue)?;
    progress.line(tuning.introduction());
    let qemu = tuning.manifest.start.qemu.clone();
    let means = Means {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        qemu: &qemu,
        compile_jobs: args.common.compile_jobs,
    };
    let outcome = tuning.go_on(&means);
    let root = tuning.run.dir().root();
    let report = outcome.inspect_err(|error| {
        if build::is_interrupt(error) {
            progress.line(format!(
                "interrupted; {} trials are kept. Go on with: kverdict tune --resume {}",
                tuning.trials.len(),
                root.display()
            ));
        }
    })?;
    print(&report, args.common.json)?;
    progress.line(format!("results: {}", root.display()));
    Ok(ExitCode::from(exit_code(&report)))
}

fn exit_code(report: &TuneReport) -> u8 {
    if report.refuted() {
        1
    } else if report.best().is_some() {
        0
    } else {
        125
    }
}

/// A tune under way.
#[derive(Debug)]
struct Tuning {
    run: Run,
    manifest: TuneManifest,
    space: Space,
    trials: Vec<TuneTrial>,
}

impl Tuning {
    fn open(args: &TuneArgs, catalogue: &Catalogue) -> Result<Self> {
        if let Some(dir) = &args.resume {
            let (run, manifest, records) = Run::resume::<TuneManifest, _>(RunDir::new(dir)?)?;
            let space = Space::new("tune.json", &manifest.spec, &manifest.campaign)?;
            return Ok(Self {
                run,
                manifest,
                space,
                trials: records.trials,
            });
        }
        let Some(spec) = &args.spec else {
            return Err(Usage("name a tune".to_owned()).into());
        };
        let tune = tunes::load(spec, &args.kernels, catalogue)?;
        let manifest = TuneManifest {
            start: Start::now()?,
            spec: tune.spec,
            campaign: tune.campaign,
        };
        let id = manifest
            .start
            .run_id(&format!("tune-{}", manifest.spec.name));
        let run = Run::create(RunDir::new(args.common.results.join(id))?, &manifest)?;
        Ok(Self {
            run,
            manifest,
            space: tune.space,
            trials: Vec::new(),
        })
    }

    fn introduction(&self) -> String {
        let spec = &self.manifest.spec;
        let fields: Vec<String> = self
            .space
            .axes
            .iter()
            .map(|axis| format!("{} ({} values)", axis.field, axis.choices.len()))
            .collect();
        format!(
            "run {}: tune {} of campaign {}, arm {}: {}; up to {} trials of {} s under load",
            self.run.dir().id(),
            spec.name,
            self.manifest.campaign.name,
            self.space.arm,
            fields.join(", "),
            spec.max_trials,
            spec.load_seconds
        )
    }

    /// Runs trials until the search ends.
    fn go_on(&mut self, means: &Means<'_>) -> Result<TuneReport> {
        let before = self.trials.len();
        let mut session = None;
        loop {
            let search = self.search()?;
            // After each trial, so that a killed tune has a report too.
            let report = reports::write_tune(
                self.run.dir(),
                &self.manifest,
                &self.space,
                &self.trials,
                &search,
            )?;
            if self.trials.len() > before {
                self.tell(&report, means.progress);
            }
            let Next::Trial(point) = &search.next else {
                return Ok(report);
            };
            self.check_host(before)?;
            let session = match &mut session {
                Some(session) => session,
                None => session.insert(self.prepare(means)?),
            };
            means.progress.line(format!(
                "{} ({}): {}",
                report::name_of(point, &self.trials),
                report::stage(&self.space, search.stage),
                report::difference(&self.space, point)
            ));
            let trial = self.trial(point, session, means.catalogue)?;
            self.run.record(&trial)?;
            self.trials.push(trial);
        }
    }

    fn search(&self) -> Result<Search> {
        let readings = reading::of_all(&self.space, &self.trials);
        let spec = &self.manifest.spec;
        let found = search::search(&self.space, spec.seed, spec.max_trials as usize, &readings);
        Ok(found?)
    }

    fn prepare<'a>(&mut self, means: &Means<'a>) -> Result<Session<'a>> {
        let trials = &self.trials;
        let check = |arm: &str, build: &str| {
            store::check_build(arm, build, trials.iter().map(|one| &one.trial.build))
        };
        let arms = [self.space.arm.as_str()];
        Session::prepare(means, &self.manifest.campaign, &arms, &mut self.run, &check)
    }

    fn trial(
        &mut self,
        point: &Point,
        session: &mut Session<'_>,
        catalogue: &Catalogue,
    ) -> Result<TuneTrial> {
        let mut campaign = self.space.trial(point)?;
        campaigns::resolve(&mut campaign, catalogue)?;
        session.lay_out(&campaign, self.run.dir())?;
        if session.lacks_names(&campaign, &self.space.arm)? {
            session.prove_detectors(&campaign, &self.space.arm)?;
        }
        let numbers = self.trials.iter().map(|one| one.trial.number);
        let number = numbers.max().unwrap_or(0) + 1;
        Ok(TuneTrial {
            point: point.clone(),
            trial: session.trial(&campaign, &self.space.arm, number, &mut self.run)?,
        })
    }

    /// Where the tune stands after a trial.
    fn tell(&self, report: &TuneReport, progress: &Progress) {
        let last = self.trials.last().map(|one| &one.trial);
        if report.refuted() && last.is_some_and(reading::is_target) {
            progress.line(format!(
                "  THIS KERNEL HAS THE BUG: arm {}, which should have the fix, locked up",
                report.arm
            ));
        }
        progress.line(format!(
            "  {} of {} trials; best {}",
            self.trials.len(),
            self.manifest.spec.max_trials,
            report.headline()
        ));
    }

    /// Whether the trials since this process began still say something.
    fn check_host(&self, before: usize) -> Result<()> {
        let readings = reading::of_all(&self.space, &self.trials[before..]);
        let mut last = Vec::new();
        for (_, reading) in readings.iter().rev().take(HOST_TROUBLES) {
            match reading {
                Reading::HostTrouble(why) => last.push(why.as_str()),
                Reading::Counted(_) | Reading::Failed(_) => return Ok(()),
            }
        }
        if last.len() == HOST_TROUBLES {
            bail!(
                "the last trials all failed for reasons outside of the guests ({}); once that is mended, go on with: kverdict tune --resume {}",
                last[0],
                self.run.dir().root().display()
            );
        }
        Ok(())
    }
}
