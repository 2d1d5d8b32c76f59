//! Toolchains and compatibility patches, on a made-up kernel: which one is chosen, that its compiler
//! really is the one that compiles, and what is said when none can be had.

mod made_up;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use made_up::Place;
use support::wait_until;

/// A Makefile that also tells what make was told.
const TELLING: &str = "\t@echo 6.99.0-made-up > $(O)/include/config/kernel.release\n\t@echo told: CC=$(CC) CROSS_COMPILE=$(CROSS_COMPILE) KCFLAGS=$(KCFLAGS)\n";

fn place() -> Place {
    let place = Place::new();
    let makefile = fs::read_to_string(place.path("tree/Makefile")).unwrap();
    let release = "\t@echo 6.99.0-made-up > $(O)/include/config/kernel.release\n";
    assert!(makefile.contains(release));
    place.write("tree/Makefile", &makefile.replace(release, TELLING));
    place
}

fn toolchain(place: &Place, name: &str, compiler: &str, at: &str) {
    place.write(
        &format!("kernels/toolchains/{name}.yaml"),
        &format!("name: {name}\nabout: made up\ncompiler: {compiler}\nplace: {at}\n"),
    );
}

fn program(place: &Place, path: &str, script: &str) {
    place.write(path, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(place.path(path), fs::Permissions::from_mode(0o755)).unwrap();
}

/// A compiler that says another version.
fn old_compiler(place: &Place, path: &str) {
    let version = "[ \"$1\" = --version ] && { echo 'gcc (Made up) 5.4.0'; exit 0; }";
    program(place, path, &format!("{version}\nexec gcc \"$@\""));
}

fn fitting(place: &Place, names: &str) {
    let yaml = fs::read_to_string(place.path("kernels/tiny.yaml")).unwrap();
    place.write(
        "kernels/tiny.yaml",
        &yaml.replace("fragments:", &format!("toolchains: {names}\nfragments:")),
    );
}

fn log_of(built: &serde_json::Value) -> String {
    fs::read_to_string(built["log"].as_str().unwrap()).unwrap()
}

#[test]
fn the_first_toolchain_that_can_be_had_compiles_and_is_in_the_key() {
    let place = place();
    let plain = place.built(&[]);
    assert_eq!(plain["compiler"]["toolchain"], "host");

    old_compiler(&place, "cross/bin/x86-gcc");
    program(&place, "cross/bin/x86-ld", "exec ld \"$@\"");
    toolchain(&place, "gone", "gcc-99", "host");
    toolchain(
        &place,
        "cross",
        "gcc",
        "{prefix: {folder: ../cross, tools: bin/x86-}}",
    );
    fitting(&place, "[gone, cross, host]");
    let built = place.built(&[]);
    assert_eq!(built["compiler"]["toolchain"], "cross");
    assert_eq!(built["compiler"]["version"], "gcc (Made up) 5.4.0");
    assert_ne!(built["key"], plain["key"]);
    let log = log_of(&built);
    assert!(log.contains("cross/bin/x86-gcc CROSS_COMPILE=/"), "{log}");

    // Asked for by name, another one compiles.
    let asked = place.built(&["--toolchain", "host"]);
    assert_eq!(asked["key"], plain["key"]);
}

#[test]
fn cross_tools_come_out_of_a_tarball() {
    let place = place();
    old_compiler(&place, "pack/gcc-5/bin/x86-gcc");
    program(&place, "pack/gcc-5/bin/x86-ld", "exec ld \"$@\"");
    made_up::shell(place.root(), "tar -C pack -cf tools.tar gcc-5");
    toolchain(
        &place,
        "packed",
        "gcc",
        "{prefix: {tarball: {path: ../../tools.tar}, tools: gcc-5/bin/x86-}}",
    );
    // Relative paths start at the catalogue's folder.
    let yaml = fs::read_to_string(place.path("kernels/toolchains/packed.yaml")).unwrap();
    place.write(
        "kernels/toolchains/packed.yaml",
        &yaml.replace("../../tools.tar", "../tools.tar"),
    );
    let built = place.built(&["--toolchain", "packed"]);
    assert_eq!(built["compiler"]["version"], "gcc (Made up) 5.4.0");
    assert!(log_of(&built).contains("gcc-5/bin/x86-gcc"));
}

#[test]
fn a_container_engine_is_told_what_to_run_and_sees_the_cache() {
    let place = place();
    toolchain(&place, "boxed", "gcc", "{container: {image: 'made/up:5'}}");
    // Drops the engine's own words up to the image, and runs the rest here.
    let engine = "echo \"$@\" >> \"$(dirname \"$0\")/asked\"\nwhile [ \"$1\" != made/up:5 ]; do shift; done; shift\nexec \"$@\"";
    program(&place, "bin/podman", engine);
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(["build", "tiny", "--json", "--toolchain", "boxed"])
        .current_dir(place.root())
        .env("KVERDICT_CACHE", place.path("cache"))
        .env(
            "PATH",
            format!(
                "{}:{}",
                place.path("bin").display(),
                std::env::var("PATH").unwrap()
            ),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let asked = fs::read_to_string(place.path("bin/asked")).unwrap();
    let cache = fs::canonicalize(place.path("cache")).unwrap();
    let make = asked
        .lines()
        .find(|line| line.contains("made/up:5 env -i") && line.contains(" make "))
        .expect("the engine was asked to run make");
    assert!(make.starts_with("run --rm "), "{make}");
    let ccache = format!("--volume {0}/ccache:{0}/ccache ", cache.display());
    let work = format!("--volume {}/work/", cache.display());
    assert!(make.contains(&ccache) && make.contains(&work), "{make}");
    assert!(
        make.contains(":ro ") && make.contains("--network=none --cap-drop=all"),
        "{make}"
    );
    assert!(make.contains("KBUILD_BUILD_USER=kverdict"), "{make}");
}

#[test]
fn a_toolchain_that_turns_out_not_to_work_makes_room_for_the_next() {
    let place = place();
    // A compiler without a linker.
    old_compiler(&place, "half/bin/x86-gcc");
    toolchain(
        &place,
        "half",
        "gcc",
        "{prefix: {folder: ../half, tools: bin/x86-}}",
    );
    fitting(&place, "[half, host]");
    let output = place.build(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("bin/x86-ld --version` does not run"),
        "{said}"
    );
    let built: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(built["compiler"]["toolchain"], "host");
}

#[test]
fn nobodys_environment_gets_into_a_build() {
    let place = place();
    place.write("leak.mk", "$(error the environment leaked)\n");
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(["build", "tiny", "--json"])
        .current_dir(place.root())
        .env("KVERDICT_CACHE", place.path("cache"))
        .env("MAKEFILES", place.path("leak.mk"))
        .env("CPATH", place.root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let built = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!log_of(&built).contains("CPATH"));
}

#[test]
fn when_none_can_be_had_each_says_why() {
    let place = place();
    toolchain(&place, "gone", "gcc-99", "host");
    toolchain(
        &place,
        "away",
        "gcc",
        "{prefix: {folder: ../nowhere, tools: bin/x86-}}",
    );
    fitting(&place, "[gone, away]");
    let text = place.failed(&[], 131, "tools");
    assert!(
        text.contains("install the package gcc-99") && text.contains("there is no folder"),
        "{text}"
    );
    let text = place.failed(&["--toolchain", "nope"], 129, "request");
    assert!(
        text.contains("there is no toolchain `nope`") && text.contains("bullseye-gcc-9"),
        "{text}"
    );
}

#[test]
fn a_compatibility_patch_is_put_in_where_it_is_needed_and_nowhere_else() {
    let place = place();
    place.write(
        "kernels/patches/compat-one/patch.yaml",
        "name: compat-one\nkind: compat\nreason: b.c returns too much\nwhen:\n  - {file: kernel/b.c, contains: 'return \\d{2};'}\n  - {lacks: kernel/b.h}\n  - {compiler: gcc, from: 4}\nsteps:\n  - {replace: 'return \\d(\\d);', by: 'return ${1};', in: kernel/b.c}\n  - {make: KCFLAGS, add: -DOLD}\n",
    );
    let plain = place.built(&[]);
    assert_eq!(plain["patches"].as_array().unwrap().len(), 0);

    place.write("tree/kernel/b.c", "int b(void)\n{\n\treturn 42;\n}\n");
    let built = place.built(&["--apply", "fix.patch"]);
    let patches = built["patches"].as_array().unwrap();
    assert_eq!(patches.len(), 2);
    assert_eq!(patches[0]["name"], "compat-one");
    assert_eq!(patches[0]["reason"], "b.c returns too much");
    assert!(patches[0]["files"]["kernel/b.c"].is_string());
    assert_eq!(patches[0]["notes"][0], "make KCFLAGS with -DOLD");
    assert_eq!(patches[1]["name"], "fix.patch");
    assert!(log_of(&built).contains("KCFLAGS=-DOLD"));
    // The user's own tree is as it was.
    let source = fs::read_to_string(place.path("tree/kernel/b.c")).unwrap();
    assert!(source.contains("return 42;"));
}

/// Whoever presses Ctrl-C while a compiler is looked at hears nothing about the compiler.
#[test]
fn an_interrupt_while_a_compiler_is_looked_at_is_no_fault_of_its() {
    let place = place();
    place.program("bin/gcc", "#!/bin/sh\nsleep 1000\n");
    let build = place.start(&["build", "tiny"]);
    let script = place.path("bin/gcc").display().to_string();
    let is_looked_at = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut cmdlines = processes.filter_map(|one| fs::read(one.path().join("cmdline")).ok());
        cmdlines
            .any(|line| String::from_utf8_lossy(&line).starts_with(&format!("/bin/sh\0{script}\0")))
    };
    let soon = Duration::from_secs(60);
    wait_until(soon, "the compiler is asked for its version", is_looked_at);
    let pid = rustix::process::Pid::from_child(&build);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = build.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(!errors.contains("does not run"), "{errors}");
}
