//! Builds through the real ccache: what was compiled in one work place is found in another, and no
//! kernel is another one for it.

mod made_up;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use made_up::Place;
use serde_json::{Value, json};

fn build(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let path = std::env::var_os("PATH").unwrap();
    assert!(
        std::env::split_paths(&path).any(|folder| folder.join("ccache").is_file()),
        "ccache is not installed: `cargo xtask test --install-deps` installs the package ccache"
    );
    Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(["build", "tiny", "--json"])
        .args(arguments)
        .current_dir(place.root())
        .env("KVERDICT_CACHE", place.path("cache"))
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn built(place: &Place, variables: &[(&str, &str)], arguments: &[&str]) -> Value {
    let output = build(place, variables, arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn image(built: &Value) -> Vec<u8> {
    fs::read(built["bzimage"].as_str().unwrap()).unwrap()
}

fn forget_builds(place: &Place) {
    for folder in ["builds", "work"] {
        fs::remove_dir_all(place.path("cache").join(folder)).unwrap();
    }
}

const OFF: (&str, &str) = ("KVERDICT_CCACHE", "off");

#[test]
fn what_one_work_place_compiled_is_found_in_another_ones() {
    let place = Place::new();
    let first = built(&place, &[], &[]);
    assert_eq!(first["ccache"], json!({"hits": 0, "misses": 2}));
    // Another tree at another path, and another kernel in it.
    made_up::shell(place.root(), "cp -r tree tree2");
    place.write("tree2/kernel/b.c", "int b(void)\n{\n\treturn 9;\n}\n");
    let other = built(&place, &[], &["--tree", "tree2"]);
    assert_ne!(other["key"], first["key"]);
    assert_eq!(other["ccache"], json!({"hits": 1, "misses": 1}));
    // And the first one again, where nothing is left of it.
    forget_builds(&place);
    let again = built(&place, &[], &[]);
    assert_eq!(again["ccache"], json!({"hits": 2, "misses": 0}));
    let found = image(&again);
    forget_builds(&place);
    let without = built(&place, &[OFF], &[]);
    assert_eq!(without["ccache"], Value::Null);
    assert_eq!(without["key"], again["key"]);
    assert_eq!(image(&without), found);
}

#[test]
fn a_kernel_that_holds_its_paths_is_the_same_with_and_without() {
    let place = Place::new();
    let makefile = fs::read_to_string(place.path("tree/Makefile")).unwrap();
    assert!(makefile.contains(" ../$<"));
    place.write(
        "tree/Makefile",
        &makefile.replace(" ../$<", " -g $(CURDIR)/$<"),
    );
    place.write("tree/kernel/a.c", "const char a[] = __FILE__;\n");
    let with = built(&place, &[], &[]);
    assert_eq!(with["ccache"], json!({"hits": 0, "misses": 2}));
    let made = image(&with);
    forget_builds(&place);
    let found = built(&place, &[], &[]);
    assert_eq!(found["ccache"], json!({"hits": 2, "misses": 0}));
    assert_eq!(image(&found), made);
    forget_builds(&place);
    assert_eq!(image(&built(&place, &[OFF], &[])), made);
    // In another place it has other paths, and takes nothing from here.
    forget_builds(&place);
    made_up::shell(place.root(), "mv tree tree2");
    let moved = built(&place, &[], &["--tree", "tree2"]);
    assert_eq!(moved["ccache"], json!({"hits": 0, "misses": 2}));
}

#[test]
fn what_a_user_has_told_ccache_does_not_get_in() {
    let place = Place::new();
    place.write(
        "home/.config/ccache/ccache.conf",
        "prefix_command = /no/such/program\ndisable = true\n",
    );
    let home = place.path("home");
    let theirs = [
        ("HOME", path(&home)),
        ("CCACHE_DISABLE", "1"),
        ("CCACHE_DIR", "/no/such/folder"),
        ("CCACHE_PREFIX", "/no/such/program"),
    ];
    let first = built(&place, &theirs, &[]);
    assert_eq!(first["ccache"], json!({"hits": 0, "misses": 2}));
    assert!(place.path("cache/ccache").is_dir());
}

#[test]
fn it_is_on_or_off_and_nothing_else() {
    let place = Place::new();
    let output = build(&place, &[("KVERDICT_CCACHE", "maybe")], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(129));
    assert!(said.contains("KVERDICT_CCACHE is `maybe`"), "{said}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
