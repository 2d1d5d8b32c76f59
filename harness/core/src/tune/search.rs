//! Which point is tried next: a function of the readings alone, so that a resumed tune goes on where it
//! stopped, and always to the same end.
//!
//! From the campaign's own point the search walks along one axis after the other. Along each, the points
//! race: every round gives those that are left another trial, then the worse half goes out, as does what
//! is worse than the first for certain. Trials are never forgotten: the winner takes its own along to the
//! next axis. When a round over all axes has changed nothing, or three quarters of the trials are used, the
//! best points of all are tried on until they can be told apart; the winner of a race is the best of several
//! noisy figures, and some of that is luck.

use std::collections::BTreeMap;
use std::fmt;

use super::objective::Objective;
use super::reading::{Counts, Reading};
use super::space::{Point, Space};
use crate::random::Random;
use crate::statistics::Rate;

/// Trials that each round of a race gives to those who are left; the last round decides.
const ROUNDS: [u32; 3] = [1, 1, 2];
/// So many are left in a race at least until its last round.
const LAST_PAIR: usize = 2;
/// A single trial puts nobody out by its interval.
const SURE_TRIALS: usize = 2;
/// A point is given up after so many failed trials, if they are as many as the others.
const FAILURES: usize = 2;
/// One part in so many of the trials is kept to tell the best points apart.
const KEPT_PART: usize = 4;
/// Points among which is decided at the end.
const FINALISTS: usize = 3;

/// What the search needs next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A trial of this point.
    Trial(Point),
    /// Nothing more.
    Done(Ending),
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The best point is told apart from the next ones.
    Settled,
    /// The trials are used up.
    Spent,
    /// Neither the campaign nor anything beside it gave a reading.
    NothingRuns,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settled => "the best point is told apart from the next ones",
            Self::Spent => "the trials are used up",
            Self::NothingRuns => "neither the campaign nor anything beside it gave a reading",
        })
    }
}

/// What the search is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Looks for a point that runs, the campaign's own first.
    Start,
    /// Walks along an axis.
    Walk {
        /// Which time, from 1.
        pass: u32,
        /// Index of the axis.
        axis: usize,
        /// Round of the race, from 1.
        round: usize,
    },
    /// Tells the best points apart.
    Final,
}

/// How far a search has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// What it needs.
    pub next: Next,
    /// What it is doing.
    pub stage: Stage,
    /// The best point so far.
    pub best: Option<Point>,
    /// Points that the search came by and that cannot be tried, and why.
    pub impossible: BTreeMap<Point, String>,
}

/// Readings that this search did not ask for: they are another search's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "trial {trial} is not the one that this search asks for: another version of kverdict made it"
)]
pub struct Strayed {
    /// The first of them, from 1.
    pub trial: usize,
}

/// Goes through all readings of a search with this seed and number of trials, in their order.
///
/// # Errors
/// When they are not this search's.
pub fn search(
    space: &Space,
    seed: u64,
    max_trials: usize,
    readings: &[(Point, Reading)],
) -> Result<Search, Strayed> {
    let mut taken = 0;
    let mut stored = |point: &Point| {
        let Some((of, reading)) = readings.get(taken) else {
            return Err(Stop::Trial(point.clone()));
        };
        taken += 1;
        match of == point {
            true => Ok(reading.clone()),
            false => Err(Stop::Strayed(taken)),
        }
    };
    let mut walk = Walk::new(space, seed, max_trials, &mut stored);
    let next = match walk.walk_to_the_end() {
        Err(Stop::Trial(point)) => Next::Trial(point),
        Err(Stop::Spent) => Next::Done(Ending::Spent),
        Err(Stop::NothingRuns) => Next::Done(Ending::NothingRuns),
        Err(Stop::Strayed(trial)) => return Err(Strayed { trial }),
        Ok(()) => Next::Done(Ending::Settled),
    };
    Ok(Search {
        next,
        stage: walk.stage,
        best: walk.best(),
        impossible: walk.impossible,
    })
}

/// What keeps a walk from going on.
enum Stop {
    Trial(Point),
    Spent,
    NothingRuns,
    Strayed(usize),
}

/// What is known of a point.
#[derive(Debug, Default)]
struct Tally {
    counted: Vec<Counts>,
    failures: usize,
}

/// Gives the reading of one trial of a point, if there is one.
type Source<'a> = dyn FnMut(&Point) -> Result<Reading, Stop> + 'a;

/// The search, from its start over all readings that there are.
struct Walk<'a> {
    space: &'a Space,
    source: &'a mut Source<'a>,
    random: Random,
    limit: usize,
    max_trials: usize,
    used: usize,
    tallies: BTreeMap<Point, Tally>,
    impossible: BTreeMap<Point, String>,
    stage: Stage,
}

impl<'a> Walk<'a> {
    fn new(space: &'a Space, seed: u64, max_trials: usize, source: &'a mut Source<'a>) -> Self {
        Self {
            space,
            source,
            random: Random(seed),
            limit: max_trials - max_trials / KEPT_PART,
            max_trials,
            used: 0,
            tallies: BTreeMap::new(),
            impossible: BTreeMap::new(),
            stage: Stage::Start,
        }
    }

    fn walk_to_the_end(&mut self) -> Result<(), Stop> {
        let start = self.start()?;
        match self.climb(start) {
            Ok(()) | Err(Stop::Spent) => {}
            Err(stop) => return Err(stop),
        }
        self.limit = self.max_trials;
        self.stage = Stage::Final;
        self.decide()
    }

    /// The campaign's own point, or the first one beside it that runs.
    fn start(&mut self) -> Result<Point, Stop> {
        let start = self.space.start();
        for point in std::iter::once(start).chain(self.space.beside()) {
            if self.measure(&point)? {
                return Ok(point);
            }
        }
        Err(Stop::NothingRuns)
    }

    /// Walks along all axes, again and again until nothing changes.
    fn climb(&mut self, start: Point) -> Result<(), Stop> {
        let mut best = start;
        for pass in 1.. {
            let before = best.clone();
            let axes = self.random.shuffled((0..self.space.axes.len()).collect());
            for axis in axes {
                best = self.race(&best, axis, pass)?;
            }
            if best == before {
                break;
            }
        }
        Ok(())
    }

    /// The best point on an axis.
    fn race(&mut self, from: &Point, axis: usize, pass: u32) -> Result<Point, Stop> {
        let mut left = self.space.line(from, axis);
        left.retain(|point| !self.is_out(point));
        for (round, trials) in ROUNDS.into_iter().enumerate() {
            if left.len() < LAST_PAIR {
                break;
            }
            self.stage = Stage::Walk {
                pass,
                axis,
                round: round + 1,
            };
            for _ in 0..trials {
                for point in self.random.shuffled(left.clone()) {
                    self.measure(&point)?;
                }
            }
            left.retain(|point| !self.is_out(point));
            left = self.better_half(left);
        }
        // All of them may have turned out to fail.
        Ok(left.into_iter().next().unwrap_or_else(|| from.clone()))
    }

    /// Best first; among equals, whoever came first stays first.
    fn better_half(&self, mut points: Vec<Point>) -> Vec<Point> {
        let kept = points.len().div_ceil(2).max(LAST_PAIR);
        self.sort(&mut points);
        points.truncate(kept);
        if let Some(first) = points.first().cloned() {
            points.retain(|point| *point == first || !self.surely_worse(point, &first));
        }
        points
    }

    /// Tries the best points on until the first is told apart.
    fn decide(&mut self) -> Result<(), Stop> {
        loop {
            let mut points: Vec<Point> = self.tallies.keys().cloned().collect();
            points.retain(|point| !self.is_out(point));
            self.sort(&mut points);
            points.truncate(FINALISTS);
            let Some(first) = points.first().cloned() else {
                return Err(Stop::NothingRuns);
            };
            points.retain(|point| *point == first || !self.surely_worse(point, &first));
            if points.len() == 1 {
                return Ok(());
            }
            let least = points.into_iter().min_by_key(|point| self.trials(point));
            self.measure(&least.unwrap_or(first))?;
        }
    }

    /// Has a point tried until it gives one more reading; false: it gives none.
    fn measure(&mut self, point: &Point) -> Result<bool, Stop> {
        let before = self.trials(point);
        while !self.is_out(point) {
            self.try_once(point)?;
            if self.trials(point) > before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn try_once(&mut self, point: &Point) -> Result<(), Stop> {
        if self.used >= self.limit {
            return Err(Stop::Spent);
        }
        let reading = (self.source)(point)?;
        let tally = self.tallies.entry(point.clone()).or_default();
        match reading {
            Reading::Counted(counts) => tally.counted.push(counts),
            Reading::Failed(_) => tally.failures += 1,
            // As if it had never been.
            Reading::HostTrouble(_) => return Ok(()),
        }
        self.used += 1;
        Ok(())
    }

    /// Whether a point gives no readings: it contradicts itself, or its guests fail.
    fn is_out(&mut self, point: &Point) -> bool {
        let Some(tally) = self.tallies.get(point) else {
            if !self.impossible.contains_key(point)
                && let Err(problems) = self.space.campaign(point)
            {
                let all = problems.problems.iter().map(ToString::to_string);
                let text = all.collect::<Vec<_>>().join("; ");
                self.impossible.insert(point.clone(), text);
            }
            return self.impossible.contains_key(point);
        };
        tally.failures >= FAILURES && tally.failures >= tally.counted.len()
    }

    fn trials(&self, point: &Point) -> usize {
        self.tallies
            .get(point)
            .map_or(0, |tally| tally.counted.len())
    }

    fn counted(&self) -> impl Iterator<Item = &[Counts]> {
        self.tallies.values().map(|tally| tally.counted.as_slice())
    }

    fn estimate(&self, point: &Point) -> Option<f64> {
        let objective = Objective::of(self.counted().flatten())?;
        objective.estimate(&self.tallies.get(point)?.counted)
    }

    fn rate(&self, point: &Point) -> Option<Rate> {
        let objective = Objective::of(self.counted().flatten())?;
        let dispersion = objective.dispersion(self.counted());
        objective.rate(&self.tallies.get(point)?.counted, dispersion)
    }

    fn sort(&self, points: &mut [Point]) {
        // What has no figure is behind what has 0.
        let estimate = |point: &Point| self.estimate(point).unwrap_or(-1.0);
        points.sort_by(|one, two| estimate(two).total_cmp(&estimate(one)));
    }

    fn surely_worse(&self, point: &Point, than: &Point) -> bool {
        if self.trials(point).min(self.trials(than)) < SURE_TRIALS {
            return false;
        }
        let rates = self.rate(point).zip(self.rate(than));
        rates.is_some_and(|(worse, better)| worse.high < better.low)
    }

    /// The point whose rate is the highest for certain: one that had a single lucky trial is not it.
    fn best(&mut self) -> Option<Point> {
        let mut points: Vec<Point> = self.tallies.keys().cloned().collect();
        points.retain(|point| !self.is_out(point));
        let low = |point: &Point| self.rate(point).map(|rate| rate.low);
        let with_low = points
            .into_iter()
            .filter_map(|point| Some((low(&point)?, point)));
        // The campaign's own point is the least of all and wins where nothing is better.
        let better =
            |best: (f64, Point), one: (f64, Point)| if one.0 > best.0 { one } else { best };
        with_low.reduce(better).map(|(_, point)| point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Campaign;
    use crate::tune::spec::TuneSpec;

    const CAMPAIGN: &str = include_str!("../../../../configs/migrate-swap.yaml");
    const PARAMETERS: &str = "
        {at: [load, pollers, count], values: [1, 2, 4, 5]},
        {at: [load, roamers, count], values: [0, 3, 8]},
        {at: [tuning, sysctls, kernel.numa_balancing_scan_size_mb], values: [16, 64, 1024]}";

    fn space() -> Space {
        let text = format!(
            "{{schema: 1, name: t, campaign: c, load_seconds: 20, max_trials: 9, parameters: [{PARAMETERS}]}}"
        );
        let spec = TuneSpec::parse("t.yaml", &text).unwrap();
        Space::new(
            "t.yaml",
            &spec,
            &Campaign::parse("c.yaml", CAMPAIGN).unwrap(),
        )
        .unwrap()
    }

    /// Near misses per minute at a point: the best has the second other value of each axis, and three
    /// times as many as the campaign.
    fn landscape(point: &Point) -> f64 {
        let factors = [
            [1.0, 0.5, 1.4, 1.1, 0.6].as_slice(),
            &[1.0, 0.0, 1.5, 0.7],
            &[1.0, 0.8, 1.45, 0.4],
        ];
        let chosen = point.choices().iter().zip(factors);
        30.0 * chosen
            .map(|(&choice, factors)| factors[choice])
            .product::<f64>()
    }

    /// Trials of 20 seconds whose rates differ from boot to boot by about a third.
    struct Guests(Random);

    impl Guests {
        fn uniform(&mut self) -> f64 {
            (self.0.next() >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn poisson(&mut self, mean: f64) -> u64 {
            let mut left = mean;
            (0..)
                .find(|_| {
                    left += self.uniform().max(1e-300).ln();
                    left < 0.0
                })
                .unwrap_or(0)
        }

        fn run(&mut self, rate: f64) -> Reading {
            let minutes = 1.0 / 3.0;
            let mood = 0.5 + self.uniform();
            Reading::Counted(Counts {
                minutes,
                meetings: Some(self.poisson(rate * mood * minutes)),
                ..Counts::default()
            })
        }
    }

    fn all_readings(space: &Space, seed: u64, trials: usize) -> (Vec<(Point, Reading)>, Search) {
        let mut guests = Guests(Random(seed ^ 0xabcd));
        let mut readings: Vec<(Point, Reading)> = Vec::new();
        let mut live = |point: &Point| {
            let reading = guests.run(landscape(point));
            readings.push((point.clone(), reading.clone()));
            Ok(reading)
        };
        let mut walk = Walk::new(space, seed, trials, &mut live);
        let ended = walk.walk_to_the_end();
        assert!(matches!(ended, Ok(()) | Err(Stop::Spent)));
        drop(walk);
        let search = search(space, seed, trials, &readings).unwrap();
        (readings, search)
    }

    #[test]
    fn the_best_of_a_known_landscape_is_found_within_the_trials() {
        let space = space();
        let rate = |point: &Point| landscape(point) / 30.0;
        let (mut right, mut gained) = (0, 0.0);
        let runs = 200;
        for seed in 0..runs {
            let (readings, search) = all_readings(&space, seed, 60);
            assert!(readings.len() <= 60);
            assert!(matches!(search.next, Next::Done(_)));
            let found = rate(&search.best.unwrap());
            right += u32::from((found - 3.045).abs() < 1e-9);
            gained += found / runs as f64;
        }
        assert!(right >= 140, "{right} of {runs} found the best");
        assert!(
            gained > 2.7,
            "{gained} times the campaign's near misses on average"
        );
    }

    #[test]
    fn every_prefix_of_the_readings_leads_to_the_trial_that_came_next() {
        let space = space();
        for seed in 0..4 {
            let (readings, whole) = all_readings(&space, seed, 40);
            let (again, _) = all_readings(&space, seed, 40);
            assert_eq!(readings, again, "the same seed, the same search");
            for (count, (point, _)) in readings.iter().enumerate() {
                let search = search(&space, seed, 40, &readings[..count]).unwrap();
                assert_eq!(
                    search.next,
                    Next::Trial(point.clone()),
                    "after {count} trials"
                );
            }
            assert_eq!(search(&space, seed, 40, &readings).unwrap(), whole);
        }
        let orders: Vec<_> = (0..4)
            .map(|seed| all_readings(&space, seed, 40).0)
            .collect();
        assert_ne!(orders[0], orders[1], "another seed, another order");
    }

    /// Goes on until the search ends; what a trial gives is a function of its point.
    fn ask(space: &Space, trials: usize, give: impl Fn(&Point) -> Reading) -> (usize, Search) {
        let mut readings = Vec::new();
        loop {
            let search = search(space, 1, trials, &readings).unwrap();
            let Next::Trial(point) = &search.next else {
                return (readings.len(), search);
            };
            let reading = give(point);
            readings.push((point.clone(), reading));
        }
    }

    fn counted(meetings: u64) -> Reading {
        Reading::Counted(Counts {
            minutes: 1.0,
            meetings: Some(meetings),
            ..Counts::default()
        })
    }

    #[test]
    fn points_that_contradict_themselves_are_not_tried_and_kept_with_their_reason() {
        let space = space();
        let (_, search) = ask(&space, 30, |point| {
            assert!(space.campaign(point).is_ok());
            counted(10)
        });
        let texts: Vec<&String> = search.impossible.values().collect();
        assert!(!texts.is_empty());
        assert!(
            texts
                .iter()
                .all(|text| text.contains("no roamers to shuffle")),
            "{texts:?}"
        );
    }

    #[test]
    fn a_point_whose_guests_fail_is_given_up_and_not_the_best() {
        let space = space();
        let bad = space.start().with(2, 1);
        let tried = std::cell::Cell::new(0);
        let (_, search) = ask(&space, 60, |point| {
            if *point == bad {
                tried.set(tried.get() + 1);
                return Reading::Failed("panic".to_owned());
            }
            counted(10)
        });
        assert_eq!(tried.get(), 2);
        assert_ne!(search.best, Some(bad));
    }

    #[test]
    fn a_campaign_that_does_not_run_is_left_for_one_that_does() {
        let space = space();
        let start = space.start();
        let (_, search) = ask(&space, 60, |point| {
            if *point == start {
                Reading::Failed("unfit".to_owned())
            } else {
                counted(10)
            }
        });
        assert!(search.best.is_some_and(|best| best != start));
        let (trials, search) = ask(&space, 60, |_| Reading::Failed("unfit".to_owned()));
        assert_eq!(search.next, Next::Done(Ending::NothingRuns));
        assert_eq!(search.best, None);
        assert!(trials < 30, "{trials}");
    }

    #[test]
    fn trouble_of_the_host_costs_no_trial_and_changes_nothing() {
        let space = space();
        let trouble = Reading::HostTrouble("disk full".to_owned());
        let (mut readings, whole) = all_readings(&space, 3, 40);
        for at in [0, 7, 20] {
            let point = readings[at].0.clone();
            readings.insert(at, (point, trouble.clone()));
        }
        assert_eq!(search(&space, 3, 40, &readings).unwrap(), whole);
    }

    #[test]
    fn a_clear_winner_ends_the_search_early() {
        let space = space();
        let (trials, search) = ask(&space, 500, |point| counted(landscape(point) as u64 * 10));
        assert_eq!(search.next, Next::Done(Ending::Settled));
        assert!(trials < 150, "{trials}");
    }

    #[test]
    fn readings_of_another_search_are_noticed() {
        let space = space();
        let mut readings = all_readings(&space, 1, 40).0;
        assert!(search(&space, 1, 40, &readings).is_ok());
        readings[0].0 = space.start().with(0, 1);
        assert_eq!(search(&space, 1, 40, &readings), Err(Strayed { trial: 1 }));
    }
}
