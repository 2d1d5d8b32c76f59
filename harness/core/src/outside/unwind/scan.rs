//! Return addresses on a stack without frame pointers: every word that a call can have left there.

use super::super::stack::{End, Origin};
use super::saved;
use super::{FRAMES_MAX, Outcome, STACK_BYTES, WORD, Walk};

/// Most stacks that one context lies on: the task's, and one for interrupts.
const STACKS_MAX: usize = 3;

impl Walk<'_> {
    /// Looks for return addresses from the end of a stack on. Those whose call leads to the last
    /// sure function are sure.
    pub(super) fn scan(&mut self, rsp: u64) -> Outcome {
        let mut inner = self.last_symbol();
        let mut from = rsp;
        for _ in 0..STACKS_MAX {
            match self.scan_stack(from, &mut inner) {
                Scan::Outcome(outcome) => return outcome,
                Scan::Left(other) => from = other,
            }
        }
        Outcome::End(End::TooLong)
    }

    fn scan_stack(&mut self, from: u64, inner: &mut Option<String>) -> Scan {
        for up in (0..STACK_BYTES).step_by(WORD as usize) {
            if self.frames.len() >= FRAMES_MAX {
                return Scan::Outcome(Outcome::End(End::TooLong));
            }
            let slot = from.checked_add(up);
            let Some((slot, word)) = slot.and_then(|slot| Some((slot, self.memory.word(slot)?)))
            else {
                break;
            };
            if let Some(saved) = saved::pushed(self.memory, self.symbols, slot) {
                return Scan::Outcome(Outcome::Interrupted(saved));
            }
            if let Some(found) = self.scanned(slot, word, inner) {
                return found;
            }
        }
        Scan::Outcome(Outcome::End(self.ending()))
    }

    /// Takes a word for a return address if it can be one, and says where the scan goes from there
    /// if not on to the next word.
    fn scanned(&mut self, slot: u64, word: u64, inner: &mut Option<String>) -> Option<Scan> {
        let call = self.returns_to(word)?;
        if !self.seen.insert(slot) {
            return Some(Scan::Outcome(Outcome::End(End::Loop)));
        }
        let function = inner.as_deref();
        let sure = function.is_some_and(|function| self.leads_to(call, function));
        let origin = if sure {
            Origin::Chained
        } else {
            Origin::Scanned
        };
        self.push(word, slot + WORD, origin);
        if sure {
            *inner = self.last_symbol();
        }
        if let Some(outcome) = self.ends_at(slot, word) {
            return Some(Scan::Outcome(outcome));
        }
        let left = self.left_stack(slot)?;
        if let Some(frame) = self.frames.last_mut() {
            frame.stack_low = left;
        }
        Some(Scan::Left(left))
    }
}

/// What one stack comes to.
enum Scan {
    /// The context is through.
    Outcome(Outcome),
    /// It goes on on the stack that was left for this one.
    Left(u64),
}
