//! One trial of a run that somebody else leads, on this machine: `kverdict trial --spec`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::results::Results;
use super::room;
use super::spec::Spec;
use crate::accel;
use crate::dependencies;
use crate::guests::{LOAD, Surroundings};
use crate::layout::TrialDir;
use crate::progress::Progress;
use crate::store;

/// Makes trial `number` of `spec` and puts its folder into `out`, whole or not at all. One that is there
/// already is left as it is, so that this may be called again, and by several machines at once: the first
/// one counts.
///
/// # Errors
/// Wrong input, such as another run's trial in that place, trouble of the host, or an interrupt; whatever the
/// guest does is an outcome.
pub fn make(spec: &Path, number: u32, out: &Path, progress: &Progress) -> Result<TrialRecord> {
    let (spec, run) = Spec::read(spec)?;
    let order = spec.order(number)?;
    let results = spec.results();
    if let Some(record) = results.find(out, order)? {
        progress.line(format!("trial {} is there already", order.id()));
        return Ok(record);
    }
    accel::check(spec.acceleration)?;
    let guests = spec.guests(&run, &order.arm, dependencies::qemu_version()?)?;
    // Whoever leads the run may send several here at once.
    let lease = room::for_one(&spec.campaign.guest, progress)?;
    // On a disk of this machine: many a shared file system has no sockets, and a console is written in
    // small pieces.
    let scratch = tempfile::Builder::new().prefix("kverdict-").tempdir();
    let scratch = scratch.context("cannot create a folder for temporary files")?;
    let dir = TrialDir::at(scratch.path().to_owned());
    let around = Surroundings {
        dir: dir.clone(),
        initramfs: run.initramfs(LOAD),
        lease: lease.as_ref(),
        stop: &AtomicBool::new(false),
        progress: Some(progress),
    };
    let record = guests.trial(&spec.campaign, order, &around)?;
    results.sign(&dir)?;
    store::replace(&dir.record(), &serde_json::to_vec_pretty(&record)?)?;
    hand_in(&results, &dir, out, order)
}

/// Copies a trial's folder under another name beside its place, and renames it. Gives the record that is
/// there in the end.
fn hand_in(results: &Results, dir: &TrialDir, out: &Path, order: &Order) -> Result<TrialRecord> {
    let place = TrialDir::among(out, &order.id());
    let cannot = || format!("cannot write {}", place.root().display());
    fs::create_dir_all(out).with_context(cannot)?;
    let copy = beside(out, order).with_context(cannot)?;
    copy_files(dir.root(), copy.path()).with_context(cannot)?;
    loop {
        match fs::rename(copy.path(), place.root()) {
            Ok(()) => {
                // Its name is another one now, and there is nothing to remove.
                let _ = copy.keep();
                break;
            }
            // Somebody was quicker, or was killed while it wrote there: only a record counts.
            Err(error) if is_there(&error) => {
                if results.find(out, order)?.is_some() {
                    break;
                }
                clear(results, out, order)?;
            }
            Err(error) => return Err(error).with_context(cannot),
        }
    }
    let found = results.find(out, order)?;
    found.with_context(|| format!("{} is damaged", place.record().display()))
}

/// Removes what a killed one left in a trial's place. Another machine may have put a whole one there since that
/// was looked at: what is removed is only what nobody else can get at any more, and what is whole goes back.
fn clear(results: &Results, out: &Path, order: &Order) -> Result<()> {
    let place = TrialDir::among(out, &order.id());
    let cannot = || format!("cannot clear {}", place.root().display());
    let aside = beside(out, order).with_context(cannot)?;
    let taken = TrialDir::among(aside.path(), &order.id());
    match fs::rename(place.root(), taken.root()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.with_context(cannot)?,
    }
    if matches!(results.find(aside.path(), order), Ok(None)) {
        return Ok(());
    }
    let put_back = fs::rename(taken.root(), place.root());
    let aside = aside.keep();
    put_back.with_context(|| format!("{} has a whole trial", taken.root().display()))?;
    fs::remove_dir(&aside).with_context(cannot)
}

/// A folder of nobody else's in a folder of trials.
fn beside(out: &Path, order: &Order) -> io::Result<TempDir> {
    let prefix = format!(".{}-", order.id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(out)
}

fn is_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
    )
}

/// Regular files only: QEMU leaves sockets.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry?;
        let target = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else if entry.file_type().is_file() {
            fs::copy(entry.path(), &target)?;
            fs::File::open(&target)?.sync_data()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::results::tests::{order_of, recorded};
    use super::*;

    /// A whole trial's folder, of the recorded run.
    fn made(dir: &Path, title: &str) -> TrialDir {
        fs::create_dir_all(dir).unwrap();
        let made = TrialDir::at(dir.to_owned());
        let (results, mut record) = recorded("this");
        record.title = title.to_owned();
        results.sign(&made).unwrap();
        let record = serde_json::to_string(&record).unwrap();
        fs::write(made.record(), record).unwrap();
        fs::write(made.console(), title).unwrap();
        made
    }

    /// A folder for trials, what is asked for, and its place.
    fn asked(place: &Path) -> (PathBuf, Results, Order, TrialDir) {
        let out = place.join("trials");
        let (results, record) = recorded("this");
        let order = order_of(&record);
        let dir = TrialDir::among(&out, &order.id());
        (out, results, order, dir)
    }

    fn console_and_neighbours(out: &Path, dir: &TrialDir) -> (String, usize) {
        let count = fs::read_dir(out).unwrap().count();
        (fs::read_to_string(dir.console()).unwrap(), count)
    }

    #[test]
    fn the_first_result_counts_and_nothing_is_left_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let (out, results, order, dir) = asked(place.path());
        for (name, title) in [("a", "first"), ("b", "second")] {
            let made = made(&place.path().join(name), title);
            let record = hand_in(&results, &made, &out, &order).unwrap();
            assert_eq!(record.title, "first");
        }
        assert_eq!(console_and_neighbours(&out, &dir), ("first".to_owned(), 1));
    }

    #[test]
    fn what_a_killed_one_left_without_a_record_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (out, results, order, torn) = asked(place.path());
        fs::create_dir_all(torn.root()).unwrap();
        fs::write(torn.console(), "half").unwrap();
        fs::write(torn.record(), "{\"schema\": 1").unwrap();
        let whole = made(&place.path().join("a"), "whole");
        let record = hand_in(&results, &whole, &out, &order).unwrap();
        assert_eq!(record.title, "whole");
        assert_eq!(console_and_neighbours(&out, &torn), ("whole".to_owned(), 1));
    }

    #[test]
    fn another_runs_result_is_neither_replaced_nor_counted() {
        let place = tempfile::tempdir().unwrap();
        let (out, _, order, dir) = asked(place.path());
        made(dir.root(), "theirs");
        let (results, _) = recorded("other");
        let ours = made(&place.path().join("a"), "ours");
        let error = hand_in(&results, &ours, &out, &order).unwrap_err();
        assert!(error.to_string().contains("it is of run this"), "{error}");
        assert_eq!(console_and_neighbours(&out, &dir), ("theirs".to_owned(), 1));
    }

    /// As if it had been handed in after this one had looked.
    #[test]
    fn a_whole_result_that_is_in_the_way_is_put_back() {
        let place = tempfile::tempdir().unwrap();
        let (out, results, order, dir) = asked(place.path());
        made(dir.root(), "quicker");
        clear(&results, &out, &order).unwrap();
        let kept = ("quicker".to_owned(), 1);
        assert_eq!(console_and_neighbours(&out, &dir), kept);
        let (results, _) = recorded("other");
        clear(&results, &out, &order).unwrap();
        assert_eq!(console_and_neighbours(&out, &dir), kept);
        fs::remove_file(dir.record()).unwrap();
        clear(&results, &out, &order).unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        clear(&results, &out, &order).unwrap();
    }
}
