//! Tables of symbols as kernels of each era lay them out, and spoilt ones.

use std::cell::Cell;

use kverdict_core::outside::kallsyms::{NotFound, from_guest, from_image};
use kverdict_core::outside::memory::Memory;
use kverdict_core::outside::symbols::Symbols;

const BASE: u64 = 0xffff_ffff_9e00_0000;
const FUNCTIONS: usize = 3000;
/// Where the handler of page faults is, in the last function.
const ENTRY: u64 = BASE + 0x1000 + 16 * (FUNCTIONS as u64 - 1);

/// What changed in `scripts/kallsyms.c` over the years.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Era {
    /// 3.10: addresses, and markers of 64 bits.
    Absolute,
    /// 4.6: offsets, those of per-CPU symbols positive.
    Relative,
    /// 4.20 to 6.1: markers of 32 bits.
    ShortMarkers,
    /// 6.2: the order of names lies between markers and tokens.
    Ordered,
    /// 6.4: addresses last.
    AddressesLast,
    /// The same without per-CPU symbols among the addresses: all offsets count from the base.
    PlainOffsets,
}

const ERAS: [Era; 6] = [
    Era::Absolute,
    Era::Relative,
    Era::ShortMarkers,
    Era::Ordered,
    Era::AddressesLast,
    Era::PlainOffsets,
];

impl Era {
    fn symbols(self) -> Vec<(u64, String)> {
        let per_cpu = [(0, "Dfixed_percpu_data"), (0x31980, "dcpu_stopper")];
        let marks = [(BASE, "T_text"), (BASE, "T_stext")];
        let first = if self == Era::PlainOffsets {
            &[][..]
        } else {
            &per_cpu[..]
        };
        let mut all: Vec<(u64, String)> = first
            .iter()
            .chain(&marks)
            .map(|(address, name)| (*address, (*name).to_owned()))
            .collect();
        let function = |n: usize| (BASE + 0x1000 + 16 * n as u64, format!("tfunction_{n}"));
        all.extend((0..FUNCTIONS).map(function));
        let long = "x".repeat(if self == Era::AddressesLast { 300 } else { 100 });
        all.push((BASE + 0x10_0000, format!("T{long}")));
        all.push((BASE + 0x20_0000, "T_etext".to_owned()));
        all
    }

    fn tables(self) -> Vec<u8> {
        self.tables_of(&self.symbols())
    }

    fn tables_of(self, symbols: &[(u64, String)]) -> Vec<u8> {
        let marker = if matches!(self, Era::Absolute | Era::Relative) {
            8
        } else {
            4
        };
        let (names, markers) = names(symbols, marker);
        let count = aligned((symbols.len() as u64).to_le_bytes().to_vec());
        let order = aligned(vec![0x5a; 3 * symbols.len()]);
        let middle = [count, names, markers];
        let tables = match self {
            Era::Absolute | Era::Relative | Era::ShortMarkers => {
                vec![self.addresses(symbols), middle.concat(), tokens()]
            }
            Era::Ordered => vec![self.addresses(symbols), middle.concat(), order, tokens()],
            Era::AddressesLast | Era::PlainOffsets => {
                vec![middle.concat(), tokens(), self.addresses(symbols), order]
            }
        };
        tables.concat()
    }

    fn addresses(self, symbols: &[(u64, String)]) -> Vec<u8> {
        if self == Era::Absolute {
            let bytes = symbols
                .iter()
                .flat_map(|(address, _)| address.to_le_bytes());
            return bytes.collect();
        }
        let offset = |address: u64| match (address >= BASE, self) {
            (true, Era::PlainOffsets) => (address - BASE) as i32,
            (true, _) => -1 - (address - BASE) as i32,
            (false, _) => address as i32,
        };
        let offsets = symbols
            .iter()
            .flat_map(|(address, _)| offset(*address).to_le_bytes());
        [aligned(offsets.collect()), BASE.to_le_bytes().to_vec()].concat()
    }

    fn image(self) -> Vec<u8> {
        self.image_of(&self.symbols())
    }

    fn image_of(self, symbols: &[(u64, String)]) -> Vec<u8> {
        // Something that looks like the digits but is none: a keymap.
        let keymap: Vec<u8> = (0..=255_u16).flat_map(u16::to_le_bytes).collect();
        let mut image = vec![0xcc; 0x20_1000];
        image.extend(keymap);
        image.extend(self.tables_of(symbols));
        image.extend([0xff; 64]);
        image
    }
}

fn aligned(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Tokens: characters stand for themselves, the first one for a word.
fn tokens() -> Vec<u8> {
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for number in 0..=255_u8 {
        index.extend((table.len() as u16).to_le_bytes());
        let plain = number.is_ascii_alphanumeric() || number == b'_';
        let text = if plain {
            char::from(number).to_string()
        } else if number == 1 {
            "function".to_owned()
        } else {
            format!("q{number}")
        };
        table.extend(text.bytes().chain([0]));
    }
    [aligned(table), index].concat()
}

fn names(symbols: &[(u64, String)], marker: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (number, (_, name)) in symbols.iter().enumerate() {
        if number % 256 == 0 {
            markers.extend(&(names.len() as u64).to_le_bytes()[..marker]);
        }
        let name = name.replace("function", "\u{1}");
        match name.len() {
            length @ ..0x80 => names.push(length as u8),
            length => names.extend([length as u8 & 0x7f | 0x80, (length >> 7) as u8]),
        }
        names.extend(name.bytes());
    }
    (aligned(names), aligned(markers))
}

fn check(symbols: &Symbols, era: Era) {
    for (address, name) in era.symbols() {
        assert_eq!(symbols.address(&name[1..]), Some(address), "{era:?} {name}");
    }
    let place = symbols.place(BASE + 0x1000 + 16 * 77 + 3).unwrap();
    assert_eq!((place.symbol, place.offset), ("function_77", 3));
}

#[test]
fn tables_of_every_era_are_found_in_an_image() {
    for era in ERAS {
        check(&from_image(&era.image(), BASE).unwrap(), era);
    }
}

#[test]
fn a_name_that_unpacks_to_more_than_kernels_have_room_for_is_left_out() {
    for (words, known) in [(60, true), (100, false)] {
        let era = Era::ShortMarkers;
        let mut symbols = era.symbols();
        let name = "function".repeat(words);
        let place = symbols.len() - 1;
        symbols.insert(place, (BASE + 0x11_0000, format!("T{name}")));
        let found = from_image(&era.image_of(&symbols), BASE).unwrap();
        check(&found, era);
        assert_eq!(found.address(&name).is_some(), known, "{words}");
    }
}

#[test]
fn tables_of_another_place_are_refused() {
    let image = Era::ShortMarkers.image();
    let elsewhere = from_image(&image, BASE + 0x4000_0000);
    assert_eq!(elsewhere.unwrap_err(), NotFound::Contradiction);
}

#[test]
fn spoilt_tables_are_refused() {
    let era = Era::ShortMarkers;
    let image = era.image();
    assert_eq!(from_image(&[], BASE).unwrap_err(), NotFound::Tokens);
    let start = image.len() - 64 - era.tables().len();
    let offsets = start + 400;
    for (expected, at) in [
        (NotFound::Tokens, image.len() - 64 - 100),
        (NotFound::Names, image.len() - 64 - 512 - 1024 - 40),
        (NotFound::Addresses, offsets),
    ] {
        let mut spoilt = image.clone();
        spoilt[at..at + 8].copy_from_slice(&[0x41, 0x52, 0x63, 0x74, 0x25, 0x36, 0x47, 0x58]);
        let found = from_image(&spoilt, BASE).map(|_| ());
        assert!(
            found == Err(expected) || found == Err(NotFound::Names),
            "{expected} {found:?}"
        );
    }
    for cut in (start..image.len() - 64).step_by(997) {
        assert!(from_image(&image[..cut], BASE).is_err(), "{cut}");
    }
}

/// A guest with an image, and an interrupt descriptor table elsewhere.
struct Guest {
    image: Vec<u8>,
    entry: u64,
    read_bytes: Cell<usize>,
    /// A page that is not mapped.
    hole: u64,
}

const IDT: u64 = 0xffff_fe00_0000_0000;

impl Guest {
    fn new(era: Era) -> Self {
        Self {
            image: era.image(),
            entry: ENTRY,
            read_bytes: Cell::new(0),
            hole: 0,
        }
    }

    fn gate(&self) -> [u8; 16] {
        let (entry, selector) = (self.entry, 0x0010_u64);
        let low = entry & 0xffff | selector << 16 | 0x8e00 << 32 | (entry >> 16 & 0xffff) << 48;
        let words = [low, entry >> 32];
        std::array::from_fn(|n| words[n / 8].to_le_bytes()[n % 8])
    }
}

impl Memory for Guest {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        self.read_bytes.set(self.read_bytes.get() + buffer.len());
        let end = at + buffer.len() as u64;
        if at < self.hole + 0x1000 && end > self.hole {
            return false;
        }
        let gate = IDT + 14 * 16;
        let (bytes, start) = if (gate..gate + 16).contains(&at) {
            (self.gate().to_vec(), at - gate)
        } else if at >= BASE && at < BASE + self.image.len() as u64 {
            // Mapped up to the end of its page.
            let mut bytes = self.image.clone();
            bytes.resize(bytes.len().next_multiple_of(0x1000), 0);
            (bytes, at - BASE)
        } else {
            return false;
        };
        let Some(found) = bytes.get(start as usize..start as usize + buffer.len()) else {
            return false;
        };
        buffer.copy_from_slice(found);
        true
    }
}

#[test]
fn a_running_kernels_tables_are_found_from_its_page_fault_handler() {
    for era in ERAS {
        let guest = Guest::new(era);
        check(&from_guest(IDT, &guest).unwrap(), era);
        assert!(guest.read_bytes.get() < 8 << 20, "{era:?}");
    }
}

#[test]
fn pages_that_are_freed_between_do_not_matter() {
    let mut guest = Guest::new(Era::AddressesLast);
    guest.hole = BASE + 0x10_0000;
    check(&from_guest(IDT, &guest).unwrap(), Era::AddressesLast);
}

#[test]
fn a_guest_without_a_kernel_says_so() {
    let mut guest = Guest::new(Era::AddressesLast);
    assert_eq!(from_guest(0, &guest).unwrap_err(), NotFound::Idt);
    assert_eq!(from_guest(u64::MAX, &guest).unwrap_err(), NotFound::Idt);
    guest.entry = 0xf000;
    assert_eq!(from_guest(IDT, &guest).unwrap_err(), NotFound::Idt);
    guest.entry = u64::MAX - 5;
    assert_eq!(from_guest(IDT, &guest).unwrap_err(), NotFound::Tokens);
    // A kernel that these tables do not cover.
    guest.entry = BASE - 0x1000;
    assert_eq!(
        from_guest(IDT, &guest).unwrap_err(),
        NotFound::Contradiction
    );
}
