//! The plan's settings, and where kernels of different ages keep them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kverdict_core::protocol::{GuestPlan, Message};

use crate::globs;

/// Where 5.13 and later keep what used to be scheduler sysctls.
const DEBUG_SCHED: &str = "/sys/kernel/debug/sched";
/// Where 5.13 and later show the scheduling domains, and what has to be Y for that.
const DOMAINS: &str = "/sys/kernel/debug/sched/domains/";
const DOMAINS_REQUEST: &str = "/sys/kernel/debug/sched/verbose";
/// Places of the scheduler's features, newest first.
const FEATURES: [&str; 2] = [
    "/sys/kernel/debug/sched/features",
    "/sys/kernel/debug/sched_features",
];
/// How often held values are written again. The newly-idle balance's cost, the usual one, decays
/// and grows within about a second.
const HOLD_INTERVAL: Duration = Duration::from_millis(50);

/// Applies the sysctls, the features and the files, in this order, one message each.
pub fn apply(plan: &GuestPlan) -> Vec<Message> {
    let sysctl =
        |(name, value): &(String, String)| tuned(name, value, set(&sysctl_path(name), value));
    let feature = |word: &String| tuned("sched_features", word, set_feature(word));
    let file = |(path, value): &(String, String)| tuned(path, value, set(path, value));
    let mut messages: Vec<Message> = plan.sysctls.iter().map(sysctl).collect();
    messages.extend(plan.sched_features.iter().map(feature));
    messages.extend(plan.files.iter().map(file));
    messages.extend(plan.hold.iter().map(file));
    messages
}

fn tuned(name: &str, value: &str, result: Result<()>) -> Message {
    let error = result.err().map(|error| format!("{error:#}"));
    Message::Tuned {
        name: name.into(),
        value: value.into(),
        error,
    }
}

/// `/proc/sys` path of a dotted name; names with slashes in them may be written with slashes.
fn sysctl_path(name: &str) -> String {
    let name = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    format!("/proc/sys/{name}")
}

/// The paths that a setting may have, the one asked for first.
fn places(path: &str) -> Vec<String> {
    let mut places = vec![path.to_owned()];
    if let Some(name) = path.strip_prefix("/proc/sys/kernel/numa_balancing_") {
        places.push(format!("{DEBUG_SCHED}/numa_balancing/{name}"));
    } else if let Some(rest) = path.strip_prefix("/proc/sys/kernel/sched_domain/") {
        places.push(format!("{DOMAINS}{rest}"));
    } else if let Some(name) = path.strip_prefix("/proc/sys/kernel/sched_") {
        places.push(format!("{DEBUG_SCHED}/{name}"));
        places.push(format!("{DEBUG_SCHED}/{name}_ns"));
    }
    places
}

/// The existing files of a setting.
fn files(path: &str) -> Result<Vec<PathBuf>> {
    let places = places(path);
    let find = || {
        places
            .iter()
            .map(|place| globs::expand(place))
            .find(|files| !files.is_empty())
    };
    let found = find().or_else(|| {
        let hidden = places.iter().any(|place| place.starts_with(DOMAINS));
        // The kernel fills that directory only on request.
        (hidden && fs::write(DOMAINS_REQUEST, "Y").is_ok()).then(find)?
    });
    found.with_context(|| format!("this kernel has none of {}", places.join(", ")))
}

/// Writes a value to all files of a setting and reads it back. One that refuses keeps no other from it.
fn set(path: &str, value: &str) -> Result<()> {
    let refused: Vec<String> = files(path)?
        .iter()
        .filter_map(|file| {
            let error = set_file(file, value).err()?;
            Some(format!("{}: {error:#}", file.display()))
        })
        .collect();
    ensure!(refused.is_empty(), "{}", refused.join("; "));
    Ok(())
}

fn set_file(path: &Path, value: &str) -> Result<()> {
    let wanted = match value.strip_prefix("|=") {
        None => value.to_owned(),
        Some(bits) => or_bits(&fs::read_to_string(path)?, bits)?,
    };
    // No create: a file that is not there is an error, not a new file in a tmpfs.
    let file = OpenOptions::new().write(true).open(path)?;
    (&file).write_all(wanted.as_bytes())?;
    match fs::read_to_string(path) {
        Ok(found) => ensure!(same(&wanted, &found), "reads back as {}", found.trim()),
        // Some files can only be written.
        Err(_) => return Ok(()),
    }
    Ok(())
}

/// The existing number with further bits set, in decimal.
fn or_bits(existing: &str, bits: &str) -> Result<String> {
    let existing =
        number(existing).with_context(|| format!("{:?} is no number", existing.trim()))?;
    let bits = number(bits).with_context(|| format!("{bits:?} is no number"))?;
    Ok((existing | bits).to_string())
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether a value reads back as written, but for blanks and number formats.
fn same(wanted: &str, found: &str) -> bool {
    let numbers = (number(wanted), number(found));
    matches!(numbers, (Some(a), Some(b)) if a == b)
        || wanted.split_whitespace().eq(found.split_whitespace())
}

fn set_feature(word: &str) -> Result<()> {
    let Some(path) = FEATURES.into_iter().find(|path| Path::new(path).exists()) else {
        bail!(
            "this kernel has neither {} nor {}",
            FEATURES[0],
            FEATURES[1]
        );
    };
    fs::write(path, word).with_context(|| path.to_owned())?;
    let found = fs::read_to_string(path).with_context(|| path.to_owned())?;
    ensure!(
        found.split_whitespace().any(|feature| feature == word),
        "{path} does not show it"
    );
    Ok(())
}

/// Writes the plan's held values again and again, because the kernel changes them by itself.
pub struct Keeper {
    files: Vec<(File, String)>,
}

impl Keeper {
    /// Starts to hold these settings; `|=` makes no sense here and is written once only.
    pub fn start(settings: &[(String, String)]) {
        let mut keeper = Keeper { files: Vec::new() };
        for (path, value) in settings
            .iter()
            .filter(|(_, value)| !value.starts_with("|="))
        {
            for file in files(path).unwrap_or_default() {
                if let Ok(open) = OpenOptions::new().write(true).open(file) {
                    keeper.files.push((open, value.clone()));
                }
            }
        }
        if !keeper.files.is_empty() {
            std::thread::spawn(move || keeper.hold());
        }
    }

    // What cannot be written was reported when it was first set.
    fn hold(self) -> ! {
        loop {
            std::thread::sleep(HOLD_INTERVAL);
            for (file, value) in &self.files {
                rewrite(file, value);
            }
        }
    }
}

/// Writes to an open setting once more. Sysctls look at the position and have to be written at 0;
/// debugfs attributes have no position.
fn rewrite(mut file: &File, value: &str) {
    if file.write_at(value.as_bytes(), 0).is_err() {
        let _ = file.write_all(value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_an_old_and_a_new_place() {
        let place = |name: &str| places(&sysctl_path(name))[1].clone();
        assert_eq!(
            place("kernel.numa_balancing_scan_period_min_ms"),
            "/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms"
        );
        assert_eq!(
            place("kernel.sched_migration_cost_ns"),
            "/sys/kernel/debug/sched/migration_cost_ns"
        );
        assert_eq!(
            places("/proc/sys/kernel/sched_domain/cpu*/domain*/flags")[1],
            "/sys/kernel/debug/sched/domains/cpu*/domain*/flags"
        );
        assert_eq!(
            places(&sysctl_path("vm.nr_hugepages")),
            ["/proc/sys/vm/nr_hugepages"]
        );
    }

    #[test]
    fn bits_are_added_to_what_is_there() {
        assert_eq!(or_bits("4143\n", "0x800").unwrap(), "6191");
        assert_eq!(or_bits("0", "3").unwrap(), "3");
        assert!(or_bits("SD_BALANCE_NEWIDLE SD_SHARE_LLC", "0x800").is_err());
    }

    #[test]
    fn values_are_compared_as_numbers_or_words() {
        assert!(same("1", "1\n"));
        assert!(same("0x10", "16\n"));
        assert!(same("1 2", "1\t2\n"));
        assert!(!same("1", "0\n"));
        assert!(!same("panic", "1\n"));
    }

    #[test]
    fn a_file_is_written_and_read_back() {
        let path = std::env::temp_dir().join(format!("kverdict-settings-{}", std::process::id()));
        fs::write(&path, "16").unwrap();
        set(path.to_str().unwrap(), "|=1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "17");
        fs::remove_file(&path).unwrap();
        assert!(set(path.to_str().unwrap(), "1").is_err());
    }
}
