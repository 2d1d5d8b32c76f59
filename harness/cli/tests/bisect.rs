//! `kverdict bisect` and `kverdict trial` on a made-up kernel, with a program in QEMU's place that plays the
//! guest: a kernel with the defect locks up in two trials of three.

mod made_up;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use made_up::{Place, shell};
use serde_json::Value;

/// Whether a trial of a kernel with the defect locks up depends on its number alone.
const GUEST: &str = r#"
begin
number=$(basename "$PWD" | cut -c1-4 | sed 's/^0*//')
if grep -q DEFECT "$kernel" && [ $((number % 3)) -ne 0 ]; then lock_up; fi
survive 60 60
"#;

/// A made-up kernel in a folder of its own.
struct Bench {
    place: Place,
}

impl Bench {
    fn new() -> Self {
        let place = Place::new();
        let quick = "policy:\n  prove_detectors: false\n";
        let campaign = made_up::campaign().replace("policy:\n", quick);
        place.write("campaign.yaml", &campaign);
        place.guest(GUEST);
        Self { place }
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.place.start(&[arguments, &["--json"]].concat())
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        self.place.run(&[arguments, &["--json"]].concat())
    }

    fn run_report(&self, dir: &str) -> (Option<i32>, Value, String) {
        let output = self.place.kverdict(&["report", dir, "--json"]);
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), report, errors)
    }

    fn bisect(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        self.run(&[&["bisect", "--campaign", "campaign.yaml"], arguments].concat())
    }

    /// A repository of so many commits after the tag `first`; `change` is run in each, with its number as $1.
    fn repository(&self, commits: u32, change: &str) {
        let script = format!(
            "git init -q -b main . && git config user.name x && git config user.email x@x
             git add . && git commit -qm first && git tag first
             for i in $(seq {commits}); do
                 set -- $i; echo \"/* $i */\" >> kernel/b.c; {change}
                 git commit -qam \"change $i\" && git tag c$i
             done"
        );
        shell(&self.place.path("tree"), &script);
    }

    fn run_dir(&self) -> PathBuf {
        self.place.run_dir()
    }

    fn commit(&self, name: &str) -> String {
        let script = format!("git rev-parse --short=12 {name}^{{commit}}");
        shell(&self.place.path("tree"), &script).trim().to_owned()
    }
}

/// From the eleventh change on, the made-up kernel has the defect; the fifth and sixth do not build.
const BREAKS: &str = "
    if [ $1 = 5 ]; then echo 'broken(' >> kernel/a.c; fi
    if [ $1 = 7 ]; then git checkout -q first -- kernel/a.c; fi
    if [ $1 = 11 ]; then echo 'const char mark[] = \"DEFECT\";' >> kernel/a.c; fi";

#[test]
fn the_commit_that_broke_it_is_found_and_the_repository_is_left_alone() {
    let bench = Bench::new();
    bench.repository(16, BREAKS);
    let state =
        "git status --porcelain; git worktree list; find . -type f | sort | xargs sha256sum";
    let before = shell(&bench.place.path("tree"), state);
    let arguments = ["--repository", "tree", "--good", "first", "--bad", "main"];
    let (code, report, errors) = bench.bisect(&arguments);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["ending"]["found"]["candidate"], 11, "{report:#}");
    let culprit = bench.commit("c11");
    assert!(report["suspects"][0]["candidate"] == *culprit, "{report:#}");
    assert_eq!(shell(&bench.place.path("tree"), state), before);
    // What is stored says the same.
    let dir = bench.run_dir();
    let (code, again, errors) = bench.run_report(dir.to_str().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(again["ending"], report["ending"]);
}

#[test]
fn a_sweep_leaves_few_kernels_in_a_row_unshown() {
    let bench = Bench::new();
    bench.repository(16, BREAKS);
    let arguments = ["--repository", "tree", "--good", "first", "--bad", "main"];
    let swept = [&arguments[..], &["--sweep", "3"]].concat();
    let (code, report, errors) = bench.bisect(&swept);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["ending"]["found"]["candidate"], 11, "{report:#}");
    let stretches = report["unshown"]["stretches"].as_array().unwrap();
    let kernels = |stretch: &Value| stretch["kernels"].as_u64().unwrap();
    assert!(stretches.iter().all(|one| kernels(one) <= 3), "{report:#}");

    let merge = "git checkout -q -b side c3 && echo x > side.txt && git add . && git commit -qm side \
                 && git checkout -q main && git merge -q --no-ff -m merged side";
    shell(&bench.place.path("tree"), merge);
    let (code, _, errors) = bench.bisect(&swept);
    assert_eq!(code, Some(129), "{errors}");
    assert!(errors.contains("--sweep: merged branches"), "{errors}");
}

#[test]
fn the_commit_that_fixed_it_is_found_when_the_bad_one_comes_first() {
    let bench = Bench::new();
    bench.place.write(
        "tree/kernel/a.c",
        "const char mark[] = \"DEFECT\";\nint a(void)\n{\n\treturn 1;\n}\n",
    );
    bench.repository(12, "if [ $1 = 4 ]; then sed -i /DEFECT/d kernel/a.c; fi");
    let arguments = ["--repository", "tree", "--good", "main", "--bad", "first"];
    let (code, report, errors) = bench.bisect(&arguments);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["ending"]["found"]["candidate"], 4, "{report:#}");
    assert!(errors.contains("who fixed it"), "{errors}");
}

#[test]
fn a_patch_of_a_series_is_found_and_the_one_that_does_not_build_is_named() {
    let bench = Bench::new();
    // Whole files as context: `patch` takes a hunk without lines after it for the file's end.
    let in_file = |file: char, value: u32, lines: &str, change: &str| {
        format!(
            "--- a/kernel/{file}.c\n+++ b/kernel/{file}.c\n@@ {lines} @@\n int {file}(void)\n {{\n{change}\n \treturn {value};\n }}\n"
        )
    };
    for number in 1..=12 {
        let mark = "+\tstatic const char mark[] __attribute__((used)) = \"DEFECT\";";
        let patch = match number {
            6 => in_file('a', 1, "-1,4 +1,5", mark),
            9 => in_file('b', 2, "-1,4 +1,5", "+broken("),
            10 => in_file('b', 2, "-1,5 +1,4", "-broken("),
            other => {
                format!("--- /dev/null\n+++ b/extra/{other}.h\n@@ -0,0 +1 @@\n+int f{other};\n")
            }
        };
        bench
            .place
            .write(&format!("series/{number:02}.patch"), &patch);
    }
    // What is suspected is tried first, and that is the ninth.
    let arguments = ["--series", "series", "--likely", "kernel/b.c"];
    let (code, report, errors) = bench.bisect(&arguments);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["ending"]["found"]["candidate"], 6, "{report:#}");
    assert_eq!(report["suspects"][0]["candidate"], "06-06", "{report:#}");
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{report:#}");
    assert_eq!(skipped[0]["candidate"], "09-09");
    let why = skipped[0]["why"].as_str().unwrap();
    assert!(why.contains("kernel/b.c"), "{why}");
}

#[test]
fn images_are_searched_in_the_order_in_which_they_are_named() {
    let bench = Bench::new();
    let names: Vec<String> = (1..=6)
        .map(|number| format!("vmlinuz-6.99.{number}"))
        .collect();
    for (number, name) in (1..).zip(&names) {
        let mut image = made_up::image();
        image[0x400] = number;
        if number < 4 {
            image[0x500..0x506].copy_from_slice(b"DEFECT");
        }
        bench.place.write_bytes(name, &image);
    }
    let list = names.join(",");
    let (code, report, errors) = bench.bisect(&["--kernels", &list, "--find-fix"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(
        report["suspects"][0]["candidate"], "04-vmlinuz-6-99-4",
        "{report:#}"
    );
    // What is no kernel, and what cannot carry the amplifier, is told before a run is begun.
    bench.place.write("notes", "text");
    let (code, _, errors) = bench.bisect(&["--kernels", "vmlinuz-6.99.1,notes"]);
    assert_eq!(code, Some(129), "{errors}");
    assert!(errors.contains("notes is no kernel that boots"), "{errors}");
    let amplified = ["bisect", "--kernels", "vmlinuz-6.99.1,vmlinuz-6.99.2"];
    let (code, _, errors) = bench.run(&amplified);
    assert_eq!(code, Some(129), "{errors}");
    assert!(
        errors.contains("the patch amplify cannot go into it"),
        "{errors}"
    );
}

#[test]
fn ends_that_are_not_what_they_are_said_to_be_are_told() {
    let bench = Bench::new();
    bench.repository(6, "");
    let arguments = ["--repository", "tree", "--good", "first", "--bad", "main"];
    let (code, report, errors) = bench.bisect(&arguments);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(report["ending"], "bad-end-silent", "{report:#}");

    let bench = Bench::new();
    bench.repository(6, "echo 'char mark[] = \"DEFECT\";' > kernel/a.c");
    let arguments = ["--repository", "tree", "--good", "c2", "--bad", "main"];
    let (code, report, errors) = bench.bisect(&arguments);
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(report["ending"], "good-end-bad", "{report:#}");
}

#[test]
fn a_killed_bisection_goes_on_to_the_same_culprit() {
    let bench = Bench::new();
    bench.repository(16, BREAKS);
    bench.place.write("hang", "0005");
    let arguments = [
        "bisect",
        "--campaign",
        "campaign.yaml",
        "--repository",
        "tree",
    ];
    let mut child = bench.start(&[&arguments[..], &["--good", "first", "--bad", "main"]].concat());
    let end = Instant::now() + Duration::from_secs(120);
    let hangs = || {
        let trials = fs::read_dir(bench.run_dir().join("trials"));
        trials.is_ok_and(|mut trials| {
            trials.any(|trial| {
                trial
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("0005-")
            })
        })
    };
    while bench.place.trials() < 4 || !hangs() {
        assert!(Instant::now() < end, "the fifth trial never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(bench.place.path("hang")).unwrap();
    let dir = bench.run_dir();
    let before = fs::read_to_string(dir.join("trials.jsonl")).unwrap();
    let (code, report, errors) = bench.run(&["bisect", "--resume", dir.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["ending"]["found"]["candidate"], 11, "{report:#}");
    let after = fs::read_to_string(dir.join("trials.jsonl")).unwrap();
    assert!(after.starts_with(&before), "what was recorded was changed");
}

/// Most trials under way at a time, by what the run noted.
fn most_at_a_time(dir: &Path) -> i32 {
    let (mut now, mut most) = (0, 0);
    for event in lines(&dir.join("events.jsonl")) {
        match event["event"].as_str() {
            Some("trial-started") => now += 1,
            Some("trial-ended") => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Four trials at a time, killed while the third is out. That one, of the bad end, is one that survives: what a kill
/// takes is what takes long.
fn killed_side_by_side(bench: &Bench) -> PathBuf {
    bench.repository(16, BREAKS);
    bench.place.write("hang", "0003");
    let ends = ["--repository", "tree", "--good", "first", "--bad", "main"];
    let how = ["bisect", "--campaign", "campaign.yaml", "--jobs", "4"];
    let mut child = bench.start(&[&how[..], &ends].concat());
    let end = Instant::now() + Duration::from_secs(120);
    while bench.place.trials() < 3 {
        assert!(Instant::now() < end, "the others never ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(bench.place.path("hang")).unwrap();
    bench.run_dir()
}

#[test]
fn side_by_side_the_same_culprit_is_found_and_what_a_kill_took_is_made_again() {
    let bench = Bench::new();
    let dir = killed_side_by_side(&bench);
    assert_eq!(most_at_a_time(&dir), 4);
    // What came back before the third did is not judged without it.
    let recorded = lines(&dir.join("trials.jsonl"));
    let is_early = |one: &&Value| number(one).is_none_or(|number| number < 3);
    let early = recorded.iter().filter(is_early).count();
    let (code, report, errors) = bench.run_report(dir.to_str().unwrap());
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(report["path"].as_array().unwrap().len(), early);
    assert!(early < recorded.len(), "{recorded:#?}");
    let text = fs::read_to_string(dir.join("report.txt")).unwrap();
    assert!(text.contains("not judged"), "{text}");

    let resumed = ["bisect", "--jobs", "4", "--resume", dir.to_str().unwrap()];
    let (code, report, errors) = bench.run(&resumed);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["ending"]["found"]["candidate"], 11, "{report:#}");
    assert!(errors.contains("(its trial got lost)"), "{errors}");
    let mut made: Vec<u64> = lines(&dir.join("trials.jsonl"))
        .iter()
        .filter_map(number)
        .collect();
    made.sort_unstable();
    let asked: Vec<u64> = lines(&dir.join("orders.jsonl"))
        .iter()
        .map(|order| order["number"].as_u64().unwrap())
        .collect();
    assert_eq!(made, asked, "each trial that was asked for, once");
}

/// Its detectors are not proven now, and what came of its trials before others got lost must not count.
#[test]
fn a_candidate_that_cannot_be_tried_any_more_is_given_up_with_what_got_lost_of_it() {
    let bench = Bench::new();
    let dir = killed_side_by_side(&bench);
    let manifest = dir.join("bisect.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let proving = text.replace("\"prove_detectors\": false", "\"prove_detectors\": true");
    assert_ne!(text, proving);
    fs::write(&manifest, proving).unwrap();
    let (code, report, errors) = bench.run(&["bisect", "--resume", dir.to_str().unwrap()]);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(report["ending"]["end-untestable"]["candidate"], 16);
    let recorded = lines(&dir.join("trials.jsonl"));
    let given_up = recorded.iter().filter(|one| number(one).is_none()).count();
    assert_eq!(given_up, 1, "{recorded:#?}");
    let counted = |step: &&Value| step["reading"]["counted"].is_object();
    let judged = report["path"].as_array().unwrap().iter().filter(counted);
    assert_eq!(judged.count(), 2, "{report:#}");
    // Whoever asks again gets the same answer, of the same records.
    let (code, again, errors) = bench.run(&["bisect", "--resume", dir.to_str().unwrap()]);
    assert_eq!(
        (code, &again["path"]),
        (Some(125), &report["path"]),
        "{errors}"
    );
    let (code, again, errors) = bench.run_report(dir.to_str().unwrap());
    assert_eq!(
        (code, &again["path"]),
        (Some(125), &report["path"]),
        "{errors}"
    );
    assert_eq!(lines(&dir.join("trials.jsonl")), recorded);
}

/// The second trial never gets to its guest, while others are under way.
#[test]
fn time_beside_a_trial_that_the_host_spoilt_is_counted_once() {
    let bench = Bench::new();
    bench.repository(16, BREAKS);
    let fails = "case $PWD in */0002-*) exit 1 ;; */000[1-4]-*) sleep 2 ;; esac\n";
    bench.place.guest(&format!("{fails}{GUEST}"));
    let arguments = ["--repository", "tree", "--good", "first", "--bad", "main"];
    let jobs = [&arguments[..], &["--jobs", "4"]].concat();
    let start = Instant::now();
    let (code, report, errors) = bench.bisect(&jobs);
    assert_eq!(code, Some(0), "{errors}");
    let took = start.elapsed().as_secs_f64();
    let recorded = lines(&bench.run_dir().join("trials.jsonl"));
    let mut trials = recorded.iter();
    let spoilt = trials.find(|one| number(one) == Some(2)).unwrap();
    assert_eq!(spoilt["trial"]["outcome"], "infrastructure");
    assert_eq!(spoilt["seconds"], 0.0);
    let told = report["minutes"].as_f64().unwrap() * 60.0;
    assert!(told >= 2.0 && told <= took, "{told} of {took} s");
}

/// Of the trial; none: there was none.
fn number(attempt: &Value) -> Option<u64> {
    attempt["trial"]["number"].as_u64()
}

#[test]
fn git_bisect_run_gets_the_answers_that_it_understands() {
    let bench = Bench::new();
    bench.repository(16, BREAKS);
    let tree = bench.place.path("tree");
    let path = std::env::var("PATH").unwrap();
    let script = format!(
        "export KVERDICT_CACHE={cache} TEST={test} PATH={bin}:{path}
         git bisect start main first >/dev/null
         git bisect run {kverdict} trial --git-bisect --campaign ../campaign.yaml --catalogue ../kernels \
             --results ../results --minutes 3 2>&1
         git bisect log",
        cache = bench.place.path("cache").display(),
        test = bench.place.root().display(),
        bin = bench.place.path("bin").display(),
        kverdict = env!("CARGO_BIN_EXE_kverdict"),
    );
    let said = shell(&tree, &script);
    let culprit = bench.commit("c11");
    assert!(
        said.contains("first bad commit") && said.contains(&culprit),
        "{said}"
    );
    let expected = format!("first bad commit: [{culprit}");
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn the_exit_status_of_a_trial_is_what_was_found() {
    let bench = Bench::new();
    let trial = |arguments: &[&str]| {
        bench.run(
            &[
                &["trial", "--campaign", "campaign.yaml", "--tree", "tree"],
                arguments,
            ]
            .concat(),
        )
    };
    let (code, report, errors) = trial(&[]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(report["state"], "no-bug-shown");
    assert!(report["minutes"].as_f64() >= Some(3.0), "{report}");
    assert_eq!(trial(&["--find-fix", "--minutes", "1"]).0, Some(1));
    bench
        .place
        .write("tree/kernel/a.c", "char mark[] = \"DEFECT\";\n");
    let (code, report, errors) = trial(&[]);
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(report["state"], "has-bug");
    assert_eq!(trial(&["--find-fix"]).0, Some(0));
    bench.place.write("tree/kernel/a.c", "broken(\n");
    let (code, _, errors) = trial(&[]);
    assert_eq!(code, Some(125), "{errors}");
    assert!(
        errors.contains("could not tell") && errors.contains("a.c"),
        "{errors}"
    );
    // Each run is in the history when it ends, just as if that were made of all records.
    let history = || bench.place.kverdict(&["history", "--json"]).stdout;
    let fed = history();
    let runs: Value = serde_json::from_slice(&fed).unwrap();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 5, "{runs:#}");
    let cell = &runs["runs"][1]["cells"][0];
    assert_eq!(runs["runs"][1]["kind"], "trial");
    assert_eq!(cell["cell"], "migrate-swap:fixed", "{runs:#}");
    assert!(cell["kernel"].as_str().unwrap().starts_with("6.99"));
    assert_eq!(cell["judged"], Value::Null);
    assert!(bench.place.kverdict(&["db", "rebuild"]).status.success());
    assert_eq!(history(), fed);
}
