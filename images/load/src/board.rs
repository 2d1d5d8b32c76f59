//! The shared page on which pollers count, read by the agent without disturbing them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::memory::{Region, bytes_of};

/// One poller's counter, alone on its cache line so that pollers do not slow each other.
type Line = [AtomicU64; 8];

/// The pollers' packet counters.
#[derive(Clone, Copy)]
pub struct Board {
    lines: &'static [Line],
}

impl Board {
    /// Maps the board at `path` for that many pollers, creating the file if it is not there.
    ///
    /// # Errors
    /// When the file cannot be created or mapped.
    pub fn map(path: &Path, pollers: u32) -> Result<Self> {
        let pollers = pollers.max(1) as usize;
        let mut region = Region::shared(path, bytes_of::<Line>(pollers))?;
        Ok(Board {
            lines: region.carve(pollers),
        })
    }

    /// Packets that all pollers have sent.
    pub fn packets(&self) -> u64 {
        self.lines
            .iter()
            .map(|line| line[0].load(Ordering::Relaxed))
            .sum()
    }

    /// The counter of one poller, in packets sent.
    pub fn counter(&self, poller: usize) -> &'static AtomicU64 {
        &self.lines[poller][0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_board_agree() {
        let path = std::env::temp_dir().join(format!("kverdict-board-{}", std::process::id()));
        let writer = Board::map(&path, 3).unwrap();
        let reader = Board::map(&path, 3).unwrap();
        writer.counter(0).store(5, Ordering::Relaxed);
        writer.counter(2).store(7, Ordering::Relaxed);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(reader.packets(), 12);
    }
}
