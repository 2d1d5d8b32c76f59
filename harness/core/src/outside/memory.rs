//! Guest memory by virtual address, and a record of what was read of it.

use std::cell::RefCell;
use std::collections::BTreeMap;

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

/// Bytes that are read at once: what a walk along a stack needs next is nearby.
const BLOCK_BYTES: u64 = 256;

/// Keeps every block that was read of another memory, so that a look reads nothing twice and can be
/// repeated without the guest.
pub struct Recorder<'a> {
    inner: &'a dyn Memory,
    blocks: RefCell<BTreeMap<u64, Option<Vec<u8>>>>,
}

impl<'a> Recorder<'a> {
    /// Records reads of `inner`.
    pub fn new(inner: &'a dyn Memory) -> Self {
        Self {
            inner,
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
}

impl Memory for Recorder<'_> {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        read_by_blocks(at, buffer, |block| {
            let mut blocks = self.blocks.borrow_mut();
            let bytes = blocks.entry(block).or_insert_with(|| {
                let mut bytes = vec![0; BLOCK_BYTES as usize];
                self.inner.read(block, &mut bytes).then_some(bytes)
            });
            bytes.clone()
        })
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
        let recorder = Recorder::new(&inner);
        assert_eq!(recorder.word(0x10fc), Some(0x0302_0100_fffe_fdfc));
        assert_eq!(recorder.word(0x1100), recorder.word(0x1100));
        assert_eq!(recorder.word(0x1ffc), None, "the second half is not there");
        assert_eq!(recorder.word(u64::MAX - 3), None, "no wrap around");
        assert_eq!(
            inner.0.borrow().iter().filter(|at| **at == 0x1100).count(),
            1
        );
        let recorded = Recorded::new(&recorder.into_chunks());
        assert_eq!(recorded.word(0x10fc), Some(0x0302_0100_fffe_fdfc));
        assert_eq!(recorded.word(0x1ffc), None);
        assert_eq!(recorded.word(0x5000), None);
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
