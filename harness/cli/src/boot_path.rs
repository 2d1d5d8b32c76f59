//! The way from a kernel's file into the guest: the shortest that the file itself allows.
//!
//! A bzImage unpacks itself, which takes an emulated CPU longer than anything else before the kernel's first
//! message. One that can be entered by the PVH convention needs none of that: QEMU copies its
//! ELF file into the guest's memory. Either way firmware runs first: the PC's usual one looks for
//! devices and disks that no guest here has, qboot does not.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kverdict_core::campaign::{Boot, Guest};
use kverdict_core::catalogue::pvh;
use kverdict_core::inspect::boot_image::is_boot_image;
use serde::Serialize;

use crate::build::{BuiltKernel, tools};
use crate::commands::Usage;
use crate::qemu::QEMU;

/// The file of the small firmware, in a folder of QEMU's.
const QBOOT: &str = "qboot.rom";
/// Machines that qboot knows. Versioned ones are left alone: who names one wants it as it was.
const PCS: [&str; 2] = ["pc", "q35"];

/// How a kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A bzImage, which unpacks itself.
    Bzimage,
    /// An ELF file with a PVH entry.
    Pvh,
}

/// What QEMU is given as kernel and firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootPath {
    /// The kernel's file.
    pub image: PathBuf,
    /// How it is entered.
    pub entry: Entry,
    /// Firmware in place of the machine's own.
    pub firmware: Option<PathBuf>,
}

impl BootPath {
    /// A bzImage with the machine's own firmware: works everywhere.
    pub fn plain(bzimage: impl Into<PathBuf>) -> Self {
        Self {
            image: bzimage.into(),
            entry: Entry::Bzimage,
            firmware: None,
        }
    }

    /// The way that a guest asks for, for a kernel of the cache; `qboot` is what [`qboot`] found.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of(kernel: &BuiltKernel, guest: &Guest, qboot: Option<&Path>) -> Result<Self> {
        let elf = match guest.boot {
            Boot::Bzimage => None,
            Boot::Shortest => kernel.elf.as_deref(),
        };
        let unpacked = elf.map(|elf| Self::of_image(elf, guest, qboot));
        match unpacked.transpose()? {
            Some(way) if way.entry == Entry::Pvh => Ok(way),
            Some(_) | None => Ok(Self::plain(&kernel.bzimage).by(guest, qboot)),
        }
    }

    /// The same for an image that was chosen so before, wherever it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_image(image: &Path, guest: &Guest, qboot: Option<&Path>) -> Result<Self> {
        let entry = match pvh::entry(&read(image)?) {
            Some(_) => Entry::Pvh,
            None => Entry::Bzimage,
        };
        let way = Self {
            entry,
            ..Self::plain(image)
        };
        Ok(way.by(guest, qboot))
    }

    /// The same for a file that somebody names.
    ///
    /// # Errors
    /// When it cannot be read, or QEMU cannot boot it.
    pub fn of_file(file: &Path, guest: &Guest, qboot: Option<&Path>) -> Result<Self> {
        let way = Self::of_image(file, guest, qboot)?;
        if way.entry == Entry::Bzimage && !is_boot_image(&read(file)?) {
            bail!(Usage(format!(
                "{} cannot be booted: expected a bzImage (vmlinuz), or a vmlinux for x86-64 that was built \
                 with CONFIG_PVH",
                file.display()
            )));
        }
        Ok(way)
    }

    /// Past the machine's own firmware, where the guest allows that.
    pub fn by(self, guest: &Guest, qboot: Option<&Path>) -> Self {
        let short = guest.boot == Boot::Shortest && PCS.contains(&guest.machine.as_str());
        Self {
            firmware: qboot.filter(|_| short).map(Path::to_owned),
            ..self
        }
    }
}

impl fmt::Display for BootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.entry {
            Entry::Bzimage => "bzImage",
            Entry::Pvh => "vmlinux by PVH",
        })?;
        f.write_str(match self.firmware {
            Some(_) => ", qboot",
            None => ", the machine's own firmware",
        })
    }
}

/// qboot, when this machine's QEMU comes with it.
pub fn qboot() -> Option<PathBuf> {
    of_program(&tools::on_path(QEMU)?)
}

/// QEMU has its firmware beside its own folder, wherever that is: `get_relocated_path()` in its
/// util/cutils.c.
fn of_program(program: &Path) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    Some(prefix.join("share/qemu").join(QBOOT)).filter(|path| path.is_file())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qboot_is_found_beside_the_qemu_that_is_run() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("bin").join(QEMU);
        assert_eq!(of_program(&program), None);
        let rom = dir.path().join("share/qemu").join(QBOOT);
        fs::create_dir_all(rom.parent().unwrap()).unwrap();
        fs::write(&rom, "rom").unwrap();
        assert_eq!(of_program(&program), Some(rom));
    }

    fn guest(lines: &str) -> Guest {
        let nodes = "nodes: [{cpus: 2, memory_mib: 256}]";
        serde_yaml::from_str(&format!("{nodes}\n{lines}")).unwrap()
    }

    #[test]
    fn only_the_machines_that_qboot_knows_get_it() {
        let rom = Path::new("/roms/qboot.rom");
        for (lines, firmware) in [
            ("machine: pc", Some(rom)),
            ("machine: q35", Some(rom)),
            ("machine: microvm", None),
            ("machine: pc-i440fx-2.4", None),
            ("boot: bzimage", None),
        ] {
            let path = BootPath::plain("/k").by(&guest(lines), Some(rom));
            assert_eq!(path.firmware.as_deref(), firmware, "{lines}");
        }
        assert_eq!(BootPath::plain("/k").by(&guest(""), None).firmware, None);
    }

    #[test]
    fn a_file_that_qemu_cannot_boot_is_refused_with_what_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vmlinux");
        fs::write(&file, b"\x7fELF, but stripped of everything").unwrap();
        let error = BootPath::of_file(&file, &guest(""), None).unwrap_err();
        assert!(error.is::<Usage>());
        assert!(error.to_string().contains("CONFIG_PVH"), "{error}");
    }
}
