//! The guest's file system: an uncompressed cpio archive of this very program and the agent's plan.
//!
//! Uncompressed, because under TCG the guest would take longer to inflate it than to copy it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cpio::newc::Builder;
use kverdict_core::protocol::{GuestPlan, PLAN_PATH, SHELL_PATH};

use crate::store;

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes the archive for `plan` to `path`, by a temporary file beside it. `shell`: a static
/// busybox for a person at the guest's console.
///
/// # Errors
/// When this program is linked dynamically (a guest has no loader), or the archive cannot be written.
pub fn write(path: &Path, plan: &GuestPlan, shell: Option<&Path>) -> Result<()> {
    let program = fs::read("/proc/self/exe").context("cannot read the program's own file")?;
    if wants_a_loader(&program) {
        bail!(
            "this kverdict is linked dynamically and cannot serve as a guest's init; build it in its \
             source tree with `cargo build --release`, whose .cargo/config.toml links it statically"
        );
    }
    let shell = shell
        .map(fs::read)
        .transpose()
        .context("cannot read the shell")?;
    store::replace(path, &archive(&program, plan, shell.as_deref())?)
}

fn archive(program: &[u8], plan: &GuestPlan, shell: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(program.len() + 8192);
    for dir in ["dev", "proc", "sys", "tmp"] {
        entry(&mut out, Builder::new(dir).mode(DIRECTORY), b"")?;
    }
    entry(
        &mut out,
        Builder::new("dev/console")
            .mode(CHARACTER_DEVICE)
            .rdev_major(5)
            .rdev_minor(1),
        b"",
    )?;
    entry(&mut out, Builder::new("init").mode(EXECUTABLE), program)?;
    if let Some(shell) = shell {
        entry(&mut out, Builder::new("bin").mode(DIRECTORY), b"")?;
        entry(
            &mut out,
            Builder::new(SHELL_PATH.trim_start_matches('/')).mode(EXECUTABLE),
            shell,
        )?;
    }
    let plan = serde_json::to_vec(plan)?;
    entry(
        &mut out,
        Builder::new(PLAN_PATH.trim_start_matches('/')).mode(FILE),
        &plan,
    )?;
    cpio::newc::trailer(&mut out)?;
    Ok(out)
}

fn entry(out: &mut Vec<u8>, builder: Builder, content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len()).context("a file of the initramfs is over 4 GiB")?;
    let mut writer = builder.write(out, size);
    writer.write_all(content)?;
    writer.finish()?;
    Ok(())
}

/// Whether an ELF image has an interpreter (`PT_INTERP`, type 3).
pub fn wants_a_loader(elf: &[u8]) -> bool {
    let half = |at: usize| {
        elf.get(at..at + 2)
            .map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])))
    };
    let Some(offset) = elf
        .get(32..40)
        .and_then(|b| b.try_into().ok())
        .map(u64::from_le_bytes)
    else {
        return false;
    };
    let (size, count) = (half(54), half(56));
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    (0..count).any(|index| {
        let at = offset.saturating_add(index * size);
        elf.get(at..at.saturating_add(4)) == Some(&[3, 0, 0, 0])
    })
}
