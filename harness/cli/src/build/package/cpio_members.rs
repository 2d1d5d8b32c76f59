//! The members of a cpio archive.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use cpio::newc;

use super::{Kind, NAME_LIMIT, RawVisitor};

/// Where the length of the name stands in a member's header, in hex.
const NAME_LENGTH: std::ops::Range<usize> = 94..102;
const HEADER: usize = 110;
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Calls `visit` for each member.
///
/// # Errors
/// When the archive is damaged or cut off, or what `visit` returns.
pub fn visit(file: File, visit: &mut RawVisitor<'_>) -> Result<()> {
    let mut file = BufReader::new(file);
    loop {
        check_name_length(&mut file)?;
        let mut member = newc::Reader::new(file).context("its archive is broken or cut off")?;
        if member.entry().is_trailer() {
            return Ok(());
        }
        let name = member.entry().name().as_bytes().to_owned();
        let kind = match member.entry().mode() & TYPE {
            REGULAR => Kind::File,
            SYMLINK => Kind::Link,
            _ => Kind::Other,
        };
        visit(&name, kind, &mut member)?;
        file = member.skip().context("its archive is cut off")?;
    }
}

/// The crate would read a name into memory however long it is.
fn check_name_length(file: &mut BufReader<File>) -> Result<()> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header)
        .context("its archive is cut off")?;
    file.seek(SeekFrom::Current(-(HEADER as i64)))?;
    let digits = String::from_utf8_lossy(&header[NAME_LENGTH]).into_owned();
    let length = u64::from_str_radix(&digits, 16).context("its archive is broken")?;
    if length > NAME_LIMIT {
        bail!("a file name in it is {length} bytes long");
    }
    Ok(())
}
