//! What bisecting costs, and how often it is right, against `git bisect` with repeated trials.
//! `cargo bench -p kverdict-core --bench bisect`; `RUNS` is how many bisections each row is made of.

#[path = "../tests/simulator/mod.rs"]
#[allow(dead_code)]
mod simulator;

use simulator::{learning_repeats, ours, repeats};

/// Candidates that may have introduced the change.
const CULPRITS: usize = 64;
/// Lockups per trial.
const RATES: [f64; 3] = [0.9, 0.3, 0.1];

fn main() {
    let runs = std::env::var("RUNS").ok();
    let runs = runs.and_then(|text| text.parse().ok()).unwrap_or(2000);
    println!("{CULPRITS} candidates, {runs} bisections per row; right with a 95 % interval");
    for per_trial in RATES {
        let print = |method: &str, row| print(per_trial, method, runs, row);
        let known = ours(runs, CULPRITS, per_trial, 10);
        print("kverdict --control", known);
        let (first, last) = comparable(runs, per_trial, known.0);
        for times in first..=last {
            let row = repeats(runs, CULPRITS, per_trial, times);
            print(&format!("git bisect, k={times}"), row);
        }
        print("kverdict", ours(runs, CULPRITS, per_trial, 0));
        for lockups in [5, 10] {
            let row = learning_repeats(runs, CULPRITS, per_trial, lockups);
            print(&format!("git bisect, k by {lockups} lockups"), row);
        }
    }
}

/// The fewest repeats that are right at least as often, and two less and one more.
fn comparable(runs: u64, per_trial: f64, right: f64) -> (u32, u32) {
    let times = (1..).find(|&times| repeats(runs, CULPRITS, per_trial, times).0 >= right);
    let times = times.unwrap_or(u32::MAX - 1);
    (times.saturating_sub(2).max(1), times + 1)
}

fn print(per_trial: f64, method: &str, runs: u64, (right, minutes): (f64, f64)) {
    let (low, high) = interval(right, runs as f64);
    println!(
        "{:>5.1}%  {method:<26} {:>6.2}% [{:.2}, {:.2}]  {minutes:>7.2} min",
        per_trial * 100.0,
        right * 100.0,
        low * 100.0,
        high * 100.0
    );
}

/// Wilson's interval (1927) of a share.
fn interval(share: f64, runs: f64) -> (f64, f64) {
    let z = 1.959_964;
    let middle = share + z * z / (2.0 * runs);
    let half = z * (share * (1.0 - share) / runs + z * z / (4.0 * runs * runs)).sqrt();
    let scale = 1.0 + z * z / runs;
    ((middle - half) / scale, (middle + half) / scale)
}
