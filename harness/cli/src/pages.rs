//! Pages of runs: what trials left in their folders, and `report.html` made of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use kverdict_core::arming::Arming;
use kverdict_core::campaign::Campaign;
use kverdict_core::outside::sample::{Line, Sample};
use kverdict_core::record::TrialRecord;
use kverdict_page::left::{Left, Leftovers, Reading};
use kverdict_page::run::Material;
use serde::de::DeserializeOwned;

use crate::layout::RunDir;
use crate::manifest::Start;
use crate::store;

/// Bytes at the end of a file of samples that are read: more than a minute of many vCPUs, with closer looks.
const SAMPLES_BYTES_MAX: u64 = 32 << 20;
/// Samples that are kept of these, the last ones.
const SAMPLES_MAX: usize = 600;
/// Bytes of a console that are read: more than a trial lets a guest write.
const CONSOLE_BYTES_MAX: u64 = 80 << 20;
/// Trials whose exposure is read.
const EXPOSURES_MAX: usize = 60;

/// A run whose page is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its folder.
    pub dir: &'a RunDir,
    /// By what, when and where it was started.
    pub start: &'a Start,
    /// Guest, load and policy.
    pub campaign: &'a Campaign,
    /// What it was made with, as label and value.
    pub environment: &'a [(String, String)],
    /// Lockups made on purpose.
    pub armings: &'a [Arming],
    /// All trials, in order.
    pub records: &'a [&'a TrialRecord],
}

/// Writes `report.html` as `make` makes it.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write(
    subject: &Subject<'_>,
    make: impl FnOnce(&Material<'_>) -> Result<String, kverdict_page::Error>,
) -> Result<()> {
    let near = kverdict_page::close_ups(subject.campaign, subject.records);
    let near: Vec<&str> = near.iter().map(|record| record.id.as_str()).collect();
    let html = make(&Material {
        run: &subject.dir.id(),
        argv: &subject.start.argv,
        environment: subject.environment,
        campaign: subject.campaign,
        armings: subject.armings,
        records: subject.records,
        leftovers: &leftovers(subject.dir, subject.records, &near),
    })?;
    store::replace(&subject.dir.report_html(), html.as_bytes())
}

/// What trials left: of those that are looked at from near all, of others how near they came to the race. What
/// is gone or damaged is left out: a page says less then, and its run has a report all the same.
pub fn leftovers(dir: &RunDir, records: &[&TrialRecord], near: &[&str]) -> Leftovers {
    let of = |(index, record): (usize, &&TrialRecord)| {
        let trial = dir.trial(&record.id);
        let mut left = Left::default();
        if index < EXPOSURES_MAX {
            left.exposure = lines::<Reading>(&trial.exposure()).unwrap_or_default();
        }
        if near.contains(&record.id.as_str()) {
            left.console = head(&trial.console()).ok();
            left.samples = samples(&trial.vcpus()).unwrap_or_default();
        }
        (record.id.clone(), left)
    };
    records.iter().enumerate().map(of).collect()
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(CONSOLE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last samples. Closer looks, which hold memory, are many times larger and not even parsed.
fn samples(path: &Path) -> Result<Vec<Sample>> {
    let mut file = File::open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(SAMPLES_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let last = text
        .lines()
        .rev()
        .filter(|line| line.starts_with(r#"{"type":"sample""#))
        .filter_map(|line| match serde_json::from_str(line) {
            Ok(Line::Sample(sample)) => Some(sample),
            // A torn line, at either end.
            Ok(Line::Look(_)) | Err(_) => None,
        });
    let mut samples: Vec<Sample> = last.take(SAMPLES_MAX).collect();
    samples.reverse();
    Ok(samples)
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path)?;
    let parsed = text.lines().map(|line| {
        serde_json::from_str(line).with_context(|| format!("{} is damaged", path.display()))
    });
    parsed.collect()
}
