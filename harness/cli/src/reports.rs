//! Writing a run's reports: recomputed from its records whenever asked.

use std::collections::BTreeMap;

use anyhow::Result;
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::compare::report::{self as compare_report, CompareReport};
use kverdict_core::holder::HolderSpec;
use kverdict_core::record::TrialRecord;
use kverdict_core::report::{self, Report};
use kverdict_core::tune::reading::TuneTrial;
use kverdict_core::tune::report::{self as tune_report, TuneReport};
use kverdict_core::tune::search::Search;
use kverdict_core::tune::space::Space;
use kverdict_core::verdict;

use crate::build::BuildRecord;
use crate::build::overlay::Direction;
use crate::compared::{self, KnownSide};
use crate::layout::RunDir;
use crate::store::{self, CompareManifest, Manifest, Records, TuneManifest};

/// Judges the records and writes `report.txt` and `report.json`.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write(dir: &RunDir, manifest: &Manifest, records: &Records) -> Result<Report> {
    let campaign = &manifest.campaign;
    let verdict = verdict::judge(campaign, &records.armings, &records.trials);
    let report = report::report(
        &dir.id(),
        campaign,
        environment(dir, manifest, &records.trials),
        &records.armings,
        &records.trials,
        verdict,
    );
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    Ok(report)
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

/// Judges a comparison's records and writes `report.txt` and `report.json`.
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
    let report = compare_report::report(
        &dir.id(),
        &compared::comparison(manifest, &sides, records),
        &records.trials,
        environment(dir, &manifest.run, &records.trials),
        &compared::for_report(dir, known)?,
    );
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    Ok(report)
}

fn environment(
    dir: &RunDir,
    manifest: &Manifest,
    records: &[TrialRecord],
) -> Vec<(String, String)> {
    let records: Vec<&TrialRecord> = records.iter().collect();
    let mut lines = vec![("run".to_owned(), dir.id())];
    lines.extend(manifest.start.lines());
    lines.push(accelerator(&records));
    if let Some(holder) = &manifest.campaign.holder {
        lines.push(("holder".to_owned(), describe_holder(holder)));
    }
    for amplifier in &manifest.amplifiers {
        lines.push((
            format!("amplifier {}", amplifier.name),
            format!("{} ({})", amplifier.reason, amplifier.settings().join(", ")),
        ));
    }
    lines.extend(kernels(dir, &records));
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
fn describe(build: &BuildRecord) -> String {
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
