//! What goes wrong at night: kills at any moment, full and read-only disks, guests that lie, flood or do not end.
//!
//! `KVERDICT_KILLS` says how many kills there are; with 500 the test takes some ten minutes.

mod made_up;
mod parallel;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use made_up::shell;
use parallel::{Bench, counts};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::wait_until;

const SOON: Duration = Duration::from_secs(30);

/// Steele, Lea and Flood's SplitMix64 (2014): each run of the test is the same as far as the machine is.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Processes that were started by kverdict of this folder, and itself: guests, compilers, shells. Compilers have
/// none of its variables, but work in the folder.
fn processes(root: &Path) -> Vec<i32> {
    let mark = root.to_str().unwrap().as_bytes();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let works_there =
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(root));
        let is_marked = ["environ", "cmdline"].iter().any(|file| {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            text.windows(mark.len()).any(|part| part == mark)
        });
        works_there || is_marked
    })
    .collect()
}

fn wait_until_nothing_runs(bench: &Bench) {
    wait_until(SOON, "nothing runs any more", || {
        processes(bench.place.root()).is_empty()
    });
}

fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: i32, signal: Signal) {
    // It may have ended meanwhile.
    let _ = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Begins a run, or goes on with the one that is there.
fn go_on(bench: &Bench) -> Child {
    go_on_by(bench, "exec \"$@\"")
}

/// The same by a script that has the command as its arguments.
fn go_on_by(bench: &Bench, script: &str) -> Child {
    let runs = bench.place.runs();
    let begun = runs.iter().find(|run| run.join("run.json").is_file());
    let what = match begun {
        Some(run) => vec!["--resume", run.to_str().unwrap()],
        None => vec!["campaign.yaml"],
    };
    let options = ["--json", "--jobs", "2"];
    let arguments = [&["verify"], &what[..], &options].concat();
    bench.place.start_by(script, &arguments)
}

/// Lines of a run's list of trials that are whole, by number.
fn recorded(bench: &Bench) -> Vec<(u64, String)> {
    let runs = bench.place.runs();
    let lists = runs
        .iter()
        .map(|run| fs::read_to_string(run.join("trials.jsonl")));
    let text: String = lists.flatten().collect();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| {
            let record: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            (record["number"].as_u64().unwrap(), line.to_owned())
        })
        .collect()
}

/// What is recorded once a run has ended and nothing of it is left behind; all that is `known` has to be there.
fn still_recorded(bench: &Bench, known: &[(u64, String)], errors: &str) -> Vec<(u64, String)> {
    wait_until_nothing_runs(bench);
    let now = recorded(bench);
    for line in known {
        assert!(now.contains(line), "a record is gone: {line:?}\n{errors}");
    }
    now
}

/// kverdict, a guest or a compiler, at any moment: nothing that was recorded gets lost, nothing is left behind, and
/// the verdict is the one of an undisturbed run.
#[test]
fn kills_at_any_moment_lose_no_record_and_leave_no_process() {
    let kills: u32 = std::env::var("KVERDICT_KILLS").map_or(12, |text| text.parse().unwrap());
    let seed = std::env::var("KVERDICT_SEED").map_or(1, |text| text.parse().unwrap());
    let undisturbed = Bench::without_end(4).verify(&["--jobs", "2"]).1;
    let (mut random, mut killed, mut runs) = (Random(seed), 0, 0);
    while killed < kills {
        runs += 1;
        killed += kill_until_it_ends(&mut random, kills - killed, &undisturbed);
    }
    println!("{killed} kills in {runs} runs");
}

fn kill_until_it_ends(random: &mut Random, most: u32, undisturbed: &Value) -> u32 {
    let bench = Bench::without_end(4);
    let (mut killed, mut known) = (0, Vec::new());
    loop {
        let mut verify = go_on(&bench);
        let leader = i32::try_from(verify.id()).unwrap();
        let moment = Instant::now() + Duration::from_millis(random.below(2500));
        let last = killed == most;
        while verify.try_wait().unwrap().is_none() && (last || Instant::now() < moment) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let running = verify.try_wait().unwrap().is_none();
        if running {
            killed += 1;
            let all = processes(bench.place.root());
            let others: Vec<i32> = all.into_iter().filter(|pid| *pid != leader).collect();
            match others.get(random.below(others.len() as u64 * 2 + 1) as usize) {
                Some(other) => kill(*other),
                None => kill(leader),
            }
        }
        let output = verify.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let now = still_recorded(&bench, &known, &errors);
        let numbers: BTreeSet<u64> = now.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), now.len(), "a trial is there twice\n{errors}");
        known = now;
        if output.status.code() == Some(125) && errors.contains("results: ") {
            assert_same_verdict(&bench, &output.stdout, undisturbed, &errors);
            return killed;
        }
    }
}

/// A guest that is killed is trouble of the host, and another one takes its place as far as the policy allows;
/// nothing else may differ.
fn assert_same_verdict(bench: &Bench, stdout: &[u8], undisturbed: &Value, errors: &str) {
    let report: Value = serde_json::from_slice(stdout).unwrap();
    assert_eq!(
        report["verdict"]["conclusion"], undisturbed["verdict"]["conclusion"],
        "{errors}"
    );
    for (found, expected) in counts(&report).iter().zip(counts(undisturbed)) {
        let [arm, trials, lockups, survived] = found;
        let lost =
            trials.as_u64().unwrap() - lockups.as_u64().unwrap() - survived.as_u64().unwrap();
        let broken = bench
            .records()
            .into_iter()
            .filter(|record| record["arm"] == *arm && record["outcome"] == "infrastructure");
        assert_eq!(broken.count() as u64, lost, "{errors}");
        assert_eq!((arm, trials), (&expected[0], &expected[1]), "{errors}");
        // What locks up undisturbed never survives, and the other way round.
        let most = |found: &Value, expected: &Value| found.as_u64() <= expected.as_u64();
        assert!(most(lockups, &expected[2]), "{errors}");
        assert!(most(survived, &expected[3]), "{errors}");
        assert!(expected[2] == 0 || expected[3] == 0, "{undisturbed}");
    }
}

/// What encloses a build may leave somebody behind when it is killed, as bubblewrap 0.8 does within its first
/// millisecond: that one ends as well, whether it was kverdict that was killed, or what encloses.
#[test]
fn nothing_that_a_build_started_outlives_it() {
    for victim in ["verify", "outer"] {
        let bench = Bench::without_end(1);
        bench.place.program(
            "bin/bwrap",
            r#"#!/bin/sh
while [ "$1" != env ]; do shift; done
case "$*" in *bzImage*)
    sleep 1000 &
    echo $$ > "$TEST/outer.new" && mv "$TEST/outer.new" "$TEST/outer"
    wait ;;
esac
exec "$@"
"#,
        );
        let verify = go_on(&bench);
        let outer = bench.place.path("outer");
        wait_until(SOON, "it compiles", || outer.exists());
        match victim {
            "verify" => kill(i32::try_from(verify.id()).unwrap()),
            _ => kill(fs::read_to_string(&outer).unwrap().trim().parse().unwrap()),
        }
        let output = verify.wait_with_output().unwrap();
        assert!(!output.status.success(), "{victim}: {output:?}");
        wait_until_nothing_runs(&bench);
    }
}

/// A run stands still for some seconds, and the guest's watchdog calls that a lockup of its own: the host is to
/// blame. Where the guest went on, and only kverdict was stopped, the same words count.
#[test]
fn a_lockup_that_the_host_made_by_standing_still_is_not_the_kernels() {
    const STILL: Duration = Duration::from_secs(7);
    let bench = Bench::without_end(1);
    let log = "../core/tests/logs/boot-warning-then-softlockup-6.12.log";
    fs::copy(log, bench.place.path("soft.log")).unwrap();
    bench.place.guest(
        "id=$(basename $PWD)
         begin
         touch $TEST/begun-$id
         while [ ! -e $TEST/go-$id ]; do :; done
         # Real ones live on, too: what is gone at the next look may have been for long.
         i=0; while [ $i -lt 1000000 ]; do i=$((i + 1)); done
         cat $TEST/soft.log > console.log
         survive 60 60",
    );
    let alone = ["verify", "campaign.yaml", "--json", "--jobs", "1"];
    let verify = bench.place.start(&alone);
    let leader = i32::try_from(verify.id()).unwrap();
    for (id, is_whole_run) in [("0001-unfixed", true), ("0002-fixed", false)] {
        wait_until(SOON, "a guest is under load", || {
            bench.place.path(&format!("begun-{id}")).exists()
        });
        let mut stopped = match is_whole_run {
            true => processes(bench.place.root()),
            false => vec![leader],
        };
        // kverdict stops first and goes on last: it must not see a guest that stands still.
        stopped.sort_by_key(|pid| *pid != leader);
        stopped.iter().for_each(|pid| signal(*pid, Signal::STOP));
        std::thread::sleep(STILL);
        let rest = stopped.iter().rev();
        rest.for_each(|pid| signal(*pid, Signal::CONT));
        bench.place.write(&format!("go-{id}"), "");
    }
    let output = verify.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    let records = bench.records();
    let of = |index: usize| {
        let record: &Value = &records[index];
        let title = record["title"].as_str().unwrap();
        (record["outcome"].as_str().unwrap(), title.to_owned())
    };
    let (outcome, title) = of(0);
    assert_eq!(
        outcome, "infrastructure",
        "{title}; {}; {errors}",
        records[0]["timing"]
    );
    assert!(
        title.starts_with("this machine, or all of this run, stood still for")
            && title.contains("soft lockup"),
        "{title}"
    );
    let still = records[0]["timing"]["stalled_ms"].as_u64().unwrap();
    assert!(
        u128::from(still) + 1000 > STILL.as_millis(),
        "{still} ms of {STILL:?}"
    );
    assert_eq!(of(1).0, "soft-lockup", "{errors}");
    assert_eq!(records[1]["timing"]["stalled_ms"], Value::Null);
}

/// Memory runs out, at first at once and then ever later: what was recorded stays, nothing is left behind, and
/// with enough of it the run comes to the verdict of an undisturbed one.
#[test]
fn a_run_that_is_out_of_memory_goes_on_when_there_is_some() {
    let undisturbed = Bench::without_end(4).verify(&["--jobs", "2"]).1;
    let bench = Bench::without_end(4);
    // Kernels are built by then, and there is something to lose.
    let mut verify = go_on(&bench);
    wait_until(SOON, "a trial is recorded", || !recorded(&bench).is_empty());
    verify.kill().unwrap();
    verify.wait().unwrap();
    let (mut known, mut failed) = (recorded(&bench), 0);
    for mib in (8..4096).step_by(3) {
        let within = format!("ulimit -v {}; exec \"$@\"", mib * 1024);
        let output = go_on_by(&bench, &within).wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        known = still_recorded(&bench, &known, &errors);
        if output.status.code() == Some(125) && errors.contains("results: ") {
            assert_same_verdict(&bench, &output.stdout, &undisturbed, &errors);
            assert!(failed > 3, "there was enough memory from the start");
            return;
        }
        // A program that the kernel has no room to load says nothing.
        let told = match output.status.code() {
            Some(0 | 1) => false,
            Some(_) => !errors.is_empty(),
            None => output.status.signal().is_some(),
        };
        assert!(told, "{mib} MiB: {:?} {errors}", output.status);
        let last = errors.lines().last().unwrap_or_default();
        println!(
            "{mib} MiB: {}, {} trials, {last}",
            output.status,
            known.len()
        );
        failed += 1;
    }
    panic!("no memory was enough");
}

/// The kernel kills a guest for want of memory: that says nothing of the guest's kernel.
#[test]
fn a_guest_that_is_killed_for_memory_is_trouble_of_the_host() {
    let Some(group) = Group::of_mib(96) else {
        eprintln!("skipped: this user cannot limit the memory of a control group");
        return;
    };
    let bench = Bench::without_end(1);
    bench.place.guest("begin\nexec tail /dev/zero\n");
    let within = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.0.display());
    let output = go_on_by(&bench, &within).wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert!(group.kills() > 0, "nothing was killed\n{errors}");
    let records = bench.records();
    assert!(!records.is_empty(), "{errors}");
    for record in records {
        assert_eq!(record["outcome"], "infrastructure", "{record}");
        let told = record.to_string();
        assert!(told.contains("signal"), "{told}");
    }
}

/// A control group with so much memory, of either version.
struct Group(PathBuf);

impl Group {
    fn of_mib(mib: u64) -> Option<Self> {
        let name = format!("kverdict-test-{}", std::process::id());
        let groups = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        groups.iter().find_map(|(root, limit)| {
            let group = Self(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            let set = fs::write(group.0.join(limit), (mib << 20).to_string());
            set.ok().map(|()| group)
        })
    }

    /// How many processes of it were killed for memory.
    fn kills(&self) -> u64 {
        let texts = ["memory.oom_control", "memory.events"]
            .map(|file| fs::read_to_string(self.0.join(file)).unwrap_or_default());
        let lines = texts.iter().flat_map(|text| text.lines());
        let counts = lines.filter_map(|line| line.strip_prefix("oom_kill "));
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The clock of the machine jumps, ahead by a day and back by three, while trials run: nothing is taken for over,
/// late, or older than what went before. Sets the machine's clock, so it only runs where it is asked for.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    if std::env::var_os("KVERDICT_SET_CLOCK").is_none() {
        eprintln!("skipped: KVERDICT_SET_CLOCK=1 lets it set the clock of this machine");
        return;
    }
    const DAY: i64 = 86_400;
    let undisturbed = Bench::without_end(4).verify(&["--jobs", "2"]).1;
    let bench = Bench::without_end(4);
    let clock = Clock::now();
    let verify = go_on(&bench);
    for (trials, days) in [(1, 1), (3, -2), (5, 0)] {
        wait_until(SOON, "trials are recorded", || {
            recorded(&bench).len() >= trials
        });
        clock.set(days * DAY);
    }
    let output = verify.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert_same_verdict(&bench, &output.stdout, &undisturbed, &errors);
    // Begun in the future, and gone on with in what is then the past.
    let bench = Bench::without_end(4);
    clock.set(DAY);
    let verify = go_on(&bench);
    wait_until(SOON, "a trial is recorded", || !recorded(&bench).is_empty());
    kill(i32::try_from(verify.id()).unwrap());
    verify.wait_with_output().unwrap();
    clock.set(0);
    let pruned = bench.place.kverdict(&["cache", "prune", "--to", "0B"]);
    assert_eq!(pruned.status.code(), Some(0), "{pruned:?}");
    let output = go_on(&bench).wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert_same_verdict(&bench, &output.stdout, &undisturbed, &errors);
}

/// The machine's clock, which is right again when the test ends.
struct Clock {
    real: i64,
    monotonic: Instant,
}

impl Clock {
    fn now() -> Self {
        let real = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        let monotonic = Instant::now();
        Self { real, monotonic }
    }

    /// Sets it so many seconds wrong.
    fn set(&self, wrong: i64) {
        let passed = i64::try_from(self.monotonic.elapsed().as_secs()).unwrap();
        let time = rustix::time::Timespec {
            tv_sec: self.real + passed + wrong,
            tv_nsec: 0,
        };
        rustix::time::clock_settime(rustix::time::ClockId::Realtime, time).unwrap();
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Makes a file system of so many KiB at a folder; it goes with the test's mount namespace.
fn in_small_disk(bench: &Bench, kib: u64, script: &str) -> (Option<i32>, String) {
    let root = bench.place.root();
    let script =
        format!("mkdir -p results && mount -t tmpfs -o size={kib}k none results && {script}");
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .current_dir(root)
        .env(
            "PATH",
            format!("{}:{path}", bench.place.path("bin").display()),
        )
        .env("KVERDICT", env!("CARGO_BIN_EXE_kverdict"))
        .env("KVERDICT_CACHE", bench.place.path("cache"))
        .env("TEST", root)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The disk is full after some trials: that is said, what was recorded is there, and with room the run goes on.
#[test]
fn a_full_disk_ends_a_run_that_goes_on_when_there_is_room() {
    let bench = Bench::without_end(6);
    // What guests boot is this program, once for each of the two things they do.
    let program = fs::metadata(env!("CARGO_BIN_EXE_kverdict")).unwrap().len();
    let (code, said) = in_small_disk(
        &bench,
        2 * program / 1024 + 700,
        "$KVERDICT verify campaign.yaml --catalogue kernels --jobs 1; first=$?
         cat results/*/trials.jsonl | wc -l; cp -a results kept; exit $first",
    );
    assert_eq!(code, Some(131), "{said}");
    assert!(said.contains("is the disk full"), "{said}");
    let kept = shell(
        bench.place.root(),
        "rmdir results; mv kept results; cat results/*/trials.jsonl | wc -l",
    );
    let kept: usize = kept.trim().parse().unwrap();
    assert!((1..12).contains(&kept), "{kept} trials\n{said}");
    let output = go_on(&bench).wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert_eq!(recorded(&bench).len(), 12, "{errors}");
}

#[test]
fn a_results_folder_that_cannot_be_written_is_named_at_once() {
    let bench = Bench::new();
    let (code, said) = in_small_disk(
        &bench,
        100,
        "mount -o remount,ro results && $KVERDICT verify campaign.yaml --catalogue kernels",
    );
    assert_eq!(code, Some(131), "{said}");
    assert!(
        said.contains("choose another place with --results"),
        "{said}"
    );
    assert!(bench.begun().is_empty());
}

/// What is there is put away where not even a folder can be made any more.
#[test]
fn a_cache_on_a_full_disk_can_be_pruned() {
    let bench = Bench::new();
    let (code, said) = in_small_disk(
        &bench,
        2048,
        "export KVERDICT_CACHE=$PWD/results; $KVERDICT cache > /dev/null && mkdir -p results/downloads &&
         { cat /dev/zero > results/downloads/0123 2> /dev/null; : > results/more 2> /dev/null
           while mkdir results/full$((n += 1)) 2> /dev/null && [ $n -lt 9999 ]; do :; done
           $KVERDICT cache prune --to 0B; code=$?; ls results/downloads results/sources -A; exit $code; }",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("removed download"), "{said}");
    assert!(!said.contains(".making-"), "{said}");
}

/// Whoever resumes a run that is being written is refused, and has touched nothing.
#[test]
fn a_run_that_is_being_written_is_not_mended_by_somebody_else() {
    let bench = Bench::without_end(4);
    bench.place.write("hang", "");
    let mut verify = go_on(&bench);
    wait_until(SOON, "trials have begun", || bench.begun().len() == 2);
    let list = bench.place.run_dir().join("orders.jsonl");
    // A line that is being written.
    let whole = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{whole}{{\"number\":")).unwrap();
    let run = bench.place.run_dir();
    let (code, _, errors) = bench
        .place
        .run(&["verify", "--resume", run.to_str().unwrap()]);
    assert_eq!(code, Some(131), "{errors}");
    assert!(errors.contains("another kverdict is writing"), "{errors}");
    let now = fs::read_to_string(&list).unwrap();
    assert!(now.starts_with(&format!("{whole}{{\"number\":")), "{now}");
    verify.kill().unwrap();
    verify.wait().unwrap();
}

/// A terminal that goes away.
#[test]
fn a_hangup_stops_the_guests_and_keeps_what_there_is() {
    let bench = Bench::without_end(4);
    let verify = go_on(&bench);
    wait_until(SOON, "a trial is recorded", || !recorded(&bench).is_empty());
    signal(i32::try_from(verify.id()).unwrap(), Signal::HUP);
    let output = verify.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(
        errors.contains("Go on with: kverdict verify --resume"),
        "{errors}"
    );
    wait_until_nothing_runs(&bench);
    let output = go_on(&bench).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(recorded(&bench).len(), 8);
}

/// A guest of one's own making, in all trials.
fn with_guest(behaviour: &str) -> (Bench, Value, String) {
    let (bench, code, report, errors) = run_guest(behaviour);
    assert_eq!(code, Some(125), "{errors}");
    (bench, report, errors)
}

fn run_guest(behaviour: &str) -> (Bench, Option<i32>, Value, String) {
    let bench = Bench::without_end(1);
    let guest = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo \"QEMU emulator version 9.9\"; exit 0; }}\n\
         say() {{ echo \"$1\" >> agent.jsonl; }}\n: > console.log\n{behaviour}\n"
    );
    bench.place.guest(&guest);
    let (code, report, errors) = bench.verify(&["--jobs", "2"]);
    wait_until_nothing_runs(&bench);
    (bench, code, report, errors)
}

const HELLO: &str = r#"say '{"type":"hello","protocol":1,"release":"6.99","version":"x","uptime_ms":9,"nodes":[],"cmdline":""}'
say '{"type":"armed","detectors":[],"tracing":true}'
say '{"type":"load-started","uptime_ms":1000,"processes":1,"hugepages":false}'
"#;

/// Of what the agent says, a guest may make up anything; that it survived takes more than the word.
#[test]
fn forged_messages_of_the_agent_prove_nothing() {
    for forged in [
        // An end without a load, a load without counters, words of no protocol, numbers beyond all bounds.
        r#"say '{"type":"end","uptime_ms":61001}'"#.to_owned(),
        format!("{HELLO}say '{{\"type\":\"end\",\"uptime_ms\":99999999}}'"),
        r#"say '{"type":"verdict","verified":true}'; say nonsense; printf '\000\377\376{"type":' >> agent.jsonl"#.to_owned(),
        format!("{HELLO}say '{{\"type\":\"heartbeat\",\"seq\":18446744073709551615,\"uptime_ms\":18446744073709551615,\"counters\":{{\"packets\":18446744073709551615,\"node_busy_percent\":[],\"swaps\":18446744073709551615,\"amplifier\":{{\"kv_met\":0}}}}}}'\nsay '{{\"type\":\"end\",\"uptime_ms\":3}}'"),
    ] {
        let (bench, report, errors) = with_guest(&forged);
        assert_eq!(report["verdict"]["conclusion"], "inconclusive", "{forged}\n{errors}");
        for record in bench.records() {
            assert_eq!(record["signature"], Value::Null, "{record}");
        }
        for arm in report["verdict"]["arms"].as_array().unwrap() {
            assert_eq!((&arm["survived"], &arm["target_lockups"]), (&0.into(), &0.into()), "{forged}\n{errors}");
        }
    }
}

/// More than a disk should get, at full speed.
fn flood(port: &str) -> String {
    format!("yes 'all is well' | head -c 4000000000 >> {port}; exec sleep 1000")
}

/// What was kept of a flood: the limit, and what came until somebody looked.
fn assert_kept_little(files: &[PathBuf]) {
    let sizes: Vec<u64> = files
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .collect();
    let sound = 64_000_000..2_000_000_000;
    assert!(sizes.iter().all(|size| sound.contains(size)), "{sizes:?}");
    assert!(!sizes.is_empty());
}

/// Both serial ports at full speed: the trial ends by the limit, and the logs with it.
#[test]
fn a_guest_that_floods_is_ended() {
    for port in ["console.log", "agent.jsonl"] {
        let (bench, _, errors) = with_guest(&format!("{HELLO}{}", flood(port)));
        let outcomes: Vec<Value> = bench
            .records()
            .iter()
            .map(|record| record["outcome"].clone())
            .collect();
        assert_eq!(outcomes, ["console-flood"; 2], "{errors}");
        let trials = bench.place.run_dir().join("trials");
        assert_kept_little(&["0001-unfixed", "0002-fixed"].map(|id| trials.join(id).join(port)));
    }
}

/// And so does a guest that was only booted to prove the detectors.
#[test]
fn a_guest_that_floods_while_detectors_are_proven_is_ended() {
    let bench = Bench::without_end(1);
    let campaign = fs::read_to_string(bench.place.path("campaign.yaml")).unwrap();
    let campaign = campaign.replace("prove_detectors: false", "prove_detectors: true");
    bench.place.write("campaign.yaml", &campaign);
    bench.place.guest(&format!(
        "[ $(basename $PWD) = 0000-unfixed ] || exit 1\n{}",
        flood("console.log")
    ));
    let (_, _, errors) = bench.verify(&["--jobs", "1"]);
    wait_until_nothing_runs(&bench);
    assert!(errors.contains("wrote more than 64 MiB"), "{errors}");
    let trials = bench.place.run_dir().join("trials");
    assert_kept_little(&[trials.join("0000-unfixed/console.log")]);
}

/// A QEMU that takes no hint: it ends all the same, and its children with it.
#[test]
fn a_qemu_that_ignores_signals_is_killed_with_its_group() {
    let ignores = "trap '' TERM INT HUP; cat \"$TEST/lockup.log\" > console.log; (sleep 1000; :) & while :; do sleep 1000; done";
    let (bench, code, report, errors) = run_guest(&format!("{HELLO}{ignores}"));
    // The subject locks up too.
    assert_eq!((code, bench.records().len()), (Some(1), 2), "{errors}");
    assert_eq!(
        report["verdict"]["arms"][0]["target_lockups"], 1,
        "{errors}"
    );
}

/// Records that nobody can read are named with file and line; the others stay as they are.
#[test]
fn a_damaged_record_is_named_and_nothing_is_written_over_it() {
    let bench = Bench::without_end(2);
    bench.verify(&["--jobs", "2"]);
    let list: PathBuf = bench.place.run_dir().join("trials.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    let damaged = text.replacen("\"schema\":1", "\"schema\":", 1);
    fs::write(&list, &damaged).unwrap();
    let run = bench.place.run_dir();
    let (code, _, errors) =
        bench
            .place
            .run(&["verify", "--resume", run.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(131), "{errors}");
    assert!(
        errors.contains("trials.jsonl:1: damaged record"),
        "{errors}"
    );
    assert_eq!(fs::read_to_string(&list).unwrap(), damaged);
}
