//! Guest memory by virtual address, and a record of what was read of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::registers::hex;

/// Reads a guest's memory.
pub trait Memory {
    /// Fills `buffer` from the virtual address `at`; `false` when any byte of it cannot be read.
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool;

    /// A little-endian 64-bit word.
    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// A little-endian 32-bit word.
    fn half_word(&self, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes).then(|| u32::from_le_bytes(bytes))
    }
}

/// Consecutive bytes of guest memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Virtual address of the first byte.
    #[serde(with = "hex")]
    pub at: u64,
    /// The bytes, in hex.
    pub bytes: String,
}

/// Bytes of a chunk that a [`Recorder`] keeps.
const BLOCK_BYTES: u64 = 256;
/// Bytes that are read of the guest at once: a request takes its time whatever its size, and what a
/// walk along a stack needs next is nearby. Never crosses a page.
const SPAN_BYTES: u64 = 1024;

/// Keeps every block that was read of another memory, so that a look reads nothing twice and can be
/// repeated without the guest.
pub struct Recorder<'a> {
    inner: &'a dyn Memory,
    code: &'a Code,
    blocks: RefCell<BTreeMap<u64, Option<Vec<u8>>>>,
}

/// Blocks of the kernel's code, which stay as they are from one look to the next.
#[derive(Debug, Default)]
pub struct Code {
    text: Range<u64>,
    blocks: RefCell<BTreeMap<u64, Vec<u8>>>,
}

impl Code {
    /// Nothing read yet of the code in these addresses.
    pub fn new(text: Range<u64>) -> Self {
        Self {
            text,
            blocks: RefCell::default(),
        }
    }
}

impl<'a> Recorder<'a> {
    /// Records reads of `inner`, except for code that was read before.
    pub fn new(inner: &'a dyn Memory, code: &'a Code) -> Self {
        Self {
            inner,
            code,
            blocks: RefCell::default(),
        }
    }

    /// What was read, by address.
    pub fn into_chunks(self) -> Vec<Chunk> {
        let blocks = self.blocks.into_inner().into_iter();
        blocks
            .filter_map(|(at, bytes)| {
                let bytes = bytes?.iter().map(|byte| format!("{byte:02x}")).collect();
                Some(Chunk { at, bytes })
            })
            .collect()
    }

    fn block(&self, at: u64) -> Option<Vec<u8>> {
        if let Some(bytes) = self.code.blocks.borrow().get(&at) {
            return Some(bytes.clone());
        }
        if let Some(known) = self.blocks.borrow().get(&at) {
            return known.clone();
        }
        let first = at - at % SPAN_BYTES;
        let mut span = vec![0; SPAN_BYTES as usize];
        if self.inner.read(first, &mut span) {
            for (block, bytes) in (first..)
                .step_by(BLOCK_BYTES as usize)
                .zip(span.chunks(BLOCK_BYTES as usize))
            {
                self.keep(block, Some(bytes.to_vec()));
            }
        } else {
            let mut bytes = vec![0; BLOCK_BYTES as usize];
            let read = self.inner.read(at, &mut bytes);
            self.keep(at, read.then_some(bytes));
        }
        self.blocks.borrow().get(&at).cloned().flatten()
    }

    fn keep(&self, at: u64, bytes: Option<Vec<u8>>) {
        if let Some(bytes) = bytes.as_ref().filter(|_| self.code.text.contains(&at)) {
            self.code.blocks.borrow_mut().insert(at, bytes.clone());
        }
        self.blocks.borrow_mut().insert(at, bytes);
    }
}

impl Memory for Recorder<'_> {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        read_by_blocks(at, buffer, |block| self.block(block))
    }
}

/// Memory as a [`Recorder`] left it.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Recorded {
    /// Reads chunks back. Bytes that are no hex are left out.
    pub fn new(chunks: &[Chunk]) -> Self {
        let mut memory = Self::default();
        memory.add(chunks);
        memory
    }

    /// Adds more chunks; later ones win.
    pub fn add(&mut self, chunks: &[Chunk]) {
        for chunk in chunks {
            if let Some(bytes) = unhex(&chunk.bytes) {
                self.blocks.insert(chunk.at, bytes);
            }
        }
    }
}

impl Memory for Recorded {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        read_by_blocks(at, buffer, |block| self.blocks.get(&block).cloned())
    }
}

fn read_by_blocks(at: u64, buffer: &mut [u8], get: impl Fn(u64) -> Option<Vec<u8>>) -> bool {
    let mut done = 0;
    while done < buffer.len() {
        let Some(address) = at.checked_add(done as u64) else {
            return false;
        };
        let offset = (address % BLOCK_BYTES) as usize;
        let Some(bytes) = get(address - offset as u64) else {
            return false;
        };
        let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) else {
            return false;
        };
        let length = rest.len().min(buffer.len() - done);
        buffer[done..done + length].copy_from_slice(&rest[..length]);
        done += length;
    }
    true
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(RefCell<Vec<u64>>);

    impl Memory for Counting {
        fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
            self.0.borrow_mut().push(at);
            if at >= 0x2000 {
                return false;
            }
            buffer
                .iter_mut()
                .enumerate()
                .for_each(|(n, byte)| *byte = (at as usize + n) as u8);
            true
        }
    }

    #[test]
    fn what_was_read_is_read_once_and_can_be_read_again_without_the_guest() {
        let inner = Counting(RefCell::default());
        let code = Code::default();
        let recorder = Recorder::new(&inner, &code);
        assert_eq!(recorder.word(0x10fc), Some(0x0302_0100_fffe_fdfc));
        assert_eq!(recorder.word(0x1100), recorder.word(0x1300));
        assert_eq!(*inner.0.borrow(), [0x1000]);
        assert_eq!(recorder.word(0x1ffc), None, "the second half is not there");
        assert_eq!(recorder.word(u64::MAX - 3), None, "no wrap around");
        let recorded = Recorded::new(&recorder.into_chunks());
        assert_eq!(recorded.word(0x10fc), Some(0x0302_0100_fffe_fdfc));
        assert_eq!(recorded.word(0x1ffc), None);
        assert_eq!(recorded.word(0x5000), None);
    }

    #[test]
    fn code_is_read_by_the_first_look_only() {
        let inner = Counting(RefCell::default());
        let code = Code::new(0x1000..0x1400);
        let first = Recorder::new(&inner, &code);
        assert!(first.word(0x1000).is_some() && first.word(0x1800).is_some());
        let second = Recorder::new(&inner, &code);
        assert!(second.word(0x1200).is_some() && second.word(0x1800).is_some());
        assert_eq!(*inner.0.borrow(), [0x1000, 0x1800, 0x1800]);
        let mut recorded = Recorded::new(&first.into_chunks());
        recorded.add(&second.into_chunks());
        assert!(recorded.word(0x1200).is_some());
    }

    #[test]
    fn a_chunk_that_was_cut_short_ends_where_it_ends() {
        let chunk = |bytes: &str| Chunk {
            at: 0x1000,
            bytes: bytes.into(),
        };
        let memory = Recorded::new(&[chunk("0102030405060708090a")]);
        assert!(memory.word(0x1000).is_some() && memory.word(0x1004).is_none());
        assert_eq!(Recorded::new(&[chunk("01020")]).half_word(0x1000), None);
        assert_eq!(Recorded::new(&[chunk("zz020304")]).half_word(0x1000), None);
    }
}
