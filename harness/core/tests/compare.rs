//! Comparisons, on made-up and on simulated trials.

mod simulated;

use fastrand::Rng;
use std::collections::BTreeSet;

use kverdict_core::arming::Arming;
use kverdict_core::campaign::Campaign;
use kverdict_core::catalogue::Config;
use kverdict_core::compare::audit::{Facts, FixLine};
use kverdict_core::compare::evidence::Evidence;
use kverdict_core::compare::failure::Failure;
use kverdict_core::compare::judge::{self, Conclusion, Judgement, Pair};
use kverdict_core::compare::report::{self, CompareReport, Known, name_of};
use kverdict_core::compare::schedule::{self, Next};
use kverdict_core::compare::{Comparison, Demands, Side};
use kverdict_core::console::{Match, Outcome};
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;
use simulated::made_up::campaign_of;
use simulated::{CAMPAIGNS, Step, at_least, at_most, made, record, side_by_side};

/// A comparison with all that it borrows from.
struct Bench {
    campaign: Campaign,
    demands: Demands,
    sides: Vec<Side>,
    armings: Vec<Arming>,
}

impl Bench {
    fn new(count: usize) -> Self {
        let side = |index| Side {
            name: name_of(index),
            label: format!("kernel {index}"),
            untestable: None,
        };
        Self {
            campaign: campaign_of(["a", "b"], 20),
            demands: Demands::of_trials(1.0, 0.01, 0.01),
            sides: (0..count).map(side).collect(),
            armings: Vec::new(),
        }
    }

    fn comparison(&self) -> Comparison<'_> {
        Comparison {
            campaign: &self.campaign,
            demands: &self.demands,
            sides: &self.sides,
            armings: &self.armings,
        }
    }

    fn pairs(&self, records: &[TrialRecord]) -> Vec<Pair> {
        let comparison = self.comparison();
        judge::judge(&comparison, &Evidence::of(&comparison, records))
    }

    fn report(&self, records: &[TrialRecord], known: &Known) -> CompareReport {
        report::report("run", &self.comparison(), records, Vec::new(), known)
    }

    /// Runs trials as the schedule asks for them, one after the other.
    fn run(&self, trial: impl FnMut(u32, &str) -> TrialRecord) -> (Vec<TrialRecord>, Next) {
        self.run_in(1, trial)
    }

    /// The same in so many slots.
    fn run_in(
        &self,
        slots: usize,
        trial: impl FnMut(u32, &str) -> TrialRecord,
    ) -> (Vec<TrialRecord>, Next) {
        let next = |records: &[TrialRecord], out: &[Order]| match schedule::next(
            &self.comparison(),
            records,
            out,
            &BTreeSet::new(),
        ) {
            Next::Trial(arm) => Step::Trial(arm),
            Next::Wait => Step::Wait,
            end @ (Next::Decided | Next::Exhausted | Next::HostTrouble) => Step::End(end),
        };
        side_by_side(slots, next, trial)
    }
}

fn lockup(number: u32, arm: &str, minutes: f64) -> TrialRecord {
    let mut record = record(number, arm, Outcome::HardLockup, minutes);
    record.signature = Some(Match::Target);
    record
}

fn survival(number: u32, arm: &str) -> TrialRecord {
    record(number, arm, Outcome::Clean, 1.0)
}

fn failure(number: u32, arm: &str, outcome: Outcome, title: &str) -> TrialRecord {
    let mut record = record(number, arm, outcome, 0.3);
    record.title = title.to_owned();
    record
}

#[test]
fn the_side_that_locks_up_is_worse_and_trials_stop_there() {
    let bench = Bench::new(2);
    let (records, end) = bench.run(|number, arm| match arm {
        "a" => survival(number, arm),
        _ => lockup(number, arm, 0.2),
    });
    assert_eq!(end, Next::Decided);
    let pairs = bench.pairs(&records);
    assert_eq!(pairs[0].judgement, Judgement::Worse);
    assert_eq!(Conclusion::of(&pairs).exit_code(), 1);
    // Nine lockups, and as many minutes of the other side.
    assert_eq!(pairs[0].rows[0].counts, [0, 9]);
    assert_eq!(records.len(), 11, "two survivals are enough");

    let (records, _) = bench.run(|number, arm| match arm {
        "a" => lockup(number, arm, 0.2),
        _ => survival(number, arm),
    });
    let pairs = bench.pairs(&records);
    assert_eq!(pairs[0].judgement, Judgement::Better);
    assert_eq!(Conclusion::of(&pairs).exit_code(), 0);
}

#[test]
fn no_difference_takes_exposure_and_states_the_size() {
    let bench = Bench::new(2);
    let (records, end) = bench.run(survival);
    assert_eq!(end, Next::Decided);
    // -ln(0.005 × 0.9) minutes, in whole trials, of each.
    assert_eq!(records.len(), 12);
    let report = bench.report(&records, &Known::default());
    assert_eq!(report.conclusion, Conclusion::NothingWorse);
    assert!(
        report.verdict[0].contains(
            "neither locked up: had one of them failed at least 1.00 times a minute and 4 times"
        ),
        "{:?}",
        report.verdict
    );

    let pairs = bench.pairs(&records[..10]);
    assert_eq!(pairs[0].judgement, Judgement::CouldNotTell);
    assert_eq!(pairs[0].needed.unwrap().trials, 1);
    assert_eq!(Conclusion::of(&pairs).exit_code(), 125);
}

#[test]
fn two_sides_that_lock_up_alike_are_not_told_apart() {
    let mut bench = Bench::new(2);
    bench.campaign.policy.max_trials_per_arm = 60;
    let (records, end) =
        bench.run(|number, arm| lockup(number, arm, 0.2 + f64::from(number) / 1e4));
    assert_eq!(end, Next::Decided);
    let pairs = bench.pairs(&records);
    assert_eq!(pairs[0].judgement, Judgement::NoDifference);
    assert!(pairs[0].rows[0].counts[0] > 10, "{pairs:?}");
    let sentence = &bench.report(&records, &Known::default()).verdict[0];
    assert!(!sentence.contains("neither"), "{sentence}");
}

#[test]
fn a_budget_ends_an_undecided_comparison() {
    let mut bench = Bench::new(2);
    bench.campaign.policy.max_trials_per_arm = 4;
    let (records, end) = bench.run(survival);
    assert_eq!((records.len(), end), (8, Next::Exhausted));
    bench.demands.minutes = Some(3.0);
    let (records, end) = bench.run(survival);
    assert_eq!((records.len(), end), (6, Next::Exhausted));
    assert_eq!(bench.pairs(&records)[0].judgement, Judgement::CouldNotTell);
}

#[test]
fn sides_take_turns_by_exposed_minutes_and_decided_ones_stop() {
    let bench = Bench::new(3);
    let mut order = String::new();
    let (records, end) = bench.run(|number, arm| {
        order.push_str(arm);
        match arm {
            "c" => lockup(number, arm, 0.25),
            _ => survival(number, arm),
        }
    });
    assert_eq!(end, Next::Decided);
    assert!(order.starts_with("abccccabcccc"), "{order}");
    let pairs = bench.pairs(&records);
    let said: Vec<Judgement> = pairs.iter().map(|pair| pair.judgement).collect();
    let expected = [Judgement::NoDifference, Judgement::Worse, Judgement::Worse];
    assert_eq!(said, expected, "a and b, a and c, b and c");
    assert!(order.ends_with("abab"), "c is known by then: {order}");
    let text = bench.report(&records, &Known::default()).to_string();
    assert!(text.contains("against C"), "{text}");
}

#[test]
fn what_failed_outside_of_the_kernels_and_what_was_not_exposed_counts_for_nothing() {
    let bench = Bench::new(2);
    let broken = |number, arm: &str| record(number, arm, Outcome::Infrastructure, 1.0);
    let idle = |number, arm: &str| {
        let mut record = survival(number, arm);
        record.exposure.counters.swaps = Some(1);
        record
    };
    let records = [broken(1, "a"), idle(2, "b"), survival(3, "nobody")];
    let evidence = Evidence::of(&bench.comparison(), &records);
    for side in &evidence.sides {
        assert_eq!((side.minutes, side.completed), (0.0, 0));
    }
    assert_eq!(evidence.sides[1].boots, 1);
    let (records, end) = bench.run(broken);
    assert_eq!((records.len(), end), (3, Next::HostTrouble));
    // A kernel on which the race does not run is no good kernel.
    let (records, end) = bench.run(|number, arm| match arm {
        "a" => survival(number, arm),
        _ => idle(number, arm),
    });
    assert_eq!(end, Next::Decided);
    let pair = &bench.pairs(&records)[0];
    assert_eq!(pair.judgement, Judgement::CouldNotTell);
    assert!(
        pair.untestable
            .as_ref()
            .unwrap()
            .contains("B is untestable: 5 trials")
    );
    assert_eq!(records.len(), 6);
}

#[test]
fn a_side_that_does_not_build_boot_or_alarm_is_untestable() {
    let mut bench = Bench::new(3);
    bench.sides[1].untestable = Some("it does not compile".to_owned());
    let (records, end) = bench.run(|number, arm| match arm {
        "c" => lockup(number, arm, 0.2),
        _ => survival(number, arm),
    });
    assert_eq!(end, Next::Decided);
    assert!(records.iter().all(|record| record.arm != "b"));
    let pairs = bench.pairs(&records);
    let said: Vec<Judgement> = pairs.iter().map(|pair| pair.judgement).collect();
    let unknown = Judgement::CouldNotTell;
    assert_eq!(said, [unknown, Judgement::Worse, unknown]);
    // What is known to be worse counts for more than what is not known.
    assert_eq!(Conclusion::of(&pairs).exit_code(), 1);
    let text = bench.report(&records, &Known::default()).to_string();
    assert!(text.contains("untestable: it does not compile"), "{text}");

    let bench = Bench::new(2);
    for outcome in [Outcome::BootFailure, Outcome::Unfit] {
        let (records, end) = bench.run(|number, arm| match arm {
            "a" => survival(number, arm),
            _ => {
                let mut record = failure(number, arm, outcome, "no init");
                record.exposure = Default::default();
                record
            }
        });
        assert_eq!((records.len(), end), (4, Next::Decided));
        let why = bench.pairs(&records)[0].untestable.clone().unwrap();
        assert!(why.contains("no init"), "{why}");
    }

    let mut bench = Bench::new(2);
    bench.armings = vec![Arming {
        arm: "b".to_owned(),
        build: "key".to_owned(),
        how: String::new(),
        fired: Vec::new(),
        silent: Vec::new(),
        waited_ms: 1,
        trouble: None,
    }];
    let (records, end) = bench.run(|_, _| unreachable!());
    assert_eq!((records.len(), end), (0, Next::Decided));
    let why = bench.pairs(&[])[0].untestable.clone().unwrap();
    assert!(why.contains("no detector"), "{why}");
}

#[test]
fn other_failures_are_grouped_and_make_a_side_worse_too() {
    let bench = Bench::new(2);
    let (records, end) = bench.run(|number, arm| match arm {
        "a" => survival(number, arm),
        _ => failure(
            number,
            arm,
            Outcome::SoftLockup,
            &format!("BUG: soft lockup - CPU#{number} stuck for 2{number}s! [x:{number}]"),
        ),
    });
    assert_eq!(end, Next::Decided);
    let pairs = bench.pairs(&records);
    assert_eq!(pairs[0].judgement, Judgement::Worse);
    assert_eq!(
        pairs[0].rows.len(),
        2,
        "one kind beside the target: {pairs:#?}"
    );
    assert_eq!(pairs[0].rows[0].failure, Failure::Target);
    assert_eq!(pairs[0].rows[0].judgement, Judgement::CouldNotTell);
    let sentence = &bench.report(&records, &Known::default()).verdict[0];
    assert!(
        sentence.contains("B is worse than A: soft lockup: BUG"),
        "{sentence}"
    );
}

/// A warning that each boot prints is no difference between a side that boots often and one that does not.
#[test]
fn what_each_boot_says_makes_no_side_worse() {
    let mut bench = Bench::new(2);
    bench.campaign.policy.max_trials_per_arm = 60;
    let (records, _) = bench.run(|number, arm| {
        let mut record = match arm {
            "a" => survival(number, arm),
            _ if number % 4 > 0 => lockup(number, arm, 0.1),
            _ => survival(number, arm),
        };
        if record.outcome == Outcome::Clean {
            record.outcome = Outcome::Warning;
            record.title = "WARNING: at init/main.c:1".to_owned();
        }
        record
    });
    let pairs = bench.pairs(&records);
    let warning = pairs[0]
        .rows
        .iter()
        .find(|row| row.failure != Failure::Target);
    assert_eq!(warning.unwrap().judgement, Judgement::CouldNotTell);
    assert_eq!(warning.unwrap().evidence, 1.0);
}

#[test]
fn the_report_says_what_was_found_without_booting_and_can_be_read_again() {
    let bench = Bench::new(2);
    let (records, _) = bench.run(|number, arm| match arm {
        "a" => lockup(number, arm, 0.2),
        _ => survival(number, arm),
    });
    let facts = |state: &str| Facts {
        release: Some(format!("6.12-{state}")),
        fixes: vec![FixLine {
            commit: "0b26351b910f".to_owned(),
            state: state.to_owned(),
            why: "so it is".to_owned(),
        }],
        ..Facts::default()
    };
    let config = |text: &str| Some(Config::parse(text));
    let known = Known {
        facts: vec![facts("affected"), facts("fixed")],
        configs: vec![config("CONFIG_HZ=250\n"), config("CONFIG_HZ=1000\n")],
    };
    let report = bench.report(&records, &known);
    let text = report.to_string();
    for words in [
        "comparison: NOTHING IS WORSE\n  B is better than A: target lockup, B 0 times in 2.00 exposed minutes, A 9 times in 1.80 exposed minutes; evidence 202.3 against equal rates, 200 is asked for",
        "B: 0b26351b910f fixed: so it is",
        "CONFIG_HZ (scheduler): A 250 | B 1000",
        "release (what the kernels are made of): A 6.12-affected | B 6.12-fixed",
        "B did not lock up in 2.00 exposed minutes: 2.30 lockups/min or more would have shown themselves with probability 0.99",
        "a rate as high as A's would have stayed silent with probability",
        "Ville's inequality",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let json = serde_json::to_string(&report).unwrap();
    let again: CompareReport = serde_json::from_str(&json).unwrap();
    assert_eq!(again.to_string(), text);
}

/// Trials whose sides all fail at these rates per minute: the target's, and two other kinds'.
fn failing(rng: &mut Rng, number: u32, arm: &str, target: f64, others: f64) -> TrialRecord {
    let mut record = made(rng, number, arm, target + 2.0 * others, 1.0);
    let kind = rng.f64() * (target + 2.0 * others);
    if record.signature.is_some() && kind > target {
        record.signature = None;
        record.outcome = Outcome::Oops;
        let which = if kind > target + others {
            "here"
        } else {
            "there"
        };
        record.title = format!("Oops {which} {number}");
    }
    record
}

/// Any pair, any kind of failure, looked at after every trial, with trials side by side too.
#[test]
fn equal_sides_are_called_different_at_most_alpha_often() {
    for (seed, slots, count, target, others) in [
        (1, 1, 2, 1e-9, 1e-9),
        (3, 1, 2, 1.5, 1.0),
        (4, 1, 3, 3.0, 0.5),
        (7, 6, 2, 1.5, 1.0),
    ] {
        let mut bench = Bench::new(count);
        bench.demands.alpha = 0.05;
        bench.campaign.policy.max_trials_per_arm = 14;
        let mut rng = Rng::with_seed(seed);
        let mut wrong = 0;
        for _ in 0..CAMPAIGNS {
            let trial = |number, arm: &str| failing(&mut rng, number, arm, target, others);
            let (records, _) = bench.run_in(slots, trial);
            let different =
                |pair: &Pair| matches!(pair.judgement, Judgement::Worse | Judgement::Better);
            wrong += u32::from(bench.pairs(&records).iter().any(different));
        }
        at_most(wrong, bench.demands.alpha);
    }
}

#[test]
fn different_sides_are_found_and_a_difference_that_matters_is_not_denied() {
    // Locks up once in three trials at least, or as often as a tuned load makes it.
    for (seed, rate, found_share) in [(5, 5.0, 0.999), (6, 1.0, 0.9)] {
        let bench = Bench::new(2);
        let mut rng = Rng::with_seed(seed);
        let (mut worse, mut denied) = (0, 0);
        for _ in 0..CAMPAIGNS {
            let (records, _) = bench.run(|number, arm| {
                let rate = if arm == "b" { rate } else { 1e-9 };
                made(&mut rng, number, arm, rate, 1.0)
            });
            let comparison = bench.comparison();
            let evidence = Evidence::of(&comparison, &records);
            match judge::judgement(&comparison, &evidence, (0, 1)) {
                Judgement::Worse => worse += 1,
                Judgement::NoDifference => denied += 1,
                Judgement::Better | Judgement::CouldNotTell => {}
            }
        }
        at_least(worse, found_share);
        at_most(denied, bench.demands.beta);
    }
}
