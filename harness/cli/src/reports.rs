//! Writing a run's reports: recomputed from its records whenever asked.

use anyhow::Result;
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::holder::HolderSpec;
use kverdict_core::record::TrialRecord;
use kverdict_core::report::{self, Report};
use kverdict_core::verdict;

use crate::build::BuildRecord;
use crate::build::overlay::Direction;
use crate::layout::RunDir;
use crate::store::{self, Manifest, Records};

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

fn environment(
    dir: &RunDir,
    manifest: &Manifest,
    records: &[TrialRecord],
) -> Vec<(String, String)> {
    let host = &manifest.host;
    let campaign = &manifest.campaign;
    let mut lines = vec![
        ("run".to_owned(), dir.id()),
        ("started".to_owned(), manifest.started.clone()),
        ("command".to_owned(), manifest.argv.join(" ")),
        ("kverdict".to_owned(), manifest.kverdict.clone()),
        (
            "host".to_owned(),
            format!(
                "Linux {}, {} cores, {} MiB",
                host.kernel, host.cores, host.memory_mib
            ),
        ),
        ("QEMU".to_owned(), manifest.qemu.clone()),
    ];
    let mut accelerators: Vec<&str> = records
        .iter()
        .map(|record| record.accelerator.as_str())
        .collect();
    accelerators.dedup();
    lines.push(("accelerator".to_owned(), accelerators.join(", ")));
    if let Some(holder) = &campaign.holder {
        lines.push(("holder".to_owned(), describe_holder(holder)));
    }
    for amplifier in &manifest.amplifiers {
        lines.push((
            format!("amplifier {}", amplifier.name),
            format!("{} ({})", amplifier.reason, amplifier.settings().join(", ")),
        ));
    }
    for name in campaign.arms.keys() {
        let build = records
            .iter()
            .find(|record| record.arm == *name)
            .map(|record| dir.build(&record.build));
        if let Some(Ok(Some(record))) = build.map(|dir| BuildRecord::read(&dir)) {
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
