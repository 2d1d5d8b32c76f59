//! Files of other people: each is read, or refused with where the mistake is.
#![no_main]

use kverdict_core::campaign::Campaign;
use kverdict_core::catalogue::{self, KernelSpec, PatchSpec, ToolchainSpec};
use kverdict_core::night::{config::NightSpec, known::KnownIssues};
use kverdict_core::tune::spec::TuneSpec;
use kverdict_core::yaml::Problems;
use libfuzzer_sys::fuzz_target;

const FILE: &str = "input.yaml";

/// serde says of a field that is there twice which one it is, if it has a name, but not where.
fn is_there_twice(message: &str) -> bool {
    message.contains("duplicate ")
}

/// Files that are held against a schema: each mistake has its field, or its line, unless it is the whole file.
fn schema<T>(result: Result<T, Problems>, is_mapping: bool) {
    let Err(Problems { file, problems }) = result else {
        return;
    };
    assert_eq!(file, FILE);
    assert!(!problems.is_empty());
    for problem in problems {
        let has_place = !problem.field.is_empty() || problem.message.contains(" line ");
        let has_place = has_place || is_there_twice(&problem.message);
        assert!(has_place || !is_mapping, "no place: {problem}");
    }
}

/// Files of the catalogue: what is wrong with a field names it, what is no YAML has its line.
fn catalogue<T>(result: Result<T, catalogue::Problems>, is_yaml: bool) {
    let Err(catalogue::Problems(problems)) = result else {
        return;
    };
    assert!(!problems.is_empty());
    for problem in problems {
        assert_eq!(problem.file, FILE);
        assert!(!problem.message.is_empty());
        let has_place = problem.line.is_some() || is_there_twice(&problem.message);
        assert!(is_yaml || has_place, "no place: {problem}");
    }
}

fuzz_target!(|text: &str| {
    let value = serde_yaml::from_str::<serde_yaml::Value>(text);
    // What is no YAML at all has a line in its error.
    let is_mapping = value
        .as_ref()
        .map_or(true, |value| matches!(value, serde_yaml::Value::Mapping(_)));
    schema(Campaign::parse(FILE, text), is_mapping);
    schema(NightSpec::parse(FILE, text), is_mapping);
    schema(TuneSpec::parse(FILE, text), is_mapping);
    schema(KnownIssues::parse(FILE, text), is_mapping);
    let is_yaml = value.is_ok();
    catalogue(KernelSpec::parse(FILE, text), is_yaml);
    catalogue(PatchSpec::parse(FILE, "folder", text), is_yaml);
    catalogue(ToolchainSpec::parse(FILE, text), is_yaml);
});
