//! Trials side by side and elsewhere, on a made-up kernel and guest: a kernel with the defect locks up.

mod made_up;
mod parallel;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use made_up::{Place, shell};
use parallel::{Bench, counts};
use serde_json::Value;
use support::wait_until;

/// Does what is asked of it on this machine; the first call of each trial fails.
const ELSEWHERE: &str = r#"#!/bin/sh
echo "asked for $2"
mkdir -p "$TEST/asked"
[ -e "$TEST/asked/$2" ] || { : > "$TEST/asked/$2"; echo "the node is gone"; exit 1; }
exec "$KVERDICT" trial --spec "$1" --index "$2" --out "$3"
"#;

#[test]
fn trials_run_side_by_side_and_come_to_the_same_verdict() {
    let one = Bench::new();
    let (code, alone, errors) = one.verify(&["--jobs", "1"]);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(one.most(), 1);
    // Three lockups of the control are enough.
    assert_eq!(one.records().len(), 7, "{errors}");

    let four = Bench::new();
    let (code, report, errors) = four.verify(&["--jobs", "4"]);
    assert_eq!(code, Some(125), "{errors}");
    assert!((2..=4).contains(&four.most()), "{}", four.most());
    assert_eq!(counts(&report), counts(&alone), "{errors}");
    // Lockups came back before survivals that were begun earlier; what is stored says the same again.
    let numbers: BTreeSet<u64> = four
        .records()
        .iter()
        .map(|one| one["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=7).collect());
    let run = four.place.run_dir();
    let again = four
        .place
        .kverdict(&["report", run.to_str().unwrap(), "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["verdict"], report["verdict"]);
}

#[test]
fn a_number_of_trials_that_is_none_is_refused() {
    let bench = Bench::new();
    for wrong in ["0", "many", "-1", "5000"] {
        let (code, _, errors) = bench.verify(&[&format!("--jobs={wrong}")]);
        assert_eq!(code, Some(129), "{errors}");
        assert!(errors.contains("a number from 1 to 4096"), "{errors}");
    }
}

#[test]
fn trials_that_a_kill_took_are_made_again_and_no_guest_is_left() {
    let bench = Bench::new();
    bench.place.write("hang", "");
    let mut verify = bench
        .place
        .start(&["verify", "campaign.yaml", "--jobs", "4"]);
    wait_until(Duration::from_secs(60), "four guests run", || {
        bench.begun().len() == 4
    });
    verify.kill().unwrap();
    verify.wait().unwrap();
    let guests = bench.guests();
    assert_eq!(guests.len(), 4);
    wait_until(Duration::from_secs(10), "all guests are gone", || {
        guests.iter().all(|guest| !guest.exists())
    });
    fs::remove_file(bench.place.path("hang")).unwrap();
    fs::remove_dir_all(bench.place.path("running")).unwrap();

    let run = bench.place.run_dir();
    let resume = ["verify", "--resume", run.to_str().unwrap(), "--json"];
    let (code, report, errors) = bench.place.run(&[&resume[..], &["--jobs", "4"]].concat());
    assert_eq!(code, Some(125), "{errors}");
    let (mut first, mut again) = (bench.begun()[..4].to_vec(), bench.begun()[4..8].to_vec());
    first.sort();
    again.sort();
    assert_eq!(first, again, "the same ones are made again");
    assert_eq!(bench.records().len(), 7);
    let whole = Bench::new().verify(&["--jobs", "1"]).1;
    assert_eq!(counts(&report), counts(&whole));
}

#[test]
fn a_result_that_was_handed_in_and_not_listed_is_taken() {
    let bench = Bench::new();
    bench.verify(&["--jobs", "4"]);
    let list = bench.place.run_dir().join("trials.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("\"number\":2,"))
        .collect();
    assert_eq!(kept.len(), 6);
    fs::write(&list, kept.join("\n") + "\n").unwrap();
    let before = bench.begun().len();
    let run = bench.place.run_dir();
    bench
        .place
        .run(&["verify", "--resume", run.to_str().unwrap(), "--json"]);
    assert_eq!(bench.begun().len(), before, "no guest was started");
    let (mut stored, mut found): (Vec<&str>, Vec<String>) = (text.lines().collect(), Vec::new());
    found.extend(
        fs::read_to_string(&list)
            .unwrap()
            .lines()
            .map(str::to_owned),
    );
    stored.sort_unstable();
    found.sort_unstable();
    assert_eq!(stored, found);
}

/// Notes on which CPUs it may run, and which of them another guest has that runs now.
const PINNED: &str = r#"
allowed=$(sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status)
cpus=$(echo "$allowed" | tr , '\n' | while IFS=- read -r from to; do seq "$from" "${to:-$from}"; done)
echo $cpus >> "$TEST/cpus"
for cpu in $cpus; do mkdir "$TEST/cpu-$cpu" || echo "$cpu" >> "$TEST/clashes"; done
begin
sleep 0.3
survive 60 60
for cpu in $cpus; do rmdir "$TEST/cpu-$cpu"; done
"#;

/// Two campaigns at once, of guests with two vCPUs: on a machine with as many CPUs, they take turns.
#[test]
fn no_two_guests_have_the_same_cpu_whoever_runs_them() {
    let bench = Bench::of(3);
    let campaign = fs::read_to_string(bench.place.path("campaign.yaml")).unwrap();
    let small = campaign.replace("{cpus: 4, memory_mib: 64}", "{cpus: 1, memory_mib: 64}");
    assert_ne!(small, campaign);
    bench.place.write("campaign.yaml", &small);
    bench.place.guest(PINNED);
    let both = [(), ()].map(|()| bench.place.start(&["verify", "campaign.yaml"]));
    for verify in both {
        let output = verify.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{errors}");
    }
    let clashes = fs::read_to_string(bench.place.path("clashes")).unwrap_or_default();
    assert_eq!(clashes, "");
    let cpus = fs::read_to_string(bench.place.path("cpus")).unwrap();
    let counts: Vec<usize> = cpus.lines().map(|line| line.split(' ').count()).collect();
    assert_eq!(counts, [2; 12], "{cpus}");
}

#[test]
fn what_another_run_left_in_a_trials_place_is_neither_counted_nor_lost() {
    let bench = Bench::of(1);
    let (code, _, errors) = bench.verify(&["--jobs", "2"]);
    assert_eq!(code, Some(125), "{errors}");
    let run = bench.place.run_dir();
    let of_run = run.join("trials/0002-fixed/run");
    let name = run.file_name().unwrap().to_str().unwrap();
    assert_eq!(fs::read_to_string(&of_run).unwrap(), name);
    let list = run.join("trials.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("\"number\":2,"))
        .collect();
    fs::write(&list, kept.join("\n") + "\n").unwrap();
    fs::write(&of_run, "other").unwrap();

    let resume = ["verify", "--resume", run.to_str().unwrap(), "--json"];
    let (code, _, errors) = bench.place.run(&resume);
    assert_eq!(code, Some(129), "{errors}");
    for words in ["trials/0002-fixed is in the way", "it is of run other"] {
        assert!(errors.contains(words), "{words}\n{errors}");
    }
    assert_eq!(fs::read_to_string(&of_run).unwrap(), "other");
    fs::rename(run.join("trials/0002-fixed"), run.join("away")).unwrap();
    let (code, _, errors) = bench.place.run(&resume);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(bench.begun().len(), 3, "it is made again\n{errors}");
}

#[test]
fn a_program_makes_trials_elsewhere_and_is_called_again_where_it_failed() {
    let bench = Bench::new();
    bench.place.program(
        "elsewhere.sh",
        &ELSEWHERE.replace("$KVERDICT", env!("CARGO_BIN_EXE_kverdict")),
    );
    let (code, report, errors) = bench.verify(&["--jobs", "3", "--executor", "./elsewhere.sh"]);
    assert_eq!(code, Some(125), "{errors}");
    assert_eq!(
        counts(&report),
        counts(&Bench::new().verify(&[]).1),
        "{errors}"
    );
    let run = bench.place.run_dir();
    let log = fs::read_to_string(run.join("elsewhere/0001-unfixed.log")).unwrap();
    assert!(log.contains("the node is gone"), "{log}");
    // Whole folders, as local trials leave them.
    let console = fs::read_to_string(run.join("trials/0001-unfixed/console.log")).unwrap();
    assert!(console.contains("hard LOCKUP"));
    let names = fs::read_dir(run.join("trials")).unwrap().count();
    assert_eq!(names, 7);

    // The same trial again is there already, by whomever it is asked for.
    let before = bench.begun().len();
    let out = run.join("trials");
    let ask_by = |spec: &str, index: &str| {
        let spec = run.join(spec);
        let arguments = [
            "trial",
            "--spec",
            spec.to_str().unwrap(),
            "--index",
            index,
            "--out",
            out.to_str().unwrap(),
        ];
        let output = bench
            .place
            .start_alone(&arguments)
            .wait_with_output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let ask = |index| ask_by("spec.json", index);
    let (code, errors) = ask("1");
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("0001-unfixed is there already"), "{errors}");
    assert_eq!(bench.begun().len(), before);
    let (code, errors) = ask("77");
    assert_eq!(code, Some(129), "{errors}");
    assert!(
        errors.contains("no such trial; its numbers go up to 7"),
        "{errors}"
    );
    // But not by another run.
    let spec = fs::read_to_string(run.join("spec.json")).unwrap();
    let name = run.file_name().unwrap().to_str().unwrap();
    fs::write(run.join("other.json"), spec.replace(name, "other")).unwrap();
    let (code, errors) = ask_by("other.json", "1");
    assert_eq!(code, Some(129), "{errors}");
    assert!(errors.contains(&format!("it is of run {name}")), "{errors}");
    assert_eq!(bench.begun().len(), before);
}

/// ssh and the like are children of the program.
#[test]
fn what_a_program_started_ends_with_a_kverdict_that_is_killed() {
    let bench = Bench::new();
    bench.place.program(
        "slow.sh",
        "#!/bin/sh\nsleep 1000 &\necho $! > \"$TEST/child.new\"\nmv \"$TEST/child.new\" \"$TEST/child\"\nwait\n",
    );
    let arguments = ["verify", "campaign.yaml", "--jobs", "1"];
    let executor = ["--executor", "./slow.sh"];
    let mut verify = bench.place.start(&[&arguments[..], &executor].concat());
    let child = bench.place.path("child");
    wait_until(Duration::from_secs(60), "the program runs", || {
        child.exists()
    });
    let id = fs::read_to_string(child).unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", id.trim()));
    assert!(stat().unwrap().contains("(sleep)"));
    verify.kill().unwrap();
    verify.wait().unwrap();
    // A zombie is dead, too.
    wait_until(Duration::from_secs(10), "its child is gone", || {
        stat().map_or(true, |stat| {
            !stat.contains("(sleep)") || stat.contains(") Z ")
        })
    });
}

#[test]
fn a_program_that_is_none_is_refused_before_anything_is_asked_of_it() {
    let bench = Bench::new();
    bench.place.write("text", "echo no program\n");
    for (program, words) in [
        ("./none.sh", "No such file"),
        ("./text", "Permission denied"),
    ] {
        let (code, _, errors) = bench.verify(&["--executor", program]);
        assert_eq!(code, Some(129), "{errors}");
        for words in [program, words] {
            assert!(errors.contains(words), "{words}\n{errors}");
        }
    }
}

/// The scripts that come with kverdict.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib/elsewhere");

/// Runs a command of ssh here, in another folder for each machine, and notes which program of a run's is there then.
/// Trials begin at the same time: each is told that nothing is there yet before one of them brings it.
const SSH: &str = r#"#!/bin/sh
mkdir -p "$TEST/machines/$1" && cd "$TEST/machines/$1" && shift
for program in .cache/kverdict-trials/*/kverdict; do
    case $program in */*.*/kverdict) ;; *) stat -c "$PWD %i" "$program" ;; esac
done >> "$TEST/programs" 2> /dev/null
sh -c "$*"
status=$?
case $* in "test -d"*) sleep 0.5 ;; esac
exit "$status"
"#;

#[test]
fn the_example_for_ssh_makes_trials_on_several_machines() {
    let bench = Bench::new();
    bench.place.program("bin/ssh", SSH);
    let program = format!("{SCRIPTS}/by-ssh.sh");
    let arguments = ["verify", "campaign.yaml", "--json", "--jobs", "4"];
    let arguments = [&arguments[..], &["--executor", &program]].concat();
    let verify = bench.place.start_with(&arguments, &[("HOSTS", "one two")]);
    let output = verify.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        counts(&report),
        counts(&Bench::new().verify(&[]).1),
        "{errors}"
    );
    assert_eq!(bench.begun().len(), 7, "each was made once\n{errors}");
    for machine in ["one", "two"] {
        let place = format!("machines/{machine}/.cache/kverdict-trials");
        let there = fs::read_dir(bench.place.path(&place)).unwrap();
        let there: Vec<_> = there.map(|entry| entry.unwrap().file_name()).collect();
        let name = bench.place.run_dir().file_name().unwrap().to_owned();
        assert_eq!(there, [name], "{machine}\n{errors}");
    }
    let programs = fs::read_to_string(bench.place.path("programs")).unwrap();
    let programs: BTreeSet<&str> = programs.lines().collect();
    assert_eq!(programs.len(), 2, "one was replaced: {programs:?}");
    let names = fs::read_dir(bench.place.run_dir().join("trials")).unwrap();
    assert_eq!(names.count(), 7, "and nothing else is left there");
}

/// A run that was begun here, and killed: its folders without a record are in the way.
#[test]
fn the_example_for_ssh_replaces_what_a_killed_trial_left() {
    let bench = Bench::of(1);
    bench.place.program("bin/ssh", SSH);
    bench.place.write("hang", "");
    let mut verify = bench
        .place
        .start(&["verify", "campaign.yaml", "--jobs", "2"]);
    wait_until(Duration::from_secs(60), "two guests run", || {
        bench.begun().len() == 2
    });
    verify.kill().unwrap();
    verify.wait().unwrap();
    fs::remove_file(bench.place.path("hang")).unwrap();
    let (run, program) = (bench.place.run_dir(), format!("{SCRIPTS}/by-ssh.sh"));
    assert!(run.join("trials/0001-unfixed").is_dir());
    let resume = ["verify", "--resume", run.to_str().unwrap(), "--json"];
    let arguments = [&resume[..], &["--executor", &program]].concat();
    let verify = bench.place.start_with(&arguments, &[("HOSTS", "one")]);
    let output = verify.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert_eq!(bench.begun().len(), 4, "each once again\n{errors}");
    assert_eq!(bench.records().len(), 2, "{errors}");
}

#[test]
fn the_examples_are_scripts() {
    for entry in fs::read_dir(SCRIPTS).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "sh") {
            shell(Path::new(SCRIPTS), &format!("sh -n {}", path.display()));
        }
    }
}

/// With a program in kubectl's place that keeps the job.
#[test]
fn the_example_for_kubernetes_asks_for_kvm_where_the_spec_does() {
    let place = Place::new();
    place.program(
        "bin/kubectl",
        "#!/bin/sh\n[ \"$1\" != create ] || cat > \"$TEST/job.yaml\"\n",
    );
    let kvm = "devices.kubevirt.io/kvm";
    for (acceleration, asked) in [("kvm", Some(1)), ("tcg", None)] {
        let spec = format!("{{\n  \"acceleration\": \"{acceleration}\"\n}}\n");
        place.write("mount/run/spec.json", &spec);
        let script = format!(
            "PATH=\"$PWD/bin:$PATH\" TEST=$PWD CLAIM=c IMAGE=i MOUNT=$PWD/mount \
             sh {SCRIPTS}/by-kubernetes.sh $PWD/mount/run/spec.json 3 $PWD/mount/run/trials"
        );
        shell(place.root(), &script);
        let job = fs::read_to_string(place.path("job.yaml")).unwrap();
        let job: Value = serde_yaml::from_str(&job).unwrap();
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"][3], "/results/run/spec.json");
        let limits = &container["resources"]["limits"];
        assert_eq!(limits[kvm].as_u64(), asked, "{job:#}");
    }
}

/// Runs the tasks of an array here. While `away` has lines, a call takes one away, and nobody answers.
const SBATCH: &str = r#"#!/bin/sh
echo called >> "$TEST/sbatch"
if [ -s "$TEST/away" ]; then
    sed -i 1d "$TEST/away"
    echo "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)" >&2
    exit 1
fi
for argument; do
    case $argument in
        --array=*) tasks=${argument#--array=} ;;
        --wrong) echo "sbatch: error: invalid partition specified" >&2; exit 1 ;;
    esac
done
for task in $(echo "${tasks%\%*}" | tr , ' '); do
    SLURM_ARRAY_TASK_ID=$task "$argument" > /dev/null 2>&1 &
done
echo 7
"#;

fn with_slurm() -> Bench {
    let bench = Bench::of(1);
    bench.place.program("bin/sbatch", SBATCH);
    bench
        .place
        .program("bin/squeue", "#!/bin/sh\n[ ! -s \"$TEST/away\" ]\n");
    bench.place.program(
        "bin/scancel",
        "#!/bin/sh\n[ ! -e \"$TEST/sbatch\" ] || echo cancelled >> \"$TEST/sbatch\"\n",
    );
    bench
}

#[test]
fn a_controller_of_slurm_that_is_away_for_a_while_ends_no_run() {
    let bench = with_slurm();
    bench.place.write("away", "1\n2\n");
    let (code, report, errors) = bench.verify(&["--executor", "slurm", "--jobs", "2"]);
    assert_eq!(code, Some(125), "{errors}");
    for words in ["called again in 2 s", "called again in 4 s", "Unable to"] {
        assert!(errors.contains(words), "{words}\n{errors}");
    }
    assert_eq!(bench.records().len(), 2, "{errors}");
    assert_eq!(counts(&report), counts(&Bench::of(1).verify(&[]).1));
    let called = fs::read_to_string(bench.place.path("sbatch")).unwrap();
    assert_eq!(called.lines().count(), 3, "{called}");
}

#[test]
fn trials_that_sbatch_refuses_end_the_run_with_what_it_said() {
    let bench = with_slurm();
    let (code, _, errors) = bench.verify(&["--executor", "slurm", "--slurm-arg=--wrong"]);
    assert_eq!(code, Some(131), "{errors}");
    for words in ["sbatch does not take the trials", "invalid partition"] {
        assert!(errors.contains(words), "{words}\n{errors}");
    }
    let called = fs::read_to_string(bench.place.path("sbatch")).unwrap();
    assert_eq!(called, "called\ncalled\ncalled\ncancelled\n");
    assert!(bench.begun().is_empty());
}

#[test]
fn a_command_of_slurm_that_hangs_is_left_when_the_user_asks() {
    let bench = with_slurm();
    bench.place.program(
        "bin/sbatch",
        "#!/bin/sh\necho called >> \"$TEST/sbatch\"\nexec sleep 1000\n",
    );
    let arguments = ["verify", "campaign.yaml", "--executor", "slurm"];
    let verify = bench.place.start(&arguments);
    let called = bench.place.path("sbatch");
    wait_until(Duration::from_secs(60), "sbatch hangs", || called.exists());
    shell(bench.place.root(), &format!("kill -INT {}", verify.id()));
    let output = verify.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    // And what it may have queued is taken back, interrupted or not.
    let called = fs::read_to_string(called).unwrap();
    assert_eq!(called, "called\ncancelled\n");
}

#[test]
fn a_program_that_never_leaves_a_record_ends_the_run_with_what_it_said() {
    let bench = Bench::new();
    bench
        .place
        .program("broken.sh", "#!/bin/sh\necho out of quota\n");
    let (code, _, errors) = bench.verify(&["--executor", "./broken.sh"]);
    assert_eq!(code, Some(131), "{errors}");
    for words in ["was called 3 times and left no record", "out of quota"] {
        assert!(errors.contains(words), "{words}\n{errors}");
    }
    // Several trials fail at once; the one that is named is whichever gave up first.
    let log = errors
        .split_whitespace()
        .map(|word| word.trim_end_matches(':'))
        .find(|word| word.contains("/elsewhere/") && word.ends_with(".log"))
        .unwrap_or_else(|| panic!("no log is named\n{errors}"));
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(said.matches("out of quota").count(), 3, "{said}");
}

/// Lockups come back sooner than survivals: what is back before others that were asked for earlier is told, and not
/// judged.
#[test]
fn a_report_judges_nothing_that_came_back_before_its_turn() {
    let bench = Bench::without_end(4);
    let guest = "begin\nif grep -q DEFECT \"$kernel\"; then lock_up; fi\nsurvive 60 60\n";
    bench.place.guest(guest);
    bench.place.write("hang", "0002");
    let arguments = ["verify", "campaign.yaml", "--json", "--jobs", "2"];
    let mut verify = bench.place.start(&arguments);
    wait_until(Duration::from_secs(60), "three trials are back", || {
        bench.place.trials() >= 3
    });
    verify.kill().unwrap();
    verify.wait().unwrap();
    let run = bench.place.run_dir();
    let report = bench
        .place
        .kverdict(&["report", run.to_str().unwrap(), "--json"]);
    let report = serde_json::from_slice(&report.stdout).unwrap();
    let judged: Vec<u64> = counts(&report)
        .iter()
        .map(|arm| arm[1].as_u64().unwrap())
        .collect();
    assert_eq!(judged.iter().sum::<u64>(), 1, "{report:#}");
    let made_with = report["environment"].as_array().unwrap();
    let line = made_with.iter().find(|line| line[0] == "not judged");
    let told = line.expect("it is told")[1].as_str().unwrap();
    assert!(told.starts_with("0003-unfixed, 0004-fixed"), "{told}");
}

#[test]
fn a_spec_that_is_none_is_refused() {
    let place = Place::new();
    place.write("spec.json", "{\"schema\": 99}");
    for (file, words) in [
        ("spec.json", "expected the spec.json of a run"),
        ("none.json", "none.json: No such file"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(["trial", "--spec", file, "--index", "1", "--out", "out"])
            .current_dir(place.root())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{errors}");
        assert!(errors.contains(words), "{words}\n{errors}");
        assert!(!place.path("out").exists());
    }
}
