//! Names of kernel addresses.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use object::{Object, ObjectSection, ObjectSymbol, SectionIndex, SectionKind};

use super::monitor::excerpt;

/// A kernel's symbols, by address and by name. Some 10 MB, which clones share.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    /// Functions, by address.
    text: Arc<Vec<(u64, String)>>,
    /// Everything, per-CPU offsets included.
    by_name: Arc<HashMap<String, u64>>,
    /// First address behind the kernel's text.
    text_end: u64,
    /// Code that is freed after the boot; empty when not known.
    init: Range<u64>,
}

/// A place in a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The function.
    pub symbol: &'a str,
    /// Its first address.
    pub start: u64,
    /// Bytes from there.
    pub offset: u64,
}

/// A line of System.map (or /proc/kallsyms) that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected `ffffffff81000000 T name`, found `{found}`")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is there.
    pub found: String,
}

/// A file that is no kernel with symbols.
#[derive(Debug, thiserror::Error)]
pub enum BadElf {
    /// It is not ELF, or cut short.
    #[error("no ELF file: {0}")]
    Format(#[from] object::Error),
    /// It has no functions: it was stripped.
    #[error("an ELF file without symbols of functions")]
    Stripped,
}

impl Symbols {
    /// Symbols from `(address, nm's type letter, name)`.
    pub fn new(all: impl IntoIterator<Item = (u64, char, String)>) -> Self {
        let (mut text, mut by_name) = (Vec::new(), HashMap::new());
        for (address, kind, name) in all {
            if matches!(kind, 't' | 'T' | 'w' | 'W') {
                text.push((address, name.clone()));
            }
            by_name.entry(name).or_insert(address);
        }
        text.sort();
        let mut symbols = Self {
            text: Arc::new(text),
            by_name: Arc::new(by_name),
            ..Self::default()
        };
        let last = symbols.text.last().map_or(0, |(address, _)| *address);
        symbols.text_end = symbols.address("_etext").unwrap_or(last);
        let init = [symbols.address("_sinittext"), symbols.address("_einittext")];
        if let [Some(start), Some(end)] = init {
            symbols.init = start..end;
        }
        symbols
    }

    /// Reads System.map.
    ///
    /// # Errors
    /// At the first line that does not belong into such a file.
    pub fn from_system_map(text: &str) -> Result<Self, BadLine> {
        let lines = text.lines().enumerate();
        let all: Result<Vec<_>, BadLine> = lines
            .map(|(number, line)| {
                read_line(line).ok_or_else(|| BadLine {
                    line: number + 1,
                    found: excerpt(line),
                })
            })
            .collect();
        Ok(Self::new(all?))
    }

    /// Reads the symbol table of vmlinux.
    ///
    /// # Errors
    /// When it is no ELF file, or has no functions.
    pub fn from_elf(bytes: &[u8]) -> Result<Self, BadElf> {
        let file = object::File::parse(bytes)?;
        let text: HashSet<SectionIndex> = file
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .map(|section| section.index())
            .collect();
        let named = file.symbols().filter(|symbol| symbol.is_definition());
        let all = named.filter_map(|symbol| {
            let in_text = symbol.section_index().is_some_and(|at| text.contains(&at));
            let kind = if in_text { 't' } else { 'd' };
            let name = symbol.name().ok().filter(|name| !name.is_empty())?;
            Some((symbol.address(), kind, name.to_owned()))
        });
        let symbols = Self::new(all);
        match symbols.is_empty() {
            true => Err(BadElf::Stripped),
            false => Ok(symbols),
        }
    }

    /// The symbols of the same kernel at other addresses, `by` bytes further up (`wrapping_neg()` for
    /// down): it was moved as a whole (KASLR). Per-CPU offsets and absolute symbols stay.
    pub fn shifted(mut self, by: u64) -> Self {
        let shift = |address: &mut u64| {
            if *address >= KERNEL_IMAGE {
                *address = address.wrapping_add(by);
            }
        };
        let text = Arc::make_mut(&mut self.text);
        text.iter_mut().for_each(|(address, _)| shift(address));
        // A file may name addresses that go beyond the end by that, and begin again.
        text.sort();
        Arc::make_mut(&mut self.by_name)
            .values_mut()
            .for_each(shift);
        shift(&mut self.text_end);
        shift(&mut self.init.start);
        shift(&mut self.init.end);
        self
    }

    /// Whether there are no functions in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The function that covers an address.
    pub fn place(&self, address: u64) -> Option<Place<'_>> {
        if !self.is_text(address) {
            return None;
        }
        let after = self.text.partition_point(|(start, _)| *start <= address);
        let (start, symbol) = self.text.get(after.checked_sub(1)?)?;
        // Aliases share an address; the first in the order of names stands for all.
        let first = self.text.partition_point(|(other, _)| other < start);
        let symbol = self.text.get(first).map_or(symbol, |(_, symbol)| symbol);
        Some(Place {
            symbol,
            start: *start,
            offset: address - start,
        })
    }

    /// Whether an address lies in the kernel's own code.
    pub fn is_text(&self, address: u64) -> bool {
        let start = self.text.first().map_or(u64::MAX, |(start, _)| *start);
        (start..self.text_end).contains(&address) || self.is_init(address)
    }

    /// Whether an address lies in code that is freed after the boot: on the stack of the first CPU's
    /// idle task, but no longer in memory.
    pub fn is_init(&self, address: u64) -> bool {
        self.init.contains(&address)
    }

    /// All functions, by address.
    pub fn functions(&self) -> impl Iterator<Item = (u64, &str)> {
        self.text
            .iter()
            .map(|(start, name)| (*start, name.as_str()))
    }

    /// Names of the functions that begin at an address, in their order.
    pub fn names(&self, address: u64) -> impl Iterator<Item = &str> {
        let first = self.text.partition_point(|(start, _)| *start < address);
        let here = self.text[first..].iter();
        here.take_while(move |(start, _)| *start == address)
            .map(|(_, name)| name.as_str())
    }

    /// Where the next function begins behind an address.
    pub fn next(&self, address: u64) -> Option<u64> {
        let after = self.text.partition_point(|(start, _)| *start <= address);
        self.text.get(after).map(|(start, _)| *start)
    }

    /// Addresses of the kernel's own code.
    pub fn text(&self) -> std::ops::Range<u64> {
        let start = self.text.first().map_or(0, |(start, _)| *start);
        start..self.text_end.max(start)
    }

    /// Address of a symbol; for a per-CPU variable its offset in the per-CPU area.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The symbol at exactly this address of the kernel; of aliases the first in the order of names.
    pub fn object(&self, address: u64) -> Option<&str> {
        let here = self.by_name.iter().filter(|(_, at)| **at == address);
        here.map(|(name, _)| name.as_str()).min()
    }
}

/// `__START_KERNEL_map`, `arch/x86/include/asm/page_64_types.h`: the kernel's image lies above.
const KERNEL_IMAGE: u64 = 0xffff_ffff_8000_0000;

fn read_line(line: &str) -> Option<(u64, char, String)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?;
    let mut kinds = kind.chars();
    let kind = kinds.next()?;
    kinds
        .next()
        .is_none()
        .then(|| (address, kind, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "0000000000016a40 d cpu_stopper\nffffffff81000000 T _text\n\
        ffffffff81000000 T startup_64\nffffffff81000100 t try_to_wake_up\nffffffff81000200 T _etext\n\
        ffffffff82000000 D init_task\n";

    #[test]
    fn addresses_have_names_only_in_the_text() {
        let symbols = Symbols::from_system_map(MAP).unwrap();
        let place = symbols.place(0xffff_ffff_8100_01f0).unwrap();
        assert_eq!((place.symbol, place.offset), ("try_to_wake_up", 0xf0));
        assert_eq!(
            symbols.place(0xffff_ffff_8100_0000).unwrap().symbol,
            "_text"
        );
        for outside in [
            0x16a40,
            0xffff_ffff_80ff_ffff,
            0xffff_ffff_8100_0200,
            0xffff_ffff_8200_0000,
        ] {
            assert_eq!(symbols.place(outside), None, "{outside:#x}");
        }
        assert_eq!(symbols.address("cpu_stopper"), Some(0x16a40));
    }

    #[test]
    fn a_line_of_something_else_is_named() {
        let error = Symbols::from_system_map("ffffffff81000000 T _text\n<html>\n").unwrap_err();
        assert_eq!((error.line, error.found.as_str()), (2, "<html>"));
    }

    /// vmlinux in little: a section of code, one of data, and these symbols (name, section, address).
    fn elf(symbols: &[(&str, u16, u64)]) -> Vec<u8> {
        let words = |words: &[u64]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let mut names = b"\0.text\0.data\0.symtab\0.strtab\0".to_vec();
        let mut table = vec![0; 24];
        for (name, section, address) in symbols {
            table.extend((names.len() as u32).to_le_bytes());
            table.extend([0x10, 0]);
            table.extend(section.to_le_bytes());
            table.extend(words(&[*address, 0]));
            names.extend(name.bytes().chain([0]));
        }
        // Header of the file, then of five sections, then what is in the last two.
        let (table_at, names_at) = (64 + 5 * 64, 64 + 5 * 64 + table.len() as u64);
        let section = |name: u32, kind: u32, flags: u64, at: u64, size: usize, link: u32| {
            let mut header = [name.to_le_bytes(), kind.to_le_bytes()].concat();
            header.extend(words(&[flags, 0, at, size as u64]));
            header.extend([link.to_le_bytes(), 1_u32.to_le_bytes()].concat());
            header.extend(words(&[1, if kind == 2 { 24 } else { 0 }]));
            header
        };
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        file.extend(words(&[0, 0, 64]));
        file.extend(
            [0_u32, 64 | 56 << 16, 64 << 16, 5 | 4 << 16]
                .map(u32::to_le_bytes)
                .concat(),
        );
        file.extend(section(0, 0, 0, 0, 0, 0));
        file.extend(section(1, 1, 6, 64, 0, 0));
        file.extend(section(7, 1, 3, 64, 0, 0));
        file.extend(section(13, 2, 0, table_at, table.len(), 4));
        file.extend(section(21, 3, 0, names_at, names.len(), 0));
        [file, table, names].concat()
    }

    #[test]
    fn vmlinux_has_its_functions_in_sections_of_code() {
        let file = elf(&[
            ("_text", 1, 0xffff_ffff_8100_0000),
            ("schedule", 1, 0xffff_ffff_8100_0100),
            ("_etext", 1, 0xffff_ffff_8100_0200),
            ("init_task", 2, 0xffff_ffff_8200_0000),
            ("cpu_stopper", 2, 0x16a40),
        ]);
        let symbols = Symbols::from_elf(&file).unwrap();
        let place = symbols.place(0xffff_ffff_8100_0180).unwrap();
        assert_eq!((place.symbol, place.offset), ("schedule", 0x80));
        assert_eq!(symbols.place(0xffff_ffff_8200_0000), None);
        assert_eq!(symbols.address("cpu_stopper"), Some(0x16a40));
        let moved = symbols.shifted(0x0500_0000);
        assert_eq!(moved.address("init_task"), Some(0xffff_ffff_8700_0000));
        assert_eq!(moved.address("cpu_stopper"), Some(0x16a40));
        let place = moved.place(0xffff_ffff_8600_0180).unwrap();
        assert_eq!((place.symbol, place.offset), ("schedule", 0x80));
        assert!(!moved.is_text(0xffff_ffff_8100_0180));
    }

    #[test]
    fn names_that_a_shift_moves_over_the_end_are_still_in_order() {
        let map = "ffffffff81000000 T _text\nffffffffffffff00 t last\nfffffffffffffff8 T _etext\n";
        let symbols = Symbols::from_system_map(map).unwrap().shifted(0x20_0000);
        let addresses: Vec<u64> = symbols.functions().map(|(address, _)| address).collect();
        assert_eq!(addresses, [0x1f_ff00, 0x1f_fff8, 0xffff_ffff_8120_0000]);
    }

    #[test]
    fn files_that_are_no_kernel_are_refused() {
        assert!(matches!(
            Symbols::from_elf(b"\x7fELF"),
            Err(BadElf::Format(_))
        ));
        assert!(matches!(
            Symbols::from_elf(&[0; 100]),
            Err(BadElf::Format(_))
        ));
        let stripped = elf(&[("init_task", 2, 0xffff_ffff_8200_0000)]);
        assert!(matches!(
            Symbols::from_elf(&stripped),
            Err(BadElf::Stripped)
        ));
        let whole = elf(&[("schedule", 1, 0xffff_ffff_8100_0100)]);
        for end in 0..whole.len() {
            let _ = Symbols::from_elf(&whole[..end]);
        }
    }
}
