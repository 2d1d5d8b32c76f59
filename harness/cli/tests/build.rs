//! Builds a made-up kernel of two C files with the real program: cache, patches, configuration and
//! their errors, in seconds. Real kernels are built by the whole-project test.

mod made_up;

use std::fs;
use std::path::Path;

use made_up::{FILES, Place, shell};
use serde_json::Value;

fn read(value: &Value) -> Vec<u8> {
    fs::read(value.as_str().unwrap()).unwrap()
}

fn tree_text(place: &Place) -> String {
    FILES
        .iter()
        .map(|(path, _)| fs::read_to_string(place.path("tree").join(path)).unwrap())
        .collect()
}

#[test]
fn a_kernel_is_built_once_and_then_found() {
    let place = Place::new();
    let first = place.built(&[]);
    assert_eq!(first["from_cache"], false);
    assert_eq!(first["release"], "6.99.0-made-up");
    assert_eq!(
        (&first["objects"], &first["objects_compiled"]),
        (&2.into(), &2.into())
    );
    let log = String::from_utf8(read(&first["log"])).unwrap();
    assert!(log.starts_with("# kverdict build tiny\n# "), "{log}");
    assert!(log.contains("bzImage"), "{log}");

    let second = place.built(&[]);
    assert_eq!(second["from_cache"], true);
    assert_eq!(second["key"], first["key"]);
}

#[test]
fn an_arm_that_differs_in_one_file_compiles_one_file_and_the_source_stays_as_it_was() {
    for source in ["tree", "tarball"] {
        let place = Place::new();
        if source == "tarball" {
            place.kernel(&format!(
                "tarball: {{path: ../tiny.tar, sha256: {}}}",
                place.tarball()
            ));
        }
        let before = tree_text(&place);
        let plain = place.built(&[]);
        let fixed = place.built(&["--apply", "fix.patch"]);
        assert_eq!(
            (&fixed["objects_compiled"], &fixed["objects_reused"]),
            (&1.into(), &1.into())
        );
        assert_ne!(read(&fixed["bzimage"]), read(&plain["bzimage"]));
        assert_eq!(fixed["patches"][0]["name"], "fix.patch");
        assert!(fixed["patches"][0]["files"]["kernel/a.c"].is_string());

        // The work place now holds the fixed arm; a third arm takes the fix back out.
        let third = place.built(&["--option", "CONFIG_B=y"]);
        assert_eq!(third["objects_compiled"], 2);
        fs::remove_dir_all(plain["dir"].as_str().unwrap()).unwrap();
        let again = place.built(&[]);
        assert_eq!(again["objects_compiled"], 1);
        assert_eq!(read(&again["bzimage"]), read(&plain_image(&again, &plain)));
        assert_eq!(tree_text(&place), before);
    }
}

/// Both keys are the same, so both paths are.
fn plain_image(again: &Value, plain: &Value) -> Value {
    assert_eq!(again["key"], plain["key"]);
    plain["bzimage"].clone()
}

#[test]
fn a_patch_can_be_reverted() {
    let place = Place::new();
    place.write("tree/kernel/a.c", "int a(void)\n{\n\treturn 3;\n}\n");
    let reverted = place.built(&["--revert", "fix.patch"]);
    assert_eq!(reverted["patches"][0]["direction"], "reverted");
    let text = place.failed(&["--apply", "fix.patch"], 125, "patch");
    assert!(
        text.contains("kernel/a.c: has this change already"),
        "{text}"
    );
}

#[test]
fn a_patch_that_does_not_fit_names_file_hunk_and_line_and_leaves_nothing() {
    let place = Place::new();
    place.write("tree/kernel/a.c", "int a(void)\n{\n\treturn 7;\n}\n");
    let text = place.failed(&["--apply", "fix.patch"], 125, "patch");
    assert!(
        text.contains("kernel/a.c: hunk 1 does not fit at line 1"),
        "{text}"
    );
    assert_eq!(fs::read_dir(place.path("cache/builds")).unwrap().count(), 0);
    assert_eq!(place.built(&[])["objects"], 2);
}

#[test]
fn rules_and_alternatives_must_match_as_promised() {
    let place = Place::new();
    let rule = |from: &str, to: &str| format!("@@ @@\n- return {from};\n+ return {to};\n");
    place.write("p/one.cocci", &rule("1", "5"));
    place.write("p/two.cocci", &rule("99", "6"));
    let head = "name: p\nkind: fix\nreason: test\nsteps:\n";
    let alternatives = format!(
        "{head}  - {{cocci: one.cocci, in: kernel/a.c, alternative: w}}\n  - {{cocci: two.cocci, in: kernel/a.c, alternative: w}}\n"
    );
    place.write("p/patch.yaml", &alternatives);
    let built = place.built(&["--apply", "p"]);
    assert!(built["patches"][0]["files"]["kernel/a.c"].is_string());

    place.write("p/one.cocci", &rule("98", "5"));
    let text = place.failed(&["--apply", "p"], 125, "patch");
    assert!(
        text.contains("one.cocci, two.cocci") && text.contains("none did"),
        "{text}"
    );

    place.write(
        "p/patch.yaml",
        &format!("{head}  - {{cocci: two.cocci, in: kernel/b.c}}\n"),
    );
    let text = place.failed(&["--apply", "p"], 125, "patch");
    assert!(
        text.contains("two.cocci matches nothing in kernel/b.c"),
        "{text}"
    );
}

#[test]
fn a_config_symbol_that_did_not_hold_is_explained_unless_it_is_optional() {
    let place = Place::new();
    let text = place.failed(&["--option", "CONFIG_NEEDS_NET=y"], 125, "config");
    for part in [
        "CONFIG_NEEDS_NET: wanted y",
        "found n",
        "Kconfig:3: depends on NET",
        "CONFIG_NET is not set",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = place.failed(&["--option", "CONFIG_ALWAYS=n"], 125, "config");
    assert!(
        text.contains("CONFIG_ALWAYS: wanted n") && text.contains("found y"),
        "{text}"
    );

    let fragment = "# optional: not everywhere\nCONFIG_NEEDS_NET=y\n";
    place.write("kernels/fragments/net.config", fragment);
    let built = place.built(&["--fragment", "net"]);
    assert!(
        built["config_notes"][0]
            .as_str()
            .unwrap()
            .contains("NEEDS_NET")
    );
}

#[test]
fn a_compile_error_shows_its_place_and_the_log_and_is_never_taken_as_finished() {
    let place = Place::new();
    place.write("tree/kernel/b.c", "int b(void)\n{\n\treturn oops;\n}\n");
    for _ in 0..2 {
        let text = place.failed(&[], 125, "compile");
        assert!(
            text.contains("\n  kernel/b.c:3: ") && text.contains("oops"),
            "{text}"
        );
        let log = text.rsplit(": ").next().unwrap();
        assert!(
            Path::new(log).ends_with("build.log") && Path::new(log).is_file(),
            "{log}"
        );
    }
    place.write("tree/kernel/b.c", FILES[3].1);
    assert_eq!(place.built(&[])["objects"], 2);
}

/// make goes by time: what was made in a future that never came would stay newer than every change.
#[test]
fn a_clock_that_was_set_back_leaves_no_old_objects_in_a_kernel() {
    let place = Place::new();
    place.built(&[]);
    let work = shell(&place.path("cache/work"), "ls -d */")
        .trim()
        .to_owned();
    let state = place.path(&format!("cache/work/{work}state.json"));
    let mut known: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let made = known["made"]["secs_since_epoch"].as_u64().unwrap();
    known["made"]["secs_since_epoch"] = (made + 86_400).into();
    fs::write(&state, known.to_string()).unwrap();
    shell(
        &place.path("cache/work"),
        "find . -path '*kverdict-out*' -exec touch -d tomorrow {} +",
    );
    place.write("tree/kernel/b.c", "const char late[] = \"LATE\";\n");
    let built = place.built(&[]);
    let image = fs::read(built["bzimage"].as_str().unwrap()).unwrap();
    assert!(image.windows(4).any(|word| word == b"LATE"), "{built:#}");
}

#[test]
fn a_work_place_of_which_nothing_is_known_is_made_anew() {
    let place = Place::new();
    let patch = place.path("fix.patch");
    place.built(&["--apply", patch.to_str().unwrap()]);
    shell(&place.path("cache/work"), "echo '{' > $(ls */state.json)");
    let bare = place.built(&[]);
    let clean = Place::new();
    let expected = clean.built(&[]);
    let read = |built: &Value| fs::read(built["bzimage"].as_str().unwrap()).unwrap();
    assert_eq!(read(&bare), read(&expected));
}

#[test]
fn a_compiler_that_is_killed_for_memory_says_nothing_of_the_code() {
    let place = Place::new();
    let makefile = FILES[0].1;
    let killed = makefile.replace("\t@cd $(O)", "\t@test $* = a || kill -9 $$$$; cd $(O)");
    assert_ne!(killed, makefile);
    place.write("tree/Makefile", &killed);
    let text = place.failed(&[], 131, "host");
    assert!(text.contains("too little memory"), "{text}");
    place.write("tree/Makefile", makefile);
    assert_eq!(place.built(&[])["objects"], 2);
}

#[test]
fn an_edit_in_a_local_tree_compiles_only_what_changed() {
    let place = Place::new();
    place.built(&[]);
    place.write("tree/kernel/b.c", "int b(void)\n{\n\treturn 8;\n}\n");
    assert_eq!(place.built(&[])["objects_compiled"], 1);
    let tree = place.path("tree");
    let other = place.built(&["--tree", tree.to_str().unwrap()]);
    assert_eq!(other["from_cache"], true);
}

#[test]
fn what_a_killed_make_wrote_last_is_made_again() {
    let place = Place::new();
    let built = place.built(&[]);
    let work = fs::read_dir(place.path("cache/work"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(work.join("make-is-running"), "").unwrap();
    fs::write(work.join("tree/kverdict-out/kernel/a.o"), "half an object").unwrap();
    let image = read(&built["bzimage"]);
    fs::remove_dir_all(built["dir"].as_str().unwrap()).unwrap();
    assert_eq!(read(&place.built(&[])["bzimage"]), image);
}

#[test]
fn two_builds_at_once_make_it_once() {
    let place = Place::new();
    let keys: Vec<Value> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..2).map(|_| scope.spawn(|| place.built(&[]))).collect();
        builds
            .into_iter()
            .map(|build| build.join().unwrap())
            .collect()
    });
    assert_eq!(keys[0]["key"], keys[1]["key"]);
    let found: Vec<bool> = keys.iter().map(|key| key["from_cache"] == true).collect();
    assert!(found.contains(&true) && found.contains(&false), "{found:?}");
}

#[test]
fn a_wrong_digest_or_a_missing_source_is_told_from_a_bad_kernel() {
    let place = Place::new();
    let digest = place.tarball();
    place.kernel(&format!(
        "tarball: {{path: ../tiny.tar, sha256: {}}}",
        "0".repeat(64)
    ));
    let text = place.failed(&[], 131, "source");
    assert!(
        text.contains(&digest) && text.contains("another SHA-256"),
        "{text}"
    );
    place.kernel(&format!("tarball: {{path: ../gone.tar, sha256: {digest}}}"));
    assert!(place.failed(&[], 131, "source").contains("gone.tar"));
    place.kernel("tree: {path: ../gone}");
    assert!(
        place
            .failed(&[], 131, "source")
            .contains("there is no source tree at")
    );
}

#[test]
fn what_is_not_in_the_catalogue_is_a_usage_error() {
    let place = Place::new();
    let text = place.failed(&["--apply", "nope"], 129, "request");
    assert!(text.contains("there is no patch `nope`"), "{text}");
    let text = place.failed(&["--option", "X=y"], 129, "request");
    assert!(text.contains("is not a config line"), "{text}");
}
