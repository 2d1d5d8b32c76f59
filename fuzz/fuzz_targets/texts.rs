//! Texts that come with foreign sources: specs, diffs, `.dsc` files, series, logs of make.
#![no_main]

use kverdict_core::catalogue::{Fragment, diff, dsc, make_log, rpm_spec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(files) = diff::touched_files(text) {
        for file in files {
            assert!(
                !file.starts_with('/') && file.split('/').all(|part| part != ".."),
                "{file}"
            );
        }
    }
    let _ = (
        diff::rejects(text),
        diff::moved_hunks(text),
        diff::landings(text),
    );
    if let Ok(found) = dsc::parse(text) {
        for name in [&found.orig.name, &found.debian.name] {
            assert!(!name.contains('/'), "{name}");
        }
    }
    if let Ok(list) = dsc::series(text) {
        for (name, _) in list {
            assert!(
                !name.starts_with('/') && name.split('/').all(|part| part != ".."),
                "{name}"
            );
        }
    }
    match rpm_spec::parse("kernel.spec", text, "1.el7") {
        Ok(prep) => {
            let patches = prep.patches.iter().map(|patch| &patch.file);
            for name in patches.chain([&prep.tarball]) {
                assert!(!name.contains('/'), "{name}");
            }
        }
        Err(problems) => assert!(!problems.0.is_empty()),
    }
    let _ = Fragment::parse("x.config", text);
    let _ = (
        make_log::first_errors(text, 5),
        make_log::says_disk_full(text),
    );
});
