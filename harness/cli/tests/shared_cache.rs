//! One cache, several processes: what two of them want is made once, and what a killed one was
//! making is made again, right.

mod made_up;

use std::fs;
use std::path::{Path, PathBuf};

use made_up::Place;
use made_up::gated::{Gated, Running};
use serde_json::Value;

fn image(built: &Value) -> Vec<u8> {
    fs::read(built["bzimage"].as_str().unwrap()).unwrap()
}

/// A copy of the tree at another path, and its path.
fn second_tree(place: &Place) -> PathBuf {
    let tree = place.path("tree2");
    made_up::shell(place.root(), "cp -r tree tree2");
    tree
}

#[test]
fn two_processes_that_want_the_same_kernel_build_it_once_and_the_second_says_that_it_waits() {
    let gated = Gated::new();
    // Another tree has a work place of its own, so that nothing but the key is the same.
    let tree = second_tree(&gated.place);
    let first = Running::start(&gated.place, &[]);
    gated.wait_until_compiling();
    let mut second = Running::start(&gated.place, &["--tree", path(&tree)]);
    let line = second.wait_for_line("waiting");
    assert!(
        line.contains(&format!(
            "another kverdict (process {}) builds the same kernel: waiting for it",
            first.id()
        )),
        "{line}"
    );
    gated.open();
    let (first, second) = (first.built(), second.built());
    assert_eq!(first["key"], second["key"]);
    assert_eq!(
        (&first["from_cache"], &second["from_cache"]),
        (&false.into(), &true.into())
    );
    assert_eq!(gated.compiled(), ["a", "b"]);
}

#[test]
fn a_killed_builder_blocks_nobody_and_what_its_compiler_still_writes_gets_into_no_kernel() {
    let gated = Gated::new();
    let first = Running::start(&gated.place, &["--apply", "fix.patch"]);
    gated.wait_until_compiling();
    first.kill_with_guard();

    // Its make is there still and its compiler at the gate, and will write a.o with the fix in it. The next kernel
    // of the same place is one without.
    let mut second = Running::start(&gated.place, &[]);
    second.wait_for_line("builds in the same place: waiting for it");
    assert_eq!(gated.compiled(), ["a"], "nobody compiles beside it");
    gated.open();
    let built = second.built();
    assert_eq!(gated.compiled(), ["a", "b", "a", "b"]);

    let alone = Place::new();
    assert_eq!(image(&built), image(&alone.built(&[])));
}

#[test]
fn kernels_of_one_place_wait_for_each_other_and_each_is_what_it_is_alone() {
    let gated = Gated::new();
    let plain = Running::start(&gated.place, &[]);
    gated.wait_until_compiling();
    let mut fixed = Running::start(&gated.place, &["--apply", "fix.patch"]);
    fixed.wait_for_line("builds in the same place: waiting for it");
    gated.open();
    let (plain, fixed) = (plain.built(), fixed.built());
    let alone = Place::new();
    assert_eq!(image(&plain), image(&alone.built(&[])));
    assert_eq!(
        image(&fixed),
        image(&alone.built(&["--apply", "fix.patch"]))
    );
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
