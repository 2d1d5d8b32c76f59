//! What a tune found, as data. Everything in it comes from stored trials.

use serde::{Deserialize, Serialize};

use super::objective::Objective;
use super::reading::{self, Counts, Reading, TuneTrial};
use super::search::{Next, Search, Stage};
use super::space::{Point, Space};
use super::spec::TuneSpec;
use crate::campaign::{Campaign, Role};
use crate::statistics::Rate;

/// Version of [`TuneReport`].
pub const SCHEMA_VERSION: u32 = 1;

/// What `report.json` and `tune.md` of a tune hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuneReport {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// The tune's name.
    pub name: String,
    /// The campaign that it started from.
    pub campaign: String,
    /// The arm that ran.
    pub arm: String,
    /// What that arm is there for.
    pub role: Role,
    /// What the run was made with, as label and value.
    pub environment: Vec<(String, String)>,
    /// What was made large: `near misses`, or a proxy for them; absent before anything was counted.
    pub objective: Option<String>,
    /// Whether `objective` is a proxy.
    pub proxy: bool,
    /// Why the search ended; absent: it has not.
    pub ended: Option<String>,
    /// Fields that were varied.
    pub parameters: Vec<String>,
    /// All points that were tried, the highest rate first.
    pub points: Vec<PointLine>,
    /// Points that the search came by and that cannot be tried.
    pub impossible: Vec<ImpossiblePoint>,
    /// Trials that ended in the lockup that the campaign is about.
    pub target_lockups: Vec<String>,
    /// How each figure was made.
    pub methods: Vec<String>,
}

/// A point in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointLine {
    /// `p1` and so on, in the order of first trials.
    pub name: String,
    /// Whether these are the campaign's own values.
    pub own: bool,
    /// Whether it is the best.
    pub best: bool,
    /// Its values, one for each parameter.
    pub values: Vec<String>,
    /// Trials that were counted.
    pub trials: usize,
    /// Minutes under load in these.
    pub minutes: f64,
    /// Both sides in flight for the same pair of CPUs; absent: not counted.
    pub near_misses: Option<u64>,
    /// The objective per minute; absent: nothing was counted.
    pub rate: Option<Rate>,
    /// Swaps per minute (side B); absent: the kernel does not tell.
    pub swaps_per_minute: Option<f64>,
    /// Active balances out of a sleeping migration thread (side A), per minute; absent: not counted.
    pub windows_per_minute: Option<f64>,
    /// Active balances of any kind per minute; absent: the kernel does not tell.
    pub active_balances_per_minute: Option<f64>,
    /// Packets per second, all pollers together; absent: nothing was counted.
    pub packets_per_second: Option<f64>,
    /// Trials that ended in the lockup that the campaign is about, and those that were not counted.
    pub remarks: Vec<String>,
}

/// A point that contradicts itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImpossiblePoint {
    /// Its values, one for each parameter.
    pub values: Vec<String>,
    /// What is wrong.
    pub why: String,
}

/// Makes the report of a tune.
pub fn report(
    run: &str,
    spec: &TuneSpec,
    campaign: &Campaign,
    space: &Space,
    environment: Vec<(String, String)>,
    trials: &[TuneTrial],
    search: &Search,
) -> TuneReport {
    let Lines {
        points,
        objective,
        dispersion,
    } = lines(space, trials, search.best.as_ref());
    let impossible = search
        .impossible
        .iter()
        .map(|(point, why)| ImpossiblePoint {
            values: words(space, point),
            why: why.clone(),
        });
    let ended = match &search.next {
        Next::Trial(_) => None,
        Next::Done(ending) => Some(ending.to_string()),
    };
    TuneReport {
        schema: SCHEMA_VERSION,
        run: run.to_owned(),
        name: spec.name.clone(),
        campaign: campaign.name.clone(),
        arm: space.arm.clone(),
        role: space.role,
        environment,
        objective: objective.map(|one| one.to_string()),
        proxy: objective == Some(Objective::BothSides),
        ended,
        parameters: space
            .axes
            .iter()
            .map(|axis| axis.field.to_string())
            .collect(),
        points,
        impossible: impossible.collect(),
        target_lockups: trials
            .iter()
            .filter(|one| reading::is_target(&one.trial))
            .map(|one| one.trial.id.clone())
            .collect(),
        methods: methods(objective, dispersion),
    }
}

/// The lines of all points, and how their rates were made.
struct Lines {
    points: Vec<PointLine>,
    objective: Option<Objective>,
    dispersion: f64,
}

fn lines(space: &Space, trials: &[TuneTrial], best: Option<&Point>) -> Lines {
    let readings = reading::of_all(space, trials);
    let tried = in_order(trials);
    let counted: Vec<Vec<Counts>> = tried.iter().map(|point| counts(point, &readings)).collect();
    let objective = Objective::of(counted.iter().flatten());
    let dispersion = objective.map_or(1.0, |one| one.dispersion(counted.iter().map(Vec::as_slice)));
    let line = |(index, (point, counts)): (usize, (&Point, &Vec<Counts>))| PointLine {
        name: name(index),
        own: *point == space.start(),
        best: best == Some(point),
        values: words(space, point),
        rate: objective.and_then(|one| one.rate(counts, dispersion)),
        remarks: remarks(point, trials, &readings),
        ..figures(counts)
    };
    let mut points: Vec<PointLine> = tried.iter().zip(&counted).enumerate().map(line).collect();
    let rate = |line: &PointLine| line.rate.map_or(-1.0, |rate| rate.per_minute);
    points.sort_by(|one, two| rate(two).total_cmp(&rate(one)));
    Lines {
        points,
        objective,
        dispersion,
    }
}

/// Every point once, in the order of first trials.
fn in_order(trials: &[TuneTrial]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for trial in trials {
        if !points.contains(&trial.point) {
            points.push(trial.point.clone());
        }
    }
    points
}

fn name(index: usize) -> String {
    format!("p{}", index + 1)
}

/// What a point is called, or will be if it has no trial yet.
pub fn name_of(point: &Point, trials: &[TuneTrial]) -> String {
    let points = in_order(trials);
    let index = points.iter().position(|one| one == point);
    name(index.unwrap_or(points.len()))
}

/// What a search is doing, in words.
pub fn stage(space: &Space, stage: Stage) -> String {
    match stage {
        Stage::Start => "start".to_owned(),
        Stage::Walk { pass, axis, round } => {
            let field = space.axes.get(axis).map(|axis| axis.field.to_string());
            format!(
                "walk {pass} along {}, round {round}",
                field.unwrap_or_default()
            )
        }
        Stage::Final => "telling the best apart".to_owned(),
    }
}

/// What a point has other than the campaign, in words.
pub fn difference(space: &Space, point: &Point) -> String {
    let values = words(space, point);
    let axes = space.axes.iter().zip(&values).zip(point.choices());
    let others = axes.filter(|(_, choice)| **choice != 0);
    let texts: Vec<String> = others
        .map(|((axis, value), _)| format!("{}={value}", axis.field))
        .collect();
    if texts.is_empty() {
        "the campaign's own values".to_owned()
    } else {
        texts.join(", ")
    }
}

fn words(space: &Space, point: &Point) -> Vec<String> {
    let word = |value: Option<&serde_yaml::Value>| match value {
        None => "not in the campaign".to_owned(),
        Some(serde_yaml::Value::String(text)) => text.clone(),
        Some(value) => serde_json::to_string(value).unwrap_or_default(),
    };
    space.values(point).into_iter().map(word).collect()
}

fn counts(point: &Point, readings: &[(Point, Reading)]) -> Vec<Counts> {
    let of_point = readings.iter().filter(|(of, _)| of == point);
    of_point
        .filter_map(|(_, reading)| match reading {
            Reading::Counted(counts) => Some(*counts),
            Reading::Failed(_) | Reading::HostTrouble(_) => None,
        })
        .collect()
}

/// A line with nothing in it but the figures.
fn figures(counts: &[Counts]) -> PointLine {
    let total = |get: fn(&Counts) -> Option<u64>| {
        let known = counts
            .iter()
            .filter_map(|one| Some((get(one)?, one.minutes)));
        known.reduce(|sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let per_minute = |get| total(get).map(|(events, minutes)| events as f64 / minutes);
    PointLine {
        name: String::new(),
        own: false,
        best: false,
        values: Vec::new(),
        trials: counts.len(),
        minutes: counts.iter().map(|one| one.minutes).sum(),
        near_misses: total(|one| one.meetings).map(|(events, _)| events),
        rate: None,
        swaps_per_minute: per_minute(|one| one.swaps),
        windows_per_minute: per_minute(|one| one.windows),
        active_balances_per_minute: per_minute(|one| one.active_balances),
        packets_per_second: per_minute(|one| Some(one.packets)).map(|rate| rate / 60.0),
        remarks: Vec::new(),
    }
}

fn remarks(point: &Point, trials: &[TuneTrial], readings: &[(Point, Reading)]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (trial, (_, reading)) in trials.iter().zip(readings) {
        if trial.point != *point {
            continue;
        }
        let id = &trial.trial.id;
        match reading {
            Reading::Counted(counts) if counts.lockups > 0 => {
                remarks.push(format!("{id}: TARGET LOCKUP: {}", trial.trial.title));
            }
            Reading::Counted(_) => {}
            Reading::Failed(why) => remarks.push(format!("{id}: not counted: {why}")),
            Reading::HostTrouble(why) => remarks.push(format!("{id}: not of the guest: {why}")),
        }
    }
    remarks
}

fn methods(objective: Option<Objective>, dispersion: f64) -> Vec<String> {
    let counted = match objective {
        None => "nothing was counted",
        Some(Objective::Meetings) => {
            "near misses: both sides of the race in flight for the same pair of CPUs; a target lockup is one"
        }
        Some(Objective::BothSides) => {
            "proxy: geometric mean of the swaps and the windows (where these are not counted: the active balances) per minute; its interval's ends are the means of theirs"
        }
    };
    vec![
        counted.to_owned(),
        format!(
            "intervals: exact Poisson at 95 %, widened because trials of the same point differ by {dispersion:.1} times the variance of chance"
        ),
        "the best: the highest lower end of an interval; the search has chosen it, so that its rate is rather too high than too low".to_owned(),
    ]
}

impl TuneReport {
    /// The best point.
    pub fn best(&self) -> Option<&PointLine> {
        self.points.iter().find(|line| line.best)
    }

    /// The campaign's own point, if it was tried.
    pub fn own(&self) -> Option<&PointLine> {
        self.points.iter().find(|line| line.own)
    }

    /// Whether a kernel that should have the fix has shown the bug.
    pub fn refuted(&self) -> bool {
        self.role == Role::Subject && !self.target_lockups.is_empty()
    }

    /// Trials that were counted and minutes under load in them, over all points.
    pub fn counted(&self) -> (usize, f64) {
        let of = |line: &PointLine| (line.trials, line.minutes);
        let add = |sum: (usize, f64), one: (usize, f64)| (sum.0 + one.0, sum.1 + one.1);
        self.points.iter().map(of).fold((0, 0.0), add)
    }
}
