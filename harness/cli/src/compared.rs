//! What a comparison knows of its sides besides their trials: whether there is a kernel, what it is made of,
//! and whether it has the fixes that are known.

use std::fs;
use std::io;
use std::process::ExitCode;

use anyhow::{Context, Result};
use kverdict_core::catalogue::Config;
use kverdict_core::compare::audit::{Facts, FixLine};
use kverdict_core::compare::report::{CompareReport, Known};
use kverdict_core::compare::{Comparison, Side};
use kverdict_core::inspect::fix::Fix;
use kverdict_core::inspect::judge::judge;
use serde::{Deserialize, Serialize};

use crate::build::overlay::Direction;
use crate::build::{BuildFailure, BuildRequest, Builder, BuiltKernel};
use crate::inspected;
use crate::layout::RunDir;
use crate::manifest::CompareManifest;
use crate::process::Interrupted;
use crate::session::Means;
use crate::sides::{Place, SideSpec};
use crate::store::{self, Records};

/// One side: `sides.json` has one for each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownSide {
    /// What is compared, and why it cannot be, if so.
    pub side: Side,
    /// What its kernel is.
    pub facts: Facts,
    /// Key of its build; absent: there is none.
    pub build: Option<String>,
}

impl KnownSide {
    /// A side of which nothing is known yet.
    fn new(spec: &SideSpec) -> Self {
        let side = Side {
            name: spec.name.clone(),
            label: spec.label.clone(),
            untestable: None,
        };
        Self {
            side,
            ..Self::default()
        }
    }
}

/// Reads what a comparison knows; before its kernels were built, that is nothing.
///
/// # Errors
/// When the file is damaged or cannot be read.
pub fn read(dir: &RunDir, manifest: &CompareManifest) -> Result<Vec<KnownSide>> {
    let path = dir.sides();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(manifest.sides.iter().map(KnownSide::new).collect());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

/// Keeps it with the run.
///
/// # Errors
/// When the run's folder cannot be written.
pub fn write(dir: &RunDir, known: &[KnownSide]) -> Result<()> {
    store::replace(&dir.sides(), &serde_json::to_vec_pretty(known)?)
}

/// The sides as the judge wants them.
pub fn sides(known: &[KnownSide]) -> Vec<Side> {
    known.iter().map(|one| one.side.clone()).collect()
}

/// What the judge and the schedule have to know besides the trials.
pub fn comparison<'a>(
    manifest: &'a CompareManifest,
    sides: &'a [Side],
    records: &'a Records,
) -> Comparison<'a> {
    Comparison {
        campaign: &manifest.run.campaign,
        demands: &manifest.demands,
        sides,
        armings: &records.armings,
    }
}

/// Builds the kernels of all sides and looks at them. A side without a kernel is a side that cannot be
/// tested, and no reason to stop.
///
/// # Errors
/// Trouble of the host, an interrupt, or a request that makes no sense.
pub fn look_at(
    means: &Means<'_>,
    manifest: &CompareManifest,
    fixes: &[Fix],
) -> Result<Vec<KnownSide>> {
    let look = |spec| look_at_side(means, manifest, spec, fixes);
    manifest.sides.iter().map(look).collect()
}

fn look_at_side(
    means: &Means<'_>,
    manifest: &CompareManifest,
    spec: &SideSpec,
    fixes: &[Fix],
) -> Result<KnownSide> {
    let mut known = KnownSide::new(spec);
    let arm = &manifest.run.campaign.arms[&spec.name];
    let request = BuildRequest {
        kernel: arm.kernel.clone(),
        tree: match &spec.place {
            Place::Tree(path) => Some(path.clone()),
            Place::Catalogue | Place::File(_) => None,
        },
        revert: arm.revert.clone(),
        apply: arm.apply.clone(),
        jobs: means.compile_jobs,
        ..BuildRequest::default()
    };
    match Builder::new(means.catalogue, means.cache, means.progress).build(&request) {
        Ok(kernel) => {
            known.facts = facts(means, &kernel, fixes)?;
            known.build = Some(kernel.record.key.as_str().to_owned());
        }
        Err(failure) => match failure {
            BuildFailure::Source(_)
            | BuildFailure::Patch(_)
            | BuildFailure::Config(_)
            | BuildFailure::Compile(_) => {
                let why = format!("no kernel ({}): {failure}", failure.kind());
                means.progress.line(format!(
                    "side {}: {}: {why}",
                    spec.name.to_uppercase(),
                    spec.label
                ));
                known.side.untestable = Some(why);
            }
            BuildFailure::Request(_)
            | BuildFailure::Tools(_)
            | BuildFailure::Host(_)
            | BuildFailure::Interrupted => return Err(failure.into()),
        },
    }
    Ok(known)
}

fn facts(means: &Means<'_>, kernel: &BuiltKernel, fixes: &[Fix]) -> Result<Facts> {
    let record = &kernel.record;
    let patches = record.patches.iter().map(|patch| {
        let sign = match patch.direction {
            Direction::Applied => '+',
            Direction::Reverted => '-',
        };
        format!("{sign} {}", patch.name)
    });
    let compiler = record.compiler.as_ref();
    Ok(Facts {
        release: Some(record.release.clone()),
        source: Some(record.source.about.clone()),
        compiler: compiler.map(|compiler| compiler.version.clone()),
        patches: patches.collect(),
        fixes: look_for(means, kernel, fixes)?,
    })
}

/// Looks for the fixes in the kernel's code. That it cannot be read is no reason not to boot it.
fn look_for(means: &Means<'_>, kernel: &BuiltKernel, fixes: &[Fix]) -> Result<Vec<FixLine>> {
    let scratch = means.cache.scratch()?;
    let found = match &kernel.vmlinux {
        Some(vmlinux) => inspected::binary(vmlinux, None, scratch.path(), means.progress),
        None => {
            let map = kernel.system_map.as_deref();
            inspected::binary(&kernel.bzimage, map, scratch.path(), means.progress)
        }
    };
    match found {
        Ok(found) => {
            let line = |fix| FixLine::of(&judge(fix, &found.image));
            Ok(fixes.iter().map(line).collect())
        }
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            let line = |fix: &Fix| FixLine {
                commit: fix.commit.id.clone(),
                state: "unknown".to_owned(),
                why: format!("{error:#}"),
            };
            Ok(fixes.iter().map(line).collect())
        }
    }
}

/// What a report says about the sides besides their trials: their configurations are with the run.
///
/// # Errors
/// When one cannot be read.
pub fn for_report(dir: &RunDir, known: &[KnownSide]) -> Result<Known> {
    let mut found = Known::default();
    for one in known {
        let path = one.build.as_ref().map(|key| dir.build(key).join("config"));
        let text = path.filter(|path| path.is_file()).map(fs::read_to_string);
        let text = text.transpose().context("cannot read a configuration")?;
        found.configs.push(text.as_deref().map(Config::parse));
        found.facts.push(one.facts.clone());
    }
    Ok(found)
}

/// Prints a report, and gives the program's exit status.
///
/// # Errors
/// When it cannot be turned into JSON.
pub fn print(report: &CompareReport, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::from(report.conclusion.exit_code()))
}
