//! Judgements of nights, held against thousands of simulated ones.

mod simulated;

use fastrand::Rng;
use kverdict_core::compare::failure::{Clock, Failure, Told};
use kverdict_core::console::Outcome;
use kverdict_core::history::change::{Change, Demands, Judged, Past, judge};
use kverdict_core::history::flake::flakes;
use kverdict_core::history::{CellNight, PastTrial};
use kverdict_core::record::Standing;
use simulated::trial;

const DEMANDS: Demands = Demands {
    alpha: 0.05,
    cells: 1,
    reach: 5,
};
/// Trials of a cell that nobody suspects, and of one that is suspected all night.
const TRIALS: [usize; 2] = [3, 15];
/// Minutes of a trial that does not fail.
const LIMIT: f64 = 1.0;

fn night(number: usize, trials: Vec<PastTrial>) -> CellNight {
    CellNight {
        run: format!("night-{number}"),
        started: format!("2026-01-{:02}T02:00:00Z", number + 1),
        kernel: "6.12.1 abc".to_owned(),
        conditions: "c1".to_owned(),
        trials,
    }
}

fn past_trial(told: Told, standing: Standing, title: &str) -> PastTrial {
    PastTrial {
        id: "0001-x".to_owned(),
        told,
        standing,
        title: title.to_owned(),
    }
}

fn passed() -> PastTrial {
    let told = Told::Counted {
        minutes: LIMIT,
        completed: true,
        failure: None,
    };
    past_trial(told, Standing::Survived, "")
}

fn failed(failure: Failure, minutes: f64) -> PastTrial {
    let completed = failure.clock() == Clock::Completed;
    let told = Told::Counted {
        minutes,
        completed,
        failure: Some(failure),
    };
    past_trial(told, Standing::OtherFailure, "it failed")
}

fn lockup(minutes: f64) -> PastTrial {
    failed(Failure::Target, minutes)
}

fn other(clock: Clock, outcome: Outcome) -> Failure {
    Failure::Other {
        clock,
        outcome,
        title: "x".to_owned(),
    }
}

fn no_boot() -> PastTrial {
    failed(other(Clock::Boots, Outcome::BootFailure), 0.0)
}

/// A trial that warns, or does not, and runs to its end.
fn warned(warned: bool) -> PastTrial {
    if warned {
        failed(other(Clock::Completed, Outcome::Warning), LIMIT)
    } else {
        passed()
    }
}

fn host_trouble() -> PastTrial {
    past_trial(Told::HostTrouble, Standing::Infrastructure, "disk full")
}

/// A night whose trials come one by one, more of them as long as there is a suspicion. Says whether a change
/// was ever claimed, and what was said at the end.
fn run(past: &mut Past, number: usize, mut trial: impl FnMut() -> PastTrial) -> (bool, Judged) {
    let mut tonight = night(number, Vec::new());
    let mut claimed = false;
    loop {
        tonight.trials.push(trial());
        let judged = past.judge(&tonight);
        claimed |= matches!(judged.change, Change::Regression | Change::Recovery);
        let many = tonight.trials.len();
        let enough = many >= TRIALS[0] && judged.change != Change::Suspicion;
        if enough || many == TRIALS[1] {
            past.add(&tonight);
            return (claimed, judged);
        }
    }
}

fn locked_up_at(rng: &mut Rng, rate: f64) -> PastTrial {
    match trial(rng, rate, LIMIT) {
        (minutes, true) => lockup(minutes),
        (_, false) => passed(),
    }
}

/// Nights in which a change was claimed, of so many histories and nights of each, and all nights.
fn claims(
    histories: usize,
    nights: usize,
    mut trial: impl FnMut(usize) -> PastTrial,
) -> (usize, usize) {
    let mut claimed = 0;
    for _ in 0..histories {
        let mut past = Past::of(&[], &DEMANDS);
        for number in 0..nights {
            claimed += usize::from(run(&mut past, number, || trial(number)).0);
        }
    }
    (claimed, histories * nights)
}

#[track_caller]
fn rarely((claimed, nights): (usize, usize), alpha: f64) {
    let share = claimed as f64 / nights as f64;
    let error = (alpha * (1.0 - alpha) / nights as f64).sqrt();
    println!("{share} of at most {alpha}");
    assert!(share <= alpha + 3.0 * error, "{share} of {alpha}");
}

#[test]
fn nights_of_one_rate_are_rarely_called_changed() {
    for (seed, rate) in [(1, 1e-9), (2, 0.05), (3, 0.5), (4, 3.0), (5, 20.0)] {
        let mut rng = Rng::with_seed(seed);
        rarely(
            claims(80, 25, |_| locked_up_at(&mut rng, rate)),
            DEMANDS.alpha,
        );
    }
}

/// A warning in one trial or most, and a kernel that boots only sometimes: clocks that count trials.
#[test]
fn what_is_counted_by_trials_is_rarely_called_changed_either() {
    for (seed, share) in [(6, 0.1), (7, 0.5), (8, 0.9), (9, 1.0)] {
        let mut rng = Rng::with_seed(seed);
        rarely(claims(50, 20, |_| warned(rng.f64() < share)), DEMANDS.alpha);
        rarely(
            claims(50, 20, |_| match rng.f64() < share {
                true => no_boot(),
                false => passed(),
            }),
            DEMANDS.alpha,
        );
    }
}

/// All cells of a night together, each with failures of two kinds.
#[test]
fn the_promise_is_of_a_whole_night() {
    let demands = Demands {
        cells: 4,
        ..DEMANDS
    };
    let mut rng = Rng::with_seed(10);
    let (mut claimed, histories, nights) = (0, 40, 25);
    for _ in 0..histories {
        let mut cells = vec![Past::of(&[], &demands); demands.cells];
        for number in 0..nights {
            let mut any = false;
            for (index, past) in cells.iter_mut().enumerate() {
                let rate = [0.02, 0.2, 1.0, 5.0][index];
                let (one, _) = run(past, number, || match locked_up_at(&mut rng, rate) {
                    passed if passed.standing == Standing::Survived => warned(rng.f64() < 0.2),
                    failed => failed,
                });
                any |= one;
            }
            claimed += usize::from(any);
        }
    }
    rarely((claimed, histories * nights), demands.alpha);
}

/// A busy host makes all of a night's trials fail more often or less. That is beyond what is promised; it must
/// not go wrong by much.
#[test]
fn nights_that_differ_a_little_are_not_often_called_changed() {
    let mut rng = Rng::with_seed(11);
    let rates: Vec<f64> = (0..30)
        .map(|_| if rng.bool() { 0.7 } else { 1.4 })
        .collect();
    let found = claims(80, 30, |number| locked_up_at(&mut rng, rates[number]));
    rarely(found, DEMANDS.alpha * 2.0);
}

/// Nights of one rate and then of another; on which of the later ones, from 0, the change was claimed, and what
/// the night after that was called.
fn jump(rng: &mut Rng, rates: [f64; 2], wanted: Change) -> (Option<usize>, Option<Change>) {
    let mut past = Past::of(&[], &DEMANDS);
    for number in 0..10 {
        run(&mut past, number, || locked_up_at(rng, rates[0]));
    }
    let mut found = None;
    for later in 0..15 {
        let (_, judged) = run(&mut past, 10 + later, || locked_up_at(rng, rates[1]));
        match found {
            Some(_) => return (found, Some(judged.change)),
            None if judged.change == wanted => found = Some(later),
            None => {}
        }
    }
    (found, None)
}

/// How many of so many jumps are claimed within the first `nights`.
fn found_within(seed: u64, rates: [f64; 2], wanted: Change, nights: usize) -> f64 {
    let mut rng = Rng::with_seed(seed);
    let histories = 100;
    let found = (0..histories).filter(|_| {
        let (found, _) = jump(&mut rng, rates, wanted);
        found.is_some_and(|later| later < nights)
    });
    let share = found.count() as f64 / f64::from(histories);
    println!("{rates:?}: {share} within {nights} nights");
    share
}

#[test]
fn a_kernel_that_suddenly_fails_is_a_regression_the_same_night() {
    assert!(found_within(12, [1e-9, 20.0], Change::Regression, 1) >= 0.99);
    assert!(found_within(13, [0.05, 3.0], Change::Regression, 1) >= 0.9);
}

#[test]
fn what_fails_once_a_night_adds_up() {
    let first = found_within(14, [1e-9, 0.4], Change::Regression, 1);
    let later = found_within(14, [1e-9, 0.4], Change::Regression, 12);
    assert!(first < 0.5 && later >= 0.8, "{first} {later}");
}

#[test]
fn a_kernel_that_is_mended_is_a_recovery() {
    assert!(found_within(15, [3.0, 1e-9], Change::Recovery, 3) >= 0.95);
    assert!(found_within(16, [20.0, 1e-9], Change::Recovery, 1) >= 0.95);
}

#[test]
fn after_a_change_the_past_is_the_new_rate() {
    let mut rng = Rng::with_seed(17);
    for _ in 0..50 {
        let (found, next) = jump(&mut rng, [1e-9, 20.0], Change::Regression);
        assert!(found.is_some());
        assert_eq!(next, Some(Change::StillFailing));
        let (found, next) = jump(&mut rng, [20.0, 1e-9], Change::Recovery);
        assert!(found.is_some());
        assert_eq!(next, Some(Change::Unchanged));
    }
}

#[test]
fn a_regression_says_what_why_and_since_when() {
    let clean: Vec<CellNight> = (0..10).map(|one| night(one, vec![passed(); 3])).collect();
    let mut tonight = night(10, vec![lockup(0.2); 3]);
    tonight.kernel = "6.12.2 def".to_owned();
    let judged = judge(&clean, &tonight, &DEMANDS);
    assert_eq!(judged.change, Change::Regression, "{judged:?}");
    assert_eq!(judged.failure, Some(Failure::Target));
    assert!(judged.evidence >= judged.needed);
    assert_eq!(judged.before.unwrap().per_minute, 0.0);
    assert!((judged.tonight.unwrap().per_minute - 5.0).abs() < 1e-9);
    assert!(
        judged.reasons[0].starts_with(
            "target lockup: more often than before: 3 times in 0.60 exposed minutes tonight, 0 times in 30.00 exposed minutes before; evidence"
        ),
        "{:?}",
        judged.reasons
    );
    assert_eq!(
        judged.reasons[1],
        "the kernel was 6.12.1 abc and is 6.12.2 def"
    );
    // One lockup is no regression yet, and asks for more trials.
    let judged = judge(
        &clean,
        &night(10, vec![lockup(0.2), passed(), passed()]),
        &DEMANDS,
    );
    assert_eq!(judged.change, Change::Suspicion);
    assert!(judged.reasons[0].contains("may still be chance"));
    assert!(judged.evidence < judged.needed);
    let mut all = clean;
    all.push(tonight);
    let judged = judge(&all, &night(11, vec![lockup(0.2); 3]), &DEMANDS);
    assert_eq!(judged.change, Change::StillFailing);
    assert_eq!(
        judged.reasons.last().unwrap(),
        "as it is since 2026-01-11, when it got worse"
    );
}

#[test]
fn a_flake_fails_sometimes_and_is_told_from_a_regression() {
    let nights: Vec<CellNight> = (0..12)
        .map(|number| {
            let mut trials = vec![passed(); 3];
            if number % 2 == 0 {
                trials[1] = lockup(0.5);
            }
            night(number, trials)
        })
        .collect();
    let failing = night(12, vec![passed(), lockup(0.4), passed()]);
    assert_eq!(judge(&nights, &failing, &DEMANDS).change, Change::Flake);
    let silent = night(12, vec![passed(); 3]);
    let judged = judge(&nights, &silent, &DEMANDS);
    assert_eq!(judged.change, Change::Unchanged);
    assert!(judged.reasons[0].contains("6 of 36 before"), "{judged:?}");
    let found = flakes(&nights, &DEMANDS);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].failed, found[0].trials), (6, 36));
    assert_eq!((found[0].nights_failed, found[0].nights), (6, 12));
    assert_eq!(found[0].last_run, "night-10");
    let rate = found[0].rate.unwrap();
    assert!(rate.low > 0.0 && rate.high < 0.6, "{rate:?}");
    // Neither what never fails nor what always does.
    let always = |trial: PastTrial| -> Vec<CellNight> {
        (0..5)
            .map(|one| night(one, vec![trial.clone(); 3]))
            .collect()
    };
    assert!(flakes(&always(passed()), &DEMANDS).is_empty());
    assert!(flakes(&always(lockup(0.1)), &DEMANDS).is_empty());
}

#[test]
fn a_night_that_says_nothing_changes_nothing() {
    let mut past = Past::of(
        &[night(0, vec![passed(); 3]), night(1, vec![passed(); 3])],
        &DEMANDS,
    );
    let before = past.clone();
    let judged = past.add(&night(2, vec![host_trouble(); 3]));
    assert_eq!(judged.change, Change::Infrastructure);
    assert!(judged.reasons[0].contains("disk full"));
    assert_eq!(past.add(&night(3, Vec::new())).change, Change::NotRun);
    assert_eq!(past, before);
    let idle = past_trial(Told::NotExposed, Standing::NotExposed, "");
    let judged = past.add(&night(4, vec![idle; 2]));
    assert_eq!(judged.change, Change::NotExposed);
    // Trouble beside trials that count takes nothing from them.
    let mixed = night(5, vec![host_trouble(), passed(), host_trouble()]);
    assert_eq!(past.add(&mixed).change, Change::Unchanged);
}

#[test]
fn without_a_past_nothing_is_claimed() {
    let tonight = night(1, vec![lockup(0.1); 15]);
    let judged = judge(&[], &tonight, &DEMANDS);
    assert_eq!(judged.change, Change::New);
    assert!(judged.reasons[1].contains("target lockup: 15 times"));
    let blind = night(0, vec![host_trouble(); 3]);
    assert_eq!(judge(&[blind], &tonight, &DEMANDS).change, Change::New);
}

#[test]
fn nights_under_another_load_are_no_past() {
    let mut past = Past::of(&[], &DEMANDS);
    for number in 0..10 {
        past.add(&night(number, vec![passed(); 3]));
    }
    let under = |conditions: &str, number, trials| CellNight {
        conditions: conditions.to_owned(),
        ..night(number, trials)
    };
    // The same trials under the load as it was are a regression.
    let broken = || vec![lockup(0.1); 15];
    let judged = past.judge(&night(10, broken()));
    assert_eq!(
        (judged.change, judged.begins_anew),
        (Change::Regression, false)
    );
    let judged = past.add(&under("c2", 10, broken()));
    assert_eq!((judged.change, judged.begins_anew), (Change::New, true));
    assert!(
        judged.reasons[0].contains("the load changed on 2026-01-11"),
        "{judged:?}"
    );
    // Trouble of the host under a third one forgets nothing.
    assert!(!past.add(&under("c3", 11, vec![host_trouble()])).begins_anew);
    let judged = past.add(&under("c2", 12, broken()));
    assert_eq!(
        (judged.change, judged.begins_anew),
        (Change::StillFailing, false)
    );
    let idle = past_trial(Told::NotExposed, Standing::NotExposed, "");
    let judged = past.add(&under("c3", 13, vec![idle]));
    assert_eq!(
        (judged.change, judged.begins_anew),
        (Change::NotExposed, true)
    );
    assert!(judged.reasons[1].contains("the load changed"), "{judged:?}");
}

#[test]
fn a_kernel_that_boots_no_longer_is_a_regression_and_no_recovery() {
    let nights: Vec<CellNight> = (0..10)
        .map(|number| night(number, vec![lockup(0.1), passed(), lockup(0.2)]))
        .collect();
    let dead = night(10, vec![no_boot(); 6]);
    let judged = judge(&nights, &dead, &DEMANDS);
    assert_eq!(judged.change, Change::Regression, "{judged:?}");
    assert_eq!(
        judged.failure.as_ref().map(Failure::clock),
        Some(Clock::Boots)
    );
    assert!(judged.reasons.iter().all(|one| !one.contains("less often")));
}

#[test]
fn judgements_can_be_stored() {
    let judged = judge(
        &[night(0, vec![passed()])],
        &night(1, vec![lockup(0.1)]),
        &DEMANDS,
    );
    let text = serde_json::to_string(&judged).unwrap();
    assert_eq!(serde_json::from_str::<Judged>(&text).unwrap(), judged);
    let night = night(1, vec![no_boot(), passed(), host_trouble()]);
    let text = serde_json::to_string(&night).unwrap();
    assert_eq!(serde_json::from_str::<CellNight>(&text).unwrap(), night);
}
