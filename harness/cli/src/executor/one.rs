//! One trial of a run that somebody else leads, on this machine: `kverdict trial --spec`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use walkdir::WalkDir;

use super::spec::{self, Spec};
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
/// Wrong input, trouble of the host, or an interrupt; whatever the guest does is an outcome.
pub fn make(spec: &Path, number: u32, out: &Path, progress: &Progress) -> Result<TrialRecord> {
    let (spec, run) = Spec::read(spec)?;
    let order = spec.order(number)?;
    if let Some(record) = spec::result(out, order) {
        progress.line(format!("trial {} is there already", order.id()));
        return Ok(record);
    }
    accel::check(spec.acceleration)?;
    let guests = spec.guests(&run, &order.arm, dependencies::qemu_version()?)?;
    // On a disk of this machine: many a shared file system has no sockets, and a console is written in
    // small pieces.
    let scratch = tempfile::Builder::new().prefix("kverdict-").tempdir();
    let scratch = scratch.context("cannot create a folder for temporary files")?;
    let dir = TrialDir::at(scratch.path().to_owned());
    let around = Surroundings {
        dir: dir.clone(),
        initramfs: run.initramfs(LOAD),
        lease: None,
        stop: &AtomicBool::new(false),
        progress: Some(progress),
    };
    let record = guests.trial(&spec.campaign, order, &around)?;
    store::replace(&dir.record(), &serde_json::to_vec_pretty(&record)?)?;
    hand_in(&dir, out, order)
}

/// Copies a trial's folder under another name beside its place, and renames it. Gives the record that is
/// there in the end.
fn hand_in(dir: &TrialDir, out: &Path, order: &Order) -> Result<TrialRecord> {
    let place = TrialDir::among(out, &order.id());
    let cannot = || format!("cannot write {}", place.root().display());
    fs::create_dir_all(out).with_context(cannot)?;
    let copy = tempfile::Builder::new()
        .prefix(&format!(".{}-", order.id()))
        .tempdir_in(out)
        .with_context(cannot)?;
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
                if spec::result(out, order).is_some() {
                    break;
                }
                fs::remove_dir_all(place.root()).with_context(cannot)?;
            }
            Err(error) => return Err(error).with_context(cannot),
        }
    }
    spec::result(out, order).with_context(|| format!("{} is damaged", place.record().display()))
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
    use super::*;

    fn order() -> Order {
        Order {
            number: 3,
            arm: "fixed".to_owned(),
            cell: None,
        }
    }

    fn made(dir: &Path, title: &str) -> TrialDir {
        fs::create_dir_all(dir).unwrap();
        let made = TrialDir::at(dir.to_owned());
        let recorded = include_str!("../../tests/recorded/verified/trials.jsonl");
        let first = recorded.lines().next().unwrap();
        let mut record: TrialRecord = serde_json::from_str(first).unwrap();
        (record.id, record.title) = (order().id(), title.to_owned());
        let record = serde_json::to_string(&record).unwrap();
        fs::write(made.record(), record).unwrap();
        fs::write(made.console(), title).unwrap();
        made
    }

    #[test]
    fn the_first_result_counts_and_nothing_is_left_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("trials");
        let first = made(&place.path().join("a"), "first");
        let second = made(&place.path().join("b"), "second");
        assert_eq!(hand_in(&first, &out, &order()).unwrap().title, "first");
        assert_eq!(hand_in(&second, &out, &order()).unwrap().title, "first");
        let names: Vec<_> = fs::read_dir(&out).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let console = TrialDir::among(&out, "0003-fixed").console();
        assert_eq!(fs::read_to_string(console).unwrap(), "first");
    }

    #[test]
    fn what_a_killed_one_left_without_a_record_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("trials");
        let torn = TrialDir::among(&out, "0003-fixed");
        fs::create_dir_all(torn.root()).unwrap();
        fs::write(torn.console(), "half").unwrap();
        fs::write(torn.record(), "{\"schema\": 1").unwrap();
        let whole = made(&place.path().join("a"), "whole");
        assert_eq!(hand_in(&whole, &out, &order()).unwrap().title, "whole");
        assert_eq!(fs::read_to_string(torn.console()).unwrap(), "whole");
    }
}
