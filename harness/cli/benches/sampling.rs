//! What watching a guest from outside costs it, in packets per second.
//! `cargo bench -p kverdict --bench sampling`; builds the kernel first when the cache does not have it.
//!
//! The default of two samples a second costs less than the noise of a machine that emulates eight vCPUs
//! on two cores. So the guest is sampled as often as kverdict can, the dose is switched on and off by
//! letting kverdict run and stopping it, the loss is measured, and the loss per sample multiplied by
//! the default's samples. That overstates it a little: all else that kverdict does while it watches is
//! charged to the samples.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The default of `policy.sample_interval_ms`.
const DEFAULT_PER_SECOND: f64 = 2.0;
const PAIRS: usize = 100;
/// Heartbeats of a window; there is one each second.
const WINDOW: usize = 2;
/// A kernel may have to be built first.
const START_DEADLINE: Duration = Duration::from_secs(30 * 60);
const POLL: Duration = Duration::from_millis(5);

fn main() {
    let results = tempfile::tempdir().expect("a folder for the results");
    let mut kverdict = Running(
        Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(["verify", "--results"])
            .arg(results.path())
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/benches/sampling.yaml"
            ))
            .stdout(Stdio::null())
            .spawn()
            .expect("kverdict starts"),
    );
    let mut packets = Packets::find(results.path(), &mut kverdict.0);
    // The load's first seconds are not like the others.
    packets.rate(5);
    let samples_before = packets.samples();
    let mut losses = Vec::new();
    let mut watched_for = Duration::ZERO;
    for pair in 0..PAIRS {
        let watched_first = pair % 2 == 0;
        let [first, second] = [watched_first, !watched_first].map(|watched| {
            kverdict.watch(watched);
            let begin = Instant::now();
            // The heartbeat in which the switch fell counts for neither.
            packets.rate(1);
            let rate = packets.rate(WINDOW);
            if watched {
                watched_for += begin.elapsed();
            }
            rate
        });
        let (watched, alone) = if watched_first {
            (first, second)
        } else {
            (second, first)
        };
        losses.push((alone / watched).ln());
        eprintln!(
            "pair {}: {watched:.0} packets/s watched, {alone:.0} alone",
            pair + 1
        );
    }
    drop(kverdict);
    let samples = packets.samples() - samples_before;
    report(&losses, samples as f64 / watched_for.as_secs_f64());
}

/// Mean and 95% interval of the pairs' losses, for the dose and for the default.
fn report(losses: &[f64], dose: f64) {
    let count = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / count;
    let variance = losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let margin = 1.96 * (variance / count).sqrt();
    for rate in [dose, DEFAULT_PER_SECOND] {
        let share = rate / dose * 100.0;
        println!(
            "{rate:.1} samples of 8 vCPUs per second cost {:.2}% of packets/s (95% interval {:.2}% to {:.2}%, {count} pairs)",
            mean * share,
            (mean - margin) * share,
            (mean + margin) * share,
        );
    }
}

/// kverdict, ended with its guest when dropped.
struct Running(Child);

impl Running {
    fn watch(&self, on: bool) {
        self.signal(if on { Signal::CONT } else { Signal::STOP });
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("kverdict runs");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.signal(Signal::INT);
        let _ = self.0.wait();
    }
}

/// The packets that the agent's heartbeats count.
struct Packets {
    trial: PathBuf,
    agent: BufReader<fs::File>,
    line: String,
}

impl Packets {
    fn find(results: &Path, kverdict: &mut Child) -> Self {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(trial) = trial_folder(results) {
                let file = fs::File::open(trial.join("agent.jsonl"))
                    .expect("the agent's file can be read");
                return Self {
                    trial,
                    agent: BufReader::new(file),
                    line: String::new(),
                };
            }
            let ended = kverdict.try_wait().expect("kverdict's state can be read");
            assert!(ended.is_none(), "kverdict ended before the guest ran");
            assert!(Instant::now() < deadline, "no guest after half an hour");
            std::thread::sleep(POLL);
        }
    }

    /// Samples of the vCPUs that were kept so far.
    fn samples(&self) -> usize {
        fs::read_to_string(self.trial.join("vcpus.jsonl"))
            .expect("the samples can be read")
            .lines()
            .count()
    }

    /// Packets per second of guest time over so many heartbeats from the next one on.
    fn rate(&mut self, heartbeats: usize) -> f64 {
        let (from_ms, before) = self.next();
        let mut at = (from_ms, before);
        for _ in 0..heartbeats {
            at = self.next();
        }
        (at.1 - before) / (at.0 - from_ms) * 1000.0
    }

    fn next(&mut self) -> (f64, f64) {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "the agent went silent");
            self.agent
                .read_line(&mut self.line)
                .expect("the agent's file can be read");
            if !self.line.ends_with('\n') {
                std::thread::sleep(POLL);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            let uptime = message["uptime_ms"].as_f64();
            let packets = message["counters"]["packets"].as_f64();
            if let Some(both) = uptime.zip(packets) {
                return both;
            }
        }
    }
}

/// `results/RUN/trials/TRIAL` of the only trial, once its agent's file is there.
fn trial_folder(results: &Path) -> Option<PathBuf> {
    let below = |folder: PathBuf| Some(fs::read_dir(folder).ok()?.next()?.ok()?.path());
    let run = below(results.to_owned())?;
    let trial = below(run.join("trials"))?;
    Some(trial).filter(|trial| trial.join("agent.jsonl").is_file())
}
