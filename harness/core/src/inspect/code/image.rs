//! A kernel's image: its bytes by address, and its symbols.

use object::{Object, ObjectSegment};

use crate::inspect::calls::stem;
use crate::outside::kallsyms::{self, NotFound};
use crate::outside::symbols::{BadElf, Symbols};

/// `__START_KERNEL_map`: the kernel's image lies above.
const KERNEL_IMAGE: u64 = 0xffff_ffff_8000_0000;
/// No kernel's image is larger: `KERNEL_IMAGE_SIZE`, arch/x86/include/asm/page_64_types.h.
const IMAGE_BYTES_MAX: u64 = 1 << 30;

/// A kernel that can be read.
#[derive(Debug)]
pub struct Image {
    /// Pieces by their addresses.
    segments: Vec<(u64, Vec<u8>)>,
    symbols: Symbols,
}

/// Why a file is no kernel that can be read.
#[derive(Debug, thiserror::Error)]
pub enum BadImage {
    /// It is not ELF, or cut short.
    #[error("no whole ELF file: {0}")]
    Format(#[from] object::Error),
    /// It is for another machine.
    #[error("an ELF file for {0:?}; only x86-64 is understood")]
    Machine(object::Architecture),
    /// Its segments are more than the file.
    #[error("no kernel: its segments overlap in the file")]
    Overlap,
    /// Nothing in it lies where kernels do.
    #[error("no kernel: nothing in it lies at ffffffff80000000 or above")]
    NoKernel,
    /// It has neither symbols nor kallsyms.
    #[error(
        "no symbols of functions, and no kallsyms either ({0}); give its System.map, or a vmlinux that is not stripped"
    )]
    NoSymbols(NotFound),
}

impl Image {
    /// Reads vmlinux. Symbols are those given, else those of the file, else its kallsyms.
    ///
    /// # Errors
    /// When it is no kernel for x86-64, or has no symbols.
    pub fn from_elf(bytes: &[u8], symbols: Option<Symbols>) -> Result<Self, BadImage> {
        let file = object::File::parse(bytes)?;
        if file.architecture() != object::Architecture::X86_64 {
            return Err(BadImage::Machine(file.architecture()));
        }
        let mut segments = Vec::new();
        // Headers may name the same bytes again and again.
        let mut room = bytes.len();
        for segment in file.segments() {
            let data = segment.data()?;
            room = room.checked_sub(data.len()).ok_or(BadImage::Overlap)?;
            segments.push((segment.address(), data.to_vec()));
        }
        let (base, flat) = flat(&segments).ok_or(BadImage::NoKernel)?;
        let symbols = match symbols {
            Some(symbols) => symbols,
            None => match Symbols::from_elf(bytes) {
                Ok(symbols) => symbols,
                Err(BadElf::Format(error)) => return Err(error.into()),
                Err(BadElf::Stripped) => {
                    kallsyms::from_image(&flat, base).map_err(BadImage::NoSymbols)?
                }
            },
        };
        Ok(Self { segments, symbols })
    }

    /// Code or data as it lies in memory, built from pieces.
    pub fn new(segments: Vec<(u64, Vec<u8>)>, symbols: Symbols) -> Self {
        Self { segments, symbols }
    }

    /// Bytes from an address on, up to `length` of them.
    pub fn bytes(&self, address: u64, length: usize) -> &[u8] {
        let found = self.segments.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get(from..).filter(|rest| !rest.is_empty())
        });
        found.map_or(&[], |rest| &rest[..rest.len().min(length)])
    }

    /// A pointer.
    pub fn word(&self, address: u64) -> Option<u64> {
        let bytes = self.bytes(address, 8).try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// First address of a function; of clones that a compiler made the first.
    pub fn function(&self, name: &str) -> Option<u64> {
        let whole = |one: &str| one == name;
        let clone = |one: &str| stem(one) == name && !is_fragment(one);
        let find = |wanted: &dyn Fn(&str) -> bool| {
            let mut all = self.symbols.functions();
            all.find(|(_, one)| wanted(one)).map(|(start, _)| start)
        };
        find(&whole).or_else(|| find(&clone))
    }

    /// Names of the functions that begin at an address; parts of functions are none.
    pub fn names(&self, address: u64) -> Vec<&str> {
        let names = self.symbols.names(address);
        names.filter(|name| !is_fragment(name)).collect()
    }

    /// Where an address is, as `function+0x1f`.
    pub fn place(&self, address: u64) -> String {
        match self.symbols.place(address) {
            Some(place) => format!("{}+{:#x}", place.symbol, place.offset),
            None => format!("{address:#x}"),
        }
    }

    /// First address behind the function that an address is in, as far as symbols say.
    pub fn end(&self, address: u64) -> u64 {
        self.symbols.next(address).unwrap_or(u64::MAX)
    }
}

/// Parts that a compiler put elsewhere: jumps lead there and back, no calls.
fn is_fragment(name: &str) -> bool {
    name.contains(".cold") || name.contains(".unlikely")
}

/// The kernel's own pieces as they lie in memory, without what lies at low addresses (per-CPU data).
fn flat(segments: &[(u64, Vec<u8>)]) -> Option<(u64, Vec<u8>)> {
    let high = || {
        segments
            .iter()
            .filter(|(start, bytes)| *start >= KERNEL_IMAGE && !bytes.is_empty())
    };
    let base = high().map(|(start, _)| *start).min()?;
    let end = high()
        .map(|(start, bytes)| start.saturating_add(bytes.len() as u64))
        .max()?;
    let length = end
        .checked_sub(base)
        .filter(|all| *all <= IMAGE_BYTES_MAX)?;
    let mut flat = vec![0; usize::try_from(length).ok()?];
    for (start, bytes) in high() {
        let from = usize::try_from(start - base).ok()?;
        flat.get_mut(from..from + bytes.len())?
            .copy_from_slice(bytes);
    }
    Some((base, flat))
}
