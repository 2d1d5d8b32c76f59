//! The members of a tar archive.

use std::io::{self, BufReader, Read};

use anyhow::{Result, anyhow};
use tar::{Archive, EntryType};

use crate::members::{Kind, Members};
use crate::name::read_short;

/// Hands over each member.
///
/// # Errors
/// When the archive is damaged or cut off, or as [`Members::visit`].
pub fn visit(archive: impl Read, members: &mut Members<'_, '_>) -> Result<()> {
    let mut archive = Archive::new(BufReader::new(archive));
    // The crate would read a long name into memory however long it is; so they are read here.
    let mut long_name: Option<Vec<u8>> = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let kind = match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = read_short(&mut entry)?;
                name.retain(|byte| *byte != 0);
                long_name = Some(name);
                continue;
            }
            EntryType::XHeader => {
                long_name = pax_path(&read_short(&mut entry)?).or(long_name);
                continue;
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => continue,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Link | EntryType::Symlink => Kind::Link,
            // The crate's list may grow, and nothing else is ever written.
            _ => Kind::Other,
        };
        let name = long_name
            .take()
            .unwrap_or_else(|| entry.header().path_bytes().into_owned());
        members.visit(&name, kind, &mut entry)?;
    }
    Ok(())
}

/// The crate's errors repeat what it found, whatever that is.
fn broken(error: io::Error) -> anyhow::Error {
    anyhow!(
        "its archive is broken: {}",
        error.to_string().escape_debug()
    )
}

/// The `path` of `LENGTH key=value` lines.
fn pax_path(text: &[u8]) -> Option<Vec<u8>> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        line[space + 1..].strip_prefix(b"path=").map(<[u8]>::to_vec)
    })
}
