//! What trials of a tune count as, and what its report and its campaign say, on made-up records.

use kverdict_core::campaign::Campaign;
use kverdict_core::console::{Match, Outcome, Scanner};
use kverdict_core::protocol::Counters;
use kverdict_core::record::{Exposure, Timing, TrialRecord};
use kverdict_core::tune::reading::{self, Reading, TuneTrial};
use kverdict_core::tune::report::{self, TuneReport};
use kverdict_core::tune::search::{self, Next};
use kverdict_core::tune::space::{Point, Space};
use kverdict_core::tune::spec::TuneSpec;

const CAMPAIGN: &str = include_str!("../../../configs/migrate-swap.yaml");
const EXAMPLE: &str = include_str!("../../../configs/tune/migrate-swap.yaml");
const SPEC: &str = "
schema: 1
name: small
campaign: migrate-swap
load_seconds: 30
max_trials: 24
parameters:
  - {at: [load, roamers, count], values: [0, 8]}
  - {at: [tuning, sysctls, kernel.numa_balancing_scan_size_mb], values: [64]}
";

struct Tune {
    spec: TuneSpec,
    campaign: Campaign,
    space: Space,
}

impl Tune {
    fn new(spec: &str) -> Self {
        let spec = TuneSpec::parse("small.yaml", spec).unwrap();
        let campaign = Campaign::parse("migrate-swap.yaml", CAMPAIGN).unwrap();
        let space = Space::new("small.yaml", &spec, &campaign).unwrap();
        Self {
            spec,
            campaign,
            space,
        }
    }

    /// Runs the search with trials that `give` makes.
    fn run(&self, give: impl Fn(&Point) -> TrialRecord) -> (Vec<TuneTrial>, TuneReport) {
        let mut trials: Vec<TuneTrial> = Vec::new();
        loop {
            let readings = reading::of_all(&self.space, &trials);
            let most = self.spec.max_trials as usize;
            let search = search::search(&self.space, self.spec.seed, most, &readings).unwrap();
            let Next::Trial(point) = &search.next else {
                let made_with = vec![("arm fixed".to_owned(), "6.12\nof Debian".to_owned())];
                let report = report::report(
                    "run-1",
                    &self.spec,
                    &self.campaign,
                    &self.space,
                    made_with,
                    &trials,
                    &search,
                );
                return (trials, report);
            };
            let mut trial = give(point);
            trial.id = format!("{:04}-fixed", trials.len() + 1);
            let point = point.clone();
            trials.push(TuneTrial { point, trial });
        }
    }
}

/// A trial of half a minute with so many near misses.
fn record(meetings: u64) -> TrialRecord {
    let mut record = TrialRecord {
        schema: 1,
        id: String::new(),
        number: 1,
        arm: "fixed".into(),
        build: "key".into(),
        accelerator: "TCG".into(),
        started: "2026-01-01T00:00:00Z".into(),
        outcome: Outcome::Clean,
        title: String::new(),
        signature: None,
        outside: Default::default(),
        outside_lost: None,
        contradictions: Vec::new(),
        exposure: Exposure::default(),
        detectors: Vec::new(),
        refused_settings: Vec::new(),
        timing: Timing::default(),
        console: Scanner::new().finish(),
    };
    record.exposure.load_ms = 30_000;
    record.exposure.heartbeats = 30;
    record.exposure.counters = Counters {
        packets: 3000,
        swaps: Some(10),
        active_balances: Some(20),
        amplifier: [("kv_met", meetings), ("kv_a_windows", 90)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        ..Counters::default()
    };
    record
}

/// Without the amplifier's counters.
fn uncounted() -> TrialRecord {
    let mut record = record(0);
    record.exposure.counters.amplifier.clear();
    record
}

fn ended(outcome: Outcome, title: &str) -> TrialRecord {
    TrialRecord {
        outcome,
        title: title.into(),
        ..record(5)
    }
}

fn lockup() -> TrialRecord {
    TrialRecord {
        signature: Some(Match::Target),
        ..ended(Outcome::HardLockup, "hard LOCKUP on cpu 0")
    }
}

#[test]
fn the_tune_that_comes_with_kverdict_fits_its_campaign() {
    let tune = Tune::new(EXAMPLE);
    assert!(tune.space.axes.len() >= 3);
    let again = serde_yaml::to_string(&tune.spec).unwrap();
    assert_eq!(TuneSpec::parse("again", &again).unwrap(), tune.spec);
    let stored = serde_json::to_string(&tune.spec).unwrap();
    assert_eq!(
        serde_json::from_str::<TuneSpec>(&stored).unwrap(),
        tune.spec
    );
}

#[test]
fn a_trial_counts_as_what_it_is() {
    let counted = |record: &TrialRecord| match Reading::of(record, &[]) {
        Reading::Counted(counts) => counts,
        other => panic!("{other:?}"),
    };
    let run = counted(&record(7));
    assert_eq!((run.minutes, run.meetings, run.lockups), (0.5, Some(7), 0));
    assert_eq!(
        (run.swaps, run.windows, run.packets),
        (Some(10), Some(90), 3000)
    );
    assert_eq!(counted(&lockup()).lockups, 1);
    assert_eq!(counted(&uncounted()).meetings, None);
    for (outcome, word) in [
        (Outcome::HardLockup, "LOCKUP"),
        (Outcome::Panic, "oh"),
        (Outcome::BootFailure, "boot"),
        (Outcome::Unfit, "nodes"),
    ] {
        match Reading::of(&ended(outcome, word), &[]) {
            Reading::Failed(why) => assert!(why.contains(word), "{why}"),
            other => panic!("{outcome}: {other:?}"),
        }
    }
    let host = Reading::of(&ended(Outcome::Infrastructure, "disk full"), &[]);
    assert!(matches!(host, Reading::HostTrouble(why) if why.contains("disk full")));
    let mut idle = record(7);
    idle.exposure = Exposure::default();
    assert!(matches!(Reading::of(&idle, &[]), Reading::Failed(_)));
}

#[test]
fn a_refused_setting_counts_against_the_point_that_has_it_only() {
    let mut trial = record(7);
    trial.refused_settings = vec!["kernel.x=64: this kernel has none of /proc/sys/kernel/x".into()];
    let own = |setting: &str| Reading::of(&trial, &[setting.to_owned()]);
    assert!(matches!(own("kernel.x=64"), Reading::Failed(why) if why.contains("none of")));
    for other in ["kernel.x=6", "kernel.y=64"] {
        assert!(matches!(own(other), Reading::Counted(_)), "{other}");
    }
}

/// Eight roamers are the best, whatever the rest.
fn landscape(space: &Space, point: &Point) -> u64 {
    match space.values(point)[0].and_then(serde_yaml::Value::as_u64) {
        Some(8) => 60,
        _ => 15,
    }
}

#[test]
fn the_report_shows_every_point_and_the_campaign_it_leaves_can_be_verified() {
    let tune = Tune::new(SPEC);
    let (trials, report) = tune.run(|point| record(landscape(&tune.space, point)));
    assert!(trials.len() <= 24);
    let best = report.best().unwrap();
    assert_eq!(best.values[0], "8");
    assert_eq!(best.rate.unwrap().per_minute, 120.0);
    assert_eq!(best.near_misses, Some(60 * best.trials as u64));
    assert_eq!(best.swaps_per_minute, Some(20.0));
    assert_eq!(best.windows_per_minute, Some(180.0));
    assert_eq!(best.packets_per_second, Some(100.0));
    let counted: usize = report.points.iter().map(|line| line.trials).sum();
    assert_eq!(counted, trials.len());
    assert!(!report.refuted());

    let text = report.to_string();
    for words in [
        "near misses/min [95 %]",
        "a: load.roamers.count",
        "load.roamers.count: 8 (was 5)",
        "p1 (campaign)",
        "the campaign as it is has 30.0",
        "a=0 b=256: load.shuffler: there are no roamers to shuffle",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    for line in text.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(line.matches('|').count(), 11, "{line}");
    }

    let point = tune.space.start().with(0, 2);
    let campaign = tune.space.campaign(&point).unwrap();
    let yaml = report.tuned_yaml(&campaign).unwrap();
    assert!(yaml.contains("# arm fixed: 6.12 of Debian\n"), "{yaml}");
    assert!(yaml.contains("near misses per minute 120.0 ["), "{yaml}");
    assert_eq!(Campaign::parse("tuned.yaml", &yaml).unwrap(), campaign);
    assert_eq!(campaign.load.roamers.count, 8);
    assert_eq!(campaign.policy, tune.campaign.policy);
}

#[test]
fn a_lockup_of_a_kernel_with_the_fix_is_told_loudly() {
    let tune = Tune::new(SPEC);
    let bad = tune.space.start().with(1, 1);
    let (_, report) = tune.run(|point| if *point == bad { lockup() } else { record(15) });
    assert!(report.refuted());
    let text = report.to_string();
    assert!(text.contains("**THIS KERNEL HAS THE BUG"), "{text}");
    assert!(
        text.contains("TARGET LOCKUP: hard LOCKUP on cpu 0"),
        "{text}"
    );
    let campaign = &tune.campaign;
    assert!(
        report
            .tuned_yaml(campaign)
            .unwrap()
            .contains("# THIS KERNEL HAS THE BUG")
    );

    // A kernel with the defect is there to do that.
    let tune = Tune::new(&SPEC.replace("load_seconds", "arm: unfixed\nload_seconds"));
    let (_, report) = tune.run(|_| lockup());
    assert!(!report.refuted() && report.target_lockups.len() > 1);
    assert!(!report.to_string().contains("HAS THE BUG"));
}

#[test]
fn a_proxy_is_called_one() {
    let tune = Tune::new(SPEC);
    let (_, report) = tune.run(|_| uncounted());
    assert!(report.proxy);
    let text = report.to_string();
    for words in [
        "NEAR MISSES ARE NOT COUNTED",
        "proxy/min",
        "active balances/min",
        "geometric mean",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let (_, report) = tune.run(|_| record(3));
    let text = report.to_string();
    assert!(
        !report.proxy && !text.contains("NOT COUNTED") && !text.contains("proxy"),
        "{text}"
    );
}

#[test]
fn what_failed_is_in_the_table_with_its_reason() {
    let tune = Tune::new(SPEC);
    let bad = tune.space.start().with(1, 1);
    let (_, report) = tune.run(|point| {
        if *point == bad {
            ended(Outcome::Oops, "BUG: kernel NULL pointer")
        } else {
            record(15)
        }
    });
    let line = report.points.iter().find(|line| line.trials == 0).unwrap();
    assert_eq!(line.rate, None);
    assert_eq!(line.remarks.len(), 2, "{:?}", line.remarks);
    assert!(line.remarks[0].contains("not counted: ") && line.remarks[0].contains("NULL pointer"));
    let (_, report) = tune.run(|_| ended(Outcome::Oops, "BUG: kernel NULL pointer"));
    assert!(report.best().is_none());
    assert!(report.to_string().contains("no point gave a reading"));
}
