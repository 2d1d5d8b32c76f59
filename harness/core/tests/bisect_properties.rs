//! What holds for each bisection, whatever is bisected and whatever came out: random graphs of commits with
//! random trials. Seeded, so that every run of it is the same.

#[allow(dead_code)]
mod simulator;

use kverdict_core::bisect::observation::{Observation, Reading};
use kverdict_core::bisect::range::{Candidate, Direction, Range};
use kverdict_core::bisect::search::{self, Ending, Next, Policy, Search};
use simulator::{POLICY, Random, World, bisect_by};

/// Branches and merges of up to three, all in the last.
fn graph(direction: Direction, count: usize, random: &mut fastrand::Rng) -> Range {
    let mut is_head = vec![true];
    let mut candidates = vec![candidate(0, Vec::new(), random)];
    for index in 1..count {
        let mut parents: Vec<usize> = if index + 1 == count {
            (0..index).filter(|&one| is_head[one]).collect()
        } else if random.bool() {
            vec![index - 1]
        } else {
            let some = random.usize(1..4);
            (0..some).map(|_| random.usize(..index)).collect()
        };
        parents.sort_unstable();
        parents.dedup();
        parents.iter().for_each(|&one| is_head[one] = false);
        is_head.push(true);
        candidates.push(candidate(index, parents, random));
    }
    Range::new(direction, candidates).expect("the last contains all heads")
}

fn candidate(index: usize, parents: Vec<usize>, random: &mut fastrand::Rng) -> Candidate {
    Candidate {
        label: index.to_string(),
        parents,
        weight: [0.05, 1.0, 1.0, 20.0][random.usize(..4)],
        build_minutes: [0.0, 0.5, 6.0][random.usize(..3)],
    }
}

fn direction(random: &mut fastrand::Rng) -> Direction {
    match random.bool() {
        true => Direction::Broke,
        false => Direction::Fixed,
    }
}

/// Trials without rhyme or reason, the first one a lockup of the bad end.
fn trials(range: &Range, random: &mut fastrand::Rng) -> Vec<Observation> {
    let first = counted(range.bad_end(), 1, 0.3);
    let others = (0..random.usize(..25)).map(|_| {
        let candidate = random.usize(..range.candidates().len());
        let lockups = u32::from(random.f64() < 0.3);
        counted(candidate, lockups, 0.05 + random.f64())
    });
    std::iter::once(first)
        .chain(others.collect::<Vec<_>>())
        .collect()
}

fn counted(candidate: usize, lockups: u32, exposed_minutes: f64) -> Observation {
    observation(
        candidate,
        Reading::Counted {
            lockups,
            exposed_minutes,
        },
    )
}

fn observation(candidate: usize, reading: Reading) -> Observation {
    Observation {
        candidate,
        reading,
        minutes: 1.0,
    }
}

/// Calls `check` with many ranges and trials of them.
fn many(check: impl Fn(&Range, Vec<Observation>, &mut fastrand::Rng)) {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..150 {
        let count = random.usize(2..40);
        let direction = direction(&mut random);
        let range = graph(direction, count, &mut random);
        let seen = trials(&range, &mut random);
        check(&range, seen, &mut random);
    }
}

fn masses(range: &Range, search: &Search) -> Vec<f64> {
    (0..range.candidates().len())
        .map(|one| search.posterior.of_candidate(one))
        .collect()
}

fn assert_same(one: &[f64], other: &[f64]) {
    for (index, (one, other)) in one.iter().zip(other).enumerate() {
        assert!((one - other).abs() < 1e-9, "{index}: {one}, {other}");
    }
}

#[test]
fn the_posterior_is_one_in_all_and_nobody_has_less_than_nothing() {
    many(|range, seen, _| {
        let found = search::search(range, &POLICY, &seen);
        let masses = masses(range, &found);
        let sum: f64 = masses.iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert!(masses.iter().all(|mass| (0.0..=1.0).contains(mass)));
        assert_eq!(masses[0], 0.0, "the first end introduces nothing");
        assert!((0.0..=1.0).contains(&found.more_than_one));
        assert!(found.posterior.entropy_bits() >= 0.0);
    });
}

#[test]
fn what_is_no_answer_counts_for_nobody() {
    many(|range, seen, random| {
        let before = masses(range, &search::search(range, &POLICY, &seen));
        let mut all = seen;
        for _ in 0..random.usize(1..10) {
            let candidate = random.usize(..range.candidates().len());
            let why = "made up".to_owned();
            let reading = match random.usize(..3) {
                0 => Reading::NoAnswer(why),
                1 => Reading::Untestable(why),
                _ => Reading::HostTrouble(why),
            };
            let place = random.usize(..=all.len());
            all.insert(place, observation(candidate, reading));
        }
        let after = masses(range, &search::search(range, &POLICY, &all));
        assert_same(&before, &after);
    });
}

#[test]
fn the_order_of_trials_does_not_matter() {
    many(|range, mut seen, random| {
        let one = search::search(range, &POLICY, &seen);
        random.shuffle(&mut seen);
        let other = search::search(range, &POLICY, &seen);
        assert_same(&masses(range, &one), &masses(range, &other));
        assert!((one.more_than_one - other.more_than_one).abs() < 1e-6);
    });
}

#[test]
fn what_cannot_be_tried_is_never_asked_for() {
    many(|range, mut seen, random| {
        let mut broken = Vec::new();
        for candidate in 1..range.candidates().len() - 1 {
            if random.f64() < 0.4 {
                broken.push(candidate);
                let why = "does not build".to_owned();
                seen.push(observation(candidate, Reading::Untestable(why)));
            }
        }
        match search::search(range, &POLICY, &seen).next {
            Next::Trial { candidate }
            | Next::Measure { candidate }
            | Next::Confirm { candidate }
            | Next::Sweep { candidate } => {
                assert!(!broken.contains(&candidate), "{candidate}");
            }
            Next::Done(_) => {}
        }
    });
}

/// A bug that fires at once: no trial is noise. Some kernels do not build.
#[test]
fn without_noise_the_culprit_of_each_graph_is_found() {
    let mut random = fastrand::Rng::with_seed(3);
    for seed in 0..120 {
        let count = random.usize(2..40);
        let direction = direction(&mut random);
        let range = graph(direction, count, &mut random);
        let culprit = random.usize(1..count);
        let broken: Vec<bool> = (0..count)
            .map(|one| one != 0 && one + 1 != count && random.f64() < 0.15)
            .collect();
        let mut world = World {
            has_bug: &|one| range.has_bug(culprit, one),
            broken: &|one| broken[one],
            rate: 100.0,
            random: Random(seed),
        };
        // What touched the likely paths weighs 400 times as much as what did not: a culprit that cannot be built is
        // named beside a likely kernel only where 1 in 400 is too much.
        let policy = Policy {
            alpha: 1e-4,
            ..POLICY
        };
        match bisect_by(&policy, &range, &mut world).0 {
            Ending::Found { candidate } => assert_eq!(candidate, culprit, "seed {seed}"),
            Ending::OneOf {
                testable,
                untestable,
            } => {
                let named = testable == Some(culprit) || untestable.contains(&culprit);
                assert!(
                    named,
                    "seed {seed}: {culprit}, {testable:?}, {untestable:?}"
                );
                assert!(untestable.iter().all(|&one| broken[one]), "seed {seed}");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

/// One change explains what one change made.
#[test]
fn a_single_change_contradicts_nothing_without_noise() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let count = random.usize(3..40);
        let direction = direction(&mut random);
        let range = graph(direction, count, &mut random);
        let culprit = random.usize(1..count);
        let mut seen = vec![counted(range.bad_end(), 1, 0.01)];
        seen.extend((0..20).map(|_| {
            let one = random.usize(..count);
            match range.has_bug(culprit, one) {
                true => counted(one, 1, 0.01),
                false => counted(one, 0, 1.0),
            }
        }));
        let found = search::search(&range, &POLICY, &seen);
        assert_eq!(found.more_than_one, 0.0);
        assert!(found.posterior.of_candidate(culprit) > 0.0);
    }
}
