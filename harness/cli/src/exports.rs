//! Runs in the forms that other programs read, made out of a run's folder.

use anyhow::{Context, Result};
use kverdict_core::case::{Made, Results};
use kverdict_core::compare::report::CompareReport;
use kverdict_core::export::junit::junit;
use kverdict_core::export::kcidb::{Kernel, Kernels, Origin, kcidb};
use kverdict_core::export::ktap::ktap;
use kverdict_core::export::markdown::markdown;
use kverdict_core::night::NightTrial;
use kverdict_core::night::report::NightReport;
use kverdict_core::record::TrialRecord;
use kverdict_core::report::Report;

use crate::build::BuildRecord;
use crate::layout::RunDir;
use crate::manifest::{CompareManifest, Manifest, NightManifest, Start};
use crate::reports;
use crate::store::Records;

/// A form that results are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JUnit XML.
    Junit,
    /// KTAP, version 1.
    Ktap,
    /// KCIDB's JSON.
    Kcidb,
    /// Markdown.
    Markdown,
}

/// What a run tested, and on which kernels.
#[derive(Debug)]
pub struct Export {
    results: Results,
    kernels: Kernels,
}

impl Export {
    /// Of a campaign's run.
    ///
    /// # Errors
    /// When what is known of a kernel cannot be read.
    pub fn of_verify(
        dir: &RunDir,
        manifest: &Manifest,
        records: &Records,
        report: &Report,
    ) -> Result<Self> {
        let (made, kernels) = made(dir, &manifest.start, &records.trials)?;
        Ok(Self {
            results: Results::of_verify(&made, &manifest.campaign, &records.trials, report),
            kernels,
        })
    }

    /// Of a comparison.
    ///
    /// # Errors
    /// When what is known of a kernel cannot be read.
    pub fn of_compare(
        dir: &RunDir,
        manifest: &CompareManifest,
        records: &Records,
        report: &CompareReport,
    ) -> Result<Self> {
        let (made, kernels) = made(dir, &manifest.run.start, &records.trials)?;
        Ok(Self {
            results: Results::of_compare(&made, &manifest.run.campaign, &records.trials, report),
            kernels,
        })
    }

    /// Of a night.
    ///
    /// # Errors
    /// When what is known of a kernel cannot be read.
    pub fn of_night(
        dir: &RunDir,
        manifest: &NightManifest,
        records: &Records<NightTrial>,
        report: &NightReport,
    ) -> Result<Self> {
        let (made, kernels) = made(dir, &manifest.start, &records.trials)?;
        let name = &manifest.spec.name;
        Ok(Self {
            results: Results::of_night(&made, name, &records.trials, report),
            kernels,
        })
    }

    /// Writes it in a form; `origin` is who submits to KCIDB.
    ///
    /// # Errors
    /// When it cannot be put in XML or JSON.
    pub fn text(&self, form: Form, origin: &Origin) -> Result<String> {
        let results = &self.results;
        match form {
            Form::Junit => junit(results).context("cannot write JUnit XML"),
            Form::Ktap => Ok(ktap(results)),
            Form::Kcidb => {
                let value = kcidb(results, origin, &self.kernels);
                Ok(serde_json::to_string_pretty(&value)? + "\n")
            }
            Form::Markdown => Ok(markdown(results)),
        }
    }
}

/// When and by what a run was made, and the kernels of the arms that had a trial.
fn made(
    dir: &RunDir,
    start: &Start,
    trials: &[impl AsRef<TrialRecord>],
) -> Result<(Made, Kernels)> {
    let mut made = Made {
        started: start.started.clone(),
        kverdict: start.kverdict.clone(),
        ..Made::default()
    };
    let mut kernels = Kernels::new();
    for record in trials.iter().map(AsRef::as_ref) {
        if made.kernels.contains_key(&record.arm) {
            continue;
        }
        let Some(build) = BuildRecord::read(&dir.build(&record.build))? else {
            continue;
        };
        let about = format!("{} {}", build.release, build.key);
        made.kernels.insert(record.arm.clone(), about.clone());
        kernels.insert(about, kernel(&build));
    }
    Ok((made, kernels))
}

/// Digits of a commit's id; digests of files have more.
const COMMIT_DIGITS: usize = 40;

fn kernel(build: &BuildRecord) -> Kernel {
    let digest = &build.source.digest;
    Kernel {
        source: reports::describe(build),
        commit: (digest.len() == COMMIT_DIGITS).then(|| digest.clone()),
        compiler: build.compiler.as_ref().map(|one| one.version.clone()),
    }
}
