//! What holds of every archive of a package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;

use kverdict_intake::Format;

/// Files that are taken out of one archive.
const TAKEN_MAX: usize = 4;

/// Lists an archive and takes its first files: names stay inside, and nothing is written but these.
pub fn check(format: Format, archive: &[u8]) {
    let names = match format.files(Cursor::new(archive)) {
        Ok(names) => names,
        Err(error) => {
            let text = format!("{error:#}");
            assert!(!text.contains(char::is_control), "{text:?}");
            return;
        }
    };
    for name in &names {
        assert!(!name.is_empty() && !name.starts_with('/') && !name.contains(char::is_control));
        assert!(name.split('/').all(|part| part != ".."), "{name}");
    }
    if !names.is_empty() {
        take(format, archive, &names);
    }
}

fn take(format: Format, archive: &[u8], names: &[String]) {
    let root = tempfile::tempdir().expect("a folder");
    let inside = root.path().join("inside");
    fs::create_dir(&inside).expect("a folder");
    let wanted: BTreeMap<String, _> = names
        .iter()
        .take(TAKEN_MAX)
        .enumerate()
        .map(|(number, name)| (name.clone(), inside.join(number.to_string())))
        .collect();
    let taken = format.take(Cursor::new(archive), &wanted);
    if taken.is_ok() {
        let different: BTreeSet<&String> = wanted.keys().collect();
        let times = names
            .iter()
            .filter(|name| wanted.contains_key(*name))
            .count();
        assert_eq!(
            different.len(),
            times,
            "a name that is there twice was taken"
        );
    }
    let beside = fs::read_dir(root.path()).expect("a folder").count();
    assert_eq!(beside, 1, "something was written outside");
    let mut bytes = 0;
    for entry in fs::read_dir(&inside).expect("a folder") {
        let path = entry.expect("an entry").path();
        assert!(wanted.values().any(|target| *target == path), "{path:?}");
        let data = fs::symlink_metadata(&path).expect("a file");
        assert!(data.is_file());
        bytes += data.len();
    }
    assert!(bytes <= archive.len() as u64);
}
