//! rpm packages: a lead, two headers of tags, and a cpio archive.

use std::io::{self, BufReader, Read, Write};

use anyhow::{Context, Result, bail};

const LEAD: usize = 96;
const LEAD_MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: &[u8] = &[0x8e, 0xad, 0xe8, 0x01];
/// The headers of a kernel package with all its file names are a few megabytes.
const HEADER_LIMIT: u64 = 256 << 20;
const RELEASE: u32 = 1002;
/// Type of a tag that is a text.
const STRING: u32 = 6;

/// Tags of a header: their table, and the store that it points into.
struct Header {
    index: Vec<u8>,
    store: Vec<u8>,
}

/// Copies the payload of a package, as it is compressed, to `target`.
///
/// # Errors
/// When it is no rpm package, or cut off.
pub(crate) fn contents(package: impl Read, target: &mut dyn Write) -> Result<()> {
    let mut reader = open(package)?;
    Header::read(&mut reader)?;
    let copied = io::copy(&mut reader, target)?;
    if copied == 0 {
        bail!("it is cut off: there is nothing after its headers");
    }
    Ok(())
}

/// The package's release, such as `514.el7`.
///
/// # Errors
/// When it is no rpm package, or cut off.
pub fn release(package: impl Read) -> Result<String> {
    let header = Header::read(&mut open(package)?)?;
    header.text(RELEASE).context("it names no release")
}

/// A package, read up to its main header.
fn open<R: Read>(package: R) -> Result<BufReader<R>> {
    let mut reader = BufReader::new(package);
    let mut lead = [0; LEAD];
    if reader.read_exact(&mut lead).is_err() || !lead.starts_with(LEAD_MAGIC) {
        bail!("it is no rpm package: it does not start with rpm's magic number");
    }
    let signature = Header::read(&mut reader)?;
    // The signature is padded, so that the next header starts at a multiple of 8.
    let mut padding = [0; 8];
    let rest = signature.store.len().next_multiple_of(8) - signature.store.len();
    reader.read_exact(&mut padding[..rest])?;
    Ok(reader)
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self> {
        let mut start = [0; 16];
        reader
            .read_exact(&mut start)
            .context("it ends within its headers")?;
        if !start.starts_with(HEADER_MAGIC) {
            bail!("one of its headers is broken");
        }
        let (count, size) = (u64::from(word(&start, 8)), u64::from(word(&start, 12)));
        let mut part = |length: u64| {
            let mut bytes = Vec::new();
            reader
                .take(length.min(HEADER_LIMIT))
                .read_to_end(&mut bytes)?;
            if bytes.len() as u64 != length {
                bail!("it ends within its headers");
            }
            Ok(bytes)
        };
        Ok(Self {
            index: part(count * 16)?,
            store: part(size)?,
        })
    }

    fn text(&self, tag: u32) -> Option<String> {
        let entry = self
            .index
            .chunks_exact(16)
            .find(|entry| word(entry, 0) == tag && word(entry, 4) == STRING)?;
        let rest = self.store.get(usize::try_from(word(entry, 8)).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        String::from_utf8(rest[..end].to_vec()).ok()
    }
}

/// The big-endian number at a place that is there.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}
