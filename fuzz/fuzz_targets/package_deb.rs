//! Debian packages: the `ar` archive, and the tar archive in it.
#![no_main]

use std::io::Cursor;

use kverdict_fuzz::archives;
use kverdict_intake::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|package: &[u8]| {
    let mut contents = Vec::new();
    if Format::Deb
        .contents(Cursor::new(package), &mut contents)
        .is_ok()
    {
        archives::check(Format::Deb, &contents);
    }
    assert!(contents.len() < package.len().max(1));
    // Without the wrapping, which hides it from a fuzzer.
    archives::check(Format::Deb, package);
});
