//! What the orchestrator itself costs: trials whose guest is a recording of a real one, one after the other and 64
//! at a time. `cargo bench -p kverdict --bench many`.

#[path = "../tests/made_up/mod.rs"]
mod made_up;
#[path = "../tests/parallel/mod.rs"]
mod parallel;

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use parallel::Bench;
use rustix::process::{Pid, Signal, kill_process};

/// Plays what real guests have said, at once; lives on for `$LIVES` seconds.
const GUEST: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "QEMU emulator version 9.9"; exit 0; }
while [ $# -gt 0 ]; do [ "$1" = -kernel ] && kernel=$2; shift; done
recording=survived
grep -q DEFECT "$kernel" && recording=locked-up
cat "$TEST/$recording/console.log" > console.log
cat "$TEST/$recording/agent.jsonl" > agent.jsonl
[ $recording = locked-up ] && exec sleep 1000
exec sleep "$LIVES"
"#;

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/guests");

fn main() {
    one_by_one(100);
    side_by_side(1000, 64);
}

fn bench(trials: u32) -> Bench {
    let bench = Bench::without_end(trials);
    bench.place.guest(GUEST);
    for recording in ["locked-up", "survived"] {
        for file in ["console.log", "agent.jsonl"] {
            let from = Path::new(RECORDINGS).join(recording).join(file);
            let text = fs::read_to_string(from).expect("a recording");
            bench.place.write(&format!("{recording}/{file}"), &text);
        }
    }
    bench
}

/// What a trial takes besides the time from QEMU's start to its end.
fn one_by_one(trials: u32) {
    let bench = bench(trials / 2);
    let began = Instant::now();
    let arguments = ["verify", "campaign.yaml", "--json", "--jobs", "1"];
    let verify = bench.place.start_with(&arguments, &[("LIVES", "0")]);
    verify.wait_with_output().expect("kverdict ends");
    let records = bench.records();
    let all = began.elapsed().as_secs_f64() * 1000.0;
    let guests: u64 = records
        .iter()
        .filter_map(|record| record["timing"]["total_ms"].as_u64())
        .sum();
    // Two made-up kernels are built too.
    println!(
        "{} trials, one after the other: {:.1} ms each besides their guests",
        records.len(),
        (all - guests as f64) / records.len() as f64
    );
}

fn side_by_side(trials: u32, jobs: u32) {
    let bench = bench(trials);
    // So many lockups of the control are asked for, and the run is ended when there are so many trials.
    let campaign = fs::read_to_string(bench.place.path("campaign.yaml")).expect("a campaign");
    let more = format!("min_control_lockups: {trials}");
    bench.place.write(
        "campaign.yaml",
        &campaign.replace("min_control_lockups: 100", &more),
    );
    let began = Instant::now();
    let text = jobs.to_string();
    let arguments = ["verify", "campaign.yaml", "--json", "--jobs", &text];
    let mut verify = bench.place.start_with(&arguments, &[("LIVES", "3")]);
    drain(verify.stdout.take());
    drain(verify.stderr.take());
    let process = Path::new("/proc").join(verify.id().to_string());
    let (mut peak, mut cpu, mut most) = (0, 0, 0);
    while verify.try_wait().expect("kverdict runs").is_none() {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        peak = peak.max(field("VmHWM:").unwrap_or(0));
        // All but the one that leads.
        most = most.max(field("Threads:").unwrap_or(1) - 1);
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(2);
        cpu = cpu.max(times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum());
        if bench.place.trials() >= trials as usize {
            let leader = i32::try_from(verify.id()).ok().and_then(Pid::from_raw);
            kill_process(leader.expect("a process"), Signal::INT).expect("it can be interrupted");
        }
        thread::sleep(Duration::from_millis(250));
    }
    let records = bench.records().len();
    println!(
        "{records} trials, {jobs} at a time ({most} threads at most): {:.1} s, {:.0} MB at most, {:.1} ms of CPU each",
        began.elapsed().as_secs_f64(),
        peak as f64 / 1000.0,
        // 100 ticks a second, proc_pid_stat(5).
        cpu as f64 * 10.0 / records as f64
    );
}

/// A pipe that nobody reads stops whoever writes.
fn drain(pipe: Option<impl Read + Send + 'static>) {
    let mut pipe = pipe.expect("it is piped");
    thread::spawn(move || io::copy(&mut pipe, &mut io::sink()));
}
