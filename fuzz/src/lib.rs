//! What several fuzz targets share.

pub mod archives;

/// The input in pieces of random lengths, which the input itself decides.
pub fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let seed = input.iter().fold(input.len() as u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    let mut random = fastrand::Rng::with_seed(seed);
    // Some inputs byte by byte, some in a few large pieces.
    let longest = 1 << random.u32(0..12);
    let mut rest = input;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(random.usize(1..=longest).min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces
}
