//! rpm packages: the headers, and the cpio archive behind them.
#![no_main]

use std::io::Cursor;

use kverdict_fuzz::archives;
use kverdict_intake::{Format, rpm};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|package: &[u8]| {
    let release = rpm::release(Cursor::new(package));
    if let Ok(release) = release {
        assert!(release.len() < package.len());
    }
    let mut contents = Vec::new();
    if Format::Rpm
        .contents(Cursor::new(package), &mut contents)
        .is_ok()
    {
        assert!(contents.len() < package.len());
        archives::check(Format::Rpm, &contents);
    }
});
