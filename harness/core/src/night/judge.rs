//! What a night's trials say: a function of its records and of what earlier nights left, alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NightTrial;
use super::conclusion::{conclude, remarks};
use super::config::NightSpec;
use super::filed::{known_report, valid_issue, without_filed};
use super::known::KnownIssue;
use super::plan::Cell;
use super::report::{Budget, CellReport, NightReport, SCHEMA_VERSION};
use super::schedule::{self, Next};
use crate::arming::{self, Arming};
use crate::compare::failure::{Failure, Told};
use crate::history::change::{Change, Demands, Judged, Past};
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

    pub(super) fn past_of(&self, cell: &Cell) -> &[CellNight] {
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
    /// The same when failures that are filed count as none: they hide no others, and get no more trials.
    pub open: Judged,
    /// Why it cannot be tested.
    pub untestable: Option<String>,
    /// Whether its kernel is not the one of its last night.
    pub is_new_kernel: bool,
    /// Whether its last night left a suspicion that nobody has filed.
    pub was_in_doubt: bool,
}

impl Standpoint<'_> {
    /// Minutes under load in trials that count.
    pub fn minutes(&self) -> f64 {
        let trials = self.tonight.trials.iter();
        // The sum of no floats is -0.0, which reads badly.
        trials.fold(0.0, |sum, trial| sum + minutes(&trial.told))
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
        conditions: cell.conditions.clone(),
        trials: records
            .iter()
            .map(|record| PastTrial::of(record, least))
            .collect(),
    };
    let past = night.past_of(cell);
    let untestable = untestable(night, cell, &tonight);
    let demands = night.demands();
    let judge = |past: &Past, tonight: &CellNight| {
        judge_cell(past, tonight, untestable.as_deref(), &demands)
    };
    let before = Past::of(past, &demands);
    let judged = judge(&before, &tonight);
    let (open, was_in_doubt) = if night.known.is_empty() {
        (judged.clone(), before.is_in_doubt())
    } else {
        let strip = |of: &CellNight| without_filed(night, cell, of);
        let past: Vec<CellNight> = past.iter().map(strip).collect();
        let before = Past::of(&past, &demands);
        (judge(&before, &strip(&tonight)), before.is_in_doubt())
    };
    Standpoint {
        judged,
        open,
        was_in_doubt,
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
    past: &Past,
    tonight: &CellNight,
    untestable: Option<&str>,
    demands: &Demands,
) -> Judged {
    if !tonight.trials.is_empty() {
        return past.judge(tonight);
    }
    Judged {
        change: Change::NotRun,
        reasons: vec![untestable.unwrap_or("there was no trial").to_owned()],
        failure: None,
        before: None,
        tonight: None,
        evidence: 1.0,
        needed: demands.cells as f64 / demands.alpha,
        begins_anew: false,
    }
}

/// Why a cell cannot be tested, or more trials of it make no sense.
fn untestable(night: &Night<'_>, cell: &Cell, tonight: &CellNight) -> Option<String> {
    let kernel = night.kernels.get(&cell.arm);
    let last = || night.armings.iter().rev().find(|one| one.arm == cell.arm);
    let is_open = arming::is_open(night.armings, &cell.arm);
    let arming = if is_open { None } else { last() };
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
pub fn is_host_in_trouble<'a>(trials: impl DoubleEndedIterator<Item = &'a NightTrial>) -> bool {
    let tail = trials.rev().take(HOST_TROUBLES);
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
    let all = trials.iter().map(|one| one.trial.number).collect();
    let budget = Budget {
        minutes: night.spec.budget_minutes,
        spent,
        cut_short: schedule::next(night, trials, &all, spent, &[]) == Next::OutOfTime,
    };
    let cells: Vec<CellReport> = standpoints
        .iter()
        .map(|standpoint| cell_report(night, standpoint))
        .collect();
    let (conclusion, mut reasons) = conclude(night, &standpoints, &cells);
    reasons.extend(remarks(night, &standpoints, &cells, &budget));
    if is_host_in_trouble(trials.iter()) {
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
            "failures of up to {} nights add up, and the past begins after the last change that was shown, or of the load, whose \
             digest covers guest, settings, holder, compiled-in amplifiers, length of trials and what counts as exposure",
            spec.reach
        ),
        "a suspicion is resolved by trials; where the past has no such failure, or there was no time for all of them, the night \
         is not clean, and the next one begins with it"
            .to_owned(),
        "the control has the bug: where it does not lock up, what survives beside it may have met nothing".to_owned(),
        format!(
            "trials go to the control, to suspicions of last night, once to each cell, then to new kernels, suspicions and flakes, then to the least exposed; {} to {} for each cell",
            spec.trials.min, spec.trials.max
        ),
    ]
}
