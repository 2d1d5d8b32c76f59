//! Records of a run on disk: written so that a kill at any moment loses at most the trial under way.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kverdict_core::arming::Arming;
use kverdict_core::campaign::Campaign;
use kverdict_core::order::{self, Order};
use kverdict_core::record::TrialRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::attempts::Attempt;
use crate::commands::Usage;
use crate::layout::RunDir;
use crate::manifest::{self, Started};

/// A run that this process may write into; the lock is held until it is dropped.
#[derive(Debug)]
pub struct Run {
    dir: RunDir,
    _lock: File,
    events: File,
    trials: File,
}

impl Run {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// When it exists, or cannot be written.
    pub fn create<M: Started>(dir: RunDir, manifest: &M) -> Result<Self> {
        let path = M::file(&dir);
        fs::create_dir_all(dir.root()).with_context(|| {
            format!(
                "cannot create {}; choose another place with --results",
                dir.root().display()
            )
        })?;
        if path.exists() {
            bail!(
                "{} exists already; continue it with --resume",
                dir.root().display()
            );
        }
        let run = Self::open(dir)?;
        replace(&path, &serde_json::to_vec_pretty(manifest)?)?;
        Ok(run)
    }

    /// Continues a run: gives what it was started with, and its trials so far.
    ///
    /// # Errors
    /// When it does not exist, another process writes into it, or a record cannot be read.
    pub fn resume<M: Started, T: Entry>(dir: RunDir) -> Result<(Self, M, Records<T>)> {
        let manifest = manifest::read(&dir)?;
        // From here on nobody else writes: what is read is all there is, and a line without an end is torn.
        let run = Self::open(dir)?;
        for list in [run.dir.trials(), run.dir.armings(), run.dir.orders()] {
            drop_torn_line(&list)?;
        }
        let mut records: Records<T> = read_records(&run.dir)?;
        records.earlier = records.made().collect();
        Ok((run, manifest, records))
    }

    fn open(dir: RunDir) -> Result<Self> {
        let lock = open_for_append(&dir.lock())?;
        if lock.try_lock().is_err() {
            bail!(
                "another kverdict is writing into {}; wait for it or stop it",
                dir.root().display()
            );
        }
        let events = open_for_append(&dir.events())?;
        let trials = open_for_append(&dir.trials())?;
        Ok(Self {
            dir,
            _lock: lock,
            events,
            trials,
        })
    }

    /// The run's folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Notes that something happened. Failing to is no reason to stop a run.
    pub fn event(&mut self, what: &str, detail: serde_json::Value) {
        let line = json!({"time": now(), "event": what, "detail": detail});
        let _ = writeln!(self.events, "{line}");
    }

    /// Notes that a trial begins.
    pub fn trial_started(&mut self, order: &Order) {
        self.event("trial-started", json!({"id": order.id()}));
    }

    /// Notes that one has ended.
    pub fn trial_ended(&mut self, campaign: &Campaign, record: &TrialRecord) {
        let standing = record.standing(&campaign.policy.min_exposure);
        self.event(
            "trial-ended",
            json!({"id": record.id, "standing": standing, "outcome": record.outcome}),
        );
    }

    /// Asks for a trial of an arm, of a cell in a night, and keeps that before anybody begins with it: one that is lost
    /// is made again, because what gets lost is what takes long.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub fn order<T: Entry>(
        &mut self,
        records: &mut Records<T>,
        arm: String,
        cell: Option<String>,
    ) -> Result<Order> {
        let number = records.next_number();
        let order = Order { number, arm, cell };
        let path = self.dir.orders();
        append(&mut open_for_append(&path)?, &path, &order)?;
        records.orders.push(order.clone());
        Ok(order)
    }

    /// Stores a finished trial for good, first in its own folder, then in the run's list.
    ///
    /// # Errors
    /// When the disk does not take it; the list is left without a torn line.
    pub fn record<T: AsRef<TrialRecord> + Serialize>(&mut self, trial: &T) -> Result<()> {
        self.keep(Some(trial.as_ref()), trial)
    }

    /// Stores what came of trying a candidate of a bisection, in the same way.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub fn record_attempt(&mut self, attempt: &Attempt) -> Result<()> {
        self.keep(attempt.trial(), attempt)
    }

    fn keep(&mut self, record: Option<&TrialRecord>, line: &impl Serialize) -> Result<()> {
        if let Some(record) = record {
            let own = self.dir.trial(&record.id).record();
            replace(&own, &serde_json::to_vec_pretty(record)?)?;
        }
        append(&mut self.trials, &self.dir.trials(), line)
    }

    /// Stores what a lockup made on purpose showed.
    ///
    /// # Errors
    /// As [`Run::record`].
    pub fn record_arming(&mut self, arming: &Arming) -> Result<()> {
        let path = self.dir.armings();
        append(&mut open_for_append(&path)?, &path, arming)
    }
}

/// A line of a run's list of trials.
pub trait Entry: DeserializeOwned {
    /// Where it belongs in the list, whenever it came; equal ones are in the order in which they came.
    fn place(&self) -> u32;

    /// The trial that it is about, if it is about one.
    fn trial(&self) -> Option<&TrialRecord>;
}

impl<T: AsRef<TrialRecord> + DeserializeOwned> Entry for T {
    fn place(&self) -> u32 {
        self.as_ref().number
    }

    fn trial(&self) -> Option<&TrialRecord> {
        Some(self.as_ref())
    }
}

impl Entry for Attempt {
    /// What could not be tried has no number.
    fn place(&self) -> u32 {
        0
    }

    fn trial(&self) -> Option<&TrialRecord> {
        Attempt::trial(self)
    }
}

/// What a run has recorded: all that its verdict is made of.
#[derive(Debug)]
pub struct Records<T = TrialRecord> {
    /// Lockups made on purpose.
    pub armings: Vec<Arming>,
    /// Finished trials, in the order of their numbers; attempts of a bisection in the order in which they came.
    pub trials: Vec<T>,
    /// Trials that were asked for, in runs that may have several at once.
    pub orders: Vec<Order>,
    /// Numbers of the trials that earlier processes made: their host may have been mended since.
    pub earlier: BTreeSet<u32>,
}

impl<T> Default for Records<T> {
    fn default() -> Self {
        Self {
            armings: Vec::new(),
            trials: Vec::new(),
            orders: Vec::new(),
            earlier: BTreeSet::new(),
        }
    }
}

impl Records {
    /// The trials that may be judged; see [`order::settled`].
    pub fn settled(&self) -> &[TrialRecord] {
        order::settled(&self.trials, &self.lost())
    }
}

impl<T: Entry> Records<T> {
    fn made(&self) -> impl Iterator<Item = u32> {
        let trials = self.trials.iter().filter_map(T::trial);
        trials.map(|trial| trial.number)
    }

    /// Number of the trial to come, from 1.
    pub fn next_number(&self) -> u32 {
        let asked = self.orders.iter().map(|order| order.number);
        self.made().chain(asked).max().unwrap_or(0) + 1
    }

    /// Trials that were asked for and have no record.
    pub fn lost(&self) -> Vec<Order> {
        let made: HashSet<u32> = self.made().collect();
        let lost = self.orders.iter().filter(|one| !made.contains(&one.number));
        lost.cloned().collect()
    }

    /// Whether `build` is the kernel that the arm's records are about.
    ///
    /// # Errors
    /// As [`check_build`].
    pub fn check_build(&self, arm: &str, build: &str) -> Result<()> {
        let of_armings = self.armings.iter().filter(|one| one.arm == arm);
        let trials = self.trials.iter().filter_map(T::trial);
        let of_trials = trials.filter(|one| one.arm == arm);
        let earlier = of_armings
            .map(|one| &one.build)
            .chain(of_trials.map(|one| &one.build));
        check_build(arm, build, earlier)
    }
}

impl<T: AsRef<TrialRecord>> Records<T> {
    /// Adds a trial where its number belongs.
    pub fn insert(&mut self, trial: T) {
        let number = trial.as_ref().number;
        let place = self
            .trials
            .partition_point(|one| one.as_ref().number < number);
        self.trials.insert(place, trial);
    }
}

/// Whether `build` is the kernel that an arm's `earlier` records are about.
///
/// # Errors
/// When it is another one: its source, its toolchain or kverdict itself has changed, and figures of
/// two kernels must not be mixed.
pub fn check_build<'a>(
    arm: &str,
    build: &str,
    mut earlier: impl Iterator<Item = &'a String>,
) -> Result<()> {
    match earlier.find(|earlier| *earlier != build) {
        None => Ok(()),
        Some(earlier) => Err(Usage(format!(
            "the run was begun with build {earlier} of arm {arm}, and what is built now is {build}: the source, the compiler, a patch or kverdict has changed since. Put that back, or start a new run"
        ))
        .into()),
    }
}

/// Adds a line for good, or nothing.
fn append(file: &mut File, path: &Path, record: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let before = file.metadata()?.len();
    let written = file.write_all(&line).and_then(|()| file.sync_data());
    if let Err(error) = written {
        let _ = file.set_len(before);
        return Err(error)
            .with_context(|| format!("cannot write {}; is the disk full?", path.display()));
    }
    Ok(())
}

/// Reads a run without writing into it.
///
/// # Errors
/// When there is no run, or its records are of another version or damaged (names file and line).
pub fn read<M: Started, T: Entry>(dir: &RunDir) -> Result<(M, Records<T>)> {
    Ok((manifest::read(dir)?, read_records(dir)?))
}

fn read_records<T: Entry>(dir: &RunDir) -> Result<Records<T>> {
    let mut records = Records {
        armings: read_lines(&dir.armings())?,
        trials: read_lines(&dir.trials())?,
        orders: read_lines(&dir.orders())?,
        earlier: BTreeSet::new(),
    };
    records.trials.sort_by_key(T::place);
    Ok(records)
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    // A torn line may end within a character.
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut records = Vec::new();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            // The write that a kill or a full disk cut short; its trial runs again.
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => bail!("{}:{}: damaged record: {error}", path.display(), index + 1),
        }
    }
    Ok(records)
}

fn drop_torn_line(path: &Path) -> Result<()> {
    let Ok(bytes) = fs::read(path) else {
        return Ok(());
    };
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < bytes.len() {
        OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(whole as u64)?;
    }
    Ok(())
}

/// Writes a file by a temporary one beside it, so that it is there whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    replace_with_mode(path, content, 0o644)
}

/// The same for a program.
///
/// # Errors
/// As [`replace`].
pub fn replace_program(path: &Path, content: &[u8]) -> Result<()> {
    replace_with_mode(path, content, 0o755)
}

fn replace_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        // Readable by others, as far as the umask allows: results are shared.
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(dir)?;
        file.write_all(content)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| {
        format!(
            "cannot write {}; is the disk full or read-only?",
            path.display()
        )
    })
}

fn open_for_append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The time, RFC 3339 in UTC.
pub fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_ends_within_a_character_is_torn_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.jsonl");
        fs::write(&path, b"\"whole\"\n\"half \xef\xbf").unwrap();
        let lines: Vec<String> = read_lines(&path).unwrap();
        assert_eq!(lines, ["whole"]);
        fs::write(&path, b"\"whole\"\n\"bad \xef\xbf\"\n").unwrap();
        let error = read_lines::<String>(&path).unwrap_err().to_string();
        assert!(error.contains("list.jsonl:2: damaged record"), "{error}");
    }

    #[test]
    fn a_run_goes_on_with_the_kernels_that_it_was_begun_with() {
        let arming = |arm: &str, build: &str| Arming {
            arm: arm.to_owned(),
            build: build.to_owned(),
            how: String::new(),
            fired: Vec::new(),
            silent: Vec::new(),
            waited_ms: 0,
            trouble: None,
        };
        let records: Records = Records {
            armings: vec![arming("fixed", "k1"), arming("unfixed", "k2")],
            ..Records::default()
        };
        records.check_build("fixed", "k1").unwrap();
        records.check_build("new", "k3").unwrap();
        let error = records.check_build("fixed", "k2").unwrap_err().to_string();
        assert!(
            error.contains("k1") && error.contains("start a new run"),
            "{error}"
        );
    }
}
