//! A lock-free ring for one producer and one consumer, in bursts, like a DPDK SP/SC ring.
//!
//! Both indices count for ever and wrap around; their difference is the fill. Each side keeps a
//! copy of the other side's index and rereads it only when the copy says "full" or "empty", so
//! that a busy ring moves few cache lines.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// An index alone on its cache line.
pub type Index = [AtomicUsize; 8];

/// The side that puts in.
pub struct Producer<'a> {
    slots: &'a [AtomicU32],
    head: &'a AtomicUsize,
    tail: &'a AtomicUsize,
    tail_seen: usize,
}

/// The side that takes out.
pub struct Consumer<'a> {
    slots: &'a [AtomicU32],
    head: &'a AtomicUsize,
    tail: &'a AtomicUsize,
    head_seen: usize,
}

/// Makes a ring over `slots` and two indices: where the next item goes, and where it comes from.
///
/// # Panics
/// When the number of slots is not a power of two.
pub fn ring<'a>(
    slots: &'a mut [AtomicU32],
    indices: &'a mut [Index; 2],
) -> (Producer<'a>, Consumer<'a>) {
    assert!(slots.len().is_power_of_two(), "{} slots", slots.len());
    let (slots, [[head, ..], [tail, ..]]) = (&*slots, &*indices);
    head.store(0, Ordering::Relaxed);
    tail.store(0, Ordering::Relaxed);
    (
        Producer {
            slots,
            head,
            tail,
            tail_seen: 0,
        },
        Consumer {
            slots,
            head,
            tail,
            head_seen: 0,
        },
    )
}

impl Producer<'_> {
    /// Puts in as many of `items` as there is room for, in order; says how many.
    pub fn push(&mut self, items: &[u32]) -> usize {
        let head = self.head.load(Ordering::Relaxed);
        let mut room = self.slots.len() - head.wrapping_sub(self.tail_seen);
        if room < items.len() {
            // Acquire: the consumer has finished reading the slots that it gave back.
            self.tail_seen = self.tail.load(Ordering::Acquire);
            room = self.slots.len() - head.wrapping_sub(self.tail_seen);
        }
        let count = room.min(items.len());
        let mask = self.slots.len() - 1;
        for (offset, &item) in items[..count].iter().enumerate() {
            self.slots[head.wrapping_add(offset) & mask].store(item, Ordering::Relaxed);
        }
        // Release: whoever sees the new index sees the items.
        self.head.store(head.wrapping_add(count), Ordering::Release);
        count
    }
}

impl Consumer<'_> {
    /// Takes out as many items as there are and `items` holds, in order; says how many.
    pub fn pop(&mut self, items: &mut [u32]) -> usize {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut fill = self.head_seen.wrapping_sub(tail);
        if fill < items.len() {
            // Acquire: pairs with the producer's release, so that the items are there.
            self.head_seen = self.head.load(Ordering::Acquire);
            fill = self.head_seen.wrapping_sub(tail);
        }
        let count = fill.min(items.len());
        let mask = self.slots.len() - 1;
        for (offset, item) in items[..count].iter_mut().enumerate() {
            *item = self.slots[tail.wrapping_add(offset) & mask].load(Ordering::Relaxed);
        }
        // Release: the producer must not overwrite a slot before it was read.
        self.tail.store(tail.wrapping_add(count), Ordering::Release);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: usize) -> Vec<AtomicU32> {
        (0..count).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn an_empty_ring_gives_nothing_and_a_full_one_takes_nothing() {
        let (mut slots, mut indices) = (slots(4), Default::default());
        let (mut producer, mut consumer) = ring(&mut slots, &mut indices);
        let mut out = [0; 8];
        assert_eq!(consumer.pop(&mut out), 0);
        assert_eq!(producer.push(&[1, 2, 3, 4, 5]), 4);
        assert_eq!(producer.push(&[6]), 0);
        assert_eq!(consumer.pop(&mut out), 4);
        assert_eq!(out[..4], [1, 2, 3, 4]);
        assert_eq!(consumer.pop(&mut out), 0);
    }

    #[test]
    fn order_survives_many_times_around() {
        let (mut slots, mut indices) = (slots(8), Default::default());
        let (mut producer, mut consumer) = ring(&mut slots, &mut indices);
        let (mut next_in, mut next_out) = (0u32, 0u32);
        for turn in 0..1000 {
            let burst: Vec<u32> = (next_in..next_in + turn % 11).collect();
            next_in += producer.push(&burst) as u32;
            let mut out = [0; 5];
            let count = consumer.pop(&mut out);
            for &item in &out[..count] {
                assert_eq!(item, next_out);
                next_out += 1;
            }
        }
        assert!(next_out > 1000, "only {next_out} items went through");
    }

    #[test]
    fn two_threads_exchange_everything_in_order() {
        const ITEMS: u32 = 200_000;
        let (mut slots, mut indices) = (slots(64), Default::default());
        let (mut producer, mut consumer) = ring(&mut slots, &mut indices);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < ITEMS {
                    let burst: Vec<u32> = (next..ITEMS.min(next + 32)).collect();
                    next += producer.push(&burst) as u32;
                }
            });
            let (mut expected, mut out) = (0, [0; 32]);
            while expected < ITEMS {
                let count = consumer.pop(&mut out);
                for &item in &out[..count] {
                    assert_eq!(item, expected);
                    expected += 1;
                }
            }
        });
    }

    #[test]
    #[should_panic(expected = "6 slots")]
    fn slots_have_to_be_a_power_of_two() {
        let (mut slots, mut indices) = (slots(6), Default::default());
        ring(&mut slots, &mut indices);
    }
}
