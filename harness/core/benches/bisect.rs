//! What bisecting costs, and how often it is right, against `git bisect` with repeated trials.
//! `cargo bench -p kverdict-core --bench bisect`

use kverdict_core::bisect::range::Direction;
use kverdict_core::bisect::search::Ending;

#[path = "../tests/simulator/mod.rs"]
#[allow(dead_code)]
mod simulator;

use simulator::{Random, World, bisect, git_bisect, list, minutes, rate_of};

/// Candidates that may have introduced the change.
const CULPRITS: usize = 64;
const REPEATS: [u32; 10] = [1, 2, 3, 5, 10, 20, 30, 44, 54, 66];

struct Row {
    right: f64,
    minutes: f64,
}

fn runs() -> usize {
    std::env::var("RUNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2000)
}

/// The mean of many bisections with a culprit anywhere.
fn many(per_trial: f64, mut one: impl FnMut(usize, &mut World<'_>) -> (bool, f64)) -> Row {
    let runs = runs();
    let (mut right, mut minutes) = (0, 0.0);
    for seed in 0..runs {
        let mut random = Random(seed as u64 * 0x5851_f42d);
        let culprit = 1 + random.below(CULPRITS);
        let mut world = World {
            has_bug: &|candidate| candidate >= culprit,
            broken: &|_| false,
            rate: rate_of(per_trial),
            random,
        };
        let (found, took) = one(culprit, &mut world);
        right += usize::from(found);
        minutes += took;
    }
    Row {
        right: right as f64 / runs as f64,
        minutes: minutes / runs as f64,
    }
}

/// With what a control of so many lockups showed; 0: without one.
fn ours(lockups: u32, per_trial: f64) -> Row {
    many(per_trial, |culprit, world| {
        let range = list(Direction::Broke, CULPRITS).with_control(world.control(lockups));
        let (ending, observations) = bisect(&range, world);
        (
            ending == Ending::Found { candidate: culprit },
            minutes(&observations),
        )
    })
}

fn main() {
    println!("{CULPRITS} candidates, {} bisections per row", runs());
    println!("per trial  method               right   minutes");
    for per_trial in [0.1, 0.3, 0.9, 1.0 - (-4.8_f64).exp()] {
        let print = |method: &str, row: &Row| {
            println!(
                "{:>8.1}%  {method:<18} {:>6.1}%  {:>8.2}",
                per_trial * 100.0,
                row.right * 100.0,
                row.minutes
            );
        };
        print("kverdict", &ours(0, per_trial));
        print("kverdict --control", &ours(10, per_trial));
        for repeats in REPEATS {
            let row = many(per_trial, |culprit, world| {
                let (found, minutes) = git_bisect(CULPRITS, repeats, world);
                (found == culprit, minutes)
            });
            print(&format!("git bisect, k={repeats}"), &row);
        }
    }
}
