//! The page of a run: `report.html`, beside the report as text.
//!
//! Each kind of run brings an answer and tables of its own; what its trials left looks the same in all of them.

mod answer;
mod compare;
mod figures;
mod reproduce;
mod sides;
mod table;

use kverdict_core::arming::Arming;
use kverdict_core::assessment::{Assessment, Enough};
use kverdict_core::bisect::report::BisectReport;
use kverdict_core::campaign::{Campaign, Role};
use kverdict_core::compare::report::CompareReport;
use kverdict_core::record::TrialRecord;
use kverdict_core::report::{Report, trial_line};
use kverdict_core::verdict;
use serde::Serialize;

use crate::closeup::{CloseUp, close_ups};
use crate::figure::Figure;
use crate::left::Leftovers;
use crate::{Error, template};

pub(crate) use answer::{Answer, Tone};
use reproduce::Command;
use sides::Side;
pub(crate) use table::{Cell, Table, TrialTable};

/// What a run's page is made of besides its report.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// The run's name.
    pub run: &'a str,
    /// Command line that started it.
    pub argv: &'a [String],
    /// What it was made with, as label and value.
    pub environment: &'a [(String, String)],
    /// Guest, load and policy.
    pub campaign: &'a Campaign,
    /// Lockups made on purpose.
    pub armings: &'a [Arming],
    /// All trials, in order.
    pub records: &'a [&'a TrialRecord],
    /// What is left of them.
    pub leftovers: &'a Leftovers,
}

/// A run's page as its template wants it.
#[derive(Debug, Serialize)]
struct RunPage {
    title: String,
    run: String,
    about: String,
    answer: Answer,
    sides: Option<Table>,
    rates: Option<Figure>,
    survival: Option<Figure>,
    tables: Vec<Table>,
    evidence: Option<CloseUp>,
    more: Vec<CloseUp>,
    exposure: Option<Figure>,
    environment: Vec<(String, String)>,
    detectors: Vec<String>,
    trials: TrialTable,
    reproduce: Vec<Command>,
    methods: Vec<String>,
}

/// The page of a campaign's run.
///
/// # Errors
/// When this crate is at fault.
pub fn verify(report: &Report, material: &Material<'_>) -> Result<String, Error> {
    let sides: Vec<Side> = report.verdict.arms.iter().map(Side::of_arm).collect();
    page(
        "verify",
        Answer::of_verdict(report, material.campaign),
        &sides,
        Vec::new(),
        &report.methods,
        material,
    )
}

/// The page of a comparison.
///
/// # Errors
/// As [`verify`].
pub fn compare(report: &CompareReport, material: &Material<'_>) -> Result<String, Error> {
    let sides: Vec<Side> = report.sides.iter().enumerate().map(Side::of_side).collect();
    page(
        "compare",
        Answer::of_comparison(report),
        &sides,
        compare::tables(report),
        &report.methods,
        material,
    )
}

/// The page of trials of a single kernel.
///
/// # Errors
/// As [`verify`].
pub fn trial(
    assessment: &Assessment,
    enough: &Enough,
    material: &Material<'_>,
) -> Result<String, Error> {
    let records: Vec<TrialRecord> = material.records.iter().copied().cloned().collect();
    let arms = material.campaign.arms.iter();
    let tallies: Vec<_> = arms
        .map(|(name, arm)| verdict::tally(material.campaign, name, arm.role, &records))
        .collect();
    let sides: Vec<Side> = tallies.iter().map(Side::of_arm).collect();
    page(
        "trial",
        Answer::of_assessment(assessment, enough, material.campaign),
        &sides,
        Vec::new(),
        &[],
        material,
    )
}

/// The page of a bisection.
///
/// # Errors
/// As [`verify`].
pub fn bisect(report: &BisectReport, material: &Material<'_>) -> Result<String, Error> {
    let tables = vec![table::suspects(report), table::path(report)];
    page(
        "bisect",
        Answer::of_bisection(report),
        &[],
        tables,
        &report.methods,
        material,
    )
}

fn page(
    command: &str,
    answer: Answer,
    sides: &[Side],
    tables: Vec<Table>,
    methods: &[String],
    material: &Material<'_>,
) -> Result<String, Error> {
    let campaign = material.campaign;
    let mut near = close_ups(campaign, material.records)
        .into_iter()
        .map(|record| {
            let standing = record.standing(&campaign.policy.min_exposure);
            CloseUp::new(record, standing, material.leftovers)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let lines: Vec<_> = material
        .records
        .iter()
        .map(|record| trial_line(campaign, record))
        .collect();
    let trials = TrialTable::new(&lines, &near);
    let evidence = (!near.is_empty()).then(|| near.remove(0));
    let page = RunPage {
        title: format!("{}: kverdict {command} {}", answer.word, campaign.name),
        run: material.run.to_owned(),
        about: campaign.about.trim().to_owned(),
        sides: Side::table(sides),
        rates: Side::rates(sides)?,
        survival: figures::survival(sides, material)?,
        exposure: figures::exposure(sides, material)?,
        reproduce: reproduce::commands(material, evidence.as_ref()),
        answer,
        tables,
        evidence,
        more: near,
        environment: material.environment.to_vec(),
        detectors: material.armings.iter().map(Arming::to_string).collect(),
        trials,
        methods: methods.to_vec(),
    };
    template::render("run.html", &page)
}

/// Which arm a role names, for sentences.
fn arm(campaign: &Campaign, role: Role) -> String {
    let name = campaign.arm_with(role);
    match campaign.arms.get(name) {
        Some(arm) => format!("`{name}` ({})", arm.kernel),
        None => format!("`{name}`"),
    }
}
