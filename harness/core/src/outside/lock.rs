//! What a spinlock's word says.

use super::memory::Memory;
use super::symbols::Symbols;

/// A spinlock, as memory shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Its first 32 bits.
    pub bits: u32,
    /// Whether somebody has it.
    pub held: bool,
    /// The CPU that has it, in kernels with spinlock debugging.
    pub owner_cpu: Option<u32>,
}

/// `SPINLOCK_MAGIC`, behind the word in kernels with spinlock debugging; the owner's CPU follows.
const MAGIC: u32 = 0xdead_4ead;

/// The word at `address`; `None`: it cannot be read.
pub fn read(address: u64, symbols: &Symbols, memory: &dyn Memory) -> Option<Word> {
    let bits = memory.half_word(address)?;
    let has_magic = memory.half_word(address.wrapping_add(4)) == Some(MAGIC);
    let owner = memory
        .half_word(address.wrapping_add(8))
        .filter(|owner| has_magic && *owner != u32::MAX);
    Some(Word {
        bits,
        held: if is_queued(symbols) {
            is_held_queued(bits)
        } else {
            is_held_ticket(bits)
        },
        owner_cpu: owner,
    })
}

/// Whether the kernel's spinlocks are queued ones (4.2 and later) and not tickets.
fn is_queued(symbols: &Symbols) -> bool {
    let names = [
        "queued_spin_lock_slowpath",
        "native_queued_spin_lock_slowpath",
    ];
    names.iter().any(|name| symbols.address(name).is_some())
}

/// The lowest byte is the lock; above it are those who wait.
fn is_held_queued(bits: u32) -> bool {
    bits & 0xff != 0
}

/// The ticket that is served and the next one, in 16 or 8 bits each: nobody has it when they are
/// the same. Paravirtual kernels keep a flag in the lowest bit.
fn is_held_ticket(bits: u32) -> bool {
    let (served, next) = if bits > 0xffff {
        (bits & 0xffff, bits >> 16)
    } else {
        (bits & 0xff, bits >> 8)
    };
    served != next
}

/// Whether a word looks like a queued lock that is held while others wait in its queue.
pub fn is_contended(bits: u32, cpus: usize) -> bool {
    let tail = (bits >> 18) as usize;
    bits & 0xff == 1 && bits & 0xfe00 == 0 && (1..=cpus).contains(&tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_what_looks_so() {
        for (bits, held) in [(0, false), (1, true), (0x0100, false), (0x0014_0001, true)] {
            assert_eq!(is_held_queued(bits), held, "{bits:#x}");
        }
        for (bits, held) in [
            (0x0000_0000, false),
            (0x0e12_0e12, false),
            (0x0e16_0e12, true),
            (0x0707, false),
            (0x0907, true),
        ] {
            assert_eq!(is_held_ticket(bits), held, "{bits:#x}");
        }
    }

    #[test]
    fn a_queue_is_of_cpus_that_exist() {
        assert!(is_contended(0x0018_0001, 8));
        assert!(is_contended(0x0018_0101, 8));
        for other in [0x0000_0001, 0x0018_0000, 0x0028_0001, 0x0018_0201, u32::MAX] {
            assert!(!is_contended(other, 8), "{other:#x}");
        }
    }
}
