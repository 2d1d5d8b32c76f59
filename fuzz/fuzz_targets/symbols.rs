//! Names of a kernel's addresses: System.map, ELF files, and kallsyms in an image or a guest's memory.
#![no_main]

use kverdict_core::inspect::boot_image;
use kverdict_core::inspect::code::Image;
use kverdict_core::outside::kallsyms;
use kverdict_core::outside::memory::Memory;
use kverdict_core::outside::symbols::Symbols;
use libfuzzer_sys::fuzz_target;

/// Where a kernel's text begins.
const BASE: u64 = 0xffff_ffff_8100_0000;

/// A guest whose memory is the input, from [`BASE`] on.
struct Guest<'a>(&'a [u8]);

impl Memory for Guest<'_> {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        let from = at
            .checked_sub(BASE)
            .and_then(|from| usize::try_from(from).ok());
        let found = from.and_then(|from| self.0.get(from..)?.get(..buffer.len()));
        found.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
    }
}

fn check(symbols: &Symbols) {
    let functions: Vec<(u64, &str)> = symbols.functions().collect();
    assert!(functions.is_sorted());
    for (address, name) in functions.iter().take(64) {
        if let Some(place) = symbols.place(*address) {
            assert_eq!((place.start, place.offset), (*address, 0));
        }
        assert!(symbols.names(*address).any(|other| other == *name));
        assert!(symbols.next(*address).is_none_or(|next| next > *address));
    }
}

fuzz_target!(|input: &[u8]| {
    match Symbols::from_system_map(&String::from_utf8_lossy(input)) {
        Ok(symbols) => {
            check(&symbols);
            check(&symbols.shifted(0x20_0000));
        }
        Err(bad) => assert!(bad.line > 0 && bad.found.chars().count() <= 80),
    }
    for symbols in [
        Symbols::from_elf(input).ok(),
        kallsyms::from_image(input, BASE).ok(),
        kallsyms::from_guest(BASE, &Guest(input)).ok(),
    ] {
        symbols.iter().for_each(check);
    }
    if let Ok(packed) = boot_image::payload(input) {
        assert!(!packed.is_empty() && packed.len() < input.len());
    }
    if let Ok(image) = Image::from_elf(input, None) {
        assert!(image.bytes(BASE, 16).len() <= 16);
    }
});
