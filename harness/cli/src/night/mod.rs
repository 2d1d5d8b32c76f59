//! A night under way: builds its kernels and tries its cells until the budget is spent.

pub mod kernels;
pub mod lock;
pub mod notice;
pub mod past;
pub mod planning;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use kverdict_core::arming::{self, Arming};
use kverdict_core::campaign::Campaign;
use kverdict_core::night::NightTrial;
use kverdict_core::night::cell::CellId;
use kverdict_core::night::judge::{KnownKernel, Night};
use kverdict_core::night::plan::Cell;
use kverdict_core::night::report::NightReport;
use kverdict_core::night::schedule::{self, Next};
use serde_json::json;

use crate::build::checkout::Checkout;
use crate::build::is_interrupt;
use crate::build::repository::Repository;
use crate::history;
use crate::manifest::NightManifest;
use crate::pace::Pace;
use crate::process::{Interrupted, interrupted};
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{Records, Run};
use kernels::{Commit, Known};
use past::Past;

/// What cells have in common that share a kernel made ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SessionKey {
    arm: String,
    /// Campaigns with a holder run under the translator.
    has_holder: bool,
}

impl SessionKey {
    fn of(cell: &Cell) -> Self {
        Self {
            arm: cell.arm.clone(),
            has_holder: cell.campaign.holder.is_some(),
        }
    }
}

/// A night that this process runs.
pub struct Nightly<'a> {
    id: String,
    manifest: &'a NightManifest,
    run: Run,
    records: Records<NightTrial>,
    past: Past,
    known: Known,
    /// Trials that earlier processes made.
    earlier: usize,
    /// What earlier processes spent, in minutes.
    spent_before: f64,
    begun: Instant,
    /// Kernels that are ready.
    sessions: BTreeMap<SessionKey, Session<'a>>,
    checkouts: BTreeMap<PathBuf, Checkout>,
    /// The cell whose initramfs lies there.
    laid_out: Option<CellId>,
}

impl<'a> Nightly<'a> {
    /// Goes on after these records.
    ///
    /// # Errors
    /// When what belongs to the night cannot be read.
    pub fn new(
        manifest: &'a NightManifest,
        run: Run,
        records: Records<NightTrial>,
    ) -> Result<Self> {
        let spent = records.trials.iter().map(|trial| trial.spent_minutes);
        Ok(Self {
            id: run.dir().id(),
            manifest,
            past: past::read(run.dir())?,
            known: Known::read(run.dir())?,
            earlier: records.trials.len(),
            spent_before: spent.fold(0.0, f64::max),
            begun: Instant::now(),
            sessions: BTreeMap::new(),
            checkouts: BTreeMap::new(),
            laid_out: None,
            run,
            records,
        })
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Trials so far.
    pub fn trials(&self) -> usize {
        self.records.trials.len()
    }

    /// Tries cells until there is nothing more to try, and says what came of it; also when it is interrupted.
    ///
    /// # Errors
    /// Trouble of the host, or an interrupt; what a kernel does, or that there is none, is an outcome.
    pub fn go_on(&mut self, means: &Means<'a>) -> Result<NightReport> {
        let tried = self.try_cells(means);
        let report = self.tell(means);
        let why = tried?;
        let report = report?;
        means.progress.line(why);
        self.run.event(
            "night-ended",
            json!({"why": why, "conclusion": report.conclusion}),
        );
        Ok(report)
    }

    /// Tries cells until there is nothing more to try, and gives the reason for that.
    fn try_cells(&mut self, means: &Means<'a>) -> Result<&'static str> {
        if self.is_wanted() {
            self.prepare_all(means)?;
        }
        let pace = Pace::default();
        loop {
            // A killed night has a report, too.
            pace.keep(|| self.tell(means)).transpose()?;
            let spent = self.spent_minutes();
            let next = schedule::next(&self.night(), &self.records.trials, self.earlier, spent);
            let (index, why) = match next {
                Next::Trial { cell, why } => (cell, why),
                Next::Done => return Ok("every cell has had enough"),
                Next::OutOfTime => return Ok("the budget is spent"),
                Next::HostTrouble => {
                    return Ok(
                        "the last trials all failed for reasons outside the kernels; giving up",
                    );
                }
            };
            let manifest = self.manifest;
            let cell = &manifest.cells[index];
            means.progress.line(format!(
                "{} ({why}; {spent:.1} of {:.0} minutes)",
                cell.id, self.manifest.spec.budget_minutes
            ));
            self.attempt(cell, means)?;
        }
    }

    /// Whether anything is left to try; without, no kernel is needed.
    fn is_wanted(&self) -> bool {
        let spent = self.spent_minutes();
        let next = schedule::next(&self.night(), &self.records.trials, self.earlier, spent);
        match next {
            Next::Trial { .. } => true,
            Next::Done | Next::OutOfTime | Next::HostTrouble => false,
        }
    }

    fn spent_minutes(&self) -> f64 {
        self.spent_before + self.begun.elapsed().as_secs_f64() / 60.0
    }

    fn night(&self) -> Night<'_> {
        reports::night(
            &self.id,
            self.manifest,
            &self.known,
            &self.past,
            &self.records.armings,
        )
    }

    /// Writes the report, and what the history keeps.
    fn tell(&self, means: &Means<'_>) -> Result<NightReport> {
        history::keep(self.run.dir(), means.progress);
        reports::write_night(self.run.dir(), self.manifest, &self.records)
    }

    /// Builds all kernels, those of controls first. A kernel that cannot be had ends no night.
    fn prepare_all(&mut self, means: &Means<'a>) -> Result<()> {
        self.known = Known::default();
        let manifest = self.manifest;
        let mut cells: Vec<&Cell> = manifest.cells.iter().collect();
        cells.sort_by_key(|cell| !cell.control);
        for cell in cells {
            if !self.known.kernels.contains_key(&cell.arm) {
                self.prepare(cell, means)?;
            }
        }
        Ok(())
    }

    /// Makes a cell's kernel ready, or notes why there is none.
    fn prepare(&mut self, cell: &Cell, means: &Means<'a>) -> Result<()> {
        let known = match self.session(cell, means) {
            Ok(session) => {
                let record = session.record(&cell.arm)?;
                KnownKernel {
                    release: record.release.clone(),
                    build: record.key.as_str().to_owned(),
                    untestable: None,
                }
            }
            Err(error) if is_interrupt(&error) || interrupted() => return Err(Interrupted.into()),
            Err(error) => {
                let why = format!("no kernel: {error:#}");
                means.progress.line(format!("{}: {why}", cell.arm));
                self.run
                    .event("untestable", json!({"arm": cell.arm, "why": why}));
                let before = self.known.kernels.remove(&cell.arm);
                KnownKernel {
                    untestable: Some(why),
                    ..before.unwrap_or_default()
                }
            }
        };
        self.known.kernels.insert(cell.arm.clone(), known);
        self.known.write(self.run.dir())
    }

    fn session(&mut self, cell: &Cell, means: &Means<'a>) -> Result<&mut Session<'a>> {
        let key = SessionKey::of(cell);
        if !self.sessions.contains_key(&key) {
            let campaign = self.campaign_of(cell, means)?;
            let records = &self.records;
            let check = |arm: &str, build: &str| records.check_build(arm, build);
            let arms = [cell.arm.as_str()];
            let session = Session::prepare(means, &campaign, &arms, &mut self.run, &check)?;
            self.sessions.insert(key.clone(), session);
        }
        self.sessions.get_mut(&key).context("it was put there")
    }

    /// A cell's campaign; a commit is checked out for it.
    fn campaign_of(&mut self, cell: &Cell, means: &Means<'a>) -> Result<Campaign> {
        let manifest = self.manifest;
        let mut kernels = manifest.kernels.iter();
        let kernel = kernels
            .find(|kernel| kernel.side.name == cell.id.kernel)
            .with_context(|| format!("the manifest has no kernel `{}`", cell.id.kernel))?;
        if let Some(why) = &kernel.missing {
            anyhow::bail!("{why}");
        }
        let mut campaign = cell.campaign.clone();
        if let Some(commit) = &kernel.commit {
            let tree = self.check_out(commit, means)?.display().to_string();
            for arm in campaign.arms.values_mut() {
                arm.tree = Some(tree.clone());
            }
        }
        Ok(campaign)
    }

    fn check_out(&mut self, commit: &Commit, means: &Means<'a>) -> Result<PathBuf> {
        let folder = &commit.repository;
        if !self.checkouts.contains_key(folder) {
            let repository = Repository::open(folder)?;
            let opened = Checkout::open(&repository, means.cache, means.progress)?;
            self.checkouts.insert(folder.clone(), opened);
        }
        self.run.event("checked-out", json!({"commit": commit.id}));
        self.checkouts[folder].at(&commit.id, means.progress)
    }

    /// Tries a cell once, or notes why it cannot be tried.
    fn attempt(&mut self, cell: &Cell, means: &Means<'a>) -> Result<()> {
        let key = SessionKey::of(cell);
        if !self.sessions.contains_key(&key) {
            self.prepare(cell, means)?;
            if !self.sessions.contains_key(&key) {
                return Ok(());
            }
        }
        if !self.is_proven(cell)? {
            return Ok(());
        }
        let campaign = &cell.campaign;
        let number = self.records.next_number();
        let session = &self.sessions[&key];
        if let Some(why) = session.refusal(campaign, &cell.arm)? {
            self.known.untestable.insert(cell.id.to_string(), why);
            return self.known.write(self.run.dir());
        }
        if self.laid_out.as_ref() != Some(&cell.id) {
            session.lay_out(campaign, self.run.dir())?;
            self.laid_out = Some(cell.id.clone());
        }
        let record = session.trial(campaign, &cell.arm, number, &mut self.run)?;
        let trial = NightTrial {
            cell: cell.id.to_string(),
            trial: record,
            spent_minutes: self.spent_minutes(),
        };
        self.run.record(&trial)?;
        self.records.trials.push(trial);
        Ok(())
    }

    /// Whether detectors work on a cell's kernel: it is locked up once on purpose.
    fn is_proven(&mut self, cell: &Cell) -> Result<bool> {
        let key = SessionKey::of(cell);
        let Some(session) = self.sessions.get_mut(&key) else {
            return Ok(false);
        };
        let campaign = &cell.campaign;
        let armings = &self.records.armings;
        let wanted = campaign.policy.prove_detectors && arming::is_open(armings, &cell.arm);
        if !wanted && !session.lacks_names(campaign, &cell.arm)? {
            let last = armings.iter().rev().find(|arming| arming.arm == cell.arm);
            return Ok(last.is_none_or(|arming| arming.doubt().is_none()));
        }
        session.lay_out(campaign, self.run.dir())?;
        self.laid_out = Some(cell.id.clone());
        let arming: Arming = session.prove_detectors(campaign, &cell.arm)?;
        self.run.record_arming(&arming)?;
        let works = arming.doubt().is_none();
        self.records.armings.push(arming);
        Ok(works)
    }
}
