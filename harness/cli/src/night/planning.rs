//! Reading what a night has to do, and everything that it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kverdict_core::campaign::{Arm, Campaign, Role};
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::catalogue::{AmplifierSpec, KernelSpec};
use kverdict_core::night::config::NightSpec;
use kverdict_core::night::known::{KnownIssue, KnownIssues};
use kverdict_core::night::plan::{self, Cell, Environment};
use kverdict_core::yaml::{Problem, Problems};

use super::kernels::{Lookup, NightSide};
use crate::build::cache::Cache;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::configs::{self, Config, Kind};
use crate::layout::RunDir;
use crate::progress::Progress;
use crate::sides::{self, Place};

/// What a night will do.
#[derive(Debug)]
pub struct Plan {
    /// What was asked for.
    pub spec: NightSpec,
    /// The kernels, as what they are now.
    pub kernels: Vec<NightSide>,
    /// Entries of a catalogue that were made up for some of them.
    pub entries: Vec<KernelSpec>,
    /// What is tested.
    pub cells: Vec<Cell>,
    /// Run-time amplifiers of any of them.
    pub amplifiers: Vec<AmplifierSpec>,
    /// Failures that somebody has filed.
    pub known: Vec<KnownIssue>,
}

/// Loads a night by path, or by the name of one that comes with the program, and looks up what it names.
///
/// # Errors
/// A missing file, or everything that is wrong in it.
pub fn load(word: &str, folders: &[PathBuf], cache: &Cache, progress: &Progress) -> Result<Plan> {
    let config = configs::find(Kind::Night, word)?;
    let spec = NightSpec::parse(&config.file, &config.text)?;
    let catalogue = Catalogue::open(folders)?;
    let mut problems = Vec::new();
    let known = known_issues(&spec, &config, &mut problems);
    let campaigns = campaigns_of(&spec, &config, &mut problems);
    let (kernels, entries) = kernels_of(
        &spec,
        &Lookup {
            folder: config.folder.as_deref().unwrap_or(Path::new(".")),
            catalogue: &catalogue,
            cache,
            progress,
        },
        &mut problems,
    )?;
    stop_at(&config.file, problems)?;
    // Of a folder that goes away again: a night that only looks leaves nothing.
    let scratch = cache.scratch()?;
    let made_up = RunDir::new(scratch.path())?;
    for entry in &entries {
        sides::write_kernel(entry, &made_up)?;
    }
    let catalogue = sides::catalogue_of(folders, &made_up)?;
    let mut environments = plan::environments(&config.file, &spec, &campaigns)?;
    let mut problems = arms_problems(&kernels, &catalogue);
    let amplifiers = put_arms(&mut environments, &kernels, &catalogue, &mut problems);
    stop_at(&config.file, problems)?;
    let amplifier = |patch: &str| {
        let found = catalogue.patch(patch).ok();
        let found = found.filter(|patch| patch.kind == Some(PatchKind::Amplify));
        found.map(|patch| patch.digest)
    };
    Ok(Plan {
        cells: plan::cells(&spec, &environments, amplifier),
        spec,
        kernels,
        entries,
        amplifiers,
        known,
    })
}

fn stop_at(file: &str, problems: Vec<Problem>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Problems {
        file: file.to_owned(),
        problems,
    }
    .into())
}

/// A path of the night's file, seen from here.
fn seen_from_here(config: &Config, word: &str) -> String {
    match &config.folder {
        Some(folder) => folder.join(word).display().to_string(),
        None => word.to_owned(),
    }
}

fn known_issues(spec: &NightSpec, config: &Config, problems: &mut Vec<Problem>) -> Vec<KnownIssue> {
    let Some(word) = &spec.known_issues else {
        return Vec::new();
    };
    let path = seen_from_here(config, word);
    let read = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {path}: {error}; write it, or leave this out"))
        .and_then(|text| KnownIssues::parse(&path, &text).map_err(|error| error.to_string()));
    match read {
        Ok(known) => known.issues,
        Err(why) => {
            problems.push(Problem::new("known_issues", why));
            Vec::new()
        }
    }
}

fn campaigns_of(
    spec: &NightSpec,
    config: &Config,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Campaign> {
    let mut found = BTreeMap::new();
    for (field, word) in spec.campaigns() {
        let place = if configs::is_path(word) {
            seen_from_here(config, word)
        } else {
            word.to_owned()
        };
        match campaigns::load(&place) {
            Ok(campaign) => {
                found.insert(word.to_owned(), campaign);
            }
            Err(error) => problems.push(Problem::new(field, format!("{error:#}"))),
        }
    }
    found
}

fn kernels_of(
    spec: &NightSpec,
    lookup: &Lookup<'_>,
    problems: &mut Vec<Problem>,
) -> Result<(Vec<NightSide>, Vec<KernelSpec>)> {
    let (mut kernels, mut entries) = (Vec::new(), Vec::new());
    for (name, asked) in &spec.kernels {
        match lookup.find(name, asked)? {
            Ok(found) => {
                kernels.push(found.side);
                entries.extend(found.entry);
            }
            Err(found) => problems.extend(found.into_iter().map(|problem| {
                Problem::new(format!("kernels.{name}.{}", problem.field), problem.message)
            })),
        }
    }
    Ok((kernels, entries))
}

/// The arm that runs a kernel.
fn arm_of(kernel: &NightSide) -> Arm {
    let side = &kernel.side;
    Arm {
        role: if kernel.control {
            Role::Control
        } else {
            Role::Subject
        },
        kernel: side.kernel.clone(),
        tree: match &side.place {
            Place::Tree(path) => Some(path.display().to_string()),
            Place::Catalogue | Place::File(_) => None,
        },
        toolchain: None,
        apply: side.apply.clone(),
        revert: side.revert.clone(),
    }
}

/// What the catalogue does not have of what the kernels name.
fn arms_problems(kernels: &[NightSide], catalogue: &Catalogue) -> Vec<Problem> {
    let there = kernels.iter().filter(|kernel| kernel.missing.is_none());
    let found = there.flat_map(|kernel| {
        let problems = campaigns::arm_problems(&arm_of(kernel), catalogue);
        problems.into_iter().map(|problem| {
            let field = format!("kernels.{}.{}", kernel.side.name, problem.field);
            Problem::new(field, problem.message)
        })
    });
    found.collect()
}

/// Gives every environment its arms, and the settings that they need. All arms of one have the same.
fn put_arms(
    environments: &mut [Environment],
    kernels: &[NightSide],
    catalogue: &Catalogue,
    problems: &mut Vec<Problem>,
) -> Vec<AmplifierSpec> {
    let mut amplifiers: Vec<AmplifierSpec> = Vec::new();
    if !problems.is_empty() {
        return amplifiers;
    }
    let there = || kernels.iter().filter(|kernel| kernel.missing.is_none());
    for environment in environments {
        let campaign = &mut environment.campaign;
        campaign.arms = there()
            .map(|kernel| (kernel.side.name.clone(), arm_of(kernel)))
            .collect();
        match campaigns::resolve(campaign, catalogue) {
            Ok(found) => {
                for one in found {
                    if amplifiers.iter().all(|known| known.name != one.name) {
                        amplifiers.push(one);
                    }
                }
            }
            Err(error) => {
                let field = format!("{}: amplifiers", environment.load);
                problems.push(Problem::new(field, format!("{error:#}")));
            }
        }
    }
    amplifiers
}
