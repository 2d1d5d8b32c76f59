//! What `kverdict inspect` looks into: a source tree, or a kernel that is taken out of its wrappings.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kverdict_core::catalogue::boot_files::{BootFiles, image_release, is_stub_map};
use kverdict_core::inspect::boot_image::{is_boot_image, payload};
use kverdict_core::inspect::code::Image;
use kverdict_core::inspect::fix::Fix;
use kverdict_core::inspect::source::{Source, files_of};

use crate::build::overlay::{Content, Overlay};
use crate::build::package::{Format, Package, compressed};
use crate::build::tools;
use crate::commands::Usage;
use crate::commands::diagnose::read_symbols;
use crate::process::Interrupted;
use crate::progress::Progress;

/// More than any kernel unpacks to, its debugging information included.
const KERNEL_LIMIT: u64 = 3 << 30;

/// A kernel as a file has it.
#[derive(Debug)]
pub struct Binary {
    /// What kind of file it was in.
    pub kind: &'static str,
    /// What `uname -r` says, when the file does.
    pub release: Option<String>,
    /// Its code.
    pub image: Image,
}

/// Reads what the fixes ask for from a source tree; an overlay's files win.
///
/// # Errors
/// When it is no kernel tree, or cannot be read.
pub fn tree(root: &Path, overlay: &Overlay, fixes: &[Fix]) -> Result<Source> {
    let mut source = Source::default();
    for fix in fixes {
        for path in files_of(fix) {
            let content = match overlay.get(path) {
                Some(content) => content.clone(),
                None => Content::at(&root.join(path))?,
            };
            match content {
                Content::File { bytes, .. } => source.add(path, &String::from_utf8_lossy(&bytes)),
                Content::Absent if path != fix.file => {}
                Content::Absent | Content::Link(_) => {
                    return Err(Usage(format!(
                        "{} has no file {path}: expected the top folder of a Linux source tree",
                        root.display()
                    ))
                    .into());
                }
            }
        }
    }
    Ok(source)
}

/// Reads a kernel out of a package, a bzImage or a vmlinux, whatever the file is.
///
/// # Errors
/// When it is none of these, or damaged, or has no symbols.
pub fn binary(
    file: &Path,
    symbols: Option<&Path>,
    scratch: &Path,
    progress: &Progress,
) -> Result<Binary> {
    let mut start = Vec::new();
    File::open(file)
        .and_then(|open| open.take(8).read_to_end(&mut start))
        .map_err(|error| Usage(format!("cannot read {}: {error}", file.display())))?;
    if start.starts_with(b"!<arch>\n") {
        return package(
            Format::Deb,
            "Debian package",
            file,
            symbols,
            scratch,
            progress,
        );
    }
    if start.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        return package(Format::Rpm, "rpm package", file, symbols, scratch, progress);
    }
    let bytes = fs::read(file)
        .map_err(|error| Usage(format!("cannot read {}: {error}", file.display())))?;
    let (kind, release, elf) = if bytes.starts_with(b"\x7fELF") {
        ("vmlinux", None, bytes)
    } else if is_boot_image(&bytes) {
        let elf = unpack(&bytes, file, scratch, progress)?;
        ("bzImage", image_release(&bytes).ok(), elf)
    } else {
        return Err(Usage(format!(
            "{} is no kernel: expected a vmlinux (ELF), a bzImage, or a .deb or .rpm with one; for source, name the \
             folder that it is unpacked in",
            file.display()
        ))
        .into());
    };
    let symbols = symbols.map(read_symbols).transpose()?;
    let task = progress.task("looking for symbols", 0);
    let image = Image::from_elf(&elf, symbols)
        .map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    drop(task);
    Ok(Binary {
        kind,
        release,
        image,
    })
}

/// The kernel in a bzImage, unpacked: an ELF file.
///
/// # Errors
/// When it is damaged, or a program that unpacks it is missing.
pub fn unpack(bytes: &[u8], file: &Path, scratch: &Path, progress: &Progress) -> Result<Vec<u8>> {
    let shown = file.display();
    let packed = payload(bytes).map_err(|why| Usage(format!("{shown} {why}")))?;
    if packed.starts_with(b"\x7fELF") {
        return Ok(packed.to_vec());
    }
    let place = scratch.join("vmlinux");
    fs::write(&place, packed).with_context(|| format!("cannot write {}", place.display()))?;
    let Some(kind) = compressed::kind_of(&place)? else {
        return Err(Usage(format!(
            "{shown} is compressed in a way that is not understood (lzo?); unpack it with the kernel's \
             scripts/extract-vmlinux and give the vmlinux"
        ))
        .into());
    };
    let named = place.with_extension(kind.suffix());
    fs::rename(&place, &named)?;
    if let Some(tool) = tools::lacking(kind.program()) {
        bail!("cannot unpack {shown}: {}", tools::missing_text(&[tool]));
    }
    let task = progress.task("unpacking the kernel", 0);
    let plain = compressed::decompress(&named, kind, KERNEL_LIMIT).map_err(|error| {
        if error.is::<Interrupted>() {
            return error;
        }
        let why = format!("cannot unpack {shown}: it is damaged; copy it again ({error:#})");
        Usage(why).into()
    })?;
    drop(task);
    fs::read(&plain).with_context(|| format!("cannot read {}", plain.display()))
}

fn package(
    format: Format,
    kind: &'static str,
    file: &Path,
    symbols: Option<&Path>,
    scratch: &Path,
    progress: &Progress,
) -> Result<Binary> {
    let damaged = |error: anyhow::Error| match error.is::<Interrupted>() {
        true => error,
        false => Usage(format!("{error:#}")).into(),
    };
    let package = Package::open(format, file, scratch, progress).map_err(damaged)?;
    let boot = BootFiles::among(&package.files().map_err(damaged)?)
        .map_err(|message| Usage(format!("the package {} {message}", file.display())))?;
    let (kernel, map) = (scratch.join("kernel"), scratch.join("map"));
    let mut wanted = BTreeMap::from([(boot.kernel.clone(), kernel.clone())]);
    wanted.extend(boot.system_map.map(|name| (name, map.clone())));
    package.take(&wanted).map_err(damaged)?;
    let own = map.is_file() && !is_stub_map(&String::from_utf8_lossy(&fs::read(&map)?));
    let symbols = symbols.or_else(|| own.then_some(map.as_path()));
    let found = binary(&kernel, symbols, scratch, progress)
        .with_context(|| format!("{} in {}", boot.kernel, file.display()))?;
    Ok(Binary { kind, ..found })
}
