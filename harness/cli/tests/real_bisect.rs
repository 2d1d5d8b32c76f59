//! The real thing: a repository of Debian's kernel in which one commit of many brings the defect back, and
//! the bisection that finds it.
//!
//! Slow, so ignored by default; `cargo xtask test` runs the first one. `KVERDICT_COMMITS` says how many commits
//! there are.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Files of the kernel's image in which a comment changes nothing.
const HARMLESS: [&str; 8] = [
    "kernel/sched/idle.c",
    "mm/mincore.c",
    "kernel/groups.c",
    "lib/cmdline.c",
    "kernel/sched/stop_task.c",
    "fs/pipe.c",
    "kernel/resource.c",
    "lib/string.c",
];

/// Nine tenths of the tree, of which this configuration compiles nothing; what Kconfig and make read stays.
const UNUSED: [&str; 10] = [
    "arch/[!x]*",
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/media",
    "drivers/net",
    "drivers/scsi",
    "drivers/staging",
    "fs/xfs",
    "sound",
    "tools/testing",
];

fn kverdict(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(arguments)
        .arg("--json")
        .current_dir(folder)
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), json, errors)
}

fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The unpacked source, and `kernel/stop_machine.c` with the defect.
fn source(folder: &Path) -> (PathBuf, String) {
    let build = |patches: &[&str]| {
        let (code, built, errors) =
            kverdict(folder, &[&["build", "debian-6.12"], patches].concat());
        assert_eq!(code, Some(0), "{errors}");
        built
    };
    let plain = build(&[]);
    let cache = PathBuf::from(plain["dir"].as_str().unwrap());
    let cache = cache.parent().unwrap().parent().unwrap().to_owned();
    let root = cache
        .join("sources")
        .join(plain["source"]["digest"].as_str().unwrap());
    let broken = build(&["--apply", "reintroduce-0b26351b910f"]);
    let digest = broken["patches"][0]["files"]["kernel/stop_machine.c"]
        .as_str()
        .unwrap();
    let find = format!(
        "for f in rules/*; do echo \"{digest}  $f\" | sha256sum --check --status && cat $f && exit; done; exit 1"
    );
    (root, shell(&cache, &find))
}

/// A repository of `commits` harmless commits but for one, which puts `defect` into `kernel/stop_machine.c`.
fn repository(folder: &Path, commits: u32, culprit: u32, defect: &str, root: &Path) -> String {
    std::fs::write(folder.join("defect.c"), format!("{defect}\n")).unwrap();
    let script = format!(
        "mkdir linux && tar -C {root} {without} -cf - . | tar -C linux -xf - && cd linux
         git init --quiet -b main . && git config user.name x && git config user.email x@x
         git config core.compression 0 && git config gc.auto 0
         git add --all --force . && git commit --quiet -m base && git tag base
         set -- {files}
         for i in $(seq {commits}); do
             file=$1; shift; set -- $@ $file
             echo \"/* change $i */\" >> $file
             [ $i = {culprit} ] && cp ../defect.c kernel/stop_machine.c
             git commit --quiet --all --message \"$file: change $i\"
             [ $i = {culprit} ] && git tag culprit
         done
         git rev-parse --short=12 culprit",
        root = root.display(),
        without = UNUSED
            .map(|place| format!("--exclude='./{place}/*.[chS]'"))
            .join(" "),
        files = HARMLESS.join(" "),
    );
    shell(folder, &script)
}

#[test]
#[ignore = "builds and boots real kernels"]
fn b1_the_commit_that_brings_the_defect_back_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let commits = std::env::var("KVERDICT_COMMITS").map_or(12, |text| text.parse().unwrap());
    let culprit = commits * 5 / 8;
    let (root, defect) = source(folder.path());
    let expected = repository(folder.path(), commits, culprit, &defect, &root);
    let (code, report, errors) = kverdict(
        folder.path(),
        &[
            "bisect",
            "--repository",
            "linux",
            "--good",
            "base",
            "--bad",
            "main",
        ],
    );
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["suspects"][0]["candidate"], *expected, "{report:#}");
    eprintln!("{errors}");
}
