//! The only module that joins paths under the results folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folder of one run: `results/<run-id>/`.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// A run's folder, which need not exist yet. Made absolute, because children get paths in it
    /// and have working directories of their own.
    ///
    /// # Errors
    /// When the current directory is gone.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = std::path::absolute(root.as_ref())
            .with_context(|| format!("cannot resolve {}", root.as_ref().display()))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The run's name: the folder's last part.
    pub fn id(&self) -> String {
        self.root
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
    /// What the run was started with, by its name, which says of what kind the run is.
    pub fn manifest(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
    /// What a night knows of its kernels besides their trials.
    pub fn night_kernels(&self) -> PathBuf {
        self.root.join("kernels.json")
    }
    /// The earlier nights that a night is held against.
    pub fn past(&self) -> PathBuf {
        self.root.join("past.json")
    }
    /// What the command said that a night runs at its end.
    pub fn notify_log(&self) -> PathBuf {
        self.root.join("notify.log")
    }
    /// The folder of all results that this run is in.
    pub fn results(&self) -> &Path {
        self.root.parent().unwrap_or(Path::new("/"))
    }
    /// What is known of a comparison's sides besides their trials.
    pub fn sides(&self) -> PathBuf {
        self.root.join("sides.json")
    }
    /// A catalogue of kernels that were named as files.
    pub fn kernels(&self) -> PathBuf {
        self.root.join("kernels")
    }
    /// One of these.
    pub fn kernel(&self, name: &str) -> PathBuf {
        self.kernels().join(format!("{name}.yaml"))
    }
    /// Held by the process that writes into the run.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    /// One line per thing that happened.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }
    /// One line per trial that was asked for.
    pub fn orders(&self) -> PathBuf {
        self.root.join("orders.jsonl")
    }
    /// One line per finished trial.
    pub fn trials(&self) -> PathBuf {
        self.root.join("trials.jsonl")
    }
    /// One line per arm: which detectors noticed a lockup made on purpose.
    pub fn armings(&self) -> PathBuf {
        self.root.join("armings.jsonl")
    }
    /// The verdict for people.
    pub fn report_text(&self) -> PathBuf {
        self.root.join("report.txt")
    }
    /// The verdict to look at, with what it rests on.
    pub fn report_html(&self) -> PathBuf {
        self.root.join("report.html")
    }
    /// The verdict for programs.
    pub fn report_json(&self) -> PathBuf {
        self.root.join("report.json")
    }
    /// What a tune found, for people.
    pub fn tune_text(&self) -> PathBuf {
        self.root.join("tune.md")
    }
    /// The campaign with the best values that a tune found.
    pub fn tuned(&self) -> PathBuf {
        self.root.join("tuned.yaml")
    }
    /// Manifest, config and build log of a kernel that the run used.
    pub fn build(&self, key: &str) -> PathBuf {
        self.root.join("builds").join(key)
    }
    /// What QEMU boots of a kernel, in runs whose trials are made elsewhere.
    pub fn image(&self, key: &str) -> PathBuf {
        self.build(key).join("kernel")
    }
    /// Names in a kernel, if it came with them.
    pub fn system_map(&self, key: &str) -> PathBuf {
        self.build(key).join("System.map")
    }
    /// This program, in runs whose trials are made elsewhere.
    pub fn program(&self) -> PathBuf {
        self.root.join("kverdict")
    }
    /// What those said that made trials elsewhere.
    pub fn elsewhere(&self) -> PathBuf {
        self.root.join("elsewhere")
    }
    /// What one of them said.
    pub fn elsewhere_log(&self, id: &str) -> PathBuf {
        self.elsewhere().join(format!("{id}.log"))
    }
    /// Initramfs of the run's guests, by what they do.
    pub fn initramfs(&self, task: &str) -> PathBuf {
        self.root.join(format!("initramfs-{task}.cpio"))
    }
    /// All of them.
    ///
    /// # Errors
    /// When the run's folder cannot be read.
    pub fn all_initramfs(&self) -> Result<Vec<PathBuf>> {
        let cannot = || format!("cannot read {}", self.root.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("initramfs-") && name.ends_with(".cpio") {
                found.push(path);
            }
        }
        Ok(found)
    }
    /// The plugin that QEMU loads, for campaigns that hold windows open, for a version of its interface.
    pub fn holder(&self, api: u8) -> PathBuf {
        self.root.join(format!("holder-{api}.so"))
    }
    /// Folders of all trials.
    pub fn all_trials(&self) -> PathBuf {
        self.root.join("trials")
    }
    /// Folder of a trial.
    pub fn trial(&self, id: &str) -> TrialDir {
        TrialDir::among(&self.all_trials(), id)
    }
    /// What whoever makes trials elsewhere has to know.
    pub fn spec(&self) -> PathBuf {
        self.root.join("spec.json")
    }
}

/// Held by the process that runs the nights of this name.
pub fn night_lock(results: &Path, name: &str) -> PathBuf {
    results.join(format!("night-{name}.lock"))
}

/// What all runs said, in a database.
pub fn history(results: &Path) -> PathBuf {
    results.join("history.sqlite")
}

/// What SQLite keeps beside a database while it is open; a name of the database's, and an ending.
pub fn beside_history(results: &Path) -> [PathBuf; 2] {
    ["history.sqlite-wal", "history.sqlite-shm"].map(|name| results.join(name))
}

/// The history to look at.
pub fn history_page(results: &Path) -> PathBuf {
    results.join("history.html")
}

/// Held by whoever has the history open, and alone by who makes it again.
pub fn history_lock(results: &Path) -> PathBuf {
    results.join("history.lock")
}

/// Folders of all runs, in the order of their names, which begin with the time.
///
/// # Errors
/// When the folder of results cannot be read.
pub fn runs(results: &Path) -> Result<Vec<RunDir>> {
    let cannot = || format!("cannot read {}", results.display());
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(results).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        if entry.file_type().with_context(cannot)?.is_dir() {
            runs.push(RunDir::new(entry.path())?);
        }
    }
    runs.sort_by(|one, other| one.root.cmp(&other.root));
    Ok(runs)
}

/// Folder of one trial.
#[derive(Debug, Clone)]
pub struct TrialDir {
    root: PathBuf,
}

impl TrialDir {
    /// A folder outside any run, for a single boot.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }
    /// The folder of a trial in a folder of trials.
    pub fn among(trials: &Path, id: &str) -> Self {
        Self::at(trials.join(id))
    }
    /// The folder itself; QEMU's working directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// What came over ttyS0.
    pub fn console(&self) -> PathBuf {
        self.root.join(CONSOLE)
    }
    /// What came over ttyS1.
    pub fn agent(&self) -> PathBuf {
        self.root.join(AGENT)
    }
    /// QEMU's own output.
    pub fn qemu_log(&self) -> PathBuf {
        self.root.join("qemu.log")
    }
    /// QEMU's command line.
    pub fn qemu_argv(&self) -> PathBuf {
        self.root.join("qemu.argv")
    }
    /// What was read of the vCPUs from outside.
    pub fn vcpus(&self) -> PathBuf {
        self.root.join("vcpus.jsonl")
    }
    /// Where the holder finds its places in the kernel.
    pub fn places(&self) -> PathBuf {
        self.root.join(PLACES)
    }
    /// What the holder counts.
    pub fn board(&self) -> PathBuf {
        self.root.join(BOARD)
    }
    /// The same, one line per second of load.
    pub fn exposure(&self) -> PathBuf {
        self.root.join("exposure.jsonl")
    }
    /// QEMU's monitor.
    pub fn qmp(&self) -> PathBuf {
        self.root.join(QMP)
    }
    /// The guest's memory when it was stuck, compressed (kdump).
    pub fn vmcore(&self) -> PathBuf {
        self.root.join("vmcore")
    }
    /// The same as QEMU writes it, until it is made readable.
    pub fn flat_vmcore(&self) -> PathBuf {
        self.root.join("vmcore.flat")
    }
    /// What is typed on the console.
    pub fn console_input(&self) -> PathBuf {
        self.root.join(CONSOLE_INPUT)
    }
    /// The trial's record, as in the run's list of trials.
    pub fn record(&self) -> PathBuf {
        self.root.join("trial.json")
    }
}

/// Console file, relative to the trial's folder.
pub const CONSOLE: &str = "console.log";
/// Agent channel, relative to the trial's folder.
pub const AGENT: &str = "agent.jsonl";
/// QMP socket, relative to the trial's folder: a socket's path is limited to 107 bytes.
pub const QMP: &str = "qmp.sock";
/// The holder's places, relative to the trial's folder.
pub const PLACES: &str = "holder.places";
/// The holder's counters, relative to the trial's folder: a page shared with QEMU.
pub const BOARD: &str = "holder.board";
/// QEMU's gdb stub, relative to the trial's folder.
pub const GDB: &str = "gdb.sock";
/// What is typed on the console, relative to the trial's folder: a FIFO.
pub const CONSOLE_INPUT: &str = "console.in";
