//! The window holder, as one trial needs it: the plugin for this machine's QEMU, the places of its
//! kernel, and what it has counted.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use kverdict_core::holder::{HolderCounts, HolderSpec};
use kverdict_core::outside::symbols::Symbols;
use kverdict_holder::board::{self, Counts};
use kverdict_holder::places::{Place, Places};
use serde_json::json;

use crate::layout::{self, RunDir, TrialDir};
use crate::store;

/// The plugin, compiled with this program.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holder.so"));
/// Stands behind the plugin's API version, see `harness/holder/src/plugin.rs`.
const MARKER: &[u8] = b"kverdict holder\0";

/// The holder of one kernel's trials.
#[derive(Debug, Clone)]
pub struct Holder {
    spec: HolderSpec,
    plugin: PathBuf,
    places: Places,
}

impl Holder {
    /// Writes the plugin into the run's folder, for `qemu` (its version line), and finds the kernel's
    /// places.
    ///
    /// # Errors
    /// When the kernel lacks one, or the folder cannot be written.
    pub fn prepare(spec: &HolderSpec, qemu: &str, run: &RunDir, symbols: &Symbols) -> Result<Self> {
        let places = Self::places(symbols).map_err(|why| anyhow!(why))?;
        let api = api_version(qemu);
        let plugin = run.holder(api);
        let content = for_api(PLUGIN, api)?;
        // Other guests may have it loaded.
        if !fs::read(&plugin).is_ok_and(|there| there == content) {
            store::replace(&plugin, &content)?;
        }
        Ok(Self {
            spec: spec.clone(),
            plugin,
            places,
        })
    }

    /// The places where the holder watches a kernel.
    ///
    /// # Errors
    /// Which of them the kernel does not have.
    pub fn places(symbols: &Symbols) -> Result<Places, String> {
        Places::find(|name| range(symbols, name)).map_err(|missing| {
            format!(
                "the holder does not find {} in the kernel's symbols; leave `holder` out of the campaign",
                missing.join(", ")
            )
        })
    }

    /// Writes what the plugin reads when QEMU starts in this folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn lay_out(&self, dir: &TrialDir) -> Result<()> {
        store::replace(&dir.places(), self.places.to_string().as_bytes())?;
        store::replace(&dir.board(), &[0; board::BYTES])
    }

    /// Value of QEMU's `-plugin`.
    pub fn argument(&self) -> String {
        // In QEMU's option lists a comma is written twice.
        let mut text = self.plugin.display().to_string().replace(',', ",,");
        let (swap, balance) = (self.spec.swap_hold(), self.spec.balance_hold());
        let _ = write!(
            text,
            ",places={},board={},swap_us={},balance_us={}",
            layout::PLACES,
            layout::BOARD,
            swap.as_micros(),
            balance.as_micros()
        );
        text
    }
}

/// Addresses of a function up to the next one, or of a variable's first word.
fn range(symbols: &Symbols, name: &str) -> Option<std::ops::Range<u64>> {
    let start = symbols.address(name)?;
    let end = match name == Place::PerCpuOffset.symbol() {
        true => start + size_of::<u64>() as u64,
        false => symbols.next(start)?,
    };
    Some(start..end)
}

/// Version of the plugin API that a QEMU accepts: 9.0 raised the least one to 2, and the next that was
/// due for removal is 2 itself. The functions used did not change.
fn api_version(qemu: &str) -> u8 {
    let after = qemu.split("version ").nth(1).unwrap_or_default();
    let mut numbers = after
        .split('.')
        .map(|word| word.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match (major, minor) {
        (0..=8, _) => 1,
        (9, 0..=1) => 2,
        (9.., _) => 4,
    }
}

/// The plugin with another API version in it.
fn for_api(plugin: &[u8], version: u8) -> Result<Vec<u8>> {
    let version = i32::from(version).to_ne_bytes();
    let at = plugin
        .windows(MARKER.len())
        .position(|window| window == MARKER)
        .and_then(|marker| marker.checked_sub(version.len()))
        .context("the embedded plugin has no API version")?;
    let mut plugin = plugin.to_vec();
    plugin[at..at + version.len()].copy_from_slice(&version);
    Ok(plugin)
}

/// Follows what the holder of a running guest counts.
#[derive(Debug)]
pub struct Tally {
    dir: TrialDir,
    log: Option<File>,
    first: Option<HolderCounts>,
    last: Option<HolderCounts>,
}

impl Tally {
    /// Of the guest whose folder this is.
    pub fn new(dir: &TrialDir) -> Self {
        Self {
            dir: dir.clone(),
            log: None,
            first: None,
            last: None,
        }
    }

    /// Takes a reading under load and keeps it beside the console. Without a holder nothing happens.
    ///
    /// # Errors
    /// When the reading cannot be kept.
    pub fn read(&mut self, load_ms: u64) -> Result<()> {
        let Ok(page) = fs::read(self.dir.board()) else {
            return Ok(());
        };
        let Some(counts) = Counts::read(&page).map(counts) else {
            return Ok(());
        };
        let path = self.dir.exposure();
        let what = || format!("cannot write {}", path.display());
        if self.log.is_none() {
            self.log = Some(File::create(&path).with_context(what)?);
        }
        if let Some(log) = &mut self.log {
            let line = json!({"load_ms": load_ms, "counts": counts});
            writeln!(log, "{line}").with_context(what)?;
        }
        self.first.get_or_insert(counts);
        self.last = Some(counts);
        Ok(())
    }

    /// What was counted from the first reading to the last one.
    pub fn grown(&self) -> Option<HolderCounts> {
        Some(self.last?.since(&self.first?))
    }
}

fn counts(page: Counts) -> HolderCounts {
    HolderCounts {
        looks: page.looks,
        balances: page.balances,
        swaps: page.swaps,
        meetings: page.meetings,
        swaps_held: page.swaps_held,
        balances_held: page.balances_held,
        swaps_held_us: page.swaps_held_us,
        balances_held_us: page.balances_held_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_qemu_gets_an_api_version_that_it_accepts() {
        let of = |text: &str| api_version(&format!("QEMU emulator version {text}"));
        assert_eq!(of("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"), 1);
        assert_eq!(of("8.2.2"), 1);
        assert_eq!(of("9.0.1"), 2);
        assert_eq!(of("10.0.3 (Debian 1:10.0.3+ds-0+deb13u1)"), 4);
        assert_eq!(api_version("no version at all"), 1);
    }

    #[test]
    fn the_embedded_plugin_takes_another_api_version() {
        let one = for_api(PLUGIN, 1).unwrap();
        assert_eq!(one, PLUGIN);
        let four = for_api(PLUGIN, 4).unwrap();
        assert_eq!(one.iter().zip(&four).filter(|(a, b)| a != b).count(), 1);
        assert!(for_api(b"no plugin", 1).is_err());
    }

    #[test]
    fn a_comma_in_the_folders_name_is_no_option() {
        let symbols = "cpu_stop_should_run cpu_stopper_thread __switch_to stop_one_cpu_nowait stop_two_cpus \
                       try_to_wake_up irq_enter __per_cpu_offset end";
        let map: String = symbols
            .split(' ')
            .enumerate()
            .map(|(index, name)| format!("ffffffff8100{index}000 T {name}\n"))
            .collect();
        let symbols = Symbols::from_system_map(&map).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("a,b");
        fs::create_dir(&run).unwrap();
        let spec = HolderSpec {
            swap_hold_ms: 1000,
            balance_hold_ms: 0,
        };
        let run = RunDir::new(run).unwrap();
        let holder = Holder::prepare(&spec, "QEMU emulator version 7.2.1", &run, &symbols).unwrap();
        let argument = holder.argument();
        assert!(argument.contains("/a,,b/"), "{argument}");
        assert!(
            argument.ends_with(",swap_us=1000000,balance_us=0"),
            "{argument}"
        );
        let error = Holder::prepare(&spec, "", &run, &Symbols::default()).unwrap_err();
        assert!(error.to_string().contains("try_to_wake_up"), "{error}");
    }
}
