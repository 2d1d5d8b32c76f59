//! Markdown for a mail or a merge request: the answer, a table, why, stacks to unfold, how to see it again.

use std::fmt::Write as _;

use crate::case::{Answer, Case, CaseTrial, Results};

/// Lines of stacks that are quoted of one trial.
const QUOTED_LINES: usize = 60;

/// Writes results as Markdown.
pub fn markdown(results: &Results) -> String {
    let mut text = format!(
        "## kverdict: {}: {}\n\n",
        escape(&results.campaign),
        results.answer
    );
    for reason in &results.reasons {
        line(&mut text, &format!("- {}", escape(reason)));
    }
    text += "\n| kernel | about | expected | answer | trials | as expected | not | could not tell | minutes under load |\n";
    text += "|---|---|---|---|--:|--:|--:|--:|--:|\n";
    for case in &results.cases {
        line(&mut text, &row(case));
    }
    for case in &results.cases {
        write_case(&mut text, results, case);
    }
    text += "\nHow to see it again:\n\n";
    let again = format!("kverdict report results/{}", results.run);
    let made = results.made_with("command").unwrap_or_default();
    text += &fenced(&format!("{again}\n{made}"));
    let _ = writeln!(
        text,
        "\nkverdict {}, {}",
        escape(&results.kverdict),
        escape(&results.started)
    );
    text
}

fn row(case: &Case) -> String {
    let count = |answer| {
        let trials = case.trials.iter();
        trials.filter(|trial| trial.answer == answer).count()
    };
    let seconds: f64 = case.trials.iter().map(|one| one.line.load_seconds).sum();
    format!(
        "| {} | {} | {} | **{}** | {} | {} | {} | {} | {:.1} |",
        escape(&case.name),
        escape(&case.about),
        escape(&case.expected),
        case.answer,
        case.trials.len(),
        count(Answer::Passed),
        count(Answer::Failed),
        count(Answer::CouldNotTell),
        seconds / 60.0
    )
}

fn write_case(text: &mut String, results: &Results, case: &Case) {
    let _ = write!(text, "\n**{}**: {}", escape(&case.name), case.answer);
    for reason in &case.reasons {
        // What the run says as a whole stands above.
        if !results.reasons.contains(reason) {
            let _ = write!(text, "; {}", escape(reason));
        }
    }
    if let Some(link) = &case.known {
        let _ = write!(text, "; known issue: {}", escape(link));
    }
    text.push('\n');
    if let Some(trial) = case.trials.iter().find(|trial| trial.evidence.is_some()) {
        write_evidence(text, trial);
    }
}

fn write_evidence(text: &mut String, trial: &CaseTrial) {
    let quoted = trial.evidence.iter().flat_map(|text| text.lines());
    let quoted: Vec<&str> = quoted.take(QUOTED_LINES).collect();
    let _ = write!(
        text,
        "\n<details><summary>trial {}: {}</summary>\n\n{}\n</details>\n",
        escape(&trial.line.id),
        escape(&trial.what()),
        fenced(&quoted.join("\n"))
    );
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

/// A block of code whose fence is longer than any in it.
fn fenced(code: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in code.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    let code: String = code
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    format!("{fence}text\n{}\n{fence}\n", code.trim_end())
}

/// Text that means nothing to Markdown or HTML, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            // Code spans stay: our own sentences have names in them.
            '|' | '*' | '[' | ']' | '\\' | '#' | '!' | '~' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::made_up::{HOSTILE, results};

    #[test]
    fn it_says_the_answer_and_how_to_see_it_again() {
        let text = markdown(&results());
        assert!(text.starts_with("## kverdict: race: failed\n"), "{text}");
        assert!(
            text.contains("| fixed | 6.12.117 b2 | survives | **failed** | 3 | 1 | 1 | 1 | 3.0 |"),
            "{text}"
        );
        assert!(
            text.contains(
                "kverdict report results/20260101T000000Z-race-1\nkverdict verify race.yaml\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("known issue: https://bugs.example/1"),
            "{text}"
        );
        assert_eq!(text.matches("<details>").count(), 2, "{text}");
    }

    #[test]
    fn hostile_text_stays_text() {
        let mut results = results();
        results.reasons = vec![HOSTILE.to_owned()];
        results.cases[1].name = "a|b\n| c |".to_owned();
        results.cases[1].trials[0].line.title = "</summary></details><script>".to_owned();
        results.cases[1].trials[0].evidence = Some("````\n</details>".to_owned());
        let text = markdown(&results);
        // Every row of the table has as many cells as its head.
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows.iter().all(|row| bars(row) == 10), "{rows:?}");
        assert!(!text.contains("<script>"), "{text}");
        assert!(
            text.contains("`````text\n````\n</details>\n`````\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && !text.contains('\0'), "{text:?}");
    }
}
