//! A campaign's run: trials of both arms until the verdict stands.

use std::path::Path;

use anyhow::Result;
use kverdict_core::arming::{self, Arming};
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::report::Report;
use kverdict_core::schedule::{self, Next};
use kverdict_core::verdict;

use crate::build;
use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::dispatch::{self, Schedule, Step};
use crate::executor::ExecutorArgs;
use crate::history;
use crate::layout::RunDir;
use crate::manifest::{Manifest, Start};
use crate::progress::Progress;
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{Records, Run};

/// A run under way.
#[derive(Debug)]
pub struct Verification {
    run: Run,
    manifest: Manifest,
    records: Records,
}

impl Verification {
    /// Begins a run of a campaign, whose names were checked, in a folder of its own below `results`.
    ///
    /// # Errors
    /// When the catalogue lacks something, there is no QEMU, or the folder cannot be made.
    pub fn begin(mut campaign: Campaign, catalogue: &Catalogue, results: &Path) -> Result<Self> {
        let amplifiers = campaigns::resolve(&mut campaign, catalogue)?;
        let start = Start::now()?;
        let id = start.run_id(&campaign.name);
        let manifest = Manifest {
            start,
            campaign,
            amplifiers,
        };
        Ok(Self {
            run: Run::create(RunDir::new(results.join(id))?, &manifest)?,
            manifest,
            records: Records::default(),
        })
    }

    /// Opens a run that was interrupted.
    ///
    /// # Errors
    /// When the folder is no run, or another process goes on with it.
    pub fn resume(dir: &Path) -> Result<Self> {
        let (run, manifest, records) = Run::resume(RunDir::new(dir)?)?;
        Ok(Self {
            run,
            manifest,
            records,
        })
    }

    /// The run's folder.
    pub fn root(&self) -> &Path {
        self.run.dir().root()
    }

    /// Runs trials until there is nothing more to run, and judges them.
    ///
    /// # Errors
    /// When a kernel cannot be built, the host fails, or the user interrupts.
    pub fn go_on(
        &mut self,
        catalogue: &Catalogue,
        cache: &Cache,
        progress: &Progress,
        compile_jobs: Option<usize>,
        executor: &ExecutorArgs,
    ) -> Result<Report> {
        let campaign = &self.manifest.campaign;
        progress.line(format!(
            "run {}: campaign {}",
            self.run.dir().id(),
            campaign.name
        ));
        let means = Means {
            catalogue,
            cache,
            progress,
            qemu: &self.manifest.start.qemu,
            compile_jobs,
        };
        let outcome = run_trials(&means, campaign, executor, &mut self.run, &mut self.records);
        history::keep(self.run.dir(), progress);
        outcome.inspect_err(|error| {
            if build::is_interrupt(error) {
                progress.line(format!(
                    "interrupted; {} trials are kept. Go on with: kverdict verify --resume {}",
                    self.records.trials.len(),
                    self.run.dir().root().display()
                ));
            }
        })?;
        reports::write(self.run.dir(), &self.manifest, &self.records)
    }
}

/// Prepares the kernels and runs trials until there is nothing more to run.
fn run_trials(
    means: &Means<'_>,
    campaign: &Campaign,
    executor: &ExecutorArgs,
    run: &mut Run,
    records: &mut Records,
) -> Result<()> {
    let arms: Vec<&str> = campaign.arms.keys().map(String::as_str).collect();
    let check = |arm: &str, build: &str| records.check_build(arm, build);
    let mut session = Session::prepare(means, campaign, &arms, run, &check)?;
    session.lay_out(campaign, run.dir())?;
    prove_detectors(&mut session, campaign, &arms, run, &mut records.armings)?;
    let until_decided = UntilDecided {
        campaign,
        progress: means.progress,
    };
    dispatch::run(
        session.guests(),
        campaign,
        executor,
        means.progress,
        &until_decided,
        run,
        records,
    )
}

/// Trials until the verdict stands.
struct UntilDecided<'a> {
    campaign: &'a Campaign,
    progress: &'a Progress,
}

impl Schedule for UntilDecided<'_> {
    fn next(&self, records: &Records, out: &[Order]) -> Result<Step> {
        let next = schedule::next(
            self.campaign,
            &records.armings,
            &records.trials,
            out,
            &records.earlier,
        );
        Ok(match next {
            Next::Trial(arm) => Step::Trial(arm),
            Next::Wait => Step::Wait,
            Next::Decided => Step::End(None),
            Next::InDoubt => Step::End(Some(
                "all that was asked for is there, but a trial of the subject is suspect: more of the same would not make it clearer",
            )),
            Next::Exhausted => Step::End(Some("the policy's trials are used up")),
            Next::Unproven => Step::End(Some(
                "no detector is proven to work on every arm; trials would prove nothing",
            )),
            Next::HostTrouble => Step::End(Some(
                "the last trials all failed for reasons outside the kernels; giving up",
            )),
        })
    }

    fn told(&self, _: &Run, records: &Records) -> Result<()> {
        self.progress.line(outlook(self.campaign, records));
        Ok(())
    }
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
    armings: &mut Vec<Arming>,
) -> Result<()> {
    for arm in arms {
        let wanted = campaign.policy.prove_detectors && arming::is_open(armings, arm);
        // The holder's places are asked for in the same boot.
        if !wanted && !session.lacks_names(campaign, arm)? {
            continue;
        }
        let arming = session.prove_detectors(campaign, arm)?;
        run.record_arming(&arming)?;
        armings.push(arming);
    }
    Ok(())
}

/// Where the campaign stands, in a line.
pub fn outlook(campaign: &Campaign, records: &Records) -> String {
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
