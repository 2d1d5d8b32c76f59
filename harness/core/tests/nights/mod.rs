//! Nights that were never run, on a machine with nights behind it.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use kverdict_core::arming::Arming;
use kverdict_core::campaign::{Arm, Role};
use kverdict_core::console::{Match, Outcome};
use kverdict_core::history::CellNight;
use kverdict_core::night::NightTrial;
use kverdict_core::night::config::NightSpec;
use kverdict_core::night::judge::{self, KnownKernel, Night};
use kverdict_core::night::known::KnownIssue;
use kverdict_core::night::plan::{self, Cell};
use kverdict_core::night::report::NightReport;
use kverdict_core::night::schedule::{self, Next, Why};
use kverdict_core::record::TrialRecord;

use crate::made_up;

pub const SPEC: &str = "
schema: 1
name: t
campaign: test
kernels:
  unfixed: {kernel: k, control: true}
  fixed: {kernel: k}
  vendor: {kernel: k}
budget_minutes: 90
trials: {min: 2, max: 14}
alpha: 0.05
reach: 3
";

/// What a trial of a cell shows, by its name and how many it had before.
pub type World = fn(&str, u32) -> TrialRecord;

/// A machine with nights behind it.
pub struct Nights {
    pub spec: NightSpec,
    pub cells: Vec<Cell>,
    pub kernels: BTreeMap<String, KnownKernel>,
    pub armings: Vec<Arming>,
    pub untestable: BTreeMap<String, String>,
    pub past: BTreeMap<String, Vec<CellNight>>,
    pub known: Vec<KnownIssue>,
    pub count: u32,
    /// Trials side by side.
    pub jobs: usize,
}

impl Nights {
    pub fn new(spec: &str) -> Self {
        let spec = NightSpec::parse("t.yaml", spec).unwrap();
        let campaigns = BTreeMap::from([("test".to_owned(), made_up::campaign())]);
        let mut environments = plan::environments("t.yaml", &spec, &campaigns).unwrap();
        for environment in &mut environments {
            let arm = |kernel: &String| (kernel.clone(), arm());
            environment.campaign.arms = spec.kernels.keys().map(arm).collect();
        }
        let cells = plan::cells(&spec, &environments, |_| None);
        let kernel = |cell: &Cell| {
            let known = KnownKernel {
                release: "6.99".into(),
                build: "k1".into(),
                untestable: None,
            };
            (cell.arm.clone(), known)
        };
        let armings = cells.iter();
        Self {
            kernels: cells.iter().map(kernel).collect(),
            armings: armings
                .map(|cell| made_up::arming(&cell.arm, &["outside"]))
                .collect(),
            untestable: BTreeMap::new(),
            past: BTreeMap::new(),
            known: Vec::new(),
            count: 0,
            jobs: 1,
            spec,
            cells,
        }
    }

    pub fn night<'a>(&'a self, run: &'a str) -> Night<'a> {
        Night {
            run,
            started: "2026-01-10T01:00:00Z",
            spec: &self.spec,
            cells: &self.cells,
            kernels: &self.kernels,
            untestable: &self.untestable,
            armings: &self.armings,
            past: &self.past,
            known: &self.known,
        }
    }

    /// Makes the trials of one night, with the reason for each, in the order in which they begin.
    pub fn trials(&self, world: World) -> (Vec<NightTrial>, Vec<(String, Why)>, Next) {
        let night = self.night("run");
        let (mut trials, mut order, mut spent) = (Vec::<NightTrial>::new(), Vec::new(), 0.0);
        let mut out = Vec::<(usize, NightTrial)>::new();
        loop {
            let under_way: Vec<usize> = out.iter().map(|(cell, _)| *cell).collect();
            let next = match out.len() < self.jobs {
                true => schedule::next(&night, &trials, &BTreeSet::new(), spent, &under_way),
                false => Next::Wait,
            };
            if let Next::Trial { cell, why } = next {
                assert!(!under_way.contains(&cell), "a cell has two at a time");
                order.push((self.cells[cell].id.kernel.clone(), why));
                let number = u32::try_from(order.len()).unwrap();
                out.push((cell, self.trial(world, cell, number, &trials, spent)));
                continue;
            }
            let ends = |one: &(usize, NightTrial)| one.1.spent_minutes;
            let first = (0..out.len()).min_by(|a, b| ends(&out[*a]).total_cmp(&ends(&out[*b])));
            let Some(first) = first else {
                return (trials, order, next);
            };
            let (_, trial) = out.remove(first);
            spent = trial.spent_minutes;
            trials.push(trial);
            trials.sort_by_key(|one| one.trial.number);
        }
    }

    fn trial(
        &self,
        world: World,
        cell: usize,
        number: u32,
        trials: &[NightTrial],
        spent: f64,
    ) -> NightTrial {
        let cell = &self.cells[cell];
        let name = cell.id.to_string();
        let before = trials.iter().filter(|one| one.cell == name).count();
        let mut trial = world(&cell.id.kernel, u32::try_from(before).unwrap());
        trial.number = number;
        trial.id = format!("{number:04}-{}", cell.arm);
        trial.arm.clone_from(&cell.arm);
        trial.timing.total_ms = trial.exposure.load_ms + 12_000;
        NightTrial {
            cell: name,
            spent_minutes: spent + trial.timing.total_ms as f64 / 60_000.0,
            trial,
        }
    }

    /// One night, which becomes part of the past.
    pub fn run(&mut self, world: World) -> NightReport {
        let (trials, _, _) = self.trials(world);
        self.count += 1;
        let run = format!("night-{}", self.count);
        let night = self.night(&run);
        let report = judge::judge(&night, &trials, Vec::new());
        let tonight: Vec<(String, CellNight)> = judge::look(&night, &trials)
            .into_iter()
            .map(|one| (one.cell.id.to_string(), one.tonight))
            .collect();
        for (cell, tonight) in tonight {
            self.past.entry(cell).or_default().push(tonight);
        }
        report
    }
}

fn arm() -> Arm {
    Arm {
        role: Role::Subject,
        kernel: "k".into(),
        tree: None,
        toolchain: None,
        apply: Vec::new(),
        revert: Vec::new(),
    }
}

pub fn survival() -> TrialRecord {
    made_up::survival(1, "x")
}

pub fn lockup() -> TrialRecord {
    made_up::lockup(1, "x", 10)
}

pub fn soft_lockup() -> TrialRecord {
    let mut record = made_up::record(1, "x", Outcome::SoftLockup, 30, 100);
    record.title = "BUG: soft lockup - CPU#3 stuck for 22s! [kv-poller-0:7]".into();
    record.signature = Some(Match::Other);
    record
}

pub fn infrastructure() -> TrialRecord {
    let mut record = made_up::record(1, "x", Outcome::Infrastructure, 0, 0);
    record.title = "QEMU ended with status 1".into();
    record
}

/// The control has the bug, and nothing else does.
pub fn healthy(kernel: &str, _: u32) -> TrialRecord {
    if kernel == "unfixed" {
        lockup()
    } else {
        survival()
    }
}

pub fn vendor_locks_up(kernel: &str, count: u32) -> TrialRecord {
    if kernel == "vendor" {
        lockup()
    } else {
        healthy(kernel, count)
    }
}

pub fn vendor_locks_up_once(kernel: &str, count: u32) -> TrialRecord {
    match (kernel, count) {
        ("vendor", 0) => lockup(),
        (_, _) => healthy(kernel, count),
    }
}

pub fn vendor_is_flaky(kernel: &str, count: u32) -> TrialRecord {
    match (kernel, count % 4) {
        ("vendor", 1) => soft_lockup(),
        (_, _) => healthy(kernel, count),
    }
}

/// 8 of 14 times, which is twice as often as in nights in which it is flaky.
pub fn vendor_fails_twice_as_often(kernel: &str, count: u32) -> TrialRecord {
    match (kernel, count % 7) {
        ("vendor", 0..4) => soft_lockup(),
        (_, _) => healthy(kernel, count),
    }
}

pub fn vendor_is_always_soft(kernel: &str, count: u32) -> TrialRecord {
    if kernel == "vendor" {
        soft_lockup()
    } else {
        healthy(kernel, count)
    }
}

pub fn nothing_locks_up(_: &str, _: u32) -> TrialRecord {
    survival()
}

pub fn host_fails(_: &str, _: u32) -> TrialRecord {
    infrastructure()
}

pub fn vendor_has_host_trouble(kernel: &str, count: u32) -> TrialRecord {
    if kernel == "vendor" {
        infrastructure()
    } else {
        healthy(kernel, count)
    }
}

pub fn vendor_is_not_exposed(kernel: &str, count: u32) -> TrialRecord {
    match kernel {
        "vendor" => made_up::record(1, "x", Outcome::Clean, 60, 0),
        _ => healthy(kernel, count),
    }
}

/// Two soft lockups for each target lockup.
pub fn vendor_has_two_defects(kernel: &str, count: u32) -> TrialRecord {
    match (kernel, count % 3) {
        ("vendor", 0) => lockup(),
        ("vendor", _) => soft_lockup(),
        (_, _) => healthy(kernel, count),
    }
}
