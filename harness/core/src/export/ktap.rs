//! KTAP, version 1: one test for each kernel, with its trials as subtests.
//!
//! A failed trial of a test that passed is `XFAIL`, as kselftest has it: the kernel fails no more often
//! than is known. What could not be told is `SKIP`, a test of which nothing passed `not ok` beside.

use std::fmt::Write as _;

use crate::case::{Answer, Case, CaseTrial, Results};

/// One level of nesting.
const INDENT: &str = "  ";
/// What the kernel's own parser takes for more than a diagnostic, wherever it stands: headers of tests, and
/// ends of a kernel's log. Without its colon it does not.
const MISTAKABLE: [&str; 4] = [
    "Subtest:",
    "List of all partitions:",
    "Kernel panic - not syncing: VFS:",
    "reboot: System halted",
];

/// Writes results as KTAP.
pub fn ktap(results: &Results) -> String {
    let mut text = "KTAP version 1\n".to_owned();
    match results.cases.len() {
        0 => text += "1..0 # SKIP nothing was tested\n",
        count => line(&mut text, "", &format!("1..{count}")),
    }
    for (number, case) in (1..).zip(&results.cases) {
        write_case(&mut text, number, case);
    }
    let title = format!(
        "kverdict {}, run {}, campaign {}: {}",
        results.kverdict, results.run, results.campaign, results.answer
    );
    diagnostics(&mut text, "", &title);
    for reason in &results.reasons {
        diagnostics(&mut text, "", reason);
    }
    text
}

fn write_case(text: &mut String, number: usize, case: &Case) {
    if !case.trials.is_empty() {
        line(text, INDENT, "KTAP version 1");
        line(text, INDENT, &format!("1..{}", case.trials.len()));
        for (number, trial) in (1..).zip(&case.trials) {
            write_trial(text, number, case, trial);
        }
    }
    let about = format!("{}: {}; expected: {}", case.name, case.about, case.expected);
    diagnostics(text, "", &about);
    for reason in &case.reasons {
        diagnostics(text, "", &format!("{}: {reason}", case.name));
    }
    if let Some(link) = &case.known {
        diagnostics(text, "", &format!("{}: known issue: {link}", case.name));
    }
    let (result, directive) = match case.answer {
        Answer::Passed => ("ok", ""),
        Answer::Failed => ("not ok", ""),
        Answer::CouldNotTell => ("not ok", "SKIP "),
    };
    let why = format!("{directive}{}: {}", case.answer, case.why());
    test(text, "", (result, number, &case.name), &why);
}

fn write_trial(text: &mut String, number: usize, case: &Case, trial: &CaseTrial) {
    let id = &trial.line.id;
    for remark in &trial.line.remarks {
        diagnostics(text, INDENT, &format!("{id}: {remark}"));
    }
    for evidence in trial.evidence.iter().flat_map(|text| text.lines()) {
        diagnostics(text, INDENT, &format!("{id}: {evidence}"));
    }
    let (result, directive) = match (trial.answer, case.answer) {
        (Answer::Passed, _) => ("ok", ""),
        (Answer::Failed, Answer::Passed) => ("ok", "XFAIL "),
        (Answer::Failed, Answer::Failed | Answer::CouldNotTell) => ("not ok", ""),
        (Answer::CouldNotTell, _) => ("ok", "SKIP "),
    };
    let why = format!("{directive}{}", trial.what());
    test(text, INDENT, (result, number, id), &why);
}

/// A test case result line.
fn test(text: &mut String, indent: &str, (result, number, name): (&str, usize, &str), why: &str) {
    let (name, why) = (plain(name), plain(why));
    line(text, indent, &format!("{result} {number} {name} # {why}"));
}

fn diagnostics(text: &mut String, indent: &str, words: &str) {
    for words in words.lines() {
        line(text, indent, &format!("# {}", plain(words)));
    }
}

fn line(text: &mut String, indent: &str, words: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{indent}{words}");
}

/// Text for a part of a line: on one line, without what begins a directive.
fn plain(text: &str) -> String {
    let no_sign = |c: char| if c == '#' || c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(no_sign).collect();
    MISTAKABLE.iter().fold(text, |text, mistakable| {
        text.replace(mistakable, &mistakable.replace(':', ""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::made_up::{HOSTILE, results};

    /// Lines that are no diagnostics.
    fn results_in(text: &str) -> Vec<&str> {
        let lines = text.lines();
        lines
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect()
    }

    #[test]
    fn trials_are_subtests_of_their_kernel() {
        let text = ktap(&results());
        let found = results_in(&text);
        let expected = [
            "KTAP version 1",
            "1..2",
            "  KTAP version 1",
            "  1..2",
            "  ok 1 0001-unfixed # target lockup: hard lockup: both sides (console line 7)",
            "  ok 2 0003-unfixed # SKIP survived: clean",
            "ok 1 unfixed # passed: it locked up; known issue: https://bugs.example/1",
            "  KTAP version 1",
            "  1..3",
            "  ok 1 0002-fixed # survived: clean",
            "  not ok 2 0004-fixed # target lockup: hard lockup: both sides (console line 7)",
            "  ok 3 0005-fixed # SKIP infrastructure: infrastructure: no space left",
            "not ok 2 fixed # failed: it locked up as well",
        ];
        assert_eq!(found, expected, "{text}");
        assert!(text.contains("  # 0004-fixed: side A on CPU 1\n"), "{text}");
    }

    #[test]
    fn what_could_not_be_told_or_was_to_be_expected_is_no_plain_success() {
        let mut results = results();
        results.cases[1].answer = Answer::Passed;
        let text = ktap(&results);
        assert!(
            text.contains("  ok 2 0004-fixed # XFAIL target lockup"),
            "{text}"
        );
        results.cases[1].answer = Answer::CouldNotTell;
        let text = ktap(&results);
        assert!(
            text.contains("\nnot ok 2 fixed # SKIP could not tell: "),
            "{text}"
        );
        assert!(
            text.contains("  not ok 2 0004-fixed # target lockup"),
            "{text}"
        );
        results.cases.clear();
        assert!(ktap(&results).starts_with("KTAP version 1\n1..0 # SKIP "));
    }

    #[test]
    fn hostile_text_makes_no_lines_of_its_own() {
        let calm = results();
        let mut results = calm.clone();
        let trial = &mut results.cases[1].trials[1];
        trial.line.title = HOSTILE.to_owned();
        trial.evidence = Some(format!(
            "{HOSTILE}\nSubtest: x\nok 1 x\n1..9\nreboot: System halted"
        ));
        results.cases[1].name = "fixed # SKIP nothing".to_owned();
        let text = ktap(&results);
        assert_eq!(
            results_in(&text).len(),
            results_in(&ktap(&calm)).len(),
            "{text}"
        );
        assert!(
            text.contains("\nnot ok 2 fixed   SKIP nothing # failed: "),
            "{text}"
        );
        let mistaken = MISTAKABLE.iter().find(|one| text.contains(*one));
        assert_eq!(mistaken, None, "{text}");
        let is_plain = |c: char| c == '\n' || !c.is_control();
        assert!(text.chars().all(is_plain), "{text:?}");
    }
}
