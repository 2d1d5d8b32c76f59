//! `kverdict cache`: what it shows, what it prunes, and that the cache stays within its limit; and
//! what becomes of a cache that is damaged, full, or not to be written to.

mod made_up;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use made_up::Place;
use made_up::gated::{Gated, Running};
use serde_json::Value;

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn contents(place: &Place) -> Value {
    json(&place.kverdict(&["cache", "--json"]))
}

/// Kind and name of what a list has.
fn names(list: &Value) -> Vec<(String, String)> {
    let word = |thing: &Value, field: &str| thing[field].as_str().unwrap().to_owned();
    let things = list.as_array().unwrap().iter();
    things
        .map(|thing| (word(thing, "kind"), word(thing, "name")))
        .collect()
}

fn of_kind(list: &Value, kind: &str) -> Vec<String> {
    let all = names(list).into_iter();
    all.filter(|(found, _)| found == kind)
        .map(|(_, name)| name)
        .collect()
}

/// Makes a thing's last use so many days past.
fn age(place: &Place, kind: &str, name: &str, days: u32) {
    let note = place.path(&format!("cache/used/{kind}-{name}"));
    assert!(note.is_file(), "{}", note.display());
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400) * days;
    fs::File::open(note).unwrap().set_modified(time).unwrap();
}

fn key(built: &Value) -> &str {
    built["key"].as_str().unwrap()
}

#[test]
fn it_shows_what_is_there_and_what_it_is_and_creates_nothing() {
    let place = Place::new();
    let empty = place.kverdict(&["cache"]);
    let text = String::from_utf8_lossy(&empty.stdout);
    assert!(text.contains("nothing in it yet"), "{text}");
    assert!(!place.path("cache").exists());

    place.built(&["--apply", "fix.patch"]);
    let found = contents(&place);
    assert_eq!(of_kind(&found["things"], "build").len(), 1);
    assert_eq!(of_kind(&found["things"], "work").len(), 1);
    let total: u64 = found["things"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&serde_json::json!({"bytes": found["rest_bytes"]})])
        .map(|thing| thing["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(found["bytes"], total);
    let shown = place.kverdict(&["cache"]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(
        text.contains("tiny 6.99.0-made-up with fix.patch"),
        "{text}"
    );
    assert!(text.contains("local tree"), "{text}");
}

#[test]
fn a_file_that_a_source_and_a_work_place_share_counts_once() {
    let place = Place::new();
    // Large enough to stand out from folders and objects.
    place.write_bytes("tree/large", &vec![7; 4 << 20]);
    place.kernel(&format!(
        "tarball: {{path: ../tiny.tar, sha256: {}}}",
        place.tarball()
    ));
    place.built(&[]);
    // Pruning takes a little room itself, for its lock.
    json(&place.kverdict(&["cache", "prune", "--json"]));
    let bytes = contents(&place)["bytes"].as_u64().unwrap();
    assert!((4 << 20..8 << 20).contains(&bytes), "{bytes}");
    // Pruned, the source and its work place free it together.
    let pruned = json(&place.kverdict(&["cache", "prune", "--to", "0", "--json"]));
    let freed = pruned["freed_bytes"].as_u64().unwrap();
    assert_eq!(freed + pruned["left_bytes"].as_u64().unwrap(), bytes);
    assert!(freed > 4 << 20, "{freed}");
    assert_eq!(contents(&place)["things"], serde_json::json!([]));
}

#[test]
fn what_was_not_used_for_longest_goes_first_and_a_use_counts() {
    let place = Place::new();
    let plain = place.built(&[]);
    let fixed = place.built(&["--apply", "fix.patch"]);
    age(&place, "build", key(&plain), 9);
    age(&place, "build", key(&fixed), 8);
    let old = ["cache", "prune", "--older-than", "5", "--json"];
    let dry = json(&place.kverdict(&[&old[..], &["--dry-run"]].concat()));
    let both = [key(&plain), key(&fixed)];
    assert_eq!(of_kind(&dry["removed"], "build"), both);
    assert!(place.path("cache/builds").join(key(&plain)).is_dir());

    // Found in the cache, it has been used.
    assert_eq!(place.built(&[])["from_cache"], true);
    let pruned = json(&place.kverdict(&old));
    assert_eq!(names(&pruned["removed"]).len(), 1);
    assert_eq!(of_kind(&pruned["removed"], "build"), [key(&fixed)]);
    assert!(pruned["freed_bytes"].as_u64().unwrap() > 0);
    assert_eq!(place.built(&[])["from_cache"], true);
    assert_eq!(place.built(&["--apply", "fix.patch"])["from_cache"], false);
}

#[test]
fn what_a_running_build_uses_is_not_pruned_and_its_kernel_is_right() {
    let gated = Gated::new();
    let running = Running::start(&gated.place, &[]);
    gated.wait_until_compiling();
    let pruned = json(
        &gated
            .place
            .kverdict(&["cache", "prune", "--to", "0", "--json"]),
    );
    assert_eq!(names(&pruned["removed"]), []);
    let things = contents(&gated.place)["things"].clone();
    assert!(
        things
            .as_array()
            .unwrap()
            .iter()
            .all(|thing| thing["in_use"] == true),
        "{things}"
    );
    gated.open();
    running.built();
    let pruned = json(
        &gated
            .place
            .kverdict(&["cache", "prune", "--to", "0", "--json"]),
    );
    assert_eq!(of_kind(&pruned["removed"], "build").len(), 1);
    assert_eq!(of_kind(&pruned["removed"], "work").len(), 1);
}

#[test]
fn what_a_killed_builders_compiler_writes_to_is_not_pruned_before_it_ends() {
    let gated = Gated::new();
    let killed = Running::start(&gated.place, &[]);
    gated.wait_until_compiling();
    killed.kill_with_guard();
    let prune = || {
        json(
            &gated
                .place
                .kverdict(&["cache", "prune", "--to", "0", "--json"]),
        )
    };
    assert_eq!(of_kind(&prune()["removed"], "work").len(), 0);
    gated.open();
    let place = &gated.place;
    while contents(place)["things"]
        .as_array()
        .unwrap()
        .iter()
        .any(|thing| thing["in_use"] == true)
    {
        std::thread::yield_now();
    }
    assert_eq!(of_kind(&prune()["removed"], "work").len(), 1);
}

#[test]
fn folders_of_killed_processes_are_pruned() {
    let place = Place::new();
    place.built(&[]);
    place.write("cache/sources/.making-abc/half/a/tree", "x");
    made_up::shell(
        place.root(),
        "touch -d '1 hour ago' cache/sources/.making-abc",
    );
    let pruned = json(&place.kverdict(&["cache", "prune", "--to", "0", "--json"]));
    assert_eq!(of_kind(&pruned["removed"], "leftover"), [".making-abc"]);
    assert_eq!(
        fs::read_dir(place.path("cache/sources")).unwrap().count(),
        0
    );
}

#[test]
fn a_build_that_makes_the_cache_too_large_prunes_it_and_says_so() {
    let place = Place::new();
    let plain = place.built(&[]);
    age(&place, "build", key(&plain), 9);
    let limited = |limit: &str, arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(["build", "tiny", "--json"])
            .args(arguments)
            .current_dir(place.root())
            .env("KVERDICT_CACHE", place.path("cache"))
            .env("KVERDICT_CACHE_LIMIT", limit)
            .output()
            .unwrap()
    };
    // Just room for what is there: for another kernel the old one has to go.
    let now = contents(&place)["bytes"].as_u64().unwrap();
    let output = limited(&format!("{now}B"), &["--apply", "fix.patch"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let fixed = json(&output);
    assert!(
        said.contains("the cache was over its limit of") && said.contains(key(&plain)),
        "{said}"
    );
    assert!(!place.path("cache/builds").join(key(&plain)).exists());
    assert!(Path::new(fixed["bzimage"].as_str().unwrap()).is_file());

    // What the build itself uses stays, whatever the limit.
    let output = limited("1B", &["--option", "CONFIG_C=y"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let other = json(&output);
    assert!(said.contains("all of it is in use"), "{said}");
    assert!(Path::new(other["bzimage"].as_str().unwrap()).is_file());

    let output = limited("none", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("limit"), "{said}");
    let output = limited("much", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(129));
    assert!(
        said.contains("KVERDICT_CACHE_LIMIT: `much` is not a size such as 20GiB"),
        "{said}"
    );
}

#[test]
fn a_damaged_kernel_is_made_again_and_said() {
    let place = Place::new();
    let built = place.built(&[]);
    let image = built["bzimage"].as_str().unwrap();
    let whole = fs::read(image).unwrap();
    for (file, damage) in [
        ("bzImage", &b"half"[..]),
        ("System.map", b""),
        ("manifest.json", b"{\"schema\": 1, \"ke"),
    ] {
        let path = place.path("cache/builds").join(key(&built)).join(file);
        fs::write(&path, damage).unwrap();
        let output = place.build(&[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(path.to_str().unwrap()) && said.contains("this kernel is made again"),
            "{said}"
        );
        assert_eq!(json(&output)["from_cache"], false);
        assert_eq!(fs::read(image).unwrap(), whole);
    }
    fs::remove_file(image).unwrap();
    assert_eq!(place.built(&[])["from_cache"], false);
    assert_eq!(place.built(&[])["from_cache"], true);
}

/// A build whose cache is what bubblewrap makes of it.
fn enclosed(place: &Place, cache: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("bwrap")
        .args(["--dev-bind", "/", "/"])
        .args(cache)
        .arg(place.path("cache"))
        .arg(env!("CARGO_BIN_EXE_kverdict"))
        .args(["build", "tiny", "--json"])
        .current_dir(place.root())
        .env("KVERDICT_CACHE", place.path("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_full_disk_is_told_with_what_to_do_and_leaves_no_kernel() {
    let place = Place::new();
    fs::create_dir(place.path("cache")).unwrap();
    place.write_bytes("tree/large", &vec![7; 4 << 20]);
    let (code, said) = enclosed(&place, &["--size", "1000000", "--tmpfs"]);
    assert_eq!(code, Some(131), "{said}");
    assert!(
        said.contains("is full") && said.contains("kverdict cache prune"),
        "{said}"
    );
}

#[test]
fn a_cache_that_cannot_be_written_to_is_named_with_what_to_do_and_can_be_looked_at() {
    let place = Place::new();
    place.built(&[]);
    let cache = place.path("cache");
    let (code, said) = enclosed(&place, &["--ro-bind", cache.to_str().unwrap()]);
    assert_eq!(code, Some(131), "{said}");
    assert!(
        said.contains(&format!("the cache folder {}", cache.display()))
            && said.contains("set KVERDICT_CACHE"),
        "{said}"
    );
}
