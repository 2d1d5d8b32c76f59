//! What bisecting costs, and how often it is right, against `git bisect` with repeated trials.
//! `cargo bench -p kverdict-core --bench bisect`; `RUNS` is how many bisections each row is made of.

#[path = "../tests/simulator/mod.rs"]
#[allow(dead_code)]
mod simulator;

use simulator::{ours, repeats};

/// Candidates that may have introduced the change.
const CULPRITS: usize = 64;
const REPEATS: [u32; 10] = [1, 2, 3, 5, 10, 20, 30, 44, 54, 66];

fn main() {
    let runs = std::env::var("RUNS").ok();
    let runs = runs.and_then(|text| text.parse().ok()).unwrap_or(2000);
    println!("{CULPRITS} candidates, {runs} bisections per row");
    println!("per trial  method               right   minutes");
    for per_trial in [0.1, 0.3, 0.9, 1.0 - (-4.8_f64).exp()] {
        let print = |method: &str, (right, minutes): (f64, f64)| {
            let (trial, right) = (per_trial * 100.0, right * 100.0);
            println!("{trial:>8.1}%  {method:<18} {right:>6.1}%  {minutes:>8.2}");
        };
        print("kverdict", ours(runs, CULPRITS, per_trial, 0));
        print("kverdict --control", ours(runs, CULPRITS, per_trial, 10));
        for times in REPEATS {
            let row = repeats(runs, CULPRITS, per_trial, times);
            print(&format!("git bisect, k={times}"), row);
        }
    }
}
