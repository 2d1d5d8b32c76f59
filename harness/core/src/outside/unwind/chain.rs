//! Along frame pointers: at each lies the caller's, and above it the return address.

use super::super::stack::{End, Origin};
use super::code::{self, Call};
use super::saved::{self, Saved, is_kernel};
use super::{Context, FRAMES_MAX, Outcome, STACK_BYTES, WORD, Walk, names};

/// How far a function without a frame may have pushed before it called, or was interrupted.
const FRAMELESS_BYTES: u64 = 64;

impl Walk<'_> {
    /// Follows the chain of a context; `None` when it has none.
    pub(super) fn chain(&mut self, context: Context) -> Option<Outcome> {
        if let Some(outcome) = self.just_entered(context) {
            return Some(outcome);
        }
        if let Some((slot, address)) = self.frameless_caller(context) {
            self.seen.insert(slot);
            self.push(address, slot + WORD, Origin::Chained);
            if let Some(outcome) = self.ends_at(slot, address) {
                return Some(outcome);
            }
            return Some(self.follow(context.rbp, slot, Origin::Chained));
        }
        let function = self.last_symbol();
        if self.is_record(context.rbp, context.rsp) {
            return Some(self.follow(context.rbp, context.rsp, Origin::Chained));
        }
        let (record, origin) = self.first_record(context.rsp, function.as_deref())?;
        Some(self.follow(record, context.rsp, origin))
    }

    fn follow(&mut self, mut record: u64, mut low: u64, origin: Origin) -> Outcome {
        while self.frames.len() < FRAMES_MAX {
            if let Some(outcome) = self.encoded(record) {
                return outcome;
            }
            let slot = record.wrapping_add(WORD);
            if self.seen.contains(&slot) {
                return Outcome::End(End::Loop);
            }
            let Some((next, address)) = self.record(record, low) else {
                return Outcome::End(self.ending());
            };
            self.seen.insert(slot);
            self.push(address, slot + WORD, origin);
            if let Some(outcome) = self.ends_at(slot, address) {
                return outcome;
            }
            low = slot;
            if let Some(left) = self.left_stack(slot)
                && next.wrapping_sub(left) < STACK_BYTES
                && let Some(frame) = self.frames.last_mut()
            {
                frame.stack_low = left;
                low = left;
            }
            record = next;
        }
        Outcome::End(End::TooLong)
    }

    /// What the frame pointer at `record` leads to: the next one, and the return address.
    fn record(&self, record: u64, low: u64) -> Option<(u64, u64)> {
        let near = record.checked_sub(low)? < STACK_BYTES;
        if !near || !record.is_multiple_of(WORD) || !is_kernel(record) {
            return None;
        }
        let next = self.memory.word(record)?;
        let address = self.memory.word(record.checked_add(WORD)?)?;
        self.returns_to(address)?;
        Some((next, address))
    }

    fn is_record(&self, record: u64, low: u64) -> bool {
        self.record(record, low).is_some() || self.encoded(record).is_some()
    }

    /// Saved registers that a frame pointer stands for, marked by its lowest bit: `ENCODE_FRAME_POINTER`
    /// in `arch/x86/include/asm/frame.h`.
    fn encoded(&self, record: u64) -> Option<Outcome> {
        let at = (record & 1 == 1 && is_kernel(record)).then_some(record - 1)?;
        saved::read(self.memory, self.symbols, at).map(Outcome::Interrupted)
    }

    /// The context that was interrupted so shortly before that the entry code, which has no frame, has
    /// called nothing yet, and may not have saved the frame pointer.
    fn just_entered(&self, context: Context) -> Option<Outcome> {
        let place = self.symbols.place(context.rip)?;
        if code::prologue(self.memory, place.start).is_some() {
            return None;
        }
        let mut slots = (0..=saved::TO_PUSHED).step_by(WORD as usize);
        slots.find_map(|up| {
            let slot = context.rsp.checked_add(up)?;
            let saved = saved::pushed(self.memory, self.symbols, slot)?;
            let saved_rbp = slot.checked_sub(saved::TO_PUSHED - saved::TO_RBP)?;
            let rbp = match saved_rbp >= context.rsp {
                true => self.memory.word(saved_rbp)?,
                false => context.rbp,
            };
            Some(Outcome::Interrupted(Saved { rbp, ..saved }))
        })
    }

    /// The return address of a function that has no frame, not yet, or no more: it lies at the end
    /// of the stack, and the frame pointer is still the caller's.
    fn frameless_caller(&self, context: Context) -> Option<(u64, u64)> {
        let place = self.symbols.place(context.rip)?;
        let prologue = code::prologue(self.memory, place.start);
        let (skipped, reach) = match prologue {
            None => (0, FRAMELESS_BYTES),
            Some(prologue) if place.offset < prologue.pushed => (0, WORD),
            Some(prologue) if place.offset < prologue.framed => (WORD, 2 * WORD),
            Some(_) if self.at_return(context.rip) => (0, WORD),
            Some(_) => return None,
        };
        let slots = (skipped..reach).step_by(WORD as usize);
        slots
            .filter_map(|up| context.rsp.checked_add(up))
            .take_while(|slot| *slot != context.rbp)
            .find_map(|slot| {
                let address = self.memory.word(slot)?;
                let call = self.returns_to(address)?;
                let nearest = slot == context.rsp + skipped;
                (self.leads_to(call, place.symbol) || nearest && self.may_lead(call, place.symbol))
                    .then_some((slot, address))
            })
    }

    /// Whether this call may have led to a function that no other call names: thunks are jumped to.
    fn may_lead(&self, call: Option<Call>, function: &str) -> bool {
        self.is_indirect(call)
            || call.is_some()
                && (names::is_return_thunk(function) || names::is_indirect_thunk(function))
    }

    fn at_return(&self, rip: u64) -> bool {
        code::returns(self.memory, rip, |target| {
            let place = self.symbols.place(target);
            place.is_some_and(|place| names::is_return_thunk(place.symbol))
        })
    }

    /// The first thing on a stack that looks like a link of the chain, for code that uses the frame
    /// pointer for something else. It is certain only where its call leads to the innermost function.
    fn first_record(&self, rsp: u64, function: Option<&str>) -> Option<(u64, Origin)> {
        let slots = (0..STACK_BYTES / 4).step_by(WORD as usize);
        let mut records = slots.filter_map(|up| {
            let at = rsp.checked_add(up)?;
            let (next, address) = self.record(at, rsp)?;
            let linked = next > at && self.is_record(next, at);
            linked.then_some((at, address))
        });
        let first = records.next()?;
        let mut all = std::iter::once(first).chain(records);
        let sure = all.find(|(_, address)| {
            let call = self.returns_to(*address).flatten();
            function.is_some_and(|function| self.leads_to(call, function))
        });
        Some(match sure {
            Some((at, _)) => (at, Origin::Chained),
            None => (first.0, Origin::Scanned),
        })
    }

    pub(super) fn last_symbol(&self) -> Option<String> {
        self.frames.last()?.symbol.clone()
    }
}
