//! A bisection under way: builds and tries the candidates that the search asks for.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kverdict_core::arming::{self, Arming};
use kverdict_core::bisect::observation::Reading;
use kverdict_core::bisect::range::Range;
use kverdict_core::bisect::report::BisectReport;
use kverdict_core::bisect::search::{self, Next, Search};
use kverdict_core::campaign::{Arm, Campaign};
use kverdict_core::order::Order;
use kverdict_core::record::{Standing, TrialRecord};
use serde_json::json;

use crate::attempts::{Attempt, Tried, counting, observations, out, settled};
use crate::build::BuildFailure;
use crate::build::checkout::Checkout;
use crate::build::repository::Repository;
use crate::candidates::Origin;
use crate::executor::Jobs;
use crate::executor::room::Room;
use crate::executor::threads::{Coming, Threads};
use crate::guests::LOAD;
use crate::manifest::BisectManifest;
use crate::pace::Pace;
use crate::reports;
use crate::session::{Means, Session};
use crate::store::{Records, Run};
use crate::verification::prove_detectors;

/// So many attempts in a row that say nothing about a kernel: something is wrong with the host.
const HOST_TROUBLES: usize = 3;
/// What a build failure that is the kernel's own makes a driver of a bisection do.
const SKIP: u8 = 125;

/// A bisection that this process writes.
pub struct Bisection<'a> {
    manifest: &'a BisectManifest,
    range: Range,
    run: Run,
    jobs: Jobs,
    records: Records<Attempt>,
    /// Attempts of earlier processes, whose host may have been mended since.
    before: usize,
    /// Asked for by an earlier process. What gets lost is what takes long, so that they come first.
    lost: VecDeque<Order>,
    /// Under way, with their candidates.
    out: Vec<(Order, usize)>,
    /// When the last attempt was done.
    since: Instant,
    /// Kernels that are ready, by candidate.
    sessions: BTreeMap<usize, Session<'a>>,
    checkout: Option<Checkout>,
}

impl<'a> Bisection<'a> {
    /// Goes on after these attempts.
    ///
    /// # Errors
    /// When the candidates are no range.
    pub fn new(
        manifest: &'a BisectManifest,
        run: Run,
        records: Records<Attempt>,
        jobs: Jobs,
    ) -> Result<Self> {
        Ok(Self {
            range: manifest.candidates.range()?,
            manifest,
            run,
            jobs,
            before: records.trials.len(),
            lost: out(&manifest.candidates, &records).into(),
            records,
            out: Vec::new(),
            since: Instant::now(),
            sessions: BTreeMap::new(),
            checkout: None,
        })
    }

    /// How many attempts there were so far.
    pub fn attempts(&self) -> usize {
        self.records.trials.len()
    }

    /// Tries candidates until the search ends.
    ///
    /// # Errors
    /// Trouble of the host, or an interrupt; what a kernel does or does not is an outcome.
    pub fn go_on(&mut self, means: &Means<'a>) -> Result<BisectReport> {
        let mut room = Room::of_this_host(self.jobs)?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut threads = Threads::new(scope, &stop);
            let pace = Pace::default();
            loop {
                if self.tell(means, &pace)? {
                    return self.report();
                }
                self.check_host()?;
                self.begin_what_fits(means, &mut room, &mut threads)?;
                if !self.out.is_empty() {
                    room.release();
                    self.take(threads.wait()?)?;
                }
            }
        })
    }

    /// Says what has come out, as if candidates were tried one after the other. Gives whether that is the end.
    fn tell(&self, means: &Means<'_>, pace: &Pace) -> Result<bool> {
        let (judged, _) = settled(&self.manifest.candidates, &self.records);
        let judged = observations(self.manifest, &judged);
        let search = search::search(&self.range, &self.manifest.policy, &judged);
        if self.attempts() > self.before {
            means
                .progress
                .line(format!("  {}", self.most_probable(&search)));
        }
        let is_quiet = self.out.is_empty() && self.lost.is_empty();
        let is_over = matches!(search.next, Next::Done(_)) && is_quiet;
        if !is_over {
            // A killed bisection has a report, too.
            pace.keep(|| self.report()).transpose()?;
        }
        Ok(is_over)
    }

    fn report(&self) -> Result<BisectReport> {
        reports::write_bisect(self.run.dir(), self.manifest, &self.records)
    }

    /// Where the search stands, in a line.
    fn most_probable(&self, search: &Search) -> String {
        let probable = |candidate: &usize| search.posterior.of_candidate(*candidate);
        let mut candidates: Vec<usize> = (1..self.range.candidates().len()).collect();
        candidates.sort_by(|one, other| probable(other).total_cmp(&probable(one)));
        let first = candidates.iter().take(2).map(|candidate| {
            let percent = probable(candidate) * 100.0;
            format!("{} {percent:.1} %", self.range.label(*candidate))
        });
        format!("most probable: {}", first.collect::<Vec<_>>().join(", "))
    }

    /// Begins trials while there is room and something is wanted, whatever comes of those under way. A kernel is
    /// made ready only while there are none: a compiler beside guests would take their CPUs.
    fn begin_what_fits<'scope>(
        &mut self,
        means: &Means<'a>,
        room: &mut Room,
        threads: &mut Threads<'scope, '_>,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        let guest = &self.manifest.campaign.guest;
        loop {
            let under_way = vec![guest; self.out.len()];
            let first = under_way.is_empty();
            if !first && !room.has_room(guest, &under_way, means.progress)? {
                return Ok(());
            }
            let Some((candidate, why)) = self.next() else {
                return Ok(());
            };
            let is_ready = self.sessions.contains_key(&candidate);
            if !first && !is_ready {
                return Ok(());
            }
            means.progress.line(self.announcement(candidate, &why));
            if !is_ready && let Some(why) = self.make_ready(candidate, means)? {
                return self.give_up(candidate, why);
            }
            if first {
                room.has_room(guest, &[], means.progress)?;
            }
            self.begin(candidate, means, room, threads)?;
        }
    }

    /// The candidate to try now, and why; `None`: that is not known before what is under way has ended.
    fn next(&self) -> Option<(usize, String)> {
        if let Some(order) = self.lost.front() {
            return Some((self.candidate(&order.arm)?, "its trial got lost".to_owned()));
        }
        let attempts = counting(&self.manifest.candidates, &self.records);
        let observations = observations(self.manifest, &attempts);
        let under_way: Vec<usize> = self.out.iter().map(|(_, candidate)| *candidate).collect();
        let policy = &self.manifest.policy;
        let search = search::beside(&self.range, policy, &observations, &under_way);
        let (candidate, why) = match search.next {
            Next::Trial { candidate } => (candidate, "tells most"),
            Next::Measure { candidate } => (candidate, "for the rate"),
            Next::Confirm { candidate } => (candidate, "confirms"),
            Next::Sweep { candidate } => (candidate, "sweeps"),
            Next::Done(_) => return None,
        };
        let beside = match under_way.len() {
            0 => format!("{:.1} bits to go", search.posterior.entropy_bits()),
            others => format!("beside {others}"),
        };
        Some((candidate, format!("{why}; {beside}")))
    }

    fn announcement(&self, candidate: usize, why: &str) -> String {
        let entry = &self.manifest.candidates.entries[candidate];
        format!(
            "{candidate} of {} ({why}): {} {}",
            self.manifest.candidates.entries.len() - 1,
            entry.candidate.label,
            entry.about
        )
    }

    /// Makes a candidate's kernel ready. Gives why it cannot be tried, if so.
    fn make_ready(&mut self, candidate: usize, means: &Means<'a>) -> Result<Option<String>> {
        let label = self.range.label(candidate).to_owned();
        let campaign = self.campaign_of(candidate, means)?;
        match self.prepare(&label, &campaign, means) {
            Ok((session, doubt)) => {
                if doubt.is_none() {
                    self.sessions.insert(candidate, session);
                }
                Ok(doubt)
            }
            Err(error) => untestable(error).map(Some),
        }
    }

    fn begin<'scope>(
        &mut self,
        candidate: usize,
        means: &Means<'a>,
        room: &mut Room,
        threads: &mut Threads<'scope, '_>,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        let order = match self.lost.pop_front() {
            Some(order) => order,
            None => {
                let label = self.range.label(candidate).to_owned();
                self.run.order(&mut self.records, label, None)?
            }
        };
        self.out.push((order.clone(), candidate));
        self.run.trial_started(&order);
        let coming = Coming {
            guests: Arc::clone(self.sessions[&candidate].guests()),
            campaign: &self.manifest.campaign,
            order,
            initramfs: self.run.dir().initramfs(LOAD),
            lease: room.take(),
        };
        threads.make(coming, means.progress)
    }

    fn take(&mut self, record: TrialRecord) -> Result<()> {
        let mut out = self.out.iter();
        let at = out.position(|(order, _)| order.number == record.number);
        let (_, candidate) = self
            .out
            .remove(at.context("a trial that nobody asked for")?);
        self.run.trial_ended(&self.manifest.campaign, &record);
        self.keep(candidate, Tried::Trial(Box::new(record)))
    }

    /// Of a candidate that cannot be tried, as it turns out.
    fn give_up(&mut self, candidate: usize, why: String) -> Result<()> {
        let label = self.range.label(candidate);
        self.lost.retain(|order| order.arm != label);
        self.keep(candidate, Tried::Untestable(why))
    }

    fn keep(&mut self, candidate: usize, outcome: Tried) -> Result<()> {
        let mut attempt = Attempt {
            candidate: self.range.label(candidate).to_owned(),
            seconds: self.since.elapsed().as_secs_f64(),
            outcome,
        };
        // What the host spoils takes none of the time that others needed beside it.
        if !self.out.is_empty() && self.is_spoilt(&attempt) {
            attempt.seconds = 0.0;
        } else {
            self.since = Instant::now();
        }
        self.run.record_attempt(&attempt)?;
        self.records.trials.push(attempt);
        Ok(())
    }

    fn is_spoilt(&self, attempt: &Attempt) -> bool {
        let least = &self.manifest.campaign.policy.min_exposure;
        let trial = attempt.trial();
        trial.is_some_and(|record| record.standing(least) == Standing::Infrastructure)
    }

    fn candidate(&self, label: &str) -> Option<usize> {
        let mut candidates = self.range.candidates().iter();
        candidates.position(|one| one.label == label)
    }

    /// Builds a candidate's kernel, and shows that detectors work on it; or why they may not.
    fn prepare(
        &mut self,
        label: &str,
        campaign: &Campaign,
        means: &Means<'a>,
    ) -> Result<(Session<'a>, Option<String>)> {
        let records = &self.records;
        let check = |arm: &str, build: &str| records.check_build(arm, build);
        let mut session = Session::prepare(means, campaign, &[label], &mut self.run, &check)?;
        session.lay_out(campaign, self.run.dir())?;
        for _ in 0..arming::TRIES {
            let armings = &mut self.records.armings;
            prove_detectors(&mut session, campaign, &[label], &mut self.run, armings)?;
        }
        let mut armings = self.records.armings.iter().rev();
        let last = armings.find(|arming| arming.arm == label);
        Ok((session, last.and_then(Arming::doubt)))
    }

    /// The campaign with this candidate alone; a commit is checked out for it.
    fn campaign_of(&mut self, candidate: usize, means: &Means<'a>) -> Result<Campaign> {
        let entry = &self.manifest.candidates.entries[candidate];
        let mut campaign = self.manifest.campaign.clone();
        campaign
            .arms
            .retain(|name, _| *name == entry.candidate.label);
        if let Origin::Commit(commit) = &entry.origin {
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
    fn check_host(&self) -> Result<()> {
        let attempts = &self.records.trials[self.before..];
        let last = &attempts[attempts.len().saturating_sub(HOST_TROUBLES)..];
        let observations = observations(self.manifest, last);
        let mut troubles = Vec::new();
        for observation in observations.iter().rev() {
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

/// Why a kernel that does not build is skipped; trouble of the machine is none of its.
fn untestable(error: anyhow::Error) -> Result<String> {
    match error.downcast_ref::<BuildFailure>() {
        Some(failure) if failure.exit_code() == SKIP => Ok(format!("{error:#}")),
        Some(_) | None => Err(error),
    }
}
