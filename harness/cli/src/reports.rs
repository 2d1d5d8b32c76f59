//! Writing a run's reports: recomputed from its records whenever asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use kverdict_core::arming::Arming;
use kverdict_core::assessment::{self, Assessment};
use kverdict_core::bisect::report::{self as bisect_report, BisectReport};
use kverdict_core::campaign::{Campaign, Tuning};
use kverdict_core::catalogue::AmplifierSpec;
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::compare::report::{self as compare_report, CompareReport};
use kverdict_core::holder::HolderSpec;
use kverdict_core::night::NightTrial;
use kverdict_core::night::judge::{self, Night};
use kverdict_core::night::report::NightReport;
use kverdict_core::record::TrialRecord;
use kverdict_core::report::{self, Report};
use kverdict_core::tune::reading::TuneTrial;
use kverdict_core::tune::report::{self as tune_report, TuneReport};
use kverdict_core::tune::search::Search;
use kverdict_core::tune::space::Space;
use kverdict_core::verdict;

use crate::attempts::{self, Attempt};
use crate::build::BuildRecord;
use crate::build::overlay::Direction;
use crate::compared::{self, KnownSide};
use crate::layout::RunDir;
use crate::manifest::{
    BisectManifest, CompareManifest, Manifest, NightManifest, Start, TrialManifest, TuneManifest,
};
use crate::night::kernels::Known;
use crate::night::past::{self, Past};
use crate::pages::{self, Subject};
use crate::store::{self, Records};

/// Judges the records and writes `report.txt`, `report.json` and `report.html`.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write(dir: &RunDir, manifest: &Manifest, records: &Records) -> Result<Report> {
    let campaign = &manifest.campaign;
    let verdict = verdict::judge(campaign, &records.armings, records.settled());
    let mut environment = environment(
        dir,
        &manifest.start,
        campaign,
        &manifest.amplifiers,
        &records.trials.iter().collect::<Vec<_>>(),
    );
    environment.extend(not_judged(early(records)));
    let report = report::report(
        &dir.id(),
        campaign,
        environment,
        &records.armings,
        &records.trials,
        verdict,
    );
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    let subject = Subject {
        dir,
        start: &manifest.start,
        campaign,
        environment: &report.environment,
        armings: &records.armings,
        records: &records.trials.iter().collect::<Vec<_>>(),
    };
    pages::write(&subject, |material| {
        kverdict_page::run::verify(&report, material)
    })?;
    Ok(report)
}

/// Judges the trials of a single kernel.
pub fn assess(manifest: &TrialManifest, armings: &[Arming], trials: &[TrialRecord]) -> Assessment {
    assessment::assess(
        &manifest.campaign.policy,
        &manifest.enough,
        armings.last(),
        trials,
    )
}

/// Judges the trials of a single kernel and writes `report.txt`, `report.json` and `report.html`.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write_trial(
    dir: &RunDir,
    manifest: &TrialManifest,
    records: &Records,
) -> Result<Assessment> {
    let assessment = assess(manifest, &records.armings, records.settled());
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&assessment)?)?;
    store::replace(&dir.report_text(), assessment.to_string().as_bytes())?;
    let trials: Vec<&TrialRecord> = records.trials.iter().collect();
    let subject = Subject {
        dir,
        start: &manifest.start,
        campaign: &manifest.campaign,
        environment: &environment(dir, &manifest.start, &manifest.campaign, &[], &trials),
        armings: &records.armings,
        records: &trials,
    };
    pages::write(&subject, |material| {
        kverdict_page::run::trial(&assessment, &manifest.enough, material)
    })?;
    Ok(assessment)
}

/// Makes a tune's report and writes `tune.md`, `report.json` and, if there is a best point,
/// `tuned.yaml`.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write_tune(
    dir: &RunDir,
    manifest: &TuneManifest,
    space: &Space,
    trials: &[TuneTrial],
    search: &Search,
) -> Result<TuneReport> {
    let records: Vec<&TrialRecord> = trials.iter().map(|one| &one.trial).collect();
    let mut environment = vec![("run".to_owned(), dir.id())];
    environment.extend(manifest.start.lines());
    environment.push(accelerator(&records));
    let campaign = &manifest.campaign;
    environment.extend(
        campaign
            .holder
            .as_ref()
            .map(|holder| ("holder".to_owned(), describe_holder(holder))),
    );
    if !campaign.amplifiers.is_empty() {
        environment.push(("amplifiers".to_owned(), campaign.amplifiers.join(", ")));
    }
    environment.extend(kernels(dir, &records));
    let report = tune_report::report(
        &dir.id(),
        &manifest.spec,
        &manifest.campaign,
        space,
        environment,
        trials,
        search,
    );
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.tune_text(), report.to_string().as_bytes())?;
    if let Some(best) = &search.best {
        let tuned = report.tuned_yaml(&space.campaign(best)?)?;
        store::replace(&dir.tuned(), tuned.as_bytes())?;
    }
    Ok(report)
}

/// Makes a bisection's report of its settled attempts and writes `report.txt`, `report.json` and `report.html`.
///
/// # Errors
/// When the candidates are no range, or the run's folder cannot be written.
pub fn write_bisect(
    dir: &RunDir,
    manifest: &BisectManifest,
    records: &Records<Attempt>,
) -> Result<BisectReport> {
    let (settled, early) = attempts::settled(&manifest.candidates, records);
    let trials: Vec<&TrialRecord> = settled.iter().filter_map(Attempt::trial).collect();
    let observations = attempts::observations(manifest, &settled);
    let campaign = &manifest.campaign;
    let mut environment = environment(
        dir,
        &manifest.start,
        campaign,
        &manifest.amplifiers,
        &trials,
    );
    let early = early.iter().filter_map(Attempt::trial);
    environment.extend(not_judged(early));
    let mut report = bisect_report::report(
        &dir.id(),
        &manifest.candidates.range()?,
        &manifest.policy,
        environment,
        &observations,
    );
    // A commit's id says nothing by itself.
    for suspect in &report.suspects {
        let mut entries = manifest.candidates.entries.iter();
        let about = entries.find(|entry| entry.candidate.label == suspect.candidate);
        if let Some(about) = about
            .map(|entry| entry.about.clone())
            .filter(|text| !text.is_empty())
        {
            report
                .environment
                .push((format!("suspect {}", suspect.candidate), about));
        }
    }
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    let subject = Subject {
        dir,
        start: &manifest.start,
        campaign,
        environment: &report.environment,
        armings: &[],
        records: &trials,
    };
    pages::write(&subject, |material| {
        kverdict_page::run::bisect(&report, material)
    })?;
    Ok(report)
}

/// Judges a comparison's records and writes `report.txt`, `report.json` and `report.html`.
///
/// # Errors
/// When the run's folder cannot be read or written.
pub fn write_compare(
    dir: &RunDir,
    manifest: &CompareManifest,
    known: &[KnownSide],
    records: &Records,
) -> Result<CompareReport> {
    let sides = compared::sides(known);
    let mut environment = environment(
        dir,
        &manifest.run.start,
        &manifest.run.campaign,
        &manifest.run.amplifiers,
        &records.trials.iter().collect::<Vec<_>>(),
    );
    environment.extend(not_judged(early(records)));
    let report = compare_report::report(
        &dir.id(),
        &compared::comparison(manifest, &sides, records),
        records.settled(),
        environment,
        &compared::for_report(dir, known)?,
    );
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    let subject = Subject {
        dir,
        start: &manifest.run.start,
        campaign: &manifest.run.campaign,
        environment: &report.environment,
        armings: &records.armings,
        records: &records.trials.iter().collect::<Vec<_>>(),
    };
    pages::write(&subject, |material| {
        kverdict_page::run::compare(&report, material)
    })?;
    Ok(report)
}

/// A night, as far as it is not in its trials.
pub fn night<'a>(
    id: &'a str,
    manifest: &'a NightManifest,
    known: &'a Known,
    past: &'a Past,
    armings: &'a [Arming],
) -> Night<'a> {
    Night {
        run: id,
        started: &manifest.start.started,
        spec: &manifest.spec,
        cells: &manifest.cells,
        kernels: &known.kernels,
        untestable: &known.untestable,
        armings,
        past,
        known: &manifest.known,
    }
}

/// Judges a night's records.
///
/// # Errors
/// When the run's folder cannot be read.
pub fn judge_night(
    dir: &RunDir,
    manifest: &NightManifest,
    records: &Records<NightTrial>,
) -> Result<NightReport> {
    let (known, past) = (Known::read(dir)?, past::read(dir)?);
    let id = dir.id();
    let night = night(&id, manifest, &known, &past, &records.armings);
    let environment = night_environment(dir, manifest, records);
    Ok(judge::judge(&night, &records.trials, environment))
}

/// Judges a night's records and writes `report.txt`, `report.json` and `report.html`.
///
/// # Errors
/// When the run's folder cannot be read or written.
pub fn write_night(
    dir: &RunDir,
    manifest: &NightManifest,
    records: &Records<NightTrial>,
) -> Result<NightReport> {
    let report = judge_night(dir, manifest, records)?;
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    let trials: Vec<&TrialRecord> = records.trials.iter().map(AsRef::as_ref).collect();
    let left = pages::leftovers(dir, &trials, &kverdict_page::night::close_ups(&report));
    let page = kverdict_page::night::page(&report, &trials, &left)?;
    store::replace(&dir.report_html(), page.as_bytes())?;
    Ok(report)
}

/// What a night was made with, as label and value.
fn night_environment(
    dir: &RunDir,
    manifest: &NightManifest,
    records: &Records<NightTrial>,
) -> Vec<(String, String)> {
    let trials: Vec<&TrialRecord> = records.trials.iter().map(AsRef::as_ref).collect();
    let mut lines = vec![("run".to_owned(), dir.id())];
    lines.extend(manifest.start.lines());
    lines.push(accelerator(&trials));
    for amplifier in &manifest.amplifiers {
        let label = format!("amplifier {}", amplifier.name);
        lines.push((label, amplifier.reason.clone()));
    }
    let moved = manifest
        .kernels
        .iter()
        .filter(|one| !one.stands_for.is_empty());
    lines.extend(moved.map(|one| {
        let label = format!("kernel {}", one.side.name);
        (label, one.stands_for.clone())
    }));
    lines.extend(kernels(dir, &trials));
    for arming in &records.armings {
        let label = match arming.doubt() {
            None => "detectors proven",
            Some(_) => "detectors NOT proven",
        };
        lines.push((label.to_owned(), arming.to_string()));
    }
    lines
}

/// Names the trials that are back before others that were asked for earlier: those take longer, so that a
/// judgement of all that is there would see more lockups than there are.
fn not_judged<'a>(early: impl IntoIterator<Item = &'a TrialRecord>) -> Option<(String, String)> {
    let ids: Vec<&str> = early.into_iter().map(|record| record.id.as_str()).collect();
    let text = format!("{}: trials before them are not back", ids.join(", "));
    (!ids.is_empty()).then(|| ("not judged".to_owned(), text))
}

/// Those of a run that are not settled.
fn early(records: &Records) -> &[TrialRecord] {
    &records.trials[records.settled().len()..]
}

/// What a run was made with, as label and value.
fn environment(
    dir: &RunDir,
    start: &Start,
    campaign: &Campaign,
    amplifiers: &[AmplifierSpec],
    records: &[&TrialRecord],
) -> Vec<(String, String)> {
    let mut lines = vec![("run".to_owned(), dir.id())];
    lines.extend(start.lines());
    lines.push(accelerator(records));
    if let Some(holder) = &campaign.holder {
        lines.push(("holder".to_owned(), describe_holder(holder)));
    }
    for amplifier in amplifiers {
        lines.push((
            format!("amplifier {}", amplifier.name),
            describe_amplifier(amplifier, &campaign.tuning),
        ));
    }
    lines.extend(kernels(dir, records));
    lines
}

fn accelerator(records: &[&TrialRecord]) -> (String, String) {
    let mut accelerators: Vec<&str> = records
        .iter()
        .map(|record| record.accelerator.as_str())
        .collect();
    accelerators.dedup();
    ("accelerator".to_owned(), accelerators.join(", "))
}

/// The kernel of each arm that had a trial.
fn kernels(dir: &RunDir, records: &[&TrialRecord]) -> Vec<(String, String)> {
    let builds: BTreeMap<&String, &String> = records
        .iter()
        .map(|record| (&record.arm, &record.build))
        .collect();
    let mut lines = Vec::new();
    for (name, build) in builds {
        if let Ok(Some(record)) = BuildRecord::read(&dir.build(build)) {
            lines.push((format!("arm {name}"), describe(&record)));
            lines.extend(compatibility(&record));
        }
    }
    lines
}

/// What an amplifier is there for, and which of its settings were made.
fn describe_amplifier(amplifier: &AmplifierSpec, made: &Tuning) -> String {
    let (made, other) = amplifier.settings_among(made);
    let mut text = format!("{} ({})", amplifier.reason, made.join(", "));
    if !other.is_empty() {
        let _ = write!(
            text,
            "; the campaign has its own value instead of {}",
            other.join(", ")
        );
    }
    text
}

fn describe_holder(holder: &HolderSpec) -> String {
    if *holder == HolderSpec::default() {
        return "counts from outside, holds nothing".to_owned();
    }
    format!(
        "a swap is held for up to {} ms until the active balance of the same two CPUs is there, and that up to {} ms \
         until the swap's wake-up",
        holder.swap_hold_ms, holder.balance_hold_ms
    )
}

/// A kernel in one line: what it is, of what, with which patches, by which compiler.
pub fn describe(build: &BuildRecord) -> String {
    let patches: Vec<String> = build
        .patches
        .iter()
        .map(|patch| {
            let sign = match patch.direction {
                Direction::Applied => '+',
                Direction::Reverted => '-',
            };
            format!("{sign} {} ({:.12})", patch.name, patch.digest)
        })
        .collect();
    format!(
        "{} {} of {}, {}, build {}",
        build.release,
        patches.join(" "),
        build.source.about,
        build
            .compiler
            .as_ref()
            .map_or("taken as it is".to_owned(), |compiler| format!(
                "{} ({})",
                compiler.version, compiler.place
            )),
        build.key
    )
}

/// What was changed so that the tree can be built at all, each with its reason.
fn compatibility(build: &BuildRecord) -> Vec<(String, String)> {
    build
        .patches
        .iter()
        .filter(|patch| patch.kind == Some(PatchKind::Compat))
        .map(|patch| {
            let text = format!("{}: {}", patch.name, patch.reason);
            ("  to build it".to_owned(), text)
        })
        .collect()
}
