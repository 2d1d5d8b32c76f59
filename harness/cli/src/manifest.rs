//! What runs were started with.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use kverdict_core::assessment::Enough;
use kverdict_core::bisect::search::Policy;
use kverdict_core::campaign::Campaign;
use kverdict_core::catalogue::AmplifierSpec;
use kverdict_core::compare::Demands;
use kverdict_core::night::config::NightSpec;
use kverdict_core::night::known::KnownIssue;
use kverdict_core::night::plan::Cell;
use kverdict_core::tune::spec::TuneSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::candidates::Candidates;
use crate::commands::Usage;
use crate::dependencies;
use crate::layout::RunDir;
use crate::night::kernels::NightSide;
use crate::sides::SideSpec;
use crate::store;

/// Version of every manifest.
pub const SCHEMA_VERSION: u32 = 1;

/// What a run was started with: `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// By what, when and where.
    #[serde(flatten)]
    pub start: Start,
    /// The campaign as resolved.
    pub campaign: Campaign,
    /// Its run-time amplifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amplifiers: Vec<AmplifierSpec>,
}

/// What a tune was started with: `tune.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TuneManifest {
    /// By what, when and where.
    #[serde(flatten)]
    pub start: Start,
    /// What it has to do.
    pub spec: TuneSpec,
    /// The campaign that it starts from.
    pub campaign: Campaign,
}

/// What a bisection was started with: `bisect.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BisectManifest {
    /// By what, when and where.
    #[serde(flatten)]
    pub start: Start,
    /// The campaign as resolved, with an arm for each candidate.
    pub campaign: Campaign,
    /// Its run-time amplifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amplifiers: Vec<AmplifierSpec>,
    /// What is searched.
    pub candidates: Candidates,
    /// When it is decided.
    pub policy: Policy,
}

/// What trials of a single kernel were started with: `single.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrialManifest {
    /// By what, when and where.
    #[serde(flatten)]
    pub start: Start,
    /// The campaign as resolved, with but one arm.
    pub campaign: Campaign,
    /// When survival is enough.
    pub enough: Enough,
}

/// What a comparison was started with: `compare.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CompareManifest {
    /// By what, when and where, and the campaign whose arms are the sides.
    #[serde(flatten)]
    pub run: Manifest,
    /// What is asked of it.
    pub demands: Demands,
    /// The sides, the reference first.
    pub sides: Vec<SideSpec>,
}

/// What a night was started with: `night.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NightManifest {
    /// By what, when and where.
    #[serde(flatten)]
    pub start: Start,
    /// What was asked for.
    pub spec: NightSpec,
    /// The kernels, as what they were when the night began.
    pub kernels: Vec<NightSide>,
    /// What is tested.
    pub cells: Vec<Cell>,
    /// Run-time amplifiers of any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amplifiers: Vec<AmplifierSpec>,
    /// Failures that somebody had filed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownIssue>,
}

/// What a run was started with, as a file in its folder keeps it; which file says of what kind the run is.
/// All of them begin with a [`Start`].
pub trait Started: Serialize + DeserializeOwned {
    /// Name of the file.
    const FILE: &'static str;

    /// The file, in a run's folder.
    fn file(dir: &RunDir) -> PathBuf {
        dir.manifest(Self::FILE)
    }
}

impl Started for Manifest {
    const FILE: &'static str = "run.json";
}

impl Started for TuneManifest {
    const FILE: &'static str = "tune.json";
}

impl Started for BisectManifest {
    const FILE: &'static str = "bisect.json";
}

impl Started for TrialManifest {
    const FILE: &'static str = "single.json";
}

impl Started for CompareManifest {
    const FILE: &'static str = "compare.json";
}

impl Started for NightManifest {
    const FILE: &'static str = "night.json";
}

/// Version of a manifest, which is looked at before the rest.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// Reads what a run was started with.
///
/// # Errors
/// When the run is none of this kind, or its manifest is of another version or damaged.
pub fn read<M: Started>(dir: &RunDir) -> Result<M> {
    let path = M::file(dir);
    let text = fs::read_to_string(&path).map_err(|error| {
        Usage(format!(
            "{} is no run of this command: cannot read {}: {error}",
            dir.root().display(),
            path.display()
        ))
    })?;
    let damaged = || format!("{} is damaged", path.display());
    let version: Version = serde_json::from_str(&text).with_context(damaged)?;
    if version.schema != SCHEMA_VERSION {
        bail!(
            "{} has schema {}, this kverdict reads {SCHEMA_VERSION}",
            path.display(),
            version.schema
        );
    }
    serde_json::from_str(&text).with_context(damaged)
}

/// By what, when and where a run was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// kverdict's own version.
    pub kverdict: String,
    /// Command line that started it.
    pub argv: Vec<String>,
    /// When, RFC 3339.
    pub started: String,
    /// Host kernel, CPUs and memory.
    pub host: Host,
    /// QEMU's version line.
    pub qemu: String,
}

impl Start {
    /// By this process, now and here.
    ///
    /// # Errors
    /// When there is no QEMU.
    pub fn now() -> Result<Self> {
        Ok(Self {
            schema: SCHEMA_VERSION,
            kverdict: env!("CARGO_PKG_VERSION").to_owned(),
            argv: std::env::args().collect(),
            started: store::now(),
            host: Host::detect(),
            qemu: dependencies::qemu_version()?,
        })
    }

    /// A name for the run that no other has, with `what` in it.
    pub fn run_id(&self, what: &str) -> String {
        let stamp = self.started.replace([':', '-'], "");
        format!("{stamp}-{what}-{}", std::process::id())
    }

    /// What reports say about it, as label and value.
    pub fn lines(&self) -> Vec<(String, String)> {
        let host = format!(
            "Linux {}, {} cores, {} MiB",
            self.host.kernel, self.host.cores, self.host.memory_mib
        );
        vec![
            ("started".to_owned(), self.started.clone()),
            ("command".to_owned(), self.argv.join(" ")),
            ("kverdict".to_owned(), self.kverdict.clone()),
            ("host".to_owned(), host),
            ("QEMU".to_owned(), self.qemu.clone()),
        ]
    }
}

/// The machine that a run was made on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Host {
    /// Looks at this machine.
    pub fn detect() -> Self {
        let memory = rustix::system::sysinfo();
        Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.totalram as u64 * u64::from(memory.mem_unit) / (1 << 20),
        }
    }
}
