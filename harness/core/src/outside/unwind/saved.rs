//! Registers that an interrupt, exception, NMI or system call saved on a stack.

use super::super::memory::Memory;
use super::super::symbols::Symbols;

/// From saved registers, `struct pt_regs` in `arch/x86/include/asm/ptrace.h` (the same since before
/// 3.10), to what the CPU itself pushed.
pub const TO_PUSHED: u64 = 0x80;
/// From saved registers to the saved frame pointer.
pub const TO_RBP: u64 = 0x20;
/// What the CPU itself pushes: RIP, CS, RFLAGS, RSP, SS.
const PUSHED_BYTES: u64 = 5 * 8;

/// `__KERNEL_CS`, `arch/x86/include/asm/segment.h`.
const KERNEL_CS: u64 = 0x10;
/// `__KERNEL_DS`; the CPU loads 0 when it comes from user space, and QEMU has shown 0x10 after start-up.
const KERNEL_SS: [u64; 3] = [0x18, 0x10, 0];
/// `__USER_CS` and `__USER32_CS`.
const USER_CS: [u64; 2] = [0x33, 0x23];
/// `__USER_DS`.
const USER_SS: u64 = 0x2b;
/// FRED keeps other things in the upper bits of saved selectors.
const SELECTOR: u64 = 0xffff;

/// Bits of RFLAGS: one that is always set, those that never are, and the interrupt flag.
const FLAGS_SET: u64 = 1 << 1;
const FLAGS_CLEAR: u64 = !((1 << 22) - 1) | 1 << 3 | 1 << 5 | 1 << 15;
const FLAGS_INTERRUPTS: u64 = 1 << 9;

/// The CPU aligns its stack to 16 bytes before it pushes: so much may lie between.
const ALIGNMENT: u64 = 16;

/// Registers of an interrupted context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Where it goes on.
    pub rip: u64,
    /// Its stack pointer.
    pub rsp: u64,
    /// Its frame pointer.
    pub rbp: u64,
    /// Whether it is user space.
    pub user: bool,
}

/// A whole `struct pt_regs` at an address; `None` when what is there does not look like one.
pub fn read(memory: &dyn Memory, symbols: &Symbols, at: u64) -> Option<Saved> {
    let saved = pushed(memory, symbols, at.checked_add(TO_PUSHED)?)?;
    let rbp = memory.word(at + TO_RBP)?;
    Some(Saved { rbp, ..saved })
}

/// What the CPU itself pushed, at an address: all but the frame pointer, which is 0.
pub fn pushed(memory: &dyn Memory, symbols: &Symbols, at: u64) -> Option<Saved> {
    let word = |n: u64| memory.word(at.checked_add(n * 8)?);
    // The selector first: on most addresses this ends it.
    let cs = word(1)? & SELECTOR;
    let user = USER_CS.contains(&cs);
    if !user && cs != KERNEL_CS {
        return None;
    }
    let (rip, flags, rsp, ss) = (word(0)?, word(2)?, word(3)?, word(4)? & SELECTOR);
    if flags & FLAGS_SET == 0 || flags & FLAGS_CLEAR != 0 {
        return None;
    }
    let fits = if user {
        ss == USER_SS && flags & FLAGS_INTERRUPTS != 0 && !is_kernel(rip) && !is_kernel(rsp)
    } else {
        KERNEL_SS.contains(&ss)
            && (symbols.is_text(rip) || is_module(rip))
            && continues(at + PUSHED_BYTES, rsp)
    };
    fits.then_some(Saved {
        rip,
        rsp,
        rbp: 0,
        user,
    })
}

/// Whether an interrupted kernel context's stack goes on right above what was saved of it, or is
/// another stack.
fn continues(end: u64, rsp: u64) -> bool {
    let above = rsp.wrapping_sub(end);
    is_kernel(rsp) && (above < ALIGNMENT || end.abs_diff(rsp) >= super::SMALLEST_STACK_BYTES)
}

/// Whether an address is a canonical one of the kernel's half, with five levels of page tables or fewer:
/// `Documentation/arch/x86/x86_64/mm.rst`.
pub fn is_kernel(address: u64) -> bool {
    address >= 0xff00_0000_0000_0000
}

/// Whether modules may lie there: above the kernel image, below the fixed mappings, same source.
pub fn is_module(address: u64) -> bool {
    (0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000).contains(&address)
}
