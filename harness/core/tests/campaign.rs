//! Campaign files: what is wrong in them is reported all at once, by field.

use kverdict_core::campaign::Campaign;

const GOOD: &str = include_str!("../../../configs/migrate-swap.yaml");

fn problems(text: &str) -> Vec<String> {
    let problems = Campaign::parse("my.yaml", text).unwrap_err();
    assert_eq!(problems.file, "my.yaml");
    problems.problems.iter().map(ToString::to_string).collect()
}

fn assert_named(problems: &[String], fields: &[&str]) {
    for field in fields {
        assert!(
            problems.iter().any(|problem| problem.starts_with(field)),
            "{field} is not among {problems:#?}"
        );
    }
    assert_eq!(problems.len(), fields.len(), "{problems:#?}");
}

#[test]
fn the_campaign_that_comes_with_kverdict_is_valid_and_survives_a_round_trip() {
    let campaign = Campaign::parse("configs/migrate-swap.yaml", GOOD).unwrap();
    let again = serde_yaml::to_string(&campaign).unwrap();
    assert_eq!(Campaign::parse("again", &again).unwrap(), campaign);
}

#[test]
fn unknown_keys_wrong_types_ranges_and_missing_keys_are_reported_together() {
    let text = "
schema: 1
name: Bad Name
signature: stop-two-cpus
arms:
  unfixed: {role: control, kernel: k, aply: []}
  fixed: {role: referee, kernel: 7}
guest:
  nodes: [{cpus: four, memory_mib: 512}, {cpus: 4, memory_mib: 1}]
load:
  node: 0
  pollers: {count: 3, burst_packets: 0}
  roamers: {count: 5}
  shuffler: {count: 1, interval_us: fast}
policy: {load_seconds: 0, alpha: 2}
";
    assert_named(
        &problems(text),
        &[
            "name:",
            "arms.unfixed.aply:",
            "arms.fixed.role:",
            "arms.fixed.kernel:",
            "guest.nodes.0.cpus:",
            "guest.nodes.1.memory_mib:",
            "load.pollers.burst_packets:",
            "load.roamers.working_set_kib:",
            "load.shuffler.interval_us:",
            "policy.load_seconds:",
            "policy.alpha:",
        ],
    );
}

#[test]
fn what_contradicts_itself_is_reported_together() {
    let text = "
schema: 1
name: x
signature: no-such-bug
arms:
  a: {role: subject, kernel: k}
  b: {role: subject, kernel: k}
guest:
  nodes: [{cpus: 4, memory_mib: 512}]
load:
  node: 3
  pollers: {count: 3, ring_slots: 100}
  roamers: {count: 0, working_set_kib: 1024}
  shuffler: {count: 1, interval_us: 2000}
policy: {load_seconds: 10}
";
    assert_named(
        &problems(text),
        &[
            "arms:",
            "arms:",
            "guest.nodes:",
            "load.node:",
            "load.pollers.ring_slots:",
            "load.shuffler:",
            "signature:",
        ],
    );
}

#[test]
fn broken_yaml_names_the_line() {
    let problems = problems("schema: 1\nname: [\n");
    assert!(problems[0].contains("line"), "{problems:?}");
}
