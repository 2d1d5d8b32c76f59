//! `kverdict report --format`: recorded runs in the forms that other programs read.

mod exported;

use std::fs;

use exported::Exported;
use serde_json::Value;

#[test]
fn every_form_has_the_verdict_and_its_exit_status() {
    let verified = Exported::verified();
    for (format, words) in [
        ("text", "verdict: VERIFIED"),
        ("json", "\"conclusion\": \"verified\""),
        (
            "junit",
            "<testsuite name=\"migrate-swap\" tests=\"2\" skipped=\"0\" errors=\"0\" failures=\"0\"",
        ),
        ("ktap", "\nok 2 fixed # passed: "),
        ("kcidb", "\"status\": \"PASS\""),
        ("markdown", "## kverdict: migrate-swap: passed\n"),
    ] {
        let (code, text, errors) = verified.report(&["--format", format]);
        assert_eq!(code, Some(0), "{format}: {errors}{text}");
        assert!(text.contains(words), "{words}\n{text}");
        let file = fs::read_to_string(verified.file(format)).unwrap();
        assert_eq!(file, text, "{format}");
    }
    let (_, text, _) = verified.report(&["--format", "json"]);
    assert_eq!(verified.report(&["--json"]).1, text);

    let refuted = Exported::refuted();
    for (format, words) in [
        ("junit", "failures=\"1\""),
        ("ktap", "  not ok 3 0006-fixed # target lockup"),
        ("kcidb", "\"status\": \"FAIL\""),
        ("markdown", ": failed\n"),
    ] {
        let (code, text, errors) = refuted.report(&["--format", format]);
        assert_eq!(code, Some(1), "{format}: {errors}");
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn kernels_and_stacks_are_in_it() {
    let run = Exported::verified();
    let (_, text, _) = run.report(&["--format", "kcidb", "--origin", "lab"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    // Both arms are the same kernel here.
    let builds = value["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 1, "{text}");
    let build = builds[0]["id"].as_str().unwrap();
    assert!(build.starts_with("lab:6.99.0-made-up "), "{build}");
    assert!(builds[0]["compiler"].is_string(), "{text}");
    let excerpt = value["tests"][0]["log_excerpt"].as_str().unwrap();
    assert!(
        excerpt.contains("side A") && excerpt.contains("side B"),
        "{excerpt}"
    );
    let (_, text, _) = run.report(&["--format", "markdown"]);
    assert!(
        text.contains("<details>") && text.contains("stop"),
        "{text}"
    );
}

#[test]
fn the_cells_of_a_night_are_cases() {
    let night = Exported::night();
    let (code, text, errors) = night.report(&["--format", "junit"]);
    assert_eq!(code, Some(125), "{errors}");
    assert!(
        text.contains("<testsuite name=\"made-up\" tests=\"2\""),
        "{text}"
    );
    let (_, text, _) = night.report(&["--format", "ktap"]);
    assert!(text.contains("\nok 1 unfixed/"), "{text}");
    assert!(text.contains("\nok 2 fixed/"), "{text}");
    assert!(text.contains(": could not tell\n"), "{text}");
}

#[test]
fn wrong_wishes_are_refused_with_what_would_do() {
    let run = Exported::verified();
    for (arguments, words) in [
        (&["--format", "xml"][..], "junit"),
        (&["--format", "junit", "--json"], "--json"),
        (
            &["--format", "kcidb", "--origin", "My Lab"],
            "lower-case letters",
        ),
    ] {
        let (code, printed, errors) = run.report(arguments);
        assert_eq!(code, Some(129), "{errors}");
        assert_eq!(printed, "");
        assert!(errors.contains(words), "{words}\n{errors}");
    }
    let (code, printed, errors) = run.report(&["--format", "ktap", "--output", "/proc/none/file"]);
    assert_eq!((code, printed.as_str()), (Some(131), ""));
    assert!(errors.contains("/proc/none/file"), "{errors}");
}
