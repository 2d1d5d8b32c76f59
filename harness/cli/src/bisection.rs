//! A bisection under way: builds and tries the candidates that the search asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use kverdict_core::arming::Arming;
use kverdict_core::bisect::observation::{Observation, Reading};
use kverdict_core::bisect::range::Range;
use kverdict_core::bisect::report::BisectReport;
use kverdict_core::bisect::search::{self, Next, Search};
use kverdict_core::campaign::{Arm, Campaign};
use kverdict_core::record::TrialRecord;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::build::BuildFailure;
use crate::build::checkout::Checkout;
use crate::build::repository::Repository;
use crate::candidates::Origin;
use crate::manifest::BisectManifest;
use crate::pace::Pace;
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{self, Run};

/// So many attempts in a row that say nothing about a kernel: something is wrong with the host.
const HOST_TROUBLES: usize = 3;
/// What a build failure that is the kernel's own makes a driver of a bisection do.
const SKIP: u8 = 125;

/// What was done with a candidate, once: a line of the run's list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Its label.
    pub candidate: String,
    /// Seconds that it took, with building.
    pub seconds: f64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Tried,
}

/// What came of trying a candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// A trial.
    Trial(Box<TrialRecord>),
    /// It cannot be tried: why.
    Untestable(String),
}

impl Attempt {
    /// The trial, if there was one.
    pub fn trial(&self) -> Option<&TrialRecord> {
        match &self.outcome {
            Tried::Trial(record) => Some(record),
            Tried::Untestable(_) => None,
        }
    }
}

/// What the attempts say, as the search wants it. Those of unknown candidates say nothing.
pub fn observations(manifest: &BisectManifest, attempts: &[Attempt]) -> Vec<Observation> {
    let entries = &manifest.candidates.entries;
    let least = &manifest.campaign.policy.min_exposure;
    let observation = |attempt: &Attempt| {
        let label = |entry: &crate::candidates::Entry| entry.candidate.label == attempt.candidate;
        Some(Observation {
            candidate: entries.iter().position(label)?,
            reading: match &attempt.outcome {
                Tried::Trial(record) => Reading::of(record, least),
                Tried::Untestable(why) => Reading::Untestable(why.clone()),
            },
            minutes: attempt.seconds / 60.0,
        })
    };
    attempts.iter().filter_map(observation).collect()
}

/// A bisection that this process writes.
pub struct Bisection<'a> {
    manifest: &'a BisectManifest,
    range: Range,
    run: Run,
    attempts: Vec<Attempt>,
    /// Kernels that are ready, by candidate.
    sessions: BTreeMap<usize, Session<'a>>,
    checkout: Option<Checkout>,
}

impl<'a> Bisection<'a> {
    /// Goes on after these attempts.
    ///
    /// # Errors
    /// When the candidates are no range.
    pub fn new(manifest: &'a BisectManifest, run: Run, attempts: Vec<Attempt>) -> Result<Self> {
        Ok(Self {
            range: manifest.candidates.range()?,
            manifest,
            run,
            attempts,
            sessions: BTreeMap::new(),
            checkout: None,
        })
    }

    /// All attempts so far.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Tries candidates until the search ends.
    ///
    /// # Errors
    /// Trouble of the host, or an interrupt; what a kernel does or does not is an outcome.
    pub fn go_on(&mut self, means: &Means<'a>) -> Result<BisectReport> {
        let before = self.attempts.len();
        let pace = Pace::default();
        loop {
            let observations = observations(self.manifest, &self.attempts);
            let search = search::search(&self.range, &self.manifest.policy, &observations);
            let report = reports::bisect(self.run.dir(), self.manifest, &self.attempts)?;
            let write =
                || reports::write_bisect(self.run.dir(), self.manifest, &self.attempts, &report);
            // A killed bisection has a report, too.
            if matches!(search.next, Next::Done(_)) {
                write()?;
            } else {
                pace.keep(write).transpose()?;
            }
            if self.attempts.len() > before {
                means.progress.line(format!("  {}", outlook(&report)));
            }
            let (candidate, why) = match search.next {
                Next::Trial { candidate } => (candidate, "tells most"),
                Next::Measure { candidate } => (candidate, "for the rate"),
                Next::Confirm { candidate } => (candidate, "confirms"),
                Next::Sweep { candidate } => (candidate, "sweeps"),
                Next::Done(_) => return Ok(report),
            };
            self.check_host(&observations, before)?;
            means
                .progress
                .line(self.announcement(&search, candidate, why));
            let started = Instant::now();
            let outcome = self.attempt(candidate, means)?;
            let attempt = Attempt {
                candidate: self.range.label(candidate).to_owned(),
                seconds: started.elapsed().as_secs_f64(),
                outcome,
            };
            self.run.record_attempt(&attempt)?;
            self.attempts.push(attempt);
        }
    }

    fn announcement(&self, search: &Search, candidate: usize, why: &str) -> String {
        let entry = &self.manifest.candidates.entries[candidate];
        let bits = search.posterior.entropy_bits();
        format!(
            "{} of {} ({why}; {bits:.1} bits to go): {} {}",
            candidate,
            self.manifest.candidates.entries.len() - 1,
            entry.candidate.label,
            entry.about
        )
    }

    fn attempt(&mut self, candidate: usize, means: &Means<'a>) -> Result<Tried> {
        let label = self.range.label(candidate).to_owned();
        let campaign = self.campaign_of(candidate, means)?;
        if !self.sessions.contains_key(&candidate) {
            match self.prepare(&label, &campaign, means) {
                Ok((session, arming)) => {
                    if let Some(doubt) = arming.as_ref().and_then(Arming::doubt) {
                        return Ok(Tried::Untestable(doubt));
                    }
                    self.sessions.insert(candidate, session);
                }
                Err(error) => return untestable(error),
            }
        }
        let number = self.attempts.iter().filter_map(Attempt::trial);
        let number = number.map(|record| record.number).max().unwrap_or(0) + 1;
        let session = &self.sessions[&candidate];
        let record = session.trial(&campaign, &label, number, &mut self.run)?;
        Ok(Tried::Trial(Box::new(record)))
    }

    /// Builds a candidate's kernel, and shows that detectors work on it.
    fn prepare(
        &mut self,
        label: &str,
        campaign: &Campaign,
        means: &Means<'a>,
    ) -> Result<(Session<'a>, Option<Arming>)> {
        let builds: Vec<String> = self
            .attempts
            .iter()
            .filter(|attempt| attempt.candidate == label)
            .filter_map(|attempt| Some(attempt.trial()?.build.clone()))
            .collect();
        let check = |arm: &str, build: &str| store::check_build(arm, build, builds.iter());
        let mut session = Session::prepare(means, campaign, &[label], &mut self.run, &check)?;
        session.lay_out(campaign, self.run.dir())?;
        if !campaign.policy.prove_detectors && !session.lacks_names(campaign, label)? {
            return Ok((session, None));
        }
        let arming = session.prove_detectors(campaign, label)?;
        self.run.record_arming(&arming)?;
        Ok((session, Some(arming)))
    }

    /// The campaign with this candidate alone; a commit is checked out for it, unless its kernel is ready.
    fn campaign_of(&mut self, candidate: usize, means: &Means<'a>) -> Result<Campaign> {
        let entry = &self.manifest.candidates.entries[candidate];
        let mut campaign = self.manifest.campaign.clone();
        campaign
            .arms
            .retain(|name, _| *name == entry.candidate.label);
        if let Origin::Commit(commit) = &entry.origin
            && !self.sessions.contains_key(&candidate)
        {
            let tree = self.check_out(commit, means)?;
            let set = |arm: &mut Arm| arm.tree = Some(tree.display().to_string());
            campaign.arms.values_mut().for_each(set);
        }
        Ok(campaign)
    }

    fn check_out(&mut self, commit: &str, means: &Means<'a>) -> Result<PathBuf> {
        let Some(folder) = &self.manifest.candidates.repository else {
            bail!("the run's manifest has commits of no repository");
        };
        let checkout = match &mut self.checkout {
            Some(checkout) => checkout,
            None => {
                let repository = Repository::open(folder)?;
                let opened = Checkout::open(&repository, means.cache, means.progress)?;
                self.checkout.insert(opened)
            }
        };
        self.run.event("checked-out", json!({"commit": commit}));
        checkout.at(commit, means.progress)
    }

    /// Whether the attempts since this process began still say something.
    fn check_host(&self, observations: &[Observation], before: usize) -> Result<()> {
        let mut troubles = Vec::new();
        for observation in observations[before..].iter().rev().take(HOST_TROUBLES) {
            match &observation.reading {
                Reading::HostTrouble(why) => troubles.push(why.as_str()),
                Reading::Counted { .. } | Reading::NoAnswer(_) | Reading::Untestable(_) => {
                    return Ok(());
                }
            }
        }
        if troubles.len() == HOST_TROUBLES {
            bail!(
                "the last trials all failed for reasons outside of the guests ({}); once that is mended, go on with: kverdict bisect --resume {}",
                troubles[0],
                self.run.dir().root().display()
            );
        }
        Ok(())
    }
}

/// Where a bisection stands, in a line.
fn outlook(report: &BisectReport) -> String {
    if report.ending.is_some() {
        return report.conclusion.clone();
    }
    let suspects = report
        .suspects
        .iter()
        .take(2)
        .map(|suspect| format!("{} {:.1} %", suspect.candidate, suspect.posterior * 100.0));
    let suspects: Vec<String> = suspects.collect();
    format!("most probable: {}", suspects.join(", "))
}

/// A kernel that does not build is skipped; trouble of the machine is none of its.
fn untestable(error: anyhow::Error) -> Result<Tried> {
    match error.downcast_ref::<BuildFailure>() {
        Some(failure) if failure.exit_code() == SKIP => Ok(Tried::Untestable(format!("{error:#}"))),
        Some(_) | None => Err(error),
    }
}
