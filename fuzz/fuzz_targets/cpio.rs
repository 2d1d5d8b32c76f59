//! cpio archives, as rpm has them.
#![no_main]

use kverdict_fuzz::archives;
use kverdict_intake::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| archives::check(Format::Rpm, archive));
