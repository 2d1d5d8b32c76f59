//! What a step of a bisection over 15,000 commits takes, with a fifth of them merges.
//! `cargo bench -p kverdict-core --bench bisect_plan`; the ratio to `one_after_the_other` is what counts.

use divan::{Bencher, black_box};
use kverdict_core::bisect::observation::{Observation, Reading};
use kverdict_core::bisect::range::{Candidate, Direction, Range};
use kverdict_core::bisect::search::{self, Policy};

const COMMITS: usize = 15_000;

fn main() {
    divan::main();
}

/// A main line with short branches that are merged into it.
fn commits() -> Range {
    let mut random = fastrand::Rng::with_seed(1);
    let mut candidates = vec![candidate(0, Vec::new())];
    let mut main = 0;
    while candidates.len() < COMMITS {
        let from = main - random.usize(..=main.min(200));
        let mut head = from;
        for _ in 0..random.usize(1..8) {
            candidates.push(candidate(candidates.len(), vec![head]));
            head = candidates.len() - 1;
        }
        let mut parents = vec![main, head];
        parents.dedup();
        candidates.push(candidate(candidates.len(), parents));
        main = candidates.len() - 1;
    }
    Range::new(Direction::Broke, candidates).expect("all is merged")
}

fn candidate(index: usize, parents: Vec<usize>) -> Candidate {
    Candidate {
        label: index.to_string(),
        parents,
        weight: 1.0,
        build_minutes: 0.5,
    }
}

/// Thirty trials on the way to the commit in the middle, some of which cannot be built.
fn trials(range: &Range) -> Vec<Observation> {
    let mut random = fastrand::Rng::with_seed(2);
    let count = range.candidates().len();
    let mut all = vec![observation(count - 1, true), observation(count - 1, true)];
    for number in 0..30 {
        let one = random.usize(1..count);
        all.push(observation(one, range.has_bug(count / 2, one)));
        if number % 6 == 0 {
            let why = "does not build".to_owned();
            all.push(Observation {
                candidate: one - 1,
                reading: Reading::Untestable(why),
                minutes: 0.5,
            });
        }
    }
    all
}

fn observation(candidate: usize, locked_up: bool) -> Observation {
    Observation {
        candidate,
        reading: Reading::Counted {
            lockups: u32::from(locked_up),
            exposed_minutes: if locked_up { 0.3 } else { 1.0 },
        },
        minutes: 1.5,
    }
}

/// All of a step: the posterior, the plan, and whether there is more than one change.
#[divan::bench(sample_count = 10)]
fn step(bencher: Bencher<'_, '_>) {
    let range = commits();
    let trials = trials(&range);
    bencher.bench_local(|| black_box(search::search(&range, &Policy::default(), &trials)));
}

/// For comparison: what each commit contains, summed up one culprit after the other.
#[divan::bench(sample_count = 3)]
fn one_after_the_other(bencher: Bencher<'_, '_>) {
    let range = commits();
    let masses = vec![1.0 / COMMITS as f64; range.candidates().len()];
    bencher.bench_local(|| {
        let count = range.candidates().len();
        let sums = (0..count).map(|candidate| {
            let culprits = 1..count;
            let own = culprits.filter(|&culprit| range.has_bug(culprit, candidate));
            own.map(|culprit| masses[culprit]).sum::<f64>()
        });
        black_box(sums.fold(0.0_f64, f64::max))
    });
}
