//! Packet buffers: an Ethernet and IPv4 header and a payload, as small packets look.

use crate::memory::Zeroed;

/// Bytes of a buffer, as in DPDK's default pools (less its headroom).
const MBUF_BYTES: usize = 2048;
/// Bytes of the packet in it: what a 64-byte frame test sends, with some payload to read.
const FRAME_BYTES: usize = 128;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const TTL: usize = ETHERNET_BYTES + 8;
const CHECKSUM: usize = ETHERNET_BYTES + 10;
const PAYLOAD: usize = ETHERNET_BYTES + IPV4_BYTES;

/// One packet buffer.
#[repr(C, align(64))]
pub struct Mbuf([u8; MBUF_BYTES]);

// SAFETY: an array of bytes.
unsafe impl Zeroed for Mbuf {}

impl Mbuf {
    /// Writes a packet with this sequence number, as a NIC would by DMA.
    pub fn receive(&mut self, sequence: u64) {
        let frame = &mut self.0[..FRAME_BYTES];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[ETHERNET_BYTES] = 0x45;
        frame[TTL] = 64;
        frame[PAYLOAD..PAYLOAD + 8].copy_from_slice(&sequence.to_le_bytes());
        self.seal();
    }

    /// Forwards the packet: swaps the addresses, takes one hop off and seals the header again.
    /// Says the packet's sequence number, or `None` for a header whose checksum is wrong.
    pub fn forward(&mut self) -> Option<u64> {
        if header_sum(&self.0) != 0xffff {
            return None;
        }
        let (destination, rest) = self.0.split_at_mut(6);
        destination.swap_with_slice(&mut rest[..6]);
        self.0[TTL] -= 1;
        self.seal();
        self.0[PAYLOAD..PAYLOAD + 8]
            .try_into()
            .ok()
            .map(u64::from_le_bytes)
    }

    fn seal(&mut self) {
        self.0[CHECKSUM..CHECKSUM + 2].fill(0);
        let sum = !header_sum(&self.0);
        self.0[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The one's complement sum of the IPv4 header: all ones when its checksum is right.
fn header_sum(frame: &[u8; MBUF_BYTES]) -> u16 {
    let header = &frame[ETHERNET_BYTES..PAYLOAD];
    let sum: u32 = header
        .chunks_exact(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_packet_is_whole_and_one_hop_older() {
        let mut mbuf = Mbuf([0; MBUF_BYTES]);
        mbuf.receive(42);
        assert_eq!(mbuf.forward(), Some(42));
        assert_eq!(mbuf.0[TTL], 63);
        assert_eq!(mbuf.0[5], 2);
        assert_eq!(mbuf.forward(), Some(42));
    }

    #[test]
    fn a_damaged_header_is_noticed() {
        let mut mbuf = Mbuf([0; MBUF_BYTES]);
        mbuf.receive(1);
        mbuf.0[TTL] ^= 4;
        assert_eq!(mbuf.forward(), None);
    }
}
