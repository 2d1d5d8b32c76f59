//! A roaming process: unpinned, with the default memory policy, like a monitoring exporter that
//! wakes regularly and walks its tables.
//!
//! Its working set is first touched on one node and the process then set free on another, so
//! that NUMA balancing has something to mend: every roamer of an even number wants to go where
//! one of an odd number is, and the other way round.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::affinity;
use crate::assignment::{Assignment, Role};
use crate::memory::{PAGE_BYTES, Region};
use crate::seed::Random;

const LINE_WORDS: usize = 8;
const PAGE_WORDS: usize = PAGE_BYTES / 8;
/// Pages walked between two looks at the clock, which costs a system call on some clock sources.
const PAGES_PER_LOOK: usize = 8;

/// Prepares the working set, says so, and walks it for ever.
pub fn run(assignment: &Assignment, index: u32) -> Result<Infallible> {
    let mut words = misplaced_working_set(assignment, index)?;
    crate::ready_and_go(assignment)?;
    let spec = &assignment.spec.roamers;
    let mut random = Random::of(Role::Roamer { index });
    let burst = Duration::from_micros(spec.burst_us.into());
    let sleep = Duration::from_micros(spec.sleep_us.into());
    loop {
        if burst.is_zero() {
            walk_once(&mut words);
        } else {
            walk_for(&mut words, burst, &mut random);
        }
        if !sleep.is_zero() {
            std::thread::sleep(sleep);
        }
    }
}

/// Touches the working set from the roamer's home node and leaves the process, unpinned, on the
/// next node that has CPUs.
fn misplaced_working_set(assignment: &Assignment, index: u32) -> Result<Vec<&'static mut [u64]>> {
    let nodes: Vec<&Vec<u32>> = assignment
        .nodes
        .iter()
        .filter(|cpus| !cpus.is_empty())
        .collect();
    let home = index as usize % nodes.len().max(1);
    let home_cpus = nodes.get(home).context("no node has a CPU")?;
    affinity::confine(home_cpus)?;
    let bytes = assignment.spec.roamers.working_set_kib as usize * 1024;
    let mut region = Region::anonymous(bytes)?;
    region.touch();
    affinity::confine(nodes[(home + 1) % nodes.len()])?;
    affinity::confine(&assignment.cpus())?;
    Ok((0..bytes / PAGE_BYTES)
        .map(|_| region.carve(PAGE_WORDS))
        .collect())
}

/// One pass over the working set, page after page.
fn walk_once(pages: &mut [&mut [u64]]) {
    for page in pages {
        walk_page(page);
    }
}

/// Pages in random order until the time is over.
fn walk_for(pages: &mut [&mut [u64]], burst: Duration, random: &mut Random) {
    let started = Instant::now();
    while started.elapsed() < burst {
        for _ in 0..PAGES_PER_LOOK {
            let page = random.below(pages.len());
            walk_page(pages[page]);
        }
    }
}

/// Reads and writes one word of every cache line.
fn walk_page(page: &mut [u64]) {
    for word in page.iter_mut().step_by(LINE_WORDS) {
        // SAFETY: a plain read and write through a unique reference; volatile, because nobody
        // reads the result and the accesses are the point.
        unsafe { (word as *mut u64).write_volatile((word as *mut u64).read_volatile() + 1) };
    }
}
