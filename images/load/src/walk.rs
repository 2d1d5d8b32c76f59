//! Walking a working set: one read and write per cache line.

use crate::memory::{PAGE_BYTES, Region};

const LINE_WORDS: usize = 8;

/// One page of a working set.
pub type Page = &'static mut [u64];

/// All pages of a mapping that was made for whole pages.
pub fn pages(mut region: Region) -> Vec<Page> {
    (0..region.bytes() / PAGE_BYTES)
        .map(|_| region.carve(PAGE_BYTES / 8))
        .collect()
}

/// One pass over the working set, page after page.
pub fn once(pages: &mut [Page]) {
    pages.iter_mut().for_each(page);
}

/// Reads and writes one word of every cache line.
pub fn page(page: &mut Page) {
    for word in page.iter_mut().step_by(LINE_WORDS) {
        // SAFETY: a plain read and write through a unique reference; volatile, because nobody
        // reads the result and the accesses are the point.
        unsafe { (word as *mut u64).write_volatile((word as *mut u64).read_volatile() + 1) };
    }
}
