//! What the holder has seen, in a page of memory that it shares with the program through a file.

use std::sync::atomic::{AtomicU64, Ordering};

/// Size of the file, in bytes.
pub const BYTES: usize = 4096;

/// The counters, in the order in which they lie in the page.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Board {
    /// Times that a migration thread looked for work: that the holder sees anything at all.
    pub looks: AtomicU64,
    /// Active balances by migration threads going to sleep: side A.
    pub balances: AtomicU64,
    /// Swaps: side B.
    pub swaps: AtomicU64,
    /// Both in flight for the same two CPUs: the swap wakes the migration thread that is about to take
    /// the swapper's stopper lock.
    pub meetings: AtomicU64,
    /// Swaps that were held.
    pub swaps_held: AtomicU64,
    /// Balances that were held.
    pub balances_held: AtomicU64,
    /// Time that swaps were held, in microseconds of host time.
    pub swaps_held_us: AtomicU64,
    /// Time that balances were held, in microseconds of host time. Only this is charged to the kernel's
    /// cost of balancing.
    pub balances_held_us: AtomicU64,
}

/// The counters at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Board`")]
pub struct Counts {
    pub looks: u64,
    pub balances: u64,
    pub swaps: u64,
    pub meetings: u64,
    pub swaps_held: u64,
    pub balances_held: u64,
    pub swaps_held_us: u64,
    pub balances_held_us: u64,
}

impl Board {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl Counts {
    /// Reads the page, as the file has it. `None`: it is too short.
    pub fn read(page: &[u8]) -> Option<Self> {
        let mut words = page.chunks_exact(size_of::<u64>());
        let mut next = || Some(u64::from_ne_bytes(words.next()?.try_into().ok()?));
        Some(Self {
            looks: next()?,
            balances: next()?,
            swaps: next()?,
            meetings: next()?,
            swaps_held: next()?,
            balances_held: next()?,
            swaps_held_us: next()?,
            balances_held_us: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read_as_it_was_counted() {
        let board = Board::default();
        Board::add(&board.looks, 1);
        Board::add(&board.meetings, 4);
        Board::add(&board.balances_held_us, 8);
        // SAFETY: the board is plain memory of this size, and nobody counts meanwhile.
        let page = unsafe {
            std::slice::from_raw_parts((&raw const board).cast::<u8>(), size_of::<Board>())
        };
        let counts = Counts::read(page).unwrap();
        assert_eq!(
            (counts.looks, counts.meetings, counts.balances_held_us),
            (1, 4, 8)
        );
        assert_eq!(counts.swaps, 0);
        assert_eq!(Counts::read(&page[1..]), None);
        const { assert!(size_of::<Board>() <= BYTES) };
    }
}
