//! Made-up kernels to bisect: some have the bug and lock up now and then. Seeded, so that every run of it
//! is the same.

use kverdict_core::assessment::Known;
use kverdict_core::bisect::observation::{Observation, Reading};
use kverdict_core::bisect::range::{Candidate, Direction, Range};
use kverdict_core::bisect::search::{self, Ending, Next, Policy};
use kverdict_core::statistics;

/// Minutes that a kernel takes which was not built before, most of its objects being there.
pub const BUILD_MINUTES: f64 = 0.3;

/// What every simulated bisection works with.
pub const POLICY: Policy = Policy {
    alpha: 0.01,
    trial_minutes: 1.0,
    boot_minutes: 0.1,
    end_trials: 200,
    max_trials: 5000,
    max_minutes: None,
    sweep: None,
};

/// Steele, Lea and Flood's SplitMix64 (2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Time to the next event of a Poisson process.
    fn waiting(&mut self, rate: f64) -> f64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln() / rate
    }
}

/// Rate per minute at which a trial locks up so often.
pub fn rate_of(per_trial: f64) -> f64 {
    -(1.0 - per_trial).ln() / POLICY.trial_minutes
}

pub fn candidate(label: &str, parents: &[usize]) -> Candidate {
    Candidate {
        label: label.to_owned(),
        parents: parents.to_vec(),
        weight: 1.0,
        build_minutes: BUILD_MINUTES,
    }
}

/// `0` to `last`.
pub fn list(direction: Direction, last: usize) -> Range {
    let candidates = (0..=last).map(|index| candidate(&index.to_string(), &[]));
    Range::list(direction, candidates.collect()).expect("a list is a range")
}

/// Kernels, and how often those with the bug lock up.
pub struct World<'a> {
    pub has_bug: &'a dyn Fn(usize) -> bool,
    /// Why a candidate cannot be tried, if it cannot.
    pub broken: &'a dyn Fn(usize) -> bool,
    /// Lockups per minute under load.
    pub rate: f64,
    pub random: Random,
}

impl World<'_> {
    /// Minutes under load, and whether they ended in a lockup.
    fn load(&mut self, candidate: usize) -> (f64, bool) {
        let wait = match (self.has_bug)(candidate) {
            true => self.random.waiting(self.rate),
            false => f64::INFINITY,
        };
        (wait.min(POLICY.trial_minutes), wait < POLICY.trial_minutes)
    }

    /// What a control of so many lockups shows of the rate.
    pub fn control(&mut self, lockups: u32) -> Known {
        let waits = (0..lockups).map(|_| self.random.waiting(self.rate));
        Known {
            lockups,
            minutes: waits.sum(),
        }
    }

    fn observe(&mut self, candidate: usize, built: &mut Vec<usize>) -> Observation {
        let build = match built.contains(&candidate) {
            true => 0.0,
            false => BUILD_MINUTES,
        };
        built.push(candidate);
        if (self.broken)(candidate) {
            return Observation {
                candidate,
                reading: Reading::Untestable("does not build".to_owned()),
                minutes: build,
            };
        }
        let (exposed_minutes, locked_up) = self.load(candidate);
        Observation {
            candidate,
            reading: Reading::Counted {
                lockups: u32::from(locked_up),
                exposed_minutes,
            },
            minutes: build + POLICY.boot_minutes + exposed_minutes,
        }
    }
}

/// Bisects to the end.
pub fn bisect(range: &Range, world: &mut World<'_>) -> (Ending, Vec<Observation>) {
    bisect_by(&POLICY, range, world)
}

/// The same with a policy of its own.
pub fn bisect_by(
    policy: &Policy,
    range: &Range,
    world: &mut World<'_>,
) -> (Ending, Vec<Observation>) {
    let mut observations = Vec::new();
    let mut built = Vec::new();
    loop {
        match search::search(range, policy, &observations).next {
            Next::Trial { candidate }
            | Next::Measure { candidate }
            | Next::Sweep { candidate }
            | Next::Confirm { candidate } => {
                observations.push(world.observe(candidate, &mut built));
            }
            Next::Done(ending) => return (ending, observations),
        }
    }
}

/// The same with so many trials side by side, of kernels that are built. What came out is in the order in which it
/// did, with the minutes that all took.
pub fn bisect_beside(
    jobs: usize,
    range: &Range,
    world: &mut World<'_>,
) -> (Ending, Vec<Observation>, f64) {
    let (mut ended, mut built, mut now) = (Vec::new(), Vec::new(), 0.0);
    let mut out: Vec<(f64, Observation)> = Vec::new();
    loop {
        while out.len() < jobs {
            let under_way: Vec<usize> = out.iter().map(|(_, one)| one.candidate).collect();
            let candidate = match search::beside(range, &POLICY, &ended, &under_way).next {
                Next::Trial { candidate }
                | Next::Measure { candidate }
                | Next::Sweep { candidate }
                | Next::Confirm { candidate } => candidate,
                Next::Done(ending) if out.is_empty() => return (ending, ended, now),
                Next::Done(_) => break,
            };
            if !out.is_empty() && !built.contains(&candidate) {
                break;
            }
            let one = world.observe(candidate, &mut built);
            out.push((now + one.minutes, one));
        }
        let mut ends = (0..out.len()).collect::<Vec<_>>();
        ends.sort_by(|one, other| out[*one].0.total_cmp(&out[*other].0));
        let (end, one) = out.remove(ends[0]);
        now = end;
        ended.push(one);
    }
}

pub fn minutes(observations: &[Observation]) -> f64 {
    observations.iter().map(|one| one.minutes).sum()
}

/// What `git bisect` finds in a list when a kernel is called good after so many trials without a lockup,
/// and the minutes that it takes. It believes the ends.
pub fn git_bisect(last: usize, repeats: u32, world: &mut World<'_>) -> (usize, f64) {
    let (mut good, mut bad, mut minutes) = (0, last, 0.0);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        minutes += BUILD_MINUTES;
        let locked_up = (0..repeats).any(|_| {
            let (load, locked_up) = world.load(middle);
            minutes += POLICY.boot_minutes + load;
            locked_up
        });
        *(if locked_up { &mut bad } else { &mut good }) = middle;
    }
    (bad, minutes)
}

/// The same by somebody who does not know the rate: the bad end is tried until so many lockups, and kernels
/// are called good after what is then luck with a probability of [`POLICY`]'s alpha in all of the steps.
pub fn learning_git_bisect(last: usize, lockups: u32, world: &mut World<'_>) -> (usize, f64) {
    let (mut seen, mut load_minutes, mut minutes) = (0, 0.0, BUILD_MINUTES);
    while seen < lockups {
        let (load, locked_up) = world.load(last);
        seen += u32::from(locked_up);
        load_minutes += load;
        minutes += POLICY.boot_minutes + load;
    }
    // About half of the kernels in the middle are good.
    let good_steps = (last as f64).log2() / 2.0;
    let alpha = POLICY.alpha / good_steps;
    let enough = statistics::minutes_to_survive(lockups, load_minutes, alpha);
    let enough = enough.expect("a control of some lockups");
    let repeats = (enough / POLICY.trial_minutes).ceil().max(1.0) as u32;
    let (found, searching) = git_bisect(last, repeats, world);
    (found, minutes + searching)
}

/// Share of right answers, and mean minutes, of many bisections of `culprits` candidates with the culprit
/// anywhere.
pub fn many(
    runs: u64,
    culprits: usize,
    per_trial: f64,
    mut one: impl FnMut(usize, &mut World<'_>) -> (bool, f64),
) -> (f64, f64) {
    let (mut right, mut took) = (0, 0.0);
    for seed in 0..runs {
        let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let culprit = 1 + random.below(culprits);
        let mut world = World {
            has_bug: &|candidate| candidate >= culprit,
            broken: &|_| false,
            rate: rate_of(per_trial),
            random,
        };
        let (found, minutes) = one(culprit, &mut world);
        right += u32::from(found);
        took += minutes;
    }
    (f64::from(right) / runs as f64, took / runs as f64)
}

/// The same of kverdict, with what a control of so many lockups showed; 0: without one.
pub fn ours(runs: u64, culprits: usize, per_trial: f64, lockups: u32) -> (f64, f64) {
    many(runs, culprits, per_trial, |culprit, world| {
        let range = list(Direction::Broke, culprits).with_control(world.control(lockups));
        let (ending, observations) = bisect(&range, world);
        let found = ending == Ending::Found { candidate: culprit };
        (found, minutes(&observations))
    })
}

/// The same of `git bisect` with so many trials each.
pub fn repeats(runs: u64, culprits: usize, per_trial: f64, times: u32) -> (f64, f64) {
    many(runs, culprits, per_trial, |culprit, world| {
        let (found, minutes) = git_bisect(culprits, times, world);
        (found == culprit, minutes)
    })
}

/// The same of `git bisect` by somebody who learns the rate from so many lockups first.
pub fn learning_repeats(runs: u64, culprits: usize, per_trial: f64, lockups: u32) -> (f64, f64) {
    many(runs, culprits, per_trial, |culprit, world| {
        let (found, minutes) = learning_git_bisect(culprits, lockups, world);
        (found == culprit, minutes)
    })
}
