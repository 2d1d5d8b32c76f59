//! JUnit XML: one test case for each kernel, whose failed trials are reruns, as Maven's Surefire has them.
//!
//! A case that fails and passes by turns is `flakyFailure`, one that could not be told an `error`, one that
//! had no trial `skipped`. Valid by the schema of Jenkins' xunit plugin (`junit-10.xsd`).

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestRerun, TestSuite,
};

use crate::case::{Answer, Case, CaseTrial, Results};

/// Writes results as JUnit XML.
///
/// # Errors
/// When the writer of XML fails.
pub fn junit(results: &Results) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(text(&results.campaign));
    // Absent rather than wrong, should it be no time.
    suite.timestamp = results.started.parse().ok();
    suite.set_time(seconds(results.cases.iter().flat_map(|case| &case.trials)));
    for (label, value) in &results.environment {
        suite.add_property((text(label), text(value)));
    }
    suite.set_system_out(text(&results.reasons.join("\n")));
    for case in &results.cases {
        suite.add_test_case(test_case(results, case));
    }
    let mut report = Report::new(text(&results.run));
    report.add_test_suite(suite);
    // The schema has no such attribute at the root; quotes in the run's name are escaped, so that the first
    // one found is the root's.
    let extra = format!(" skipped=\"{}\"", report.skipped);
    Ok(report.to_string()?.replacen(&extra, "", 1))
}

fn test_case(results: &Results, case: &Case) -> TestCase {
    let mut found = TestCase::new(text(&case.name), status(case));
    found.set_classname(text(&results.campaign));
    found.set_time(seconds(case.trials.iter()));
    let mut lines = vec![
        format!("{}; expected: {}", case.about, case.expected),
        case.why(),
    ];
    lines.extend(
        case.trials
            .iter()
            .map(|trial| format!("{} {}: {}", trial.line.id, trial.answer, trial.what())),
    );
    found.set_system_out(text(&lines.join("\n")));
    found
}

fn status(case: &Case) -> TestCaseStatus {
    let mut failed = case.failed_trials();
    let mut status = match case.answer {
        Answer::Passed => TestCaseStatus::success(),
        Answer::Failed => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            // The first one is the failure itself.
            if let Some(first) = failed.next() {
                status.set_description(text(&details(first)));
            }
            status
        }
        Answer::CouldNotTell if case.trials.is_empty() => TestCaseStatus::skipped(),
        Answer::CouldNotTell => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_message(text(&case.why()));
    status.set_type(case.answer.to_string());
    status.add_reruns(failed.map(rerun));
    status
}

fn rerun(trial: &CaseTrial) -> TestRerun {
    let mut rerun = TestRerun::new(NonSuccessKind::Failure);
    rerun.set_message(text(&trial.what()));
    rerun.set_type(trial.line.standing.to_string());
    rerun.set_stack_trace(text(&details(trial)));
    rerun
}

/// What is known of a trial: its id and end, remarks, stacks.
fn details(trial: &CaseTrial) -> String {
    let mut lines = vec![format!("trial {}: {}", trial.line.id, trial.what())];
    lines.extend(trial.line.remarks.iter().cloned());
    lines.extend(trial.evidence.iter().cloned());
    lines.join("\n")
}

fn seconds<'a>(trials: impl Iterator<Item = &'a CaseTrial>) -> Duration {
    let total: f64 = trials.map(|trial| trial.total_seconds).sum();
    Duration::try_from_secs_f64(total).unwrap_or_default()
}

/// Text without what XML cannot hold even escaped. Escape sequences and control characters are left out
/// by the writer, along with tabs, which are kept as spaces.
fn text(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
        .replace('\t', "    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::made_up::{HOSTILE, results};

    /// What the writer of this crate reads of it again.
    fn read(results: &Results) -> Report {
        let text = junit(results).unwrap();
        Report::deserialize_from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn kernels_are_cases_and_failed_trials_reruns() {
        let mut results = results();
        let report = read(&results);
        assert_eq!((report.tests, report.failures, report.errors), (2, 1, 0));
        let text = junit(&results).unwrap();
        // The only failed trial is the failure itself.
        assert_eq!(text.matches("rerunFailure").count(), 0, "{text}");
        assert!(text.contains("trial 0004-fixed: target lockup"), "{text}");

        results.cases[1].trials[0].answer = Answer::Failed;
        let text = junit(&results).unwrap();
        assert_eq!(text.matches("<rerunFailure").count(), 1, "{text}");

        // As often as before, which is no failure.
        results.cases[1].answer = Answer::Passed;
        let text = junit(&results).unwrap();
        assert_eq!(text.matches("<flakyFailure").count(), 2, "{text}");
        assert_eq!(read(&results).failures, 0);
    }

    #[test]
    fn what_could_not_be_told_is_an_error_and_what_did_not_run_is_skipped() {
        let mut results = results();
        results.cases[1].answer = Answer::CouldNotTell;
        let report = read(&results);
        assert_eq!((report.failures, report.errors, report.skipped), (0, 1, 0));
        results.cases[1].trials.clear();
        let suite = &read(&results).test_suites[0];
        assert_eq!((suite.failures, suite.errors, suite.skipped), (0, 0, 1));
    }

    #[test]
    fn hostile_text_is_text_again_when_it_was_read() {
        let mut results = results();
        results.run = " skipped=\"0\"".to_owned();
        results.cases[1].trials[1].line.title = HOSTILE.to_owned();
        results.cases[1].trials[1].evidence = Some("]]></failure><script/>\u{ffff}".to_owned());
        let report = read(&results);
        assert_eq!(report.name.unwrap().as_str(), " skipped=\"0\"");
        let TestCaseStatus::NonSuccess { description, .. } =
            &report.test_suites[0].test_cases[1].status
        else {
            panic!("the case failed");
        };
        let description = description.as_ref().unwrap().as_str();
        assert!(
            description.contains("]]></failure><script/>\u{fffd}"),
            "{description}"
        );
        assert!(
            !description.contains(|c: char| c != '\n' && c.is_control()),
            "{description:?}"
        );
    }
}
