//! The members of a cpio archive.

use std::io::{BufReader, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use cpio::newc;

use crate::members::{Kind, Members};
use crate::name::NAME_BYTES_MAX;

/// Where the length of the name stands in a member's header, in hex.
const NAME_LENGTH: std::ops::Range<usize> = 94..102;
const HEADER: usize = 110;
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Hands over each member.
///
/// # Errors
/// When the archive is damaged or cut off, or as [`Members::visit`].
pub fn visit(archive: impl Read + Seek, members: &mut Members<'_, '_>) -> Result<()> {
    let mut file = BufReader::new(archive);
    loop {
        check_name_length(&mut file)?;
        let mut member = newc::Reader::new(file).context("its archive is broken or cut off")?;
        if member.entry().is_trailer() {
            return Ok(());
        }
        let name = member.entry().name().as_bytes().to_owned();
        let entry = member.entry();
        // Of the names of one file only the last comes with its content.
        let is_hard_link = entry.nlink() > 1 && entry.file_size() == 0;
        let kind = match entry.mode() & TYPE {
            REGULAR if is_hard_link => Kind::Link,
            REGULAR => Kind::File,
            SYMLINK => Kind::Link,
            _ => Kind::Other,
        };
        members.visit(&name, kind, &mut member)?;
        file = member.skip().context("its archive is cut off")?;
    }
}

/// The crate would read a name into memory however long it is.
fn check_name_length(file: &mut (impl Read + Seek)) -> Result<()> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header)
        .context("its archive is cut off")?;
    file.seek(SeekFrom::Current(-(HEADER as i64)))?;
    let digits = String::from_utf8_lossy(&header[NAME_LENGTH]).into_owned();
    let length = u64::from_str_radix(&digits, 16).context("its archive is broken")?;
    if length > NAME_BYTES_MAX {
        bail!("a file name in it is {length} bytes long");
    }
    Ok(())
}
