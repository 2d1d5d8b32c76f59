//! A night under way: builds its kernels and tries its cells until the budget is spent.

pub mod kernels;
pub mod lock;
pub mod notice;
pub mod past;
pub mod planning;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use kverdict_core::arming::{self, Arming};
use kverdict_core::campaign::{Campaign, Guest};
use kverdict_core::night::NightTrial;
use kverdict_core::night::judge::{KnownKernel, Night};
use kverdict_core::night::plan::Cell;
use kverdict_core::night::report::NightReport;
use kverdict_core::night::schedule::{self, Next, Why};
use kverdict_core::order::Order;
use kverdict_core::protocol::GuestPlan;
use kverdict_core::record::TrialRecord;
use serde_json::json;

use crate::build::checkout::Checkout;
use crate::build::is_interrupt;
use crate::build::repository::Repository;
use crate::executor::Jobs;
use crate::executor::room::Room;
use crate::executor::threads::{Coming, Threads};
use crate::guests::{Guests, LOAD};
use crate::history;
use crate::initramfs;
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
    /// What earlier processes spent, in minutes.
    spent_before: f64,
    begun: Instant,
    jobs: Jobs,
    /// Kernels that are ready.
    sessions: BTreeMap<SessionKey, Session<'a>>,
    checkouts: BTreeMap<PathBuf, Checkout>,
    /// What guests were told so far, each in an initramfs of its own.
    plans: Vec<GuestPlan>,
    /// Asked for by a process that did not get them.
    lost: Vec<Order>,
    /// Trials under way, each with the index of its cell.
    out: Vec<(Order, usize)>,
}

impl<'a> Nightly<'a> {
    /// Goes on after these records, with trials side by side.
    ///
    /// # Errors
    /// When what belongs to the night cannot be read.
    pub fn new(
        manifest: &'a NightManifest,
        run: Run,
        records: Records<NightTrial>,
        jobs: Jobs,
    ) -> Result<Self> {
        let spent = records.trials.iter().map(|trial| trial.spent_minutes);
        Ok(Self {
            id: run.dir().id(),
            manifest,
            past: past::read(run.dir())?,
            known: Known::read(run.dir())?,
            spent_before: spent.fold(0.0, f64::max),
            begun: Instant::now(),
            jobs,
            sessions: BTreeMap::new(),
            checkouts: BTreeMap::new(),
            plans: Vec::new(),
            lost: records.lost(),
            out: Vec::new(),
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
        let mut room = Room::of_this_host(self.jobs)?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut threads = Threads::new(scope, &stop);
            let pace = Pace::default();
            loop {
                // A killed night has a report, too.
                pace.keep(|| self.tell(means)).transpose()?;
                let end = self.begin_what_fits(means, &mut room, &mut threads)?;
                if self.out.is_empty() {
                    return end.context("a night ends, or tries something");
                }
                room.release();
                self.take(threads.wait()?)?;
            }
        })
    }

    /// Begins trials while there is room. Gives why no more are wanted, when that is so.
    fn begin_what_fits<'scope>(
        &mut self,
        means: &Means<'a>,
        room: &mut Room,
        threads: &mut Threads<'scope, '_>,
    ) -> Result<Option<&'static str>>
    where
        'a: 'scope,
    {
        let manifest = self.manifest;
        loop {
            let (index, why) = match self.next() {
                Ok(next) => next,
                Err(end) => return Ok(end),
            };
            let cell = &manifest.cells[index];
            let others = self.out.iter().map(|(_, index)| &manifest.cells[*index]);
            let others: Vec<&Guest> = others.map(|cell| &cell.campaign.guest).collect();
            if !room.has_room(&cell.campaign.guest, &others, means.progress)? {
                return Ok(None);
            }
            means.progress.line(format!(
                "{} ({why}; {:.1} of {:.0} minutes)",
                cell.id,
                self.spent_minutes(),
                manifest.spec.budget_minutes
            ));
            self.begin(index, means, room, threads)?;
        }
    }

    /// Begins a trial of a cell; none, if its kernel turns out not to be had.
    fn begin<'scope>(
        &mut self,
        index: usize,
        means: &Means<'a>,
        room: &mut Room,
        threads: &mut Threads<'scope, '_>,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        let cell = &self.manifest.cells[index];
        let Some((guests, initramfs)) = self.make_ready(cell, means)? else {
            return Ok(());
        };
        let order = self.order(cell)?;
        self.out.push((order.clone(), index));
        self.run.trial_started(&order);
        let coming = Coming {
            guests,
            campaign: &cell.campaign,
            order,
            initramfs,
            lease: room.take(),
        };
        threads.make(coming, means.progress)
    }

    /// The cell to try now, and why. Otherwise, why nothing is wanted any more; `None`: that is not known before
    /// what is under way has ended.
    fn next(&self) -> Result<(usize, Why), Option<&'static str>> {
        let spent = self.spent_minutes();
        let out: Vec<usize> = self.out.iter().map(|(_, index)| *index).collect();
        let trials = &self.records.trials;
        match schedule::next(&self.night(), trials, &self.records.earlier, spent, &out) {
            Next::Trial { cell, why } => Ok((cell, why)),
            Next::Wait => Err(None),
            Next::Done => Err(Some("every cell has had enough")),
            Next::OutOfTime => Err(Some("the budget is spent")),
            Next::HostTrouble => Err(Some(
                "the last trials all failed for reasons outside the kernels; giving up",
            )),
        }
    }

    /// A trial of a cell: one that got lost with the process that had asked for it, or else a new one.
    fn order(&mut self, cell: &Cell) -> Result<Order> {
        let name = Some(cell.id.to_string());
        if let Some(at) = self.lost.iter().position(|order| order.cell == name) {
            return Ok(self.lost.remove(at));
        }
        self.run.order(&mut self.records, cell.arm.clone(), name)
    }

    fn take(&mut self, record: TrialRecord) -> Result<()> {
        let mut out = self.out.iter();
        let at = out.position(|(order, _)| order.number == record.number);
        let (_, index) = self
            .out
            .remove(at.context("a trial that nobody asked for")?);
        let cell = &self.manifest.cells[index];
        let trial = NightTrial {
            cell: cell.id.to_string(),
            trial: record,
            spent_minutes: self.spent_minutes(),
        };
        self.run.record(&trial)?;
        self.run.trial_ended(&cell.campaign, &trial.trial);
        self.records.insert(trial);
        Ok(())
    }

    /// Whether anything is left to try; without, no kernel is needed.
    fn is_wanted(&self) -> bool {
        self.next().is_ok()
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

    /// What a trial of a cell is made with: kernels, and what the guest boots into. `None`: it cannot be tried,
    /// and why is noted.
    fn make_ready(
        &mut self,
        cell: &Cell,
        means: &Means<'a>,
    ) -> Result<Option<(Arc<Guests>, PathBuf)>> {
        let key = SessionKey::of(cell);
        if !self.sessions.contains_key(&key) {
            self.prepare(cell, means)?;
            if !self.sessions.contains_key(&key) {
                return Ok(None);
            }
        }
        if !self.is_proven(cell)? {
            return Ok(None);
        }
        let session = &self.sessions[&key];
        if let Some(why) = session.refusal(&cell.campaign, &cell.arm)? {
            self.known.untestable.insert(cell.id.to_string(), why);
            self.known.write(self.run.dir())?;
            return Ok(None);
        }
        let guests = Arc::clone(session.guests());
        Ok(Some((guests, self.lay_out(&cell.campaign)?)))
    }

    /// Writes what a campaign's guests boot into, unless this process has.
    fn lay_out(&mut self, campaign: &Campaign) -> Result<PathBuf> {
        let plan = campaign.load_plan();
        let known = self.plans.iter().position(|one| *one == plan);
        let number = known.unwrap_or(self.plans.len());
        let path = self.run.dir().initramfs(&format!("{LOAD}-{number}"));
        if known.is_none() {
            initramfs::write(&path, &plan, None)?;
            self.plans.push(plan);
        }
        Ok(path)
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
        session.lay_out_idle(campaign, self.run.dir())?;
        let arming: Arming = session.prove_detectors(campaign, &cell.arm)?;
        self.run.record_arming(&arming)?;
        let works = arming.doubt().is_none();
        self.records.armings.push(arming);
        Ok(works)
    }
}
