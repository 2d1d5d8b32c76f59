//! Comparisons of real kernels. Slow, so ignored by default; `cargo xtask test` runs them one after the other,
//! on the kernels that other tests have built.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const DEFECT: &str = "reintroduce-0b26351b910f";

/// What a comparison printed and how it ended.
struct Compared {
    code: Option<i32>,
    report: Value,
    text: String,
}

/// Runs `kverdict compare` in a folder.
fn compare(dir: &Path, args: &[&str]) -> Compared {
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .arg("compare")
        .args(args)
        .arg("--json")
        .current_dir(dir)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    eprintln!("{stderr}");
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {stderr}"));
    let run = dir.join("results").join(report["run"].as_str().unwrap());
    assert!(support::qemu_processes(&run).is_empty());
    let text = fs::read_to_string(run.join("report.txt")).unwrap();
    eprintln!("{text}");
    // Reports are a function of the records.
    let again = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(["report", run.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), output.status.code());
    assert_eq!(
        String::from_utf8_lossy(&again.stdout).trim_end(),
        text.trim_end()
    );
    Compared {
        code: output.status.code(),
        report,
        text,
    }
}

#[track_caller]
fn is_worse(found: &Compared) {
    assert_eq!(found.code, Some(1), "{}", found.text);
    let pair = &found.report["pairs"][0];
    assert_eq!(pair["judgement"], "worse", "{pair:#}");
    assert_eq!(pair["rows"][0]["judgement"], "worse", "{pair:#}");
    let sides = &found.report["sides"];
    assert_eq!(sides[0]["target_lockups"], 0, "{sides:#}");
    // The side that survived was in danger.
    assert!(
        sides[0]["meetings_per_minute"].as_f64() > Some(0.0),
        "{sides:#}"
    );
    // What is seen without booting agrees.
    assert_eq!(sides[0]["facts"]["fixes"][0]["state"], "fixed", "{sides:#}");
    assert_eq!(
        sides[1]["facts"]["fixes"][0]["state"], "affected",
        "{sides:#}"
    );
}

/// One source, with and without the defect, under the amplifier that fits both.
#[test]
#[ignore = "builds and boots real kernels"]
fn c1_the_defect_makes_a_kernel_worse() {
    let dir = tempfile::tempdir().unwrap();
    let patch = format!("{DEFECT}@B");
    let found = compare(
        dir.path(),
        &[
            "debian-6.12",
            "debian-6.12",
            "--apply",
            &patch,
            "--alpha",
            "0.05",
            "--load-seconds",
            "30",
        ],
    );
    is_worse(&found);
    assert_eq!(found.report["campaign"], "migrate-swap");
}

/// The same kernels without the amplifier, as packages that somebody sends, of which nothing else is known.
#[test]
#[ignore = "builds and boots real kernels, and needs rpmbuild"]
fn c2_packages_are_compared_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let fixed = rpm(dir.path(), "fixed", &[]);
    let affected = rpm(dir.path(), "affected", &["--apply", DEFECT]);
    let found = compare(dir.path(), &[&fixed, &affected, "--alpha", "0.05"]);
    is_worse(&found);
    assert_eq!(found.report["campaign"], "unmodified");
    assert!(found.text.contains("affected.rpm"), "{}", found.text);
}

/// An rpm with a kernel of the cache, as distributions pack them; its path.
fn rpm(dir: &Path, name: &str, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
        .args(["build", "debian-6.12", "--json"])
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let built: Value = serde_json::from_slice(&output.stdout).unwrap();
    let release = built["release"].as_str().unwrap();
    let boot = dir.join(name).join("root/boot");
    fs::create_dir_all(&boot).unwrap();
    for (file, in_package) in [
        ("bzimage", "vmlinuz"),
        ("system_map", "System.map"),
        ("config", "config"),
    ] {
        let to = boot.join(format!("{in_package}-{release}"));
        fs::copy(built[file].as_str().unwrap(), to).unwrap();
    }
    let top = dir.join(name);
    let spec = format!(
        "Name: kernel\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\n%description\nx\n%install\ncp -a {}/* %{{buildroot}}/\n%files\n/*\n",
        top.join("root").display()
    );
    fs::write(top.join("kernel.spec"), spec).unwrap();
    let output = Command::new("rpmbuild")
        .args(["-bb", "--define", &format!("_topdir {}", top.display())])
        .arg(top.join("kernel.spec"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = top.join("RPMS").join("x86_64");
    let made = fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let path = dir.join(format!("{name}.rpm"));
    fs::rename(made, &path).unwrap();
    path.display().to_string()
}
