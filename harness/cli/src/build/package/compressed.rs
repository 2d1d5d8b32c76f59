//! Compressed files, by the programs that every distribution has: their decoders are the tested
//! and fast ones, and ours would take longer to compile than to run.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kverdict_intake::unpacked_limit;

use crate::process::{Ending, Job, describe, tail_of};

/// A kernel package takes seconds.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A file says itself how much memory its decoder needs, up to 4 GiB. Kernels need 130 MiB.
pub const XZ_MEMORY: &str = "--memlimit-decompress=1GiB";

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip
    Gzip,
    /// xz
    Xz,
    /// The older lzma
    Lzma,
    /// zstd
    Zstd,
    /// bzip2
    Bzip2,
    /// lz4, in the frame format that kernels use
    Lz4,
}

impl Compression {
    /// What names of such files end with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Zstd => "zst",
            Self::Bzip2 => "bz2",
            Self::Lz4 => "lz4",
        }
    }

    /// The program that unpacks it.
    pub fn program(self) -> &'static str {
        self.command().first().copied().unwrap_or_default()
    }

    /// The program that replaces a file by what is in it.
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Gzip => &["gzip", "--decompress", "--force"],
            Self::Xz => &["xz", "--decompress", "--force", "--threads=0", XZ_MEMORY],
            Self::Lzma => &["xz", "--format=lzma", "--decompress", "--force", XZ_MEMORY],
            Self::Zstd => &["zstd", "--decompress", "--force", "--rm", "--quiet"],
            Self::Bzip2 => &["bzip2", "--decompress", "--force"],
            Self::Lz4 => &["lz4", "-d", "-m", "-f", "--rm", "-q"],
        }
    }
}

/// How a file is compressed, by how it starts; none: not at all.
///
/// # Errors
/// When it cannot be read.
pub fn kind_of(file: &Path) -> Result<Option<Compression>> {
    let mut start = Vec::new();
    File::open(file)
        .and_then(|file| file.take(6).read_to_end(&mut start))
        .with_context(|| format!("cannot read {}", file.display()))?;
    let kinds: [(&[u8], Compression); 7] = [
        (&[0x1f, 0x8b], Compression::Gzip),
        (b"\xfd7zXZ\0", Compression::Xz),
        (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
        (b"BZh", Compression::Bzip2),
        (&[0x5d, 0, 0], Compression::Lzma),
        (&[0x02, 0x21, 0x4c, 0x18], Compression::Lz4),
        (&[0x04, 0x22, 0x4d, 0x18], Compression::Lz4),
    ];
    let found = kinds.iter().find(|(magic, _)| start.starts_with(magic));
    Ok(found.map(|(_, kind)| *kind))
}

/// Replaces a file, whose name ends with its compression's suffix, by what is in it.
///
/// # Errors
/// When it is damaged or cut off, or is more than `limit` bytes or than a kernel of that size unpacks
/// to.
pub fn decompress(packed: &Path, kind: Compression, limit: u64) -> Result<PathBuf> {
    let limit = limit.min(unpacked_limit(fs::metadata(packed)?.len()));
    let plain = packed.with_extension("");
    let log = packed.with_extension("log");
    let (program, arguments) = kind.command().split_first().context("a program")?;
    let child = Job::new(program, LIMIT)
        .args(arguments)
        .args(["--".as_ref(), packed.as_os_str()])
        .env("LC_ALL", "C")
        .log(&log)
        .start()?;
    let too_large = || fs::metadata(&plain).is_ok_and(|data| data.len() > limit);
    let ending = child.wait_with(|| {
        if too_large() {
            bail!("it unpacks to more than {limit} bytes");
        }
        Ok(())
    })?;
    if !matches!(ending, Ending::Exited(status) if status.success()) {
        bail!(
            "{program} {}: {}",
            describe(ending, LIMIT),
            tail_of(&log, 1)
        );
    }
    if too_large() {
        bail!("it unpacks to more than {limit} bytes");
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of so many zeros, packed.
    fn zeros(folder: &Path, bytes: u64, program: &str) -> PathBuf {
        let plain = folder.join("bomb");
        File::create(&plain).unwrap().set_len(bytes).unwrap();
        let packs = Job::new(program, LIMIT).args(["--force".as_ref(), plain.as_os_str()]);
        packs.run_checked().unwrap();
        let _ = fs::remove_file(&plain);
        let packed = ["gz", "xz", "zst"].map(|suffix| plain.with_extension(suffix));
        packed.into_iter().find(|path| path.is_file()).unwrap()
    }

    #[test]
    fn what_unpacks_without_end_is_cut_off() {
        for program in ["gzip", "xz", "zstd"] {
            for (bytes, limit, fits) in [
                (4 << 20, 1000, false),
                (4 << 20, 1 << 30, true),
                // No kernel is packed so well.
                (100 << 20, 1 << 30, false),
            ] {
                let dir = tempfile::tempdir().unwrap();
                let packed = zeros(dir.path(), bytes, program);
                let kind = kind_of(&packed).unwrap().unwrap();
                match decompress(&packed, kind, limit) {
                    Ok(plain) => assert!(fits && fs::metadata(plain).unwrap().len() == bytes),
                    Err(error) => assert!(
                        !fits && error.to_string().starts_with("it unpacks to more than"),
                        "{program}: {error:#}"
                    ),
                }
            }
        }
    }
}
