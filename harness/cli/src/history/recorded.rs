//! What the history keeps of a run, out of its folder. Of a trial's record only the few fields are read that
//! decide what it counts as.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kverdict_core::campaign::MinExposure;
use kverdict_core::compare::failure::Told;
use kverdict_core::console::{Match, Outcome};
use kverdict_core::history::change::Demands;
use kverdict_core::history::{CellNight, PastTrial};
use kverdict_core::night::cell::CellId;
use kverdict_core::record::{Ending, Exposure};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::build::BuildRecord;
use crate::layout::RunDir;
use crate::manifest::{
    BisectManifest, CompareManifest, Manifest, NightManifest, SCHEMA_VERSION, Started,
    TrialManifest,
};

/// What made a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kverdict nightly`.
    Night,
    /// `kverdict verify`.
    Verify,
    /// `kverdict compare`.
    Compare,
    /// `kverdict bisect`.
    Bisect,
    /// `kverdict trial`.
    Trial,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Night,
        Self::Compare,
        Self::Bisect,
        Self::Trial,
        Self::Verify,
    ];

    /// Its name in the history.
    pub fn word(self) -> &'static str {
        match self {
            Self::Night => "night",
            Self::Verify => "verify",
            Self::Compare => "compare",
            Self::Bisect => "bisect",
            Self::Trial => "trial",
        }
    }

    /// The kind of this name.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Night => NightManifest::FILE,
            Self::Verify => Manifest::FILE,
            Self::Compare => CompareManifest::FILE,
            Self::Bisect => BisectManifest::FILE,
            Self::Trial => TrialManifest::FILE,
        }
    }

    /// Kind of the run in a folder; `None`: the history keeps no such run, or it is none.
    pub fn of_run(dir: &RunDir) -> Option<Self> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| dir.manifest(kind.manifest()).is_file())
    }
}

/// A run, as the history knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// What made it.
    pub kind: Kind,
    /// The night's name, or the campaign's: runs of one series are held against each other.
    pub series: String,
    /// When it was started, RFC 3339.
    pub started: String,
    /// Probability, at most, of any false change in it.
    pub alpha: f64,
    /// Nights over which failures add up.
    pub reach: usize,
    /// Cells that it tests.
    pub cells: usize,
}

impl Run {
    /// What is asked of the judgement of runs like this one.
    pub fn demands(&self) -> Demands {
        Demands {
            alpha: self.alpha,
            cells: self.cells,
            reach: self.reach,
        }
    }
}

/// A run with its trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The run.
    pub run: Run,
    /// Its cells; trials of other runs than nights are in the cell `<campaign>:<arm>`.
    pub cells: BTreeMap<String, CellNight>,
}

/// For runs that promise nothing about changes.
const USUAL: (f64, usize) = (0.01, 14);

/// The fields of a manifest that matter here, of any kind of run.
#[derive(Debug, Deserialize)]
struct Head {
    schema: u32,
    started: String,
    campaign: Option<CampaignHead>,
    spec: Option<SpecHead>,
    #[serde(default)]
    cells: Vec<CellHead>,
}

#[derive(Debug, Deserialize)]
struct CampaignHead {
    name: String,
    policy: PolicyHead,
}

#[derive(Debug, Default, Deserialize)]
struct PolicyHead {
    #[serde(default)]
    min_exposure: MinExposure,
}

#[derive(Debug, Deserialize)]
struct SpecHead {
    name: String,
    alpha: f64,
    reach: usize,
}

#[derive(Debug, Deserialize)]
struct CellHead {
    id: CellId,
    #[serde(default)]
    control: bool,
    #[serde(default)]
    conditions: String,
    campaign: CampaignHead,
}

/// The fields of a trial's record that decide what it counts as.
#[derive(Debug, Deserialize)]
pub struct Brief {
    /// Its id.
    pub id: String,
    arm: String,
    build: String,
    outcome: Outcome,
    title: String,
    signature: Option<Match>,
    exposure: Exposure,
}

impl Brief {
    /// What the history keeps of it.
    pub fn past(&self, least: &MinExposure) -> PastTrial {
        let ending = Ending {
            outcome: self.outcome,
            title: &self.title,
            signature: self.signature,
            exposure: &self.exposure,
        };
        PastTrial {
            id: self.id.clone(),
            told: Told::of(ending, least),
            standing: ending.standing(least),
            title: self.title.clone(),
        }
    }
}

/// A line of a night's list of trials.
#[derive(Debug, Deserialize)]
struct NightLine {
    cell: String,
    trial: Brief,
}

/// A line of a bisection's list of attempts.
#[derive(Debug, Deserialize)]
struct Attempt {
    #[serde(flatten)]
    outcome: Tried,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tried {
    Trial(Box<Brief>),
    Untestable(IgnoredAny),
}

/// What trials ran under, cell by cell.
struct Terms {
    /// Those of all arms of a run that is no night, with the campaign's name.
    campaign: Option<(String, CellTerms)>,
    cells: BTreeMap<String, CellTerms>,
}

/// What the trials of a cell ran under.
struct CellTerms {
    /// What counts as exposure.
    least: MinExposure,
    /// Digest of it all; empty: not known.
    conditions: String,
}

impl Terms {
    fn of(head: Head) -> Self {
        let of = |policy: PolicyHead, conditions: String| CellTerms {
            least: policy.min_exposure,
            conditions,
        };
        let campaign = head.campaign;
        let cells = head.cells.into_iter().map(|cell| {
            let terms = of(cell.campaign.policy, cell.conditions);
            (cell.id.to_string(), terms)
        });
        Self {
            campaign: campaign.map(|one| (one.name, of(one.policy, String::new()))),
            cells: cells.collect(),
        }
    }

    /// The cell of a trial, and what it ran under.
    fn cell(&self, named: Option<String>, arm: &str) -> Result<(String, &CellTerms)> {
        match (&self.campaign, named) {
            (_, Some(cell)) => match self.cells.get(&cell) {
                Some(terms) => Ok((cell, terms)),
                None => bail!("a trial is of cell {cell}, which the manifest does not have"),
            },
            (Some((campaign, terms)), None) => Ok((format!("{campaign}:{arm}"), terms)),
            (None, None) => bail!("the manifest names no campaign"),
        }
    }
}

/// Reads a run's folder; `None`: the history keeps no such runs.
///
/// # Errors
/// When it is of another version, or damaged (names file and line).
pub fn read(dir: &RunDir) -> Result<Option<Recorded>> {
    let Some(kind) = Kind::of_run(dir) else {
        return Ok(None);
    };
    let head = head(&dir.manifest(kind.manifest()))?;
    let (alpha, reach) = match &head.spec {
        Some(spec) => (spec.alpha, spec.reach),
        None => USUAL,
    };
    let campaign = head.campaign.as_ref().map(|campaign| &campaign.name);
    let series = match head.spec.as_ref().map(|spec| &spec.name).or(campaign) {
        Some(name) => name.clone(),
        None => bail!("{} names no campaign", kind.manifest()),
    };
    let mut run = Run {
        cells: head.cells.len(),
        name: dir.id(),
        kind,
        series,
        started: head.started.clone(),
        alpha,
        reach,
    };
    let cells = cells(dir, &run, &Terms::of(head))?;
    run.cells = run.cells.max(cells.len());
    Ok(Some(Recorded { run, cells }))
}

/// Cells of a night that have to lock up.
///
/// # Errors
/// When its folder is gone or damaged.
pub fn controls(night: &RunDir) -> Result<BTreeSet<String>> {
    let head = head(&night.manifest(NightManifest::FILE))?;
    let controls = head.cells.into_iter().filter(|cell| cell.control);
    Ok(controls.map(|cell| cell.id.to_string()).collect())
}

fn head(path: &Path) -> Result<Head> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let head: Head =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    if head.schema != SCHEMA_VERSION {
        bail!(
            "{} has schema {}, this kverdict reads {SCHEMA_VERSION}",
            path.display(),
            head.schema
        );
    }
    Ok(head)
}

fn cells(dir: &RunDir, run: &Run, terms: &Terms) -> Result<BTreeMap<String, CellNight>> {
    let mut cells: BTreeMap<String, CellNight> = BTreeMap::new();
    let mut kernels: BTreeMap<String, String> = BTreeMap::new();
    for (named, brief) in trials(dir, run.kind)? {
        let (cell, terms) = terms.cell(named, &brief.arm)?;
        let kernel = kernels
            .entry(brief.build.clone())
            .or_insert_with(|| kernel(dir, &brief.build));
        let night = cells.entry(cell).or_insert_with(|| CellNight {
            run: run.name.clone(),
            started: run.started.clone(),
            kernel: kernel.clone(),
            conditions: terms.conditions.clone(),
            trials: Vec::new(),
        });
        night.trials.push(brief.past(&terms.least));
    }
    Ok(cells)
}

/// A run's trials in their order, each with its cell where that is named.
///
/// # Errors
/// When a record is damaged (names file and line), or cannot be read.
pub fn trials(dir: &RunDir, kind: Kind) -> Result<Vec<(Option<String>, Brief)>> {
    let path = dir.trials();
    match kind {
        Kind::Verify | Kind::Compare | Kind::Trial => {
            let briefs: Vec<Brief> = lines(&path)?;
            Ok(briefs.into_iter().map(|brief| (None, brief)).collect())
        }
        Kind::Night => {
            let lines: Vec<NightLine> = lines(&path)?;
            let lines = lines.into_iter();
            Ok(lines.map(|line| (Some(line.cell), line.trial)).collect())
        }
        Kind::Bisect => {
            let attempts: Vec<Attempt> = lines(&path)?;
            let trial = |attempt: Attempt| match attempt.outcome {
                Tried::Trial(brief) => Some((None, *brief)),
                Tried::Untestable(_) => None,
            };
            Ok(attempts.into_iter().filter_map(trial).collect())
        }
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut found = Vec::new();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(one) => found.push(one),
            // The write that a kill or a full disk cut short.
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => bail!("{}:{}: damaged record: {error}", path.display(), index + 1),
        }
    }
    Ok(found)
}

/// Release and build key of a kernel; the key alone, if its papers are not with the run.
fn kernel(dir: &RunDir, key: &str) -> String {
    let built = BuildRecord::read(&dir.build(key)).ok().flatten();
    built.map_or_else(
        || key.to_owned(),
        |record| format!("{} {key}", record.release),
    )
}
