//! Running kverdict on campaigns derived from the one that comes with it.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const CAMPAIGN: &str = include_str!("../../../../configs/migrate-swap.yaml");
const UNMODIFIED: &str = include_str!("../../../../configs/unmodified.yaml");

/// A `kverdict verify` in a folder of its own.
pub struct Verify {
    campaign: String,
    scratch: tempfile::TempDir,
    written: RefCell<bool>,
    path: Option<String>,
}

/// What it did.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    dir: PathBuf,
    _scratch: Option<tempfile::TempDir>,
}

impl Verify {
    pub fn new() -> Self {
        Self::of(CAMPAIGN)
    }

    /// With kernels in which nothing makes the race likely, and the holder outside of them.
    pub fn unmodified() -> Self {
        Self::of(UNMODIFIED)
    }

    fn of(campaign: &str) -> Self {
        Self {
            campaign: campaign.to_owned(),
            scratch: tempfile::tempdir().unwrap(),
            written: RefCell::new(false),
            path: None,
        }
    }

    /// Changes the campaign's text; the old text has to be there.
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(
            self.campaign.contains(from),
            "`{from}` is not in the campaign"
        );
        self.campaign = self.campaign.replace(from, to);
        self
    }

    /// For trials of guests that cannot be locked up on purpose, or where that would take time only.
    pub fn without_proof_of_detectors(self) -> Self {
        self.replace("policy:\n", "policy:\n  prove_detectors: false\n")
    }

    /// Puts a shell script in QEMU's place, for what a real one does too seldom.
    pub fn with_fake_qemu(mut self, script: &str) -> Self {
        let bin = self.scratch.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let program = bin.join("qemu-system-x86_64");
        let version = "[ \"$1\" = --version ] && { echo fake; exit 0; }";
        fs::write(&program, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self.path = Some(format!(
            "{}:{}",
            bin.display(),
            std::env::var("PATH").unwrap()
        ));
        self
    }

    pub fn scratch(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    pub fn spawn(&self) -> Child {
        self.command(&["verify", "campaign.yaml", "--json"])
            .spawn()
            .unwrap()
    }

    pub fn run(self) -> Run {
        let output = self
            .command(&["verify", "campaign.yaml", "--json"])
            .output()
            .unwrap();
        let dir = self.run_dir();
        Run::new(output, dir, Some(self.scratch))
    }

    pub fn resume(&self) -> Run {
        let dir = self.run_dir();
        let output = self
            .command(&["verify", "--resume", dir.to_str().unwrap(), "--json"])
            .output()
            .unwrap();
        Run::new(output, dir, None)
    }

    /// The run's list of finished trials; empty before there is one.
    pub fn trials(&self) -> String {
        let results = self.scratch.path().join("results");
        if !results.exists() {
            return String::new();
        }
        fs::read_to_string(self.run_dir().join("trials.jsonl")).unwrap_or_default()
    }

    fn run_dir(&self) -> PathBuf {
        let results = self.scratch.path().join("results");
        let mut runs: Vec<PathBuf> = fs::read_dir(&results)
            .unwrap_or_else(|_| panic!("no run was started"))
            .map(|entry| entry.unwrap().path())
            // Beside the runs is the history.
            .filter(|path| path.is_dir())
            .collect();
        assert_eq!(runs.len(), 1, "one run was expected");
        runs.remove(0)
    }

    fn command(&self, args: &[&str]) -> Command {
        if !self.written.replace(true) {
            fs::write(self.scratch.path().join("campaign.yaml"), &self.campaign).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_kverdict"));
        command
            .args(args)
            .current_dir(self.scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
    }
}

/// A guest that ends with the test.
pub struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The cache that kverdict uses when nothing else is said.
pub fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    set("KVERDICT_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("kverdict")))
        .unwrap_or_else(|| set("HOME").unwrap().join(".cache/kverdict"))
}

/// Starts QEMU as a person would, with a kernel of the cache, by its key.
pub fn start_guest(kernel: &str, initramfs: &Path, qmp: &Path) -> Guest {
    let image = cache().join("builds").join(kernel).join("bzImage");
    assert!(image.is_file(), "{} is not there", image.display());
    let child = Command::new("qemu-system-x86_64")
        .args(["-display", "none", "-m", "1024", "-cpu", "max"])
        .args(["-serial", "null", "-serial", "null"])
        // The agent powers off a guest that is not what the campaign asks for.
        .args(["-smp", "8,sockets=2,cores=4"])
        .args(["-object", "memory-backend-ram,id=m0,size=512M"])
        .args(["-object", "memory-backend-ram,id=m1,size=512M"])
        .args(["-numa", "node,nodeid=0,cpus=0-3,memdev=m0"])
        .args(["-numa", "node,nodeid=1,cpus=4-7,memdev=m1"])
        .args([
            "-append",
            "console=ttyS0 rdinit=/init no_timer_check lpj=3000000",
        ])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", qmp.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Guest(child)
}

/// What is left of a run whose test failed, before the folder goes: its report, and last what trials say that ended
/// neither well nor in the target's lockup, because logs of tests are cut in the middle.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() && self._scratch.is_some() {
            let report = fs::read_to_string(self.dir.join("report.txt"));
            eprintln!("{}\n{}", report.unwrap_or_default(), self.stderr);
            self.show_odd_trials();
        }
    }
}

impl Run {
    fn new(output: std::process::Output, dir: PathBuf, scratch: Option<tempfile::TempDir>) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            dir,
            _scratch: scratch,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn show_odd_trials(&self) {
        let lines = fs::read_to_string(self.dir.join("trials.jsonl")).unwrap_or_default();
        let records = lines.lines().flat_map(serde_json::from_str::<Value>);
        for record in
            records.filter(|one| one["outcome"] != "clean" && one["signature"] != "target")
        {
            let id = record["id"].as_str().unwrap_or_default();
            let console = self.dir.join("trials").join(id).join("console.log");
            let console = fs::read(console).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            let last = console.lines().count().saturating_sub(60);
            let last: Vec<&str> = console.lines().skip(last).collect();
            eprintln!(
                "{id}: {}: {}\n{}",
                record["outcome"],
                record["title"],
                last.join("\n")
            );
        }
    }

    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|_| panic!("no report:\n{}\n{}", self.stdout, self.stderr))
    }

    pub fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join("trials.jsonl")).unwrap();
        let records: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(!records.is_empty(), "no trial was run");
        records
    }

    pub fn trial_file(&self, trial: &str, name: &str) -> String {
        let path = self.dir.join("trials").join(trial).join(name);
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    }

    pub fn kverdict(&self, args: &[&str]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(args)
            .output()
            .unwrap();
        Run::new(output, self.dir.clone(), None)
    }
}

/// Command lines of the QEMU processes that work in or below `dir`.
pub fn qemu_processes(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if comm.starts_with("qemu-system") && cwd.starts_with(dir) {
            let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&cmdline).replace('\0', " "));
        }
    }
    found
}

/// Waits for a condition; fails the test when it does not come true in time.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "waited {} s: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}
