//! Writing a run's reports: recomputed from its records whenever asked.

use anyhow::Result;
use kverdict_core::record::TrialRecord;
use kverdict_core::report::{self, Report};
use kverdict_core::verdict;

use crate::layout::RunDir;
use crate::store::{self, Manifest};

/// Judges the records and writes `report.txt` and `report.json`.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write(dir: &RunDir, manifest: &Manifest, records: &[TrialRecord]) -> Result<Report> {
    let campaign = &manifest.campaign;
    let verdict = verdict::judge(campaign, records);
    let report = report::report(
        &dir.id(),
        campaign,
        environment(dir, manifest),
        records,
        verdict,
    );
    store::replace(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    store::replace(&dir.report_text(), report.to_string().as_bytes())?;
    Ok(report)
}

fn environment(dir: &RunDir, manifest: &Manifest) -> Vec<(String, String)> {
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
    for (name, arm) in &campaign.arms {
        let patches: Vec<String> = arm
            .apply
            .iter()
            .map(|patch| format!("+ {patch}"))
            .chain(arm.revert.iter().map(|patch| format!("- {patch}")))
            .collect();
        lines.push((
            format!("arm {name}"),
            format!("{} {}", arm.kernel, patches.join(" ")),
        ));
    }
    lines
}
