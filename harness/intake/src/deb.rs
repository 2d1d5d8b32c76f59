//! Debian packages: an `ar` archive with a tar archive in it.

use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};

const MAGIC: &[u8] = b"!<arch>\n";
/// Name, time, owner, group, mode, size, and an end mark.
const HEADER: usize = 60;

/// Copies the member `data.tar*` of a package to `target`.
///
/// # Errors
/// When it is no Debian package, or cut off.
pub fn contents(mut reader: impl Read + Seek, target: &mut dyn Write) -> Result<()> {
    let mut magic = [0; MAGIC.len()];
    if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
        bail!("it is no Debian package: it does not start with `!<arch>`");
    }
    loop {
        let mut header = [0; HEADER];
        reader
            .read_exact(&mut header)
            .context("it ends before its data.tar")?;
        let text = String::from_utf8_lossy(&header);
        let size: u64 = text
            .get(48..58)
            .and_then(|size| size.trim().parse().ok())
            .filter(|_| header.ends_with(b"`\n"))
            .context("a header of its ar archive is broken")?;
        if text.starts_with("data.tar") {
            let copied = io::copy(&mut reader.take(size), target)?;
            if copied < size {
                bail!("it is cut off: its data.tar has {copied} of {size} bytes");
            }
            return Ok(());
        }
        // Members start at even places.
        let skip = i64::try_from(size + size % 2)?;
        reader.seek(SeekFrom::Current(skip))?;
    }
}
