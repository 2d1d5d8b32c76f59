//! A night's file: what is wrong in it, and the cells that it comes to.

mod made_up;

use std::collections::BTreeMap;

use kverdict_core::campaign::Campaign;
use kverdict_core::holder::HolderSpec;
use kverdict_core::night::config::NightSpec;
use kverdict_core::night::plan::{self, Cell, Environment};
use kverdict_core::yaml::Problems;

const SPEC: &str = "
schema: 1
name: t
campaign: test
kernels:
  unfixed: {kernel: k, apply: [defect], control: true}
  fixed: {kernel: k}
  stable: {git: {repository: /srv/linux, ref: linux-6.12.y}, kernel: k}
  vendor: {package: 'kernels/kernel-5*.rpm'}
loads:
  usual: {}
  natural: {campaign: other}
  crowded:
    load: {roamers: {count: 9}, pollers: {count: 1}}
    tuning: {sysctls: {kernel.numa_balancing: 1}}
    load_seconds: 20
topologies:
  two: {nodes: [{cpus: 4, memory_mib: 512}, {cpus: 4, memory_mib: 512}]}
  four: {nodes: [{cpus: 2, memory_mib: 256}, {cpus: 2, memory_mib: 256}, {cpus: 2, memory_mib: 256}, {cpus: 2, memory_mib: 256}], distance: 40}
detectors:
  all: {sysctls: {kernel.watchdog: 1}}
  silent: {cmdline: [nowatchdog], console_wait_seconds: 0}
exclude:
  - {kernel: vendor, load: natural}
  - {topology: four, detectors: s*}
budget_minutes: 60
";

fn spec(text: &str) -> NightSpec {
    NightSpec::parse("t.yaml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn campaigns() -> BTreeMap<String, Campaign> {
    let mut other = made_up::campaign();
    other.name = "other".into();
    other.load.roamers.count = 77;
    other.policy.load_seconds = 300;
    BTreeMap::from([
        ("test".to_owned(), made_up::campaign()),
        ("other".to_owned(), other),
    ])
}

fn environments(text: &str) -> Result<Vec<Environment>, Problems> {
    plan::environments("t.yaml", &spec(text), &campaigns())
}

#[track_caller]
fn refused(from: &str, to: &str) -> String {
    assert!(SPEC.contains(from), "{from}");
    let text = SPEC.replace(from, to);
    match NightSpec::parse("t.yaml", &text) {
        Err(error) => error.to_string(),
        Ok(_) => environments(&text).unwrap_err().to_string(),
    }
}

#[test]
fn every_kernel_is_tested_in_every_environment_that_is_not_left_out() {
    let spec = spec(SPEC);
    let environments = environments(SPEC).unwrap();
    assert_eq!(environments.len(), 3 * 2 * 2);
    let cells = plan::cells(&spec, &environments, |_| None);
    // 3 of 12 environments are left out for all kernels, and of the rest 3 of the vendor's.
    assert_eq!(cells.len(), 4 * 9 - 3);
    let ids: Vec<String> = cells.iter().map(|cell| cell.id.to_string()).collect();
    assert!(
        ids.contains(&"fixed/usual/two/silent".to_owned()),
        "{ids:?}"
    );
    assert!(!ids.contains(&"vendor/natural/two/all".to_owned()));
    assert!(!ids.contains(&"fixed/usual/four/silent".to_owned()));
    assert!(
        cells
            .iter()
            .all(|cell| cell.control == (cell.id.kernel == "unfixed"))
    );
}

#[test]
fn a_cell_is_the_campaign_with_what_is_otherwise() {
    let spec = spec(SPEC);
    let cells = plan::cells(&spec, &environments(SPEC).unwrap(), |_| None);
    let cell = |id: &str| -> &Cell {
        let mut cells = cells.iter();
        cells.find(|cell| cell.id.to_string() == id).unwrap()
    };
    let usual = &cell("fixed/usual/two/all").campaign;
    assert_eq!(usual.load, made_up::campaign().load);
    assert_eq!(usual.tuning.settings(), ["kernel.watchdog=1"]);

    let natural = &cell("fixed/natural/two/all").campaign;
    assert_eq!(
        (natural.load.roamers.count, natural.policy.load_seconds),
        (77, 300)
    );

    let crowded = cell("fixed/crowded/four/all");
    let campaign = &crowded.campaign;
    assert_eq!(
        (campaign.load.roamers.count, campaign.load.pollers.count),
        (9, 1)
    );
    assert_eq!(
        campaign.load.roamers.working_set_kib, 1024,
        "the rest is as before"
    );
    assert_eq!(campaign.policy.load_seconds, 20);
    assert_eq!(
        (campaign.guest.nodes.len(), campaign.guest.distance),
        (4, 40)
    );
    assert_eq!(
        crowded.arm, "fixed.all",
        "detectors are proven for each set"
    );

    let silent = &cell("fixed/usual/two/silent").campaign;
    assert_eq!(silent.guest.cmdline, ["nowatchdog"]);
    assert_eq!(silent.policy.console_wait_seconds, 0);
}

#[test]
fn what_is_not_named_is_the_campaigns() {
    let text = "schema: 1\nname: t\ncampaign: test\nkernels:\n  bad: {kernel: k, control: true}\n  good: {kernel: k}\nbudget_minutes: 60\n";
    let cells = plan::cells(&spec(text), &environments(text).unwrap(), |_| None);
    let ids: Vec<String> = cells.iter().map(|cell| cell.id.to_string()).collect();
    assert_eq!(ids, ["bad/test/base/base", "good/test/base/base"]);
    assert_eq!(cells[1].arm, "good");
    assert_eq!(cells[1].campaign.load, made_up::campaign().load);
}

#[test]
fn a_mistake_is_named_with_its_field_and_its_cure() {
    for (from, to, words) in [
        (
            "control: true",
            "control: false",
            "kernels: none is a control: give a kernel that has the bug",
        ),
        (
            "fixed: {kernel: k}",
            "fixed: {}",
            "kernels.fixed: says nothing of where the kernel is",
        ),
        (
            "linux-6.12.y}, kernel: k}",
            "x}}",
            "kernels.stable.kernel: missing: name the kernel",
        ),
        (
            "{package: 'kernels/kernel-5*.rpm'}",
            "{package: p, apply: [a]}",
            "kernels.vendor.apply: has no meaning",
        ),
        (
            "{package: 'kernels/kernel-5*.rpm'}",
            "{package: p, tree: t}",
            "kernels.vendor: has package and tree; give one",
        ),
        (
            "  fixed: {",
            "  'fi/xed': {",
            "kernels.fi/xed: is no good name",
        ),
        (
            "budget_minutes: 60",
            "budget_minutes: 0",
            "budget_minutes: 0 is out of range: 1 to 10080",
        ),
        (
            "budget_minutes: 60",
            "budget_minutes: 60\ntrials: {min: 9, max: 3}",
            "trials: min 9 is more than max 3",
        ),
        (
            "budget_minutes: 60",
            "budget_minutes: 60\nalfa: 1",
            "alfa: unknown key; known here:",
        ),
        (
            "{kernel: vendor, load: natural}",
            "{kernel: vendr}",
            "exclude.0.kernel: `vendr` is none; there are: unfixed, fixed,",
        ),
        (
            "{kernel: vendor, load: natural}",
            "{}",
            "exclude.0: names nothing",
        ),
        (
            "{kernel: vendor, load: natural}",
            "{kernel: unfixed}",
            "exclude: leaves no control",
        ),
        (
            "roamers: {count: 9}",
            "roamers: {cuont: 9}",
            "loads.crowded.load.roamers.cuont: unknown key",
        ),
        (
            "pollers: {count: 1}",
            "node: 7",
            "crowded/two/all: load.node: node 7 does not exist",
        ),
        (
            "{nodes: [{cpus: 4, memory_mib: 512}, {cpus: 4, memory_mib: 512}]}",
            "{nodes: [{cpus: 4, memory_mib: 512}]}",
            "guest.nodes: one node",
        ),
    ] {
        let error = refused(from, to);
        assert!(error.contains(words), "{words}\n{error}");
    }
}

#[test]
fn mistakes_are_named_together() {
    let text = SPEC
        .replace("control: true", "control: false")
        .replace("fixed: {kernel: k}", "fixed: {}")
        .replace(
            "budget_minutes: 60",
            "budget_minutes: 60\ntrials: {min: 9, max: 3}",
        );
    let error = NightSpec::parse("t.yaml", &text).unwrap_err().to_string();
    assert!(error.starts_with("t.yaml: 3 problems"), "{error}");
}

#[test]
fn a_load_of_another_lockup_is_refused() {
    let mut campaigns = campaigns();
    campaigns.get_mut("other").unwrap().signature = "another".into();
    let error = plan::environments("t.yaml", &spec(SPEC), &campaigns).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("loads.natural.campaign: is about another lockup"),
        "{error}"
    );
}

#[test]
fn what_trials_run_under_has_a_digest_that_settings_change_and_limits_do_not() {
    let digest = |text: &str, change: &dyn Fn(&mut Campaign), amplifier: &str| {
        let mut campaigns = campaigns();
        change(campaigns.get_mut("test").unwrap());
        let spec = spec(text);
        let mut environments = plan::environments("t.yaml", &spec, &campaigns).unwrap();
        for environment in &mut environments {
            let mut arm = made_up::campaign().arms.into_values().next().unwrap();
            arm.apply = vec!["delays".into(), "other".into()];
            environment.campaign.arms = [("fixed".to_owned(), arm)].into();
        }
        let cells = plan::cells(&spec, &environments, |patch| {
            (patch == "delays").then(|| amplifier.to_owned())
        });
        let cell = cells.into_iter().find(|cell| cell.id.kernel == "fixed");
        cell.unwrap().conditions
    };
    let same = digest(SPEC, &|_| (), "a1");
    assert!(!same.is_empty());
    let limits = |campaign: &mut Campaign| {
        campaign.about = "other words".into();
        campaign.policy.alpha = 0.1;
        campaign.policy.max_trials_per_arm = 7;
        campaign.policy.silence_seconds = 99;
    };
    assert_eq!(digest(SPEC, &limits, "a1"), same);
    assert_eq!(
        digest(
            &SPEC.replace("budget_minutes: 60", "budget_minutes: 90"),
            &|_| (),
            "a1"
        ),
        same
    );
    assert_ne!(digest(SPEC, &|_| (), "a2"), same, "another amplifier");
    let changes: [&dyn Fn(&mut Campaign); 6] = [
        &|campaign| campaign.load.roamers.count += 1,
        &|campaign| campaign.guest.cmdline.push("nowatchdog".into()),
        &|campaign| campaign.tuning.sched_features.push("NO_TTWU_QUEUE".into()),
        &|campaign| campaign.holder = Some(HolderSpec::default()),
        &|campaign| campaign.policy.load_seconds += 1,
        &|campaign| campaign.policy.min_exposure.swaps_per_minute += 1.0,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_ne!(digest(SPEC, change, "a1"), same, "change {number}");
    }
    let text = SPEC.replace(
        "cpus: 4, memory_mib: 512}, {",
        "cpus: 3, memory_mib: 512}, {",
    );
    assert_ne!(digest(&text, &|_| (), "a1"), same, "another topology");
}
