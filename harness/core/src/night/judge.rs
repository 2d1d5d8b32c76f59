//! What a night's trials say: a function of its records and of what earlier nights left, alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::NightSpec;
use super::known::KnownIssue;
use super::plan::Cell;
use super::report::{
    Budget, CellReport, Hit, KnownReport, NewSignature, NightReport, SCHEMA_VERSION,
};
use super::schedule::{self, Next};
use super::{Conclusion, NightTrial};
use crate::arming::Arming;
use crate::compare::failure::{Failure, Told};
use crate::history::change::{self, Change, Demands, Judged};
use crate::history::{CellNight, PastTrial};
use crate::record::{Standing, TrialRecord};
use crate::report::trial_line;

/// So many guests of a cell in a row that were not what was asked for: it cannot be tried.
const UNFIT_LIMIT: usize = 3;
/// So many trials of a cell, all of them without exposure: the race does not run there.
const NEVER_EXPOSED_LIMIT: usize = 5;
/// So many trials in a row that say nothing about a kernel: something is wrong with the host.
const HOST_TROUBLES: usize = 3;

/// What a night knows of a kernel besides its trials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKernel {
    /// What it says that it is; empty: there is no kernel.
    pub release: String,
    /// Key of its build; empty: there is none.
    pub build: String,
    /// Why it cannot be tried; absent: it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untestable: Option<String>,
}

/// A night, as far as it is not in its trials.
#[derive(Debug, Clone, Copy)]
pub struct Night<'a> {
    /// The run's name.
    pub run: &'a str,
    /// When it was started, RFC 3339.
    pub started: &'a str,
    /// What was asked for.
    pub spec: &'a NightSpec,
    /// What it tests.
    pub cells: &'a [Cell],
    /// What is known of the cells' kernels, by arm; absent: not built yet.
    pub kernels: &'a BTreeMap<String, KnownKernel>,
    /// Why cells cannot be tested whose kernels can, by id.
    pub untestable: &'a BTreeMap<String, String>,
    /// Lockups made on purpose.
    pub armings: &'a [Arming],
    /// Earlier nights of each cell, by its id, oldest first.
    pub past: &'a BTreeMap<String, Vec<CellNight>>,
    /// Failures that somebody has filed.
    pub known: &'a [KnownIssue],
}

impl Night<'_> {
    /// What is asked of the judgement of each cell.
    fn demands(&self) -> Demands {
        Demands {
            alpha: self.spec.alpha,
            cells: self.cells.len(),
            reach: self.spec.reach as usize,
        }
    }

    fn past_of(&self, cell: &Cell) -> &[CellNight] {
        self.past
            .get(&cell.id.to_string())
            .map_or(&[], Vec::as_slice)
    }
}

/// Where a cell stands.
#[derive(Debug, Clone)]
pub struct Standpoint<'a> {
    /// Which one.
    pub cell: &'a Cell,
    /// Its trials.
    pub records: Vec<&'a TrialRecord>,
    /// The same as the history keeps them.
    pub tonight: CellNight,
    /// What they are against the past.
    pub judged: Judged,
    /// Why it cannot be tested.
    pub untestable: Option<String>,
    /// Whether its kernel is not the one of its last night.
    pub is_new_kernel: bool,
}

impl Standpoint<'_> {
    /// Minutes under load in trials that count.
    pub fn minutes(&self) -> f64 {
        let trials = self.tonight.trials.iter();
        trials.map(|trial| minutes(&trial.told)).sum()
    }

    /// Trials that count as something.
    pub fn count(&self, standing: Standing) -> usize {
        let trials = self.tonight.trials.iter();
        trials.filter(|trial| trial.standing == standing).count()
    }

    /// Kinds of failure, with the trials that had them.
    pub fn failures(&self) -> BTreeMap<Failure, Vec<&PastTrial>> {
        let mut found: BTreeMap<Failure, Vec<&PastTrial>> = BTreeMap::new();
        for trial in &self.tonight.trials {
            if let Told::Counted {
                failure: Some(failure),
                ..
            } = &trial.told
            {
                found.entry(failure.clone()).or_default().push(trial);
            }
        }
        found
    }
}

fn minutes(told: &Told) -> f64 {
    match told {
        Told::Counted { minutes, .. } => *minutes,
        Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => 0.0,
    }
}

/// Where all cells stand, in their order. Trials of unknown cells are ignored.
pub fn look<'a>(night: &Night<'a>, trials: &'a [NightTrial]) -> Vec<Standpoint<'a>> {
    let mut records: BTreeMap<&str, Vec<&TrialRecord>> = BTreeMap::new();
    for trial in trials {
        records.entry(&trial.cell).or_default().push(&trial.trial);
    }
    let of = |cell: &'a Cell| {
        let records = records.remove(cell.id.to_string().as_str());
        standpoint(night, cell, records.unwrap_or_default())
    };
    night.cells.iter().map(of).collect()
}

fn standpoint<'a>(
    night: &Night<'a>,
    cell: &'a Cell,
    records: Vec<&'a TrialRecord>,
) -> Standpoint<'a> {
    let least = &cell.campaign.policy.min_exposure;
    let kernel = night.kernels.get(&cell.arm);
    let tonight = CellNight {
        run: night.run.to_owned(),
        started: night.started.to_owned(),
        kernel: kernel.map_or_else(String::new, name_of),
        trials: records
            .iter()
            .map(|record| PastTrial::of(record, least))
            .collect(),
    };
    let past = night.past_of(cell);
    let untestable = untestable(night, cell, &tonight);
    Standpoint {
        judged: judge_cell(past, &tonight, untestable.as_deref(), &night.demands()),
        is_new_kernel: past.last().is_none_or(|last| last.kernel != tonight.kernel),
        cell,
        records,
        tonight,
        untestable,
    }
}

fn name_of(kernel: &KnownKernel) -> String {
    format!("{} {}", kernel.release, kernel.build)
        .trim()
        .to_owned()
}

fn judge_cell(
    past: &[CellNight],
    tonight: &CellNight,
    untestable: Option<&str>,
    demands: &Demands,
) -> Judged {
    if !tonight.trials.is_empty() {
        return change::judge(past, tonight, demands);
    }
    Judged {
        change: Change::NotRun,
        reasons: vec![untestable.unwrap_or("there was no trial").to_owned()],
        failure: None,
        before: None,
        tonight: None,
        evidence: 1.0,
        needed: demands.cells as f64 / demands.alpha,
    }
}

/// Why a cell cannot be tested, or more trials of it make no sense.
fn untestable(night: &Night<'_>, cell: &Cell, tonight: &CellNight) -> Option<String> {
    let kernel = night.kernels.get(&cell.arm);
    let arming = night.armings.iter().rev().find(|one| one.arm == cell.arm);
    kernel
        .and_then(|kernel| kernel.untestable.clone())
        .or_else(|| night.untestable.get(&cell.id.to_string()).cloned())
        .or_else(|| arming?.doubt())
        .or_else(|| hopeless(&tonight.trials))
}

fn hopeless(trials: &[PastTrial]) -> Option<String> {
    let mut unfit = trials.iter().rev().map_while(|trial| match &trial.told {
        Told::Unfit(why) => Some(why),
        Told::HostTrouble | Told::NotExposed | Told::Counted { .. } => None,
    });
    let last = unfit.next();
    if unfit.count() + 1 >= UNFIT_LIMIT {
        let why = last.map_or("", String::as_str);
        return Some(format!(
            "its last {UNFIT_LIMIT} guests were not what was asked for: {why}"
        ));
    }
    let not_exposed = trials
        .iter()
        .filter(|trial| trial.told == Told::NotExposed)
        .count();
    let exposed: f64 = trials.iter().map(|trial| minutes(&trial.told)).sum();
    (not_exposed >= NEVER_EXPOSED_LIMIT && exposed == 0.0).then(|| {
        format!(
            "{not_exposed} trials ran to the end and none was exposed: the race hardly runs on it"
        )
    })
}

/// Whether the last trials all failed for reasons outside of the kernels.
pub fn is_host_in_trouble(trials: &[NightTrial]) -> bool {
    let tail = trials.iter().rev().take(HOST_TROUBLES);
    let failed = tail.filter(|one| {
        let least = crate::campaign::MinExposure::default();
        Told::by(&one.trial, &least) == Told::HostTrouble
    });
    failed.count() == HOST_TROUBLES
}

/// Judges a night, with all that a report says about it.
pub fn judge(
    night: &Night<'_>,
    trials: &[NightTrial],
    environment: Vec<(String, String)>,
) -> NightReport {
    let standpoints = look(night, trials);
    let spent = trials.iter().map(|trial| trial.spent_minutes);
    let spent = spent.fold(0.0, f64::max);
    let budget = Budget {
        minutes: night.spec.budget_minutes,
        spent,
        cut_short: schedule::next(night, trials, trials.len(), spent) == Next::OutOfTime,
    };
    let cells: Vec<CellReport> = standpoints
        .iter()
        .map(|standpoint| cell_report(night, standpoint))
        .collect();
    let (conclusion, mut reasons) = conclude(&cells, unproven(night, &standpoints));
    reasons.extend(remarks(&cells, &budget));
    if is_host_in_trouble(trials) {
        reasons.push(
            "the last trials all failed for reasons outside of the kernels; look at the machine"
                .to_owned(),
        );
    }
    NightReport {
        schema: SCHEMA_VERSION,
        run: night.run.to_owned(),
        conclusion,
        reasons,
        known: known_report(night, &standpoints),
        methods: methods(night),
        cells,
        budget,
        environment,
    }
}

fn cell_report(night: &Night<'_>, standpoint: &Standpoint<'_>) -> CellReport {
    let cell = standpoint.cell;
    let failures = standpoint.failures().into_iter().map(|(failure, trials)| {
        let issue = valid_issue(night, cell, &failure, &trials);
        let count = u32::try_from(trials.len()).unwrap_or(u32::MAX);
        (failure, count, issue.map(|issue| issue.link.clone()))
    });
    let counting = standpoint.records.iter().zip(&standpoint.tonight.trials);
    let meetings = counting
        .filter(|(_, trial)| minutes(&trial.told) > 0.0)
        .filter_map(|(record, _)| record.exposure.meetings());
    CellReport {
        cell: cell.id.clone(),
        control: cell.control,
        kernel: standpoint.tonight.kernel.clone(),
        judged: standpoint.judged.clone(),
        trials: standpoint
            .records
            .iter()
            .map(|record| trial_line(&cell.campaign, record))
            .collect(),
        failures: failures.collect(),
        exposed_minutes: standpoint.minutes(),
        meetings: meetings.reduce(|one, other| one + other),
        untestable: standpoint.untestable.clone(),
    }
}

fn valid_issue<'a>(
    night: &Night<'a>,
    cell: &Cell,
    failure: &Failure,
    trials: &[&PastTrial],
) -> Option<&'a KnownIssue> {
    issues(night, cell, failure, trials).find(|issue| issue.holds_at(night.started))
}

/// Issues that a failure may be, valid or not. A control fails as it should.
fn issues<'a>(
    night: &Night<'a>,
    cell: &Cell,
    failure: &Failure,
    trials: &[&PastTrial],
) -> impl Iterator<Item = &'a KnownIssue> {
    let is_wanted = cell.control && *failure == Failure::Target;
    let titles = || trials.iter().map(|trial| trial.title.as_str());
    night
        .known
        .iter()
        .filter(move |issue| !is_wanted && issue.is(&cell.id, failure, titles()))
}

fn known_report(night: &Night<'_>, standpoints: &[Standpoint<'_>]) -> KnownReport {
    let mut report = KnownReport::default();
    for standpoint in standpoints {
        let cell = standpoint.cell;
        for (failure, trials) in standpoint.failures() {
            let count = u32::try_from(trials.len()).unwrap_or(u32::MAX);
            let hit = |issue: &KnownIssue| Hit {
                link: issue.link.clone(),
                expires: issue.expires.clone(),
                cell: cell.id.clone(),
                failure: failure.clone(),
                count,
            };
            if let Some(issue) = valid_issue(night, cell, &failure, &trials) {
                report.hits.push(hit(issue));
                continue;
            }
            let expired = issues(night, cell, &failure, &trials).next();
            report.expired.extend(expired.map(hit));
            let is_wanted = cell.control && failure == Failure::Target;
            if expired.is_none() && !is_wanted && !was_seen_before(night, &failure) {
                report.new_signatures.push(NewSignature {
                    cell: cell.id.clone(),
                    trial: trials
                        .first()
                        .map_or_else(String::new, |one| one.id.clone()),
                    failure,
                    count,
                });
            }
        }
    }
    let seen = |issue: &&KnownIssue| {
        let mut all = report.hits.iter().chain(&report.expired);
        all.any(|hit| hit.link == issue.link)
    };
    let unseen = night.known.iter().filter(|issue| !seen(issue));
    report.never_hit = unseen.map(|issue| issue.link.clone()).collect();
    report
}

/// Whether any earlier night had this failure, in a cell that is not there to have it.
fn was_seen_before(night: &Night<'_>, failure: &Failure) -> bool {
    let cells = night.cells.iter().filter(|cell| {
        // The control's lockup is no news, and no excuse for another kernel's either.
        !cell.control || *failure != Failure::Target
    });
    let trials = cells
        .flat_map(|cell| night.past_of(cell))
        .flat_map(|past| &past.trials);
    let told = trials.filter_map(|trial| match &trial.told {
        Told::Counted { failure, .. } => failure.as_ref(),
        Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => None,
    });
    told.into_iter().any(|seen| seen == failure)
}

/// The link of the issue that a cell's decisive failure is filed as.
fn filed(cell: &CellReport) -> Option<&str> {
    let decisive = cell.judged.failure.as_ref()?;
    let mut failures = cell.failures.iter();
    let (_, _, link) = failures.find(|(failure, _, _)| failure == decisive)?;
    link.as_deref()
}

fn conclude(cells: &[CellReport], unproven: Option<String>) -> (Conclusion, Vec<String>) {
    let subjects = || cells.iter().filter(|cell| !cell.control);
    let regressed = subjects().filter(|cell| cell.judged.change == Change::Regression);
    let open: Vec<String> = regressed
        .filter(|cell| filed(cell).is_none())
        .map(|cell| format!("{}: {}", cell.cell, first_reason(cell)))
        .collect();
    let mut doubts = silent_controls(cells);
    doubts.extend(unproven);
    if subjects().all(|cell| !tells(cell)) {
        doubts.push("no trial of any kernel under test says anything about it".to_owned());
    }
    if !open.is_empty() {
        return (Conclusion::Regression, [open, doubts].concat());
    }
    if !doubts.is_empty() {
        return (Conclusion::CouldNotTell, doubts);
    }
    let tested = subjects().filter(|cell| tells(cell)).count();
    let reason = format!(
        "no regression: {tested} of {} were tested, and every control locked up",
        cells_of(subjects().count())
    );
    (Conclusion::Clean, vec![reason])
}

fn first_reason(cell: &CellReport) -> &str {
    cell.judged.reasons.first().map_or("", String::as_str)
}

/// Whether a cell's trials say anything about its kernel.
fn tells(cell: &CellReport) -> bool {
    cell.exposed_minutes > 0.0 || !cell.failures.is_empty()
}

/// Controls that did not show the bug: what survives in their environments may have met nothing.
fn silent_controls(cells: &[CellReport]) -> Vec<String> {
    let controls = cells.iter().filter(|cell| cell.control);
    let silent = controls.filter(|cell| {
        let mut kinds = cell.failures.iter().map(|(failure, _, _)| failure);
        !kinds.any(|failure| *failure == Failure::Target)
    });
    silent
        .map(|cell| {
            let why = match (&cell.untestable, cell.trials.len()) {
                (Some(why), _) => format!("cannot be tested: {why}"),
                (None, 0) => "was not tried".to_owned(),
                (None, 1) => "did not lock up in its only trial".to_owned(),
                (None, count) => format!("did not lock up in {count} trials"),
            };
            format!(
                "the control {} {why}; that nothing locks up there proves nothing",
                cell.cell
            )
        })
        .collect()
}

/// Kernels on which nobody saw a detector work.
fn unproven(night: &Night<'_>, standpoints: &[Standpoint<'_>]) -> Option<String> {
    let is_proven = |arm: &str| {
        let mut armings = night.armings.iter().filter(|arming| arming.arm == arm);
        armings.any(|arming| arming.doubt().is_none())
    };
    let survived = standpoints.iter().filter(|one| {
        !one.cell.control && one.count(Standing::Survived) > 0 && !is_proven(&one.cell.arm)
    });
    let mut arms: Vec<&str> = survived.map(|one| one.cell.arm.as_str()).collect();
    arms.dedup();
    (!arms.is_empty()).then(|| {
        format!(
            "no detector is proven to work on {}: what survives there proves nothing",
            arms.join(", ")
        )
    })
}

fn cells_of(count: usize) -> String {
    format!("{count} cell{}", if count == 1 { "" } else { "s" })
}

/// What a reader has to know besides the answer.
fn remarks(cells: &[CellReport], budget: &Budget) -> Vec<String> {
    let subjects = || cells.iter().filter(|cell| !cell.control);
    let mut remarks = Vec::new();
    for cell in subjects() {
        let name = &cell.cell;
        match cell.judged.change {
            Change::Regression => {
                if let Some(link) = filed(cell) {
                    remarks.push(format!("{name}: a regression that is filed as {link}"));
                }
            }
            Change::Recovery | Change::Suspicion | Change::StillFailing => {
                remarks.push(format!(
                    "{name}: {}: {}",
                    cell.judged.change,
                    first_reason(cell)
                ));
            }
            Change::New if !cell.failures.is_empty() => {
                let count: u32 = cell.failures.iter().map(|(_, count, _)| count).sum();
                remarks.push(format!(
                    "{name}: has no past to be held against, and {count} of {} trials failed",
                    cell.trials.len()
                ));
            }
            Change::New
            | Change::Unchanged
            | Change::Flake
            | Change::Infrastructure
            | Change::NotExposed
            | Change::NotRun => {}
        }
    }
    let untestable = subjects().filter(|cell| cell.untestable.is_some()).count();
    if untestable > 0 {
        remarks.push(format!(
            "{} cannot be tested; see why below",
            cells_of(untestable)
        ));
    }
    let not_run = subjects().filter(|cell| cell.trials.is_empty() && cell.untestable.is_none());
    let not_run = not_run.count();
    if not_run > 0 {
        remarks.push(format!("{} had no trial", cells_of(not_run)));
    }
    if budget.cut_short {
        remarks.push(format!(
            "the budget of {:.0} minutes ended the night",
            budget.minutes
        ));
    }
    remarks
}

fn methods(night: &Night<'_>) -> Vec<String> {
    let spec = night.spec;
    vec![
        format!(
            "a regression is a rate of failures that is shown to be higher than before, not a red cell after a green one; the probability that a night \
             calls anything a regression or a recovery that is none is at most {}, over all {} cells and kinds of failure, however often it is looked \
             at (Ville's inequality; Bonferroni over cells and kinds)",
            spec.alpha,
            night.cells.len()
        ),
        format!(
            "failures of up to {} nights add up, and the past begins after the last change that was shown",
            spec.reach
        ),
        "the control has the bug: where it does not lock up, what survives beside it may have met nothing".to_owned(),
        format!(
            "trials go to the control, once to each cell, then to new kernels, suspicions and flakes, then to the least exposed; {} to {} for each cell",
            spec.trials.min, spec.trials.max
        ),
    ]
}
