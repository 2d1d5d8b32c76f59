//! Walks a vCPU's kernel stack in guest memory.
//!
//! Kernels with `CONFIG_FRAME_POINTER` are followed along the chain of frame pointers; in others
//! (ORC) return addresses are looked for. Interrupts, exceptions and NMIs are crossed with the registers
//! that they saved.

mod chain;
mod code;
mod names;
mod saved;
mod scan;

use std::collections::BTreeSet;

use super::memory::Memory;
use super::registers::Registers;
use super::stack::{End, Frame, Origin, Stack};
use super::symbols::{Place, Symbols};
use code::{Before, Call};
use saved::{Saved, is_kernel, is_module};

/// Most frames of a stack, unsure ones included.
const FRAMES_MAX: usize = 256;
/// Most contexts that interrupt each other: task, soft interrupt, interrupt, exceptions, NMI.
const CONTEXTS_MAX: usize = 8;
/// How far a stack reaches at most: `THREAD_SIZE`, `arch/x86/include/asm/page_64_types.h`, without
/// KASAN.
const STACK_BYTES: u64 = 16 << 10;
/// Smallest stack there is, that of an exception.
const SMALLEST_STACK_BYTES: u64 = 4 << 10;
/// Bytes of a word on the stack.
const WORD: u64 = 8;

/// Walks the stack of a vCPU, innermost function first.
///
/// Nothing in guest memory is trusted: the walk ends, and says why, where it does not fit.
pub fn unwind(registers: &Registers, symbols: &Symbols, memory: &dyn Memory) -> Stack {
    let mut walk = Walk {
        symbols,
        memory,
        frames: Vec::new(),
        seen: BTreeSet::new(),
        chained: true,
    };
    let end = walk.run(registers);
    Stack {
        frames: walk.frames,
        end,
    }
}

/// What a context goes on from.
#[derive(Debug, Clone, Copy)]
struct Context {
    rip: u64,
    rsp: u64,
    rbp: u64,
}

/// What a walk through one context comes to.
enum Outcome {
    /// It ends.
    End(End),
    /// It interrupted another one.
    Interrupted(Saved),
}

struct Walk<'a> {
    symbols: &'a Symbols,
    memory: &'a dyn Memory,
    frames: Vec<Frame>,
    /// Where return addresses were found: none can be there twice.
    seen: BTreeSet<u64>,
    /// Whether this kernel keeps frame pointers.
    chained: bool,
}

impl Walk<'_> {
    fn run(&mut self, registers: &Registers) -> End {
        let mut context = Context {
            rip: registers.rip,
            rsp: registers.rsp(),
            rbp: registers.rbp(),
        };
        self.push(context.rip, context.rsp, Origin::Register);
        if registers.cpl == 3 {
            return End::UserSpace;
        }
        if !registers.in_kernel() {
            return End::Broken;
        }
        self.chained = self.keeps_frame_pointers();
        for _ in 0..CONTEXTS_MAX {
            let saved = match self.context(context) {
                Outcome::End(end) => return end,
                Outcome::Interrupted(saved) if saved.user => return End::UserSpace,
                Outcome::Interrupted(saved) => saved,
            };
            context = Context {
                rip: saved.rip,
                rsp: saved.rsp,
                rbp: saved.rbp,
            };
            self.push(context.rip, context.rsp, Origin::Interrupted);
        }
        End::TooLong
    }

    fn context(&mut self, context: Context) -> Outcome {
        let chain = self.chained.then(|| self.chain(context)).flatten();
        chain.unwrap_or_else(|| self.scan(context.rsp))
    }

    /// Whether functions of this kernel begin with the prologue that frame pointers need. Where no
    /// code can be read it is assumed, and the chain has to prove itself.
    fn keeps_frame_pointers(&self) -> bool {
        let usual = ["schedule", "kthread", "do_exit", "vfs_read"];
        let mut functions = usual.iter().filter_map(|name| self.symbols.address(name));
        let readable = functions.find(|function| self.memory.word(*function).is_some());
        readable.is_none_or(|function| code::prologue(self.memory, function).is_some())
    }

    fn push(&mut self, address: u64, stack_low: u64, origin: Origin) {
        let place = match origin {
            Origin::Register | Origin::Interrupted => self.symbols.place(address),
            Origin::Chained | Origin::Scanned => self.caller(address),
        };
        let frame = Frame {
            address,
            symbol: place.map(|place| place.symbol.to_owned()),
            offset: place.map_or(0, |place| place.offset),
            stack_low,
            origin,
        };
        self.frames.push(frame);
    }

    /// The function that a return address belongs to: a call that does not return may be its last
    /// instruction, and then the address is the next function's first.
    fn caller(&self, address: u64) -> Option<Place<'_>> {
        let place = self.symbols.place(address.checked_sub(1)?)?;
        Some(Place {
            offset: place.offset + 1,
            ..place
        })
    }

    /// Whether a word on the stack can be a return address, and the call that left it there.
    /// `Some(None)`: in code that was not called.
    fn returns_to(&self, address: u64) -> Option<Option<Call>> {
        if !self.symbols.is_text(address) && !is_module(address) {
            return None;
        }
        match code::before(self.memory, address) {
            Before::Call(call) => Some(Some(call)),
            Before::Other | Before::Unreadable => {
                let place = self.caller(address)?;
                (names::is_first(place.symbol) || self.symbols.is_init(address)).then_some(None)
            }
        }
    }

    /// Whether this call leads to that function's beginning: `endbr64` and what the tracer needs may
    /// be skipped.
    fn leads_to(&self, call: Option<Call>, function: &str) -> bool {
        const SKIPPED_BYTES: u64 = 16;
        let Some(Call::Direct(target)) = call else {
            return false;
        };
        let place = self.symbols.place(target);
        place.is_some_and(|place| {
            place.offset <= SKIPPED_BYTES && place.symbol == names::whole(function)
        })
    }

    /// Whether this call can lead anywhere.
    fn is_indirect(&self, call: Option<Call>) -> bool {
        match call {
            Some(Call::Direct(target)) => {
                let place = self.symbols.place(target);
                place.is_some_and(|place| names::is_indirect_thunk(place.symbol))
            }
            Some(Call::Indirect) => true,
            None => false,
        }
    }

    /// Where a context ends or was interrupted, judged by the return address that is at `slot`.
    fn ends_at(&self, slot: u64, address: u64) -> Option<Outcome> {
        let above = slot.checked_add(WORD)?;
        // Entry code calls with the saved registers at the end of its stack.
        if let Some(saved) = saved::read(self.memory, self.symbols, above) {
            return Some(Outcome::Interrupted(saved));
        }
        let place = self.caller(address)?;
        if names::is_interrupt(place.symbol)
            && let Some(saved) = self.saved_before_switch(above)
        {
            return Some(Outcome::Interrupted(saved));
        }
        let certain = names::is_first(place.symbol) || names::end(place.symbol) == End::UserSpace;
        certain.then(|| Outcome::End(names::end(place.symbol)))
    }

    /// Registers that an interrupt saved before it went over to the interrupt stack, on which it left
    /// a pointer to them (`ENTER_IRQ_STACK`), before 4.14 to the frame pointer among them
    /// (`SAVE_ARGS_IRQ`; `arch/x86/kernel/entry_64.S`).
    fn saved_before_switch(&self, at: u64) -> Option<Saved> {
        let pointer = self.memory.word(at).filter(|to| is_kernel(*to))?;
        let starts = [Some(pointer), pointer.checked_sub(saved::TO_RBP)];
        let mut starts = starts.into_iter().flatten();
        starts.find_map(|start| saved::read(self.memory, self.symbols, start))
    }

    /// Stack pointer of the stack that was left for the one whose outermost return address is at
    /// `slot`. It lies right above, at the end of a page, less 64 bytes in older kernels:
    /// `arch/x86/include/asm/irq_stack.h` and `irq_64.c`.
    fn left_stack(&self, slot: u64) -> Option<u64> {
        const PAGE_BYTES: u64 = 4096;
        const RESERVED_BYTES: u64 = 64;
        let to_end = (slot.wrapping_add(2 * WORD)).wrapping_neg() % PAGE_BYTES;
        if to_end > RESERVED_BYTES + WORD {
            return None;
        }
        let left = self.memory.word(slot.checked_add(WORD)?)?;
        let elsewhere = left.abs_diff(slot) >= SMALLEST_STACK_BYTES;
        (is_kernel(left) && left % WORD == 0 && elsewhere).then_some(left)
    }

    /// How it ends where nothing leads further: a stack's first functions have no callers.
    fn ending(&self) -> End {
        let last = self.frames.last().and_then(|frame| frame.symbol.as_deref());
        last.map_or(End::Broken, names::end)
    }
}
