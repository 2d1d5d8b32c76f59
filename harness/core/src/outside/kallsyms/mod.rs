//! The kernel's own table of symbols, found in its memory or image: names for kernels that came
//! without a System.map, at the addresses where they really run.
//!
//! The tables have no header and are found by what is in them; `tables` says how. They are written
//! by `scripts/kallsyms.c` of the kernel tree, and read by `kernel/kallsyms.c`.

mod tables;

use super::memory::Memory;
use super::symbols::Symbols;
use tables::Tables;

/// Why there are no symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The interrupt descriptor table cannot be read, or leads to no kernel text.
    #[error("the interrupt descriptor table leads to no kernel")]
    Idt,
    /// No table of tokens: the kernel has no kallsyms, or its memory cannot be read.
    #[error("no kallsyms token table")]
    Tokens,
    /// No names that fit the tokens.
    #[error("no kallsyms names that fit the token table")]
    Names,
    /// No addresses that fit the names.
    #[error("no kallsyms addresses that fit the names")]
    Addresses,
    /// What was found is not the table of this kernel.
    #[error("the kallsyms found contradict the kernel they were found in")]
    Contradiction,
}

/// How far behind the entry code of a kernel its tables are looked for: more than any kernel's
/// read-only data.
const SEARCHED_BYTES: usize = 64 << 20;
/// Bytes that are read at once: each read takes libvirt 0.1 s, however short.
const STEP_BYTES: usize = 256 << 10;
/// Granularity of KASLR: `CONFIG_PHYSICAL_ALIGN` is a multiple of 2 MiB on x86-64 (arch/x86/Kconfig).
const KASLR_STEP_BYTES: u64 = 2 << 20;
/// A page of guest memory: it is mapped as a whole or not at all.
const PAGE_BYTES: usize = 4 << 10;

/// Finds the symbols of a running kernel, at the addresses where it runs.
///
/// `idt_base` is the vCPU's own, and `memory` has to be that of a vCPU in kernel mode: with page table
/// isolation the others do not see the tables. About as much is read as lies between the kernel's
/// entry code, at the end of its text, and the end of the tables: 3 to 15 MiB.
///
/// # Errors
/// When there are no tables, they contradict themselves, or they do not cover that entry code.
pub fn from_guest(idt_base: u64, memory: &dyn Memory) -> Result<Symbols, NotFound> {
    let entry = entry_code(idt_base, memory).ok_or(NotFound::Idt)?;
    let mut window = Window::new(memory, entry & !(PAGE_BYTES as u64 - 1));
    let mut error = NotFound::Tokens;
    let mut searched = 0;
    while let Some((at, tokens)) = window.tokens(searched) {
        window.read_to(at + tables::BEHIND_TOKENS_BYTES);
        match Tables::find(&window.bytes, &tokens) {
            Ok(tables) => return verified(tables, |symbols| symbols.is_text(entry)),
            Err(other) => error = other,
        }
        searched = at + 1;
    }
    Err(error)
}

/// How far a running kernel lies from where a file says its symbols are (KASLR): what to give to
/// [`Symbols::shifted`]. `None`: the file is not of this kernel, or the guest cannot be read.
pub fn shift(symbols: &Symbols, idt_base: u64, memory: &dyn Memory) -> Option<u64> {
    let entry = entry_code(idt_base, memory)?;
    // The handler's names from v5.8 on, before that, and before that under KVM.
    let names = [
        "asm_exc_page_fault",
        "page_fault",
        "async_page_fault",
        "trace_page_fault",
    ];
    let mut shifts = names
        .iter()
        .filter_map(|name| Some(entry.wrapping_sub(symbols.address(name)?)));
    shifts.find(|by| by.is_multiple_of(KASLR_STEP_BYTES))
}

/// Finds the symbols in a kernel's image as it lies in memory from `base` on, before it is relocated.
///
/// # Errors
/// When there are no tables, they contradict themselves, or the image is not at `base`.
pub fn from_image(image: &[u8], base: u64) -> Result<Symbols, NotFound> {
    let mut error = NotFound::Tokens;
    let mut searched = 0;
    while let Some((at, tokens)) = tables::find_tokens(image, searched) {
        match Tables::find(image, &tokens) {
            Ok(tables) => {
                let end = base.saturating_add(image.len() as u64);
                let within = |address| (base..end).contains(&address);
                return verified(tables, |symbols| {
                    symbols.address("_stext").is_some_and(within)
                });
            }
            Err(other) => error = other,
        }
        searched = at + 1;
    }
    Err(error)
}

/// Takes the tables if every kernel's own marks are where they have to be.
fn verified(tables: Tables, fits: impl Fn(&Symbols) -> bool) -> Result<Symbols, NotFound> {
    let symbols = Symbols::new(tables.symbols());
    let ends = [symbols.address("_stext"), symbols.address("_etext")];
    let ordered = matches!(ends, [Some(start), Some(end)] if start < end);
    match ordered && fits(&symbols) {
        true => Ok(symbols),
        false => Err(NotFound::Contradiction),
    }
}

/// Address of the handler of page faults, which is in the kernel's entry code: a gate descriptor of 16
/// bytes, `arch/x86/include/asm/desc_defs.h`. Handlers of other exceptions may be those of the early
/// boot, whose code lies behind the tables.
fn entry_code(idt_base: u64, memory: &dyn Memory) -> Option<u64> {
    const PAGE_FAULT: u64 = 14;
    const GATE_BYTES: u64 = 16;
    const PRESENT: u64 = 1 << 47;
    let gate = idt_base.checked_add(PAGE_FAULT * GATE_BYTES)?;
    let low = memory.word(gate)?;
    let high = u64::from(memory.half_word(gate.checked_add(8)?)?);
    let address = high << 32 | low >> 48 << 16 | low & 0xffff;
    (low & PRESENT != 0 && address >= 0xffff_ffff_8000_0000).then_some(address)
}

/// What was read of a guest, in one piece. Pages that cannot be read are zeros.
struct Window<'a> {
    memory: &'a dyn Memory,
    base: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(memory: &'a dyn Memory, base: u64) -> Self {
        Self {
            memory,
            base,
            bytes: Vec::new(),
        }
    }

    /// The next token table that begins at or behind `from`, read on until there is one.
    fn tokens(&mut self, from: usize) -> Option<(usize, tables::Tokens)> {
        let mut from = from;
        loop {
            if let Some(found) = tables::find_tokens(&self.bytes, from) {
                return Some(found);
            }
            // A table may lie across the end of what was read so far.
            let end = self.bytes.len();
            from = from.max(end.saturating_sub(tables::TOKENS_BYTES_MAX));
            if end >= SEARCHED_BYTES || !self.read_to(end + STEP_BYTES) {
                return None;
            }
        }
    }

    /// Reads until this much is there; `false` when the address space ends before.
    fn read_to(&mut self, length: usize) -> bool {
        while self.bytes.len() < length {
            let Some(at) = self.base.checked_add(self.bytes.len() as u64) else {
                return false;
            };
            if at.checked_add(STEP_BYTES as u64).is_none() {
                return false;
            }
            let mut step = vec![0; STEP_BYTES];
            if !self.memory.read(at, &mut step) {
                self.read_pages(at, &mut step);
            }
            self.bytes.append(&mut step);
        }
        true
    }

    fn read_pages(&self, at: u64, step: &mut [u8]) {
        for (number, page) in step.chunks_mut(PAGE_BYTES).enumerate() {
            if !self.memory.read(at + (number * PAGE_BYTES) as u64, page) {
                page.fill(0);
            }
        }
    }
}
