//! Dumps of guest memory in the form that crash and drgn open.
//!
//! QEMU writes kdump files in makedumpfile's flattened format: pieces with their places, for streams.
//! It also leaves the names of the system and its release out of the header, without which libkdumpfile
//! does not believe the architecture that stands there (`uts_looks_sane` in its diskdump.c). Both are mended here. Formats: QEMU's include/sysemu/dump.h, and
//! makedumpfile's IMPLEMENTATION.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Head of a flattened file.
const SIGNATURE: &[u8] = b"makedumpfile";
const HEAD_BYTES: u64 = 4096;
/// A piece beyond this is no piece: QEMU writes some pages at a time.
const PIECE_BYTES_MAX: i64 = 1 << 30;
/// Place of `utsname` in the header: behind an 8-byte signature and a 4-byte version. Its fields of 65
/// bytes are the system's name, the node's name, release, version, and machine.
const UTSNAME_AT: u64 = 12;
const UTSNAME_FIELD_BYTES: u64 = 65;
const SYSTEM: u64 = 0;
const RELEASE: u64 = 2;
const VERSION: u64 = 3;

/// Makes a regular kdump file of QEMU's flattened one. `release` is what the guest calls its kernel.
///
/// # Errors
/// When `from` is no such file or is cut short, or `to` cannot be written; `to` is then gone.
pub fn unflatten(from: &Path, to: &Path, release: &str) -> Result<()> {
    let done = write(from, to, release);
    if done.is_err() {
        // A half-written dump would only mislead.
        let _ = std::fs::remove_file(to);
    }
    done.with_context(|| format!("cannot make {} of {}", to.display(), from.display()))
}

fn write(from: &Path, to: &Path, release: &str) -> Result<()> {
    let mut source = BufReader::new(File::open(from)?);
    let mut head = [0; SIGNATURE.len()];
    source.read_exact(&mut head)?;
    if head != SIGNATURE {
        bail!("not a flattened dump");
    }
    source.seek(SeekFrom::Start(HEAD_BYTES))?;
    let mut target = BufWriter::new(File::create(to)?);
    while let Some((place, length)) = piece(&mut source)? {
        target.seek(SeekFrom::Start(place))?;
        if io::copy(&mut (&mut source).take(length), &mut target)? < length {
            bail!("the dump is cut short");
        }
    }
    for (field, text) in [(SYSTEM, "Linux"), (RELEASE, release), (VERSION, "unknown")] {
        target.seek(SeekFrom::Start(UTSNAME_AT + field * UTSNAME_FIELD_BYTES))?;
        let length = text.len().min(UTSNAME_FIELD_BYTES as usize - 1);
        target.write_all(&text.as_bytes()[..length])?;
    }
    target.flush()?;
    Ok(())
}

/// Place and length of the next piece, big-endian; `None` at the mark of the end, two times -1.
fn piece(source: &mut impl Read) -> Result<Option<(u64, u64)>> {
    let mut word = || -> io::Result<i64> {
        let mut bytes = [0; 8];
        source.read_exact(&mut bytes)?;
        Ok(i64::from_be_bytes(bytes))
    };
    let (place, length) = (word()?, word()?);
    if (place, length) == (-1, -1) {
        return Ok(None);
    }
    match (u64::try_from(place), u64::try_from(length)) {
        (Ok(place), Ok(size)) if length <= PIECE_BYTES_MAX => Ok(Some((place, size))),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => bail!("a piece of {length} bytes at {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flattened(pieces: &[(i64, &[u8])], end: bool) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.resize(HEAD_BYTES as usize, 0);
        for (place, content) in pieces {
            bytes.extend(place.to_be_bytes());
            bytes.extend((content.len() as i64).to_be_bytes());
            bytes.extend(*content);
        }
        if end {
            bytes.extend([0xff; 16]);
        }
        bytes
    }

    fn result(bytes: &[u8]) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("flat"), dir.path().join("vmcore"));
        std::fs::write(&from, bytes).unwrap();
        let done = unflatten(&from, &to, "6.12.117");
        assert_eq!(done.is_ok(), to.exists(), "whole or not at all");
        done.map(|()| std::fs::read(&to).unwrap())
    }

    #[test]
    fn pieces_come_to_their_places_in_any_order_and_the_system_gets_its_name() {
        let bytes = flattened(&[(400, b"tail"), (0, b"KDUMP   \x06\0\0\0")], true);
        let whole = result(&bytes).unwrap();
        assert_eq!(&whole[..18], b"KDUMP   \x06\0\0\0Linux\0");
        assert_eq!(&whole[142..151], b"6.12.117\0");
        assert_eq!(&whole[400..], b"tail");
    }

    #[test]
    fn what_is_cut_short_or_something_else_leaves_nothing() {
        let cut = flattened(&[(0, b"KDUMP   ")], false);
        let wild = flattened(&[(-5, b"KDUMP   ")], true);
        for bytes in [&b"KDUMP   "[..], b"", &cut, &cut[..cut.len() - 3], &wild] {
            assert!(result(bytes).is_err(), "{} bytes", bytes.len());
        }
    }
}
