//! Whether a kernel's ELF file can be entered as it is, by the PVH convention, without the bzImage
//! around it and its decompressor.
//!
//! Such a kernel (CONFIG_PVH, v4.21 and later; before, and in vendors' configurations, CONFIG_XEN_PVH)
//! says so in a note: xen/include/public/elfnote.h, and arch/x86/platform/pvh/head.S, which
//! has it.

use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, elf};

/// `XEN_ELFNOTE_PHYS32_ENTRY`: a physical address, which is entered in 32-bit mode without paging.
const PHYS32_ENTRY: u32 = 18;
/// Whose notes these are.
const OWNER: &[u8] = b"Xen";

/// The physical address where an x86-64 kernel is entered by the PVH convention; `None`: it
/// cannot be, or the file is no such kernel, or damaged.
pub fn entry(file: &[u8]) -> Option<u64> {
    let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return None;
    }
    for segment in header.program_headers(endian, file).ok()? {
        let Ok(Some(mut notes)) = segment.notes(endian, file) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            if note.n_type(endian).0 == PHYS32_ENTRY && note.name() == OWNER {
                return address(note.desc());
            }
        }
    }
    None
}

/// The kernel writes 8 bytes (`_ASM_PTR`), the convention asks for 4.
fn address(description: &[u8]) -> Option<u64> {
    match description.len() {
        4 => Some(u32::from_le_bytes(description.try_into().ok()?).into()),
        8 => Some(u64::from_le_bytes(description.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: u16 = 62;

    fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        let lengths = [owner.len() as u32 + 1, description.len() as u32, kind];
        note.extend(lengths.iter().flat_map(|number| number.to_le_bytes()));
        for part in [[owner, b"\0"].concat(), description.to_vec()] {
            note.extend(&part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// An ELF file whose only segment holds these notes.
    fn kernel(machine: u16, notes: &[Vec<u8>]) -> Vec<u8> {
        const HEADER: u64 = 64;
        const SEGMENT: u64 = 56;
        let notes = notes.concat();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2_u16, machine].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(1_u32.to_le_bytes());
        // Entry, program headers, sections.
        let places = [0x100_0000, HEADER, 0];
        file.extend(places.iter().flat_map(|place| place.to_le_bytes()));
        file.extend(0_u32.to_le_bytes());
        let sizes = [HEADER as u16, SEGMENT as u16, 1, 64, 0, 0];
        file.extend(sizes.iter().flat_map(|half| half.to_le_bytes()));
        file.extend([4_u32, 4].iter().flat_map(|word| word.to_le_bytes()));
        let size = notes.len() as u64;
        let segment = [HEADER + SEGMENT, 0, 0, size, size, 4];
        file.extend(segment.iter().flat_map(|number| number.to_le_bytes()));
        file.extend(notes);
        file
    }

    #[test]
    fn the_entry_is_found_among_other_notes() {
        let build_id = note(b"GNU", 3, &[7; 20]);
        let ours = note(b"Xen", PHYS32_ENTRY, &0x100_0850_u64.to_le_bytes());
        let file = kernel(X86_64, &[build_id.clone(), ours]);
        assert_eq!(entry(&file), Some(0x100_0850));
        let short = note(b"Xen", PHYS32_ENTRY, &0x100_0850_u32.to_le_bytes());
        let file = kernel(X86_64, &[build_id, short]);
        assert_eq!(entry(&file), Some(0x100_0850));
    }

    #[test]
    fn other_notes_files_and_machines_have_none() {
        let address = 0x100_0850_u64.to_le_bytes();
        let of_another = note(b"Linux", PHYS32_ENTRY, &address);
        let of_another_kind = note(b"Xen", 1, &address);
        let odd = note(b"Xen", PHYS32_ENTRY, &address[..3]);
        for notes in [vec![of_another], vec![of_another_kind], vec![odd], vec![]] {
            assert_eq!(entry(&kernel(X86_64, &notes)), None, "{notes:?}");
        }
        let ours = note(b"Xen", PHYS32_ENTRY, &address);
        let arm = kernel(183, &[ours]);
        assert_eq!(entry(&arm), None);
        assert_eq!(entry(b"\x7fELF"), None);
        assert_eq!(entry(b"MZ, a bzImage"), None);
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_has_none() {
        let ours = note(b"Xen", PHYS32_ENTRY, &0x100_0850_u64.to_le_bytes());
        let file = kernel(X86_64, &[ours]);
        for end in 0..file.len() {
            assert_eq!(entry(&file[..end]), None, "{end}");
        }
    }
}
