//! Bisections of made-up kernels to their end: how often the answer is right, and what it costs.
//! `cargo bench -p kverdict-core --bench bisect` prints the table with many more of them.

#[allow(dead_code)]
mod simulator;

use kverdict_core::bisect::range::{Direction, Range};
use kverdict_core::bisect::report;
use kverdict_core::bisect::search::{Ending, Policy};
use simulator::{
    POLICY, Random, World, bisect, bisect_beside, bisect_by, candidate, list, many, minutes, ours,
    rate_of, repeats,
};

/// Candidates that may have introduced the change.
const CULPRITS: usize = 64;
/// So sure that none of a few dozen bisections is expected to be wrong.
const SURE: Policy = Policy {
    alpha: 1e-4,
    ..POLICY
};

/// For each rate: right nearly as often as promised, and where repeated trials are right as often, they take
/// longer. With a control of ten lockups; whoever repeats trials has to know the rate too, to say how often.
#[test]
fn the_answer_is_right_and_takes_less_than_repeated_trials() {
    for (per_trial, runs, times) in [(0.1, 300, 54), (0.3, 600, 17), (0.9, 1000, 3)] {
        let (right, minutes) = ours(runs, CULPRITS, per_trial, 10);
        let (of_repeats, longer) = repeats(2000, CULPRITS, per_trial, times);
        println!(
            "{per_trial}: {right} in {minutes:.1} min, {times} times each: {of_repeats} in {longer:.1} min"
        );
        assert!(right >= 0.97, "{per_trial}: {right}");
        assert!(
            of_repeats > 0.98,
            "the repeats are comparable: {of_repeats}"
        );
        assert!(minutes < longer, "{per_trial}: {minutes} of {longer} min");
    }
}

/// What runs beside each other is planned on guesses; what is believed is not.
#[test]
fn side_by_side_it_is_right_as_often_and_sooner() {
    let beside = |jobs: usize, per_trial: f64| {
        many(200, CULPRITS, per_trial, |culprit, world| {
            let range = list(Direction::Broke, CULPRITS).with_control(world.control(10));
            let (ending, _, minutes) = bisect_beside(jobs, &range, world);
            (ending == Ending::Found { candidate: culprit }, minutes)
        })
    };
    for (per_trial, share) in [(0.1, 0.4), (0.3, 0.5), (0.9, 0.9)] {
        let (of_one, alone) = beside(1, per_trial);
        let (of_eight, minutes) = beside(8, per_trial);
        println!("{per_trial}: {of_one} in {alone:.1} min, by 8: {of_eight} in {minutes:.1} min");
        assert!(of_one.min(of_eight) >= 0.97, "{per_trial}: {of_eight}");
        assert!(minutes < share * alone, "{per_trial}: {minutes} of {alone}");
    }
}

#[test]
fn one_at_a_time_nothing_is_guessed() {
    let range = list(Direction::Broke, CULPRITS);
    for culprit in [1, 20, 64] {
        let has_bug = |candidate: usize| candidate >= culprit;
        let world = || World {
            has_bug: &has_bug,
            broken: &|candidate| candidate == 21,
            rate: rate_of(0.3),
            random: Random(culprit as u64),
        };
        let (ending, observations) = bisect(&range, &mut world());
        let (by_one, same, took) = bisect_beside(1, &range, &mut world());
        assert_eq!((by_one, &same), (ending, &observations));
        assert!((took - minutes(&observations)).abs() < 1e-6);
    }
}

/// As measured: a control locks up 4.8 times per exposed minute, and trials take one.
#[test]
fn twenty_of_twenty_at_the_rate_of_the_real_kernels() {
    for direction in [Direction::Broke, Direction::Fixed] {
        for seed in 0..20 {
            let mut random = Random(seed);
            let culprit = 1 + random.below(CULPRITS);
            let has_bug = |candidate: usize| match direction {
                Direction::Broke => candidate >= culprit,
                Direction::Fixed => candidate < culprit,
            };
            let mut world = World {
                has_bug: &has_bug,
                broken: &|_| false,
                rate: 4.8,
                random,
            };
            let (ending, observations) = bisect(&list(direction, CULPRITS), &mut world);
            assert_eq!(
                ending,
                Ending::Found { candidate: culprit },
                "{direction:?} {seed}"
            );
            let took = minutes(&observations);
            assert!(took < 60.0, "{direction:?} {seed}: {took} min");
        }
    }
}

/// One bisection with a rate of one lockup per minute.
fn one(
    range: &Range,
    has_bug: &dyn Fn(usize) -> bool,
    broken: &dyn Fn(usize) -> bool,
    seed: u64,
) -> Ending {
    let mut world = World {
        has_bug,
        broken,
        rate: 1.0,
        random: Random(seed),
    };
    bisect_by(&SURE, range, &mut world).0
}

#[test]
fn the_sixth_of_twelve_patches_is_found_past_one_that_does_not_build() {
    let range = list(Direction::Broke, 12);
    for seed in 0..30 {
        let ending = one(&range, &|patch| patch >= 6, &|patch| patch == 9, seed);
        assert_eq!(ending, Ending::Found { candidate: 6 }, "seed {seed}");
    }
}

#[test]
fn a_culprit_that_does_not_build_is_one_of_several() {
    let range = list(Direction::Broke, 12);
    for seed in 0..20 {
        let ending = one(&range, &|patch| patch >= 6, &|patch| patch == 6, seed);
        let Ending::OneOf {
            testable,
            untestable,
        } = ending
        else {
            panic!("seed {seed}: {ending:?}");
        };
        assert_eq!(
            (testable, untestable.as_slice()),
            (Some(7), &[6][..]),
            "seed {seed}"
        );
    }
}

#[test]
fn who_fixed_it_is_found_in_the_other_direction() {
    let range = list(Direction::Fixed, 20);
    for seed in 0..30 {
        let ending = one(&range, &|commit| commit < 13, &|_| false, seed);
        assert_eq!(ending, Ending::Found { candidate: 13 }, "seed {seed}");
    }
}

#[test]
fn a_branch_that_was_merged_is_searched_too() {
    // 0 - 1 - 2 - - - 6 - 7, with 3 - 4 - 5 made from 1 and merged by 6.
    let parents: [&[usize]; 8] = [&[], &[0], &[1], &[1], &[3], &[4], &[2, 5], &[6]];
    let candidates = (0..8).map(|index| candidate(&index.to_string(), parents[index]));
    let range = Range::new(Direction::Broke, candidates.collect()).unwrap();
    for culprit in 1..8 {
        let ending = one(
            &range,
            &|candidate| range.has_bug(culprit, candidate),
            &|_| false,
            culprit as u64,
        );
        assert_eq!(ending, Ending::Found { candidate: culprit });
    }
}

/// Broken at 6, mended at 9, broken again at 14: no single change explains it once it is met, and what is
/// called the culprit at least changed something.
#[test]
fn a_bug_that_comes_and_goes_is_told_or_one_of_its_changes_found() {
    let range = list(Direction::Broke, 16);
    let has_bug = |patch: usize| (6..9).contains(&patch) || patch >= 14;
    let mut told = 0;
    for seed in 0..30 {
        match one(&range, &has_bug, &|_| false, seed) {
            Ending::NotMonotone { flips, .. } => {
                told += 1;
                assert!(flips.len() >= 3, "seed {seed}: {flips:?}");
            }
            Ending::Found { candidate } => {
                assert!([6, 14].contains(&candidate), "seed {seed}: {candidate}");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("told {told} times of 30");
}

/// With a sweep no single change is called the answer, and nearly always it is told that there are several: a
/// kernel that never locks up where one change would have it do so may use up the trials first.
#[test]
fn a_sweep_tells_that_the_bug_comes_and_goes() {
    let range = list(Direction::Broke, 16);
    let has_bug = |patch: usize| (6..9).contains(&patch) || patch >= 14;
    let policy = Policy {
        sweep: Some(2),
        ..SURE
    };
    let mut told = 0;
    for seed in 0..20 {
        let mut world = World {
            has_bug: &has_bug,
            broken: &|_| false,
            rate: 1.0,
            random: Random(seed),
        };
        match bisect_by(&policy, &range, &mut world).0 {
            Ending::NotMonotone { .. } => told += 1,
            Ending::TrialsSpent => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(told >= 18, "{told} of 20");
}

/// Where there is one change a sweep changes nothing but the price.
#[test]
fn a_sweep_of_a_single_change_ends_with_its_culprit() {
    let range = list(Direction::Broke, 16);
    let policy = Policy {
        sweep: Some(2),
        ..SURE
    };
    for seed in 0..10 {
        let culprit = 1 + seed as usize;
        let mut world = World {
            has_bug: &|candidate| candidate >= culprit,
            broken: &|_| false,
            rate: 2.0,
            random: Random(seed),
        };
        let (ending, observations) = bisect_by(&policy, &range, &mut world);
        assert_eq!(ending, Ending::Found { candidate: culprit }, "seed {seed}");
        let report = report::report("made-up", &range, &policy, Vec::new(), &observations);
        let unshown = report.unshown.expect("it is a list");
        let longest = unshown.stretches.iter().map(|one| one.kernels).max();
        assert!(longest.is_none_or(|longest| longest <= 2), "{unshown:?}");
    }
}

#[test]
fn ends_that_are_not_what_was_said_are_told() {
    let range = list(Direction::Broke, 12);
    assert_eq!(one(&range, &|_| true, &|_| false, 1), Ending::GoodEndBad);
    assert_eq!(one(&range, &|_| false, &|_| false, 1), Ending::BadEndSilent);
}
