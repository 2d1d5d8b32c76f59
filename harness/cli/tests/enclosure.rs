//! A source tree whose make tries what it should not be able to, built with the real program.

mod made_up;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use made_up::{FILES, Place};
use serde_json::Value;

/// What the made-up make tries, each with the word that it reports when it went through.
fn attempts(place: &Place, port: u16) -> [(&'static str, String); 5] {
    let root = place.root().display();
    [
        ("network", format!("bash -c '</dev/tcp/127.0.0.1/{port}'")),
        ("key", format!("cat {root}/home/.ssh/id")),
        ("home", format!("touch {root}/home/written")),
        ("beside", format!("touch {root}/written")),
        ("source", "touch $(CURDIR)/written".to_owned()),
    ]
}

fn place(port: u16) -> Place {
    let place = Place::new();
    place.write("home/.ssh/id", "secret\n");
    let (path, makefile) = FILES[0];
    let tries: String = attempts(&place, port)
        .iter()
        .map(|(word, command)| format!("\t@{command} && echo {word} >> $(O)/done || true\n"))
        .collect();
    let rule = "allnoconfig:\n";
    let makefile = makefile.replace(rule, &format!("{rule}{tries}"));
    place.write(&format!("tree/{path}"), &makefile);
    place
}

/// Builds the kernel with these programs before all others on the PATH; returns its record and what its
/// make reported.
fn built(place: &Place, programs: Option<&Path>) -> (Value, Vec<String>) {
    let mut path = std::env::var("PATH").unwrap();
    if let Some(folder) = programs {
        path = format!("{}:{path}", folder.display());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(["build", "tiny", "--json"])
        .current_dir(place.root())
        .env("KVERDICT_CACHE", place.path("cache"))
        .env("HOME", place.path("home"))
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let work = fs::read_dir(place.path("cache/work"))
        .unwrap()
        .next()
        .unwrap();
    let done =
        fs::read_to_string(work.unwrap().path().join("tree/kverdict-out/done")).unwrap_or_default();
    let done = done.lines().map(str::to_owned).collect();
    (serde_json::from_slice(&output.stdout).unwrap(), done)
}

fn bubblewrap_works() -> bool {
    let words = [
        "--ro-bind",
        "/",
        "/",
        "--unshare-net",
        "--proc",
        "/proc",
        "--unshare-pid",
        "true",
    ];
    let tried = Command::new("bwrap").args(words).output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_sources_make_reaches_neither_network_nor_home_nor_the_source() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = place(listener.local_addr().unwrap().port());
    let (record, done) = built(&place, None);
    let enclosure = record["enclosure"].as_str().unwrap();
    if bubblewrap_works() {
        // What it wrote beside the tree is in a folder that was gone with it.
        assert_eq!(done, ["beside"]);
        assert!(
            enclosure.starts_with("bubblewrap: no network"),
            "{enclosure}"
        );
        assert!(!place.path("home/written").exists() && !place.path("written").exists());
    } else {
        assert!(enclosure.starts_with("not enclosed: "), "{enclosure}");
    }
}

#[test]
fn without_bubblewrap_it_reaches_all_that_and_the_record_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = place(listener.local_addr().unwrap().port());
    let broken = "#!/bin/sh\necho 'bwrap: no namespaces here' >&2\nexit 1\n";
    place.program("bin/bwrap", broken);
    let (record, done) = built(&place, Some(&place.path("bin")));
    assert_eq!(done, ["network", "key", "home", "beside", "source"]);
    assert_eq!(
        record["enclosure"],
        "not enclosed: bubblewrap does not work here (bwrap: no namespaces here)"
    );
}
