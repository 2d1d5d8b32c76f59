//! One poller's pipeline: rx → work → tx, run to completion in bursts, without a system call.
//!
//! The pool of free buffers, the rx ring and the tx ring are three rings of buffer numbers;
//! rings and buffers lie in one mapping on the poller's node.

use std::sync::atomic::AtomicU32;

use anyhow::Result;
use kverdict_core::load::PollerSpec;

use crate::mbuf::Mbuf;
use crate::memory::{Region, bytes_of};
use crate::ring::{Consumer, Index, Producer, ring};

const RINGS: usize = 3;

/// One poller's rings and buffers.
pub struct Pipeline {
    mbufs: &'static mut [Mbuf],
    free: Ends,
    received: Ends,
    worked: Ends,
    burst: Vec<u32>,
    rx_sequence: u64,
    work_sequence: u64,
}

struct Ends {
    put: Producer<'static>,
    take: Consumer<'static>,
}

impl Pipeline {
    /// Memory of one pipeline, in bytes.
    pub fn bytes(spec: &PollerSpec) -> usize {
        let slots = |count| bytes_of::<AtomicU32>(count);
        bytes_of::<Mbuf>(spec.mbufs as usize)
            + slots(pool_slots(spec))
            + 2 * slots(spec.ring_slots as usize)
            + RINGS * bytes_of::<[Index; 2]>(1)
    }

    /// A pipeline on `node`, all its buffers free.
    ///
    /// # Errors
    /// When the memory cannot be had on that node.
    pub fn on_node(spec: &PollerSpec, node: u32, hugepages: bool) -> Result<Self> {
        let mut region = Region::on_node(Self::bytes(spec), node, hugepages)?;
        let mut ends = |slots| {
            let indices = &mut region.carve(1)[0];
            let (put, take) = ring(region.carve(slots), indices);
            Ends { put, take }
        };
        let mut free = ends(pool_slots(spec));
        let (received, worked) = (
            ends(spec.ring_slots as usize),
            ends(spec.ring_slots as usize),
        );
        let mbufs = region.carve(spec.mbufs as usize);
        let all: Vec<u32> = (0..spec.mbufs).collect();
        free.put.push(&all);
        let burst = vec![0; spec.burst_packets as usize];
        Ok(Pipeline {
            mbufs,
            free,
            received,
            worked,
            burst,
            rx_sequence: 0,
            work_sequence: 0,
        })
    }

    /// One turn of all three stages; says how many packets were sent.
    ///
    /// # Panics
    /// When a packet is damaged or out of order: then memory is not what it was.
    pub fn turn(&mut self) -> usize {
        self.rx();
        self.work();
        self.tx()
    }

    fn rx(&mut self) {
        let count = self.free.take.pop(&mut self.burst);
        for &index in &self.burst[..count] {
            self.mbufs[index as usize].receive(self.rx_sequence);
            self.rx_sequence += 1;
        }
        forward_all(&mut self.received.put, &self.burst[..count]);
    }

    fn work(&mut self) {
        let count = self.received.take.pop(&mut self.burst);
        for &index in &self.burst[..count] {
            let sequence = self.mbufs[index as usize].forward();
            assert_eq!(
                sequence,
                Some(self.work_sequence),
                "a packet is damaged or out of order"
            );
            self.work_sequence += 1;
        }
        forward_all(&mut self.worked.put, &self.burst[..count]);
    }

    fn tx(&mut self) -> usize {
        let count = self.worked.take.pop(&mut self.burst);
        forward_all(&mut self.free.put, &self.burst[..count]);
        count
    }
}

/// The pool has to hold every buffer.
fn pool_slots(spec: &PollerSpec) -> usize {
    (spec.mbufs as usize).next_power_of_two()
}

/// Passes a whole burst on. Every stage empties what the one before it put in within the same
/// turn, and a burst never exceeds a ring, so there always is room.
fn forward_all(put: &mut Producer<'static>, items: &[u32]) {
    let put_in = put.push(items);
    assert_eq!(put_in, items.len(), "a ring is smaller than a burst");
}

#[cfg(test)]
mod tests {
    use super::*;
    use kverdict_core::load::Placement;

    fn spec() -> PollerSpec {
        PollerSpec {
            count: 1,
            placement: Placement::OnePerCpu,
            burst_packets: 32,
            ring_slots: 64,
            mbufs: 200,
            realtime: None,
        }
    }

    #[test]
    fn packets_flow_and_buffers_come_back() {
        let Ok(mut pipeline) = Pipeline::on_node(&spec(), 0, false) else {
            return; // This kernel has no NUMA support.
        };
        let sent: usize = (0..100).map(|_| pipeline.turn()).sum();
        assert_eq!(sent, 3200);
    }

    #[test]
    fn the_size_covers_what_is_carved() {
        assert!(Pipeline::bytes(&spec()) >= 200 * 2048 + (256 + 64 + 64) * 4);
    }
}
