//! A bzImage: the compressed kernel in it.
//!
//! Documentation/arch/x86/boot.rst says where things are.

/// Size of the real-mode part, in sectors without the first.
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR_BYTES: usize = 512;
/// Since protocol 2.08 (v2.6.26) the payload's place is in the header.
const VERSION_MIN: u32 = 0x208;
/// What every compressor but gzip is followed by: the size of what it packed.
const SIZE_BYTES: usize = 4;
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Whether a file says that it is a bzImage.
pub fn is_boot_image(image: &[u8]) -> bool {
    let (at, magic) = MAGIC;
    image.get(at..at + magic.len()) == Some(magic)
}

/// The kernel in a bzImage, as it is compressed.
///
/// # Errors
/// Why there is none.
pub fn payload(image: &[u8]) -> Result<&[u8], &'static str> {
    const CUT: &str = "is cut off: its boot header says that it is longer; copy it again";
    if !is_boot_image(image) {
        return Err("is no bzImage: it lacks the boot header `HdrS`");
    }
    let version = number(image, VERSION, 2).ok_or(CUT)?;
    if version < VERSION_MIN {
        return Err("does not say where its kernel is: its boot protocol is older than 2.08");
    }
    // 0 stands for 4, for boot loaders of long ago.
    let sectors = match image.get(SETUP_SECTORS).copied().map(usize::from) {
        Some(0) => 4,
        Some(sectors) => sectors,
        None => return Err(CUT),
    };
    let offset = number(image, PAYLOAD_OFFSET, 4).ok_or(CUT)? as usize;
    let length = number(image, PAYLOAD_LENGTH, 4).ok_or(CUT)? as usize;
    let start = (sectors + 1) * SECTOR_BYTES + offset;
    let packed = image.get(start..start + length).ok_or(CUT)?;
    let packed = match packed.starts_with(GZIP) || packed.starts_with(b"\x7fELF") {
        true => packed,
        false => &packed[..length.saturating_sub(SIZE_BYTES)],
    };
    match packed.is_empty() {
        true => Err("holds no compressed kernel"),
        false => Ok(packed),
    }
}

/// A little-endian number of `length` bytes.
fn number(image: &[u8], at: usize, length: usize) -> Option<u32> {
    let bytes = image.get(at..at + length)?;
    let digits = bytes.iter().rev();
    Some(digits.fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage with one sector of setup and this payload, 16 bytes behind it.
    fn image(packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[SETUP_SECTORS] = 1;
        image[MAGIC.0..MAGIC.0 + 4].copy_from_slice(MAGIC.1);
        image[VERSION..VERSION + 2].copy_from_slice(&[0x0f, 0x02]);
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH] = packed.len() as u8;
        image.extend(packed);
        image.extend([0xee; 8]);
        image
    }

    #[test]
    fn the_payload_is_found_without_the_size_behind_it() {
        assert_eq!(
            payload(&image(b"\x1f\x8bpacked")),
            Ok(&b"\x1f\x8bpacked"[..])
        );
        assert_eq!(payload(&image(b"zstdSIZE")), Ok(&b"zstd"[..]));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = image(b"\x1f\x8bpacked");
        for end in 0..whole.len() - 8 {
            assert!(payload(&whole[..end]).is_err(), "{end}");
        }
        let mut wild = whole.clone();
        wild[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 8].fill(0xff);
        assert!(payload(&wild).is_err());
        assert!(payload(&image(b"")).is_err());
        let mut old = whole;
        old[VERSION] = 7;
        assert!(payload(&old).unwrap_err().contains("2.08"));
    }
}
