//! Finds and decodes the tables of `scripts/kallsyms.c` in bytes.
//!
//! Names are compressed with 256 tokens. A character that some name has is its own token, so the ten
//! digits lie next to each other: with these the search begins. Everything else is found from there,
//! because all of it is next to the tokens, in one of these orders (each table aligned to 8 bytes):
//!
//! - up to 4.5: addresses, count, names, markers, tokens, index of tokens
//! - 4.6 to 6.3: offsets, base, count, names, markers, (6.2: order of names,) tokens, index
//! - from 6.4 on: count, names, markers, tokens, index, offsets, base, order of names

use std::ops::Range;

use super::NotFound;

/// Tables are aligned to this.
const ALIGNMENT: usize = 8;
/// Names between two markers.
const MARKED: usize = 256;
/// Fewest symbols of a kernel.
const SYMBOLS_MIN: usize = 1000;
/// Most symbols of a kernel.
const SYMBOLS_MAX: usize = 2_000_000;
/// Bytes of a compressed name, its length included: `KSYM_NAME_LEN` is 512.
const NAME_BYTES_MAX: usize = 514;
/// Bytes of a name as the kernel reads it, its type included: `KSYM_NAME_LEN`.
const TEXT_BYTES_MAX: usize = 512;
/// Bytes of all names that are read: those of large kernels are 8 MB.
const TEXTS_BYTES_MAX: usize = 128 << 20;
/// Most bytes of tokens and their index: tokens are short, as they have to occur often.
pub const TOKENS_BYTES_MAX: usize = 8 << 10;
/// Most bytes behind the beginning of the tokens that the tables need.
pub const BEHIND_TOKENS_BYTES: usize = TOKENS_BYTES_MAX + 4 * 400_000;
/// How far before the tokens the markers begin at most: the order of names may lie between.
const MARKERS_DISTANCE: usize = 8 << 20;

/// The table of tokens.
pub struct Tokens {
    texts: Vec<Vec<u8>>,
    /// Where it and its index lie.
    place: Range<usize>,
}

/// Digits as tokens.
const DIGITS: &[u8; 20] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";

/// The first table of tokens whose digits begin at or behind `from`, and where they begin.
pub fn find_tokens(bytes: &[u8], from: usize) -> Option<(usize, Tokens)> {
    let mut from = from;
    loop {
        let at = memchr::memmem::find(bytes.get(from..)?, DIGITS)? + from;
        if let Some(tokens) = tokens_at(bytes, at) {
            return Some((at, tokens));
        }
        from = at + 1;
    }
}

/// The table of tokens whose digits begin at `digits`, proven by the index behind it.
fn tokens_at(bytes: &[u8], digits: usize) -> Option<Tokens> {
    let first = usize::from(b'0');
    let mut end = digits;
    for _ in first..256 {
        let rest = bytes.get(end..(end + TOKENS_BYTES_MAX).min(bytes.len()))?;
        end += memchr::memchr(0, rest)? + 1;
    }
    let index = end.next_multiple_of(ALIGNMENT);
    let start = digits.checked_sub(usize::from(u16_at(bytes, index + 2 * first)?))?;
    let mut texts = Vec::with_capacity(256);
    let mut expected = start;
    for number in 0..256 {
        if start + usize::from(u16_at(bytes, index + 2 * number)?) != expected {
            return None;
        }
        let length = memchr::memchr(0, bytes.get(expected..end)?)?;
        texts.push(bytes[expected..expected + length].to_vec());
        expected += length + 1;
    }
    Some(Tokens {
        texts,
        place: start..index + 512,
    })
}

/// Where the names lie, and how many there are.
struct Names {
    start: usize,
    count: usize,
}

/// Everything found.
pub struct Tables<'a> {
    bytes: &'a [u8],
    tokens: &'a Tokens,
    names: Names,
    addresses: Vec<u64>,
}

impl<'a> Tables<'a> {
    /// The tables around these tokens.
    ///
    /// # Errors
    /// When there are no names or addresses that fit.
    pub fn find(bytes: &'a [u8], tokens: &'a Tokens) -> Result<Self, NotFound> {
        let names = find_names(bytes, tokens).ok_or(NotFound::Names)?;
        let addresses = find_addresses(bytes, tokens, &names).ok_or(NotFound::Addresses)?;
        Ok(Self {
            bytes,
            tokens,
            names,
            addresses,
        })
    }

    /// All symbols: address, type letter, name. Names that are no text, or longer than kernels have
    /// room for, are left out.
    pub fn symbols(&self) -> impl Iterator<Item = (u64, char, String)> {
        let mut at = self.names.start;
        let mut room = TEXTS_BYTES_MAX;
        self.addresses.iter().filter_map(move |address| {
            let (name, next) = compressed(self.bytes, at)?;
            at = next;
            let text = self.text(name)?;
            room = room.checked_sub(text.len())?;
            let mut rest = text.chars();
            let kind = rest.next()?;
            Some((*address, kind, rest.as_str().to_owned()))
        })
    }

    fn text(&self, name: &[u8]) -> Option<String> {
        let mut text = Vec::new();
        for token in name {
            text.extend_from_slice(&self.tokens.texts[usize::from(*token)]);
            if text.len() > TEXT_BYTES_MAX {
                return None;
            }
        }
        String::from_utf8(text).ok()
    }
}

/// Most tables that look like markers and are tried: each costs a search for the names before it.
const MARKERS_TRIED: usize = 64;

/// Looks for the markers before the tokens: where each 256th name begins, in numbers of 32 bits
/// (from 4.20 on) or 64.
fn find_names(bytes: &[u8], tokens: &Tokens) -> Option<Names> {
    let last = tokens.place.start / ALIGNMENT;
    let first = last.saturating_sub(MARKERS_DISTANCE / ALIGNMENT);
    let places = (first..last).rev().map(|number| number * ALIGNMENT);
    let markers = places.flat_map(|at| {
        let widths = [4, 8].into_iter();
        widths.filter_map(move |width| Markers::at(bytes, at, width, tokens.place.start))
    });
    let mut tried = markers.take(MARKERS_TRIED);
    tried.find_map(|markers| markers.names(bytes))
}

/// What looks like a table of markers.
struct Markers {
    start: usize,
    offsets: Vec<usize>,
}

impl Markers {
    /// Markers of this width that begin at `start` and end before `end`: from 0 on they grow by what
    /// 256 names can take.
    fn at(bytes: &[u8], start: usize, width: usize, end: usize) -> Option<Self> {
        let marker = |number: usize| {
            let at = start + number * width;
            let value = match width {
                4 => u64::from(u32_at(bytes, at)?),
                _ => u64_at(bytes, at)?,
            };
            (at + width <= end).then_some(value as usize)
        };
        let mut offsets = vec![marker(0).filter(|first| *first == 0)?];
        for number in 1..SYMBOLS_MAX / MARKED {
            let last = offsets.last().copied().unwrap_or(0);
            let next = marker(number).filter(|offset| {
                let distance = offset.wrapping_sub(last);
                (2 * MARKED..MARKED * NAME_BYTES_MAX).contains(&distance)
            });
            let Some(next) = next else { break };
            offsets.push(next);
        }
        (offsets.len() * MARKED >= SYMBOLS_MIN).then_some(Self { start, offsets })
    }

    /// The names before them. What follows the markers may look like one more.
    fn names(&self, bytes: &[u8]) -> Option<Names> {
        let last = self.offsets.len() - 1;
        let lasts = [Some(last), last.checked_sub(1)];
        let mut lasts = lasts.into_iter().flatten();
        lasts.find_map(|last| names_with(bytes, self.start, last, self.offsets[last]))
    }
}

/// The names that end at the markers, the last of which has this number and is at this offset.
/// The count of names lies right before them.
fn names_with(bytes: &[u8], markers: usize, number: usize, offset: usize) -> Option<Names> {
    let nearest = markers.checked_sub(offset)?;
    let farthest = nearest.saturating_sub(MARKED * NAME_BYTES_MAX + ALIGNMENT);
    let starts = (farthest / ALIGNMENT..=nearest / ALIGNMENT).rev();
    starts.map(|start| start * ALIGNMENT).find_map(|start| {
        let count = u32_at(bytes, start.checked_sub(ALIGNMENT)?)? as usize;
        let behind = count.checked_sub(number * MARKED)?;
        if !(1..=MARKED).contains(&behind) {
            return None;
        }
        let end = (0..behind).try_fold(start + offset, |at, _| Some(compressed(bytes, at)?.1));
        (end?.next_multiple_of(ALIGNMENT) == markers).then_some(Names { start, count })
    })
}

/// The compressed name there, and where the next one is. Its length has two bytes when the first has
/// its highest bit set (from 6.1 on; before, no name was so long).
fn compressed(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let low = usize::from(*bytes.get(at)?);
    let (start, length) = if low & 0x80 == 0 {
        (at + 1, low)
    } else {
        (at + 2, low & 0x7f | usize::from(*bytes.get(at + 1)?) << 7)
    };
    let name = bytes.get(start..start + length)?;
    (!name.is_empty()).then_some((name, start + length))
}

/// Tries each of the orders that there were.
fn find_addresses(bytes: &[u8], tokens: &Tokens, names: &Names) -> Option<Vec<u64>> {
    let offsets_bytes = (4 * names.count).next_multiple_of(ALIGNMENT);
    let behind = tokens.place.end.next_multiple_of(ALIGNMENT);
    let count_at = names.start - ALIGNMENT;
    relative(bytes, behind, behind + offsets_bytes, names.count)
        .or_else(|| {
            let base = count_at.checked_sub(ALIGNMENT)?;
            relative(bytes, base.checked_sub(offsets_bytes)?, base, names.count)
        })
        .or_else(|| absolute(bytes, count_at.checked_sub(8 * names.count)?, names.count))
}

fn absolute(bytes: &[u8], at: usize, count: usize) -> Option<Vec<u64>> {
    let addresses: Option<Vec<u64>> = (0..count).map(|n| u64_at(bytes, at + 8 * n)).collect();
    addresses.filter(|addresses| plausible(addresses))
}

/// Addresses relative to a base. With `CONFIG_KALLSYMS_ABSOLUTE_PERCPU` negative numbers are, and the
/// others are themselves: `kallsyms_sym_address()`.
fn relative(bytes: &[u8], offsets: usize, base: usize, count: usize) -> Option<Vec<u64>> {
    let base = u64_at(bytes, base)?;
    if !is_kernel(base) {
        return None;
    }
    let offsets: Option<Vec<u32>> = (0..count).map(|n| u32_at(bytes, offsets + 4 * n)).collect();
    let offsets = offsets?;
    let negative = offsets
        .iter()
        .filter(|offset| (**offset as i32) < 0)
        .count();
    let addresses = offsets.iter().map(|offset| match *offset as i32 {
        _ if negative * 2 < count => base.wrapping_add(u64::from(*offset)),
        relative @ ..0 => base
            .wrapping_sub(1)
            .wrapping_add((-i64::from(relative)) as u64),
        itself @ 0.. => itself as u64,
    });
    let addresses: Vec<u64> = addresses.collect();
    plausible(&addresses).then_some(addresses)
}

/// Whether these can be a kernel's addresses: in order, and most of them in the kernel.
fn plausible(addresses: &[u64]) -> bool {
    let kernel = addresses.iter().filter(|address| is_kernel(**address));
    addresses.is_sorted() && kernel.count() * 2 > addresses.len()
}

fn is_kernel(address: u64) -> bool {
    address >= 0xffff_ffff_8000_0000
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
