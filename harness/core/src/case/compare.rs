//! A comparison as cases: each side should be no worse than the first one.

use super::{Answer, Case, Made, Results, of_trial, trials};
use crate::campaign::Campaign;
use crate::compare::judge::{Conclusion, Judgement};
use crate::compare::report::{CompareReport, SideLine, letter};
use crate::record::TrialRecord;

impl Results {
    /// What a comparison tested.
    pub fn of_compare(
        made: &Made,
        campaign: &Campaign,
        records: &[TrialRecord],
        report: &CompareReport,
    ) -> Self {
        let case = |(index, line): (usize, &SideLine)| {
            let (expected, answer, reasons) = if index == 0 {
                of_reference(line)
            } else {
                of_side(report, index)
            };
            let otherwise = line.facts.release.as_deref();
            Case {
                name: format!("{} {}", letter(index), line.side.label),
                about: made.kernel(&line.side.name, otherwise.unwrap_or("no kernel")),
                expected: expected.to_owned(),
                answer,
                reasons,
                known: None,
                trials: trials(campaign, &line.side.name, records, of_trial),
            }
        };
        Self {
            run: report.run.clone(),
            campaign: report.campaign.clone(),
            started: made.started.clone(),
            kverdict: made.kverdict.clone(),
            answer: match report.conclusion {
                Conclusion::NothingWorse => Answer::Passed,
                Conclusion::SomeWorse => Answer::Failed,
                Conclusion::CouldNotTell => Answer::CouldNotTell,
            },
            reasons: report.verdict.clone(),
            environment: report.environment.clone(),
            cases: report.sides.iter().enumerate().map(case).collect(),
        }
    }
}

/// The first side is what others are held against; it cannot be worse than itself.
fn of_reference(line: &SideLine) -> (&'static str, Answer, Vec<String>) {
    let (answer, reason) = match &line.side.untestable {
        Some(why) => (Answer::CouldNotTell, format!("untestable: {why}")),
        None => (
            Answer::Passed,
            format!(
                "locked up {} times with the target's signature in {:.2} exposed minutes",
                line.target_lockups, line.exposed_minutes
            ),
        ),
    };
    ("is what others are held against", answer, vec![reason])
}

fn of_side(report: &CompareReport, side: usize) -> (&'static str, Answer, Vec<String>) {
    let mut pairs = report.pairs.iter().zip(&report.verdict);
    let against = pairs.find(|(pair, _)| pair.reference == 0 && pair.side == side);
    let (answer, reasons) = match against {
        Some((pair, sentence)) => (of_judgement(pair.judgement), vec![sentence.clone()]),
        None => (Answer::CouldNotTell, Vec::new()),
    };
    ("is no worse than A", answer, reasons)
}

fn of_judgement(judgement: Judgement) -> Answer {
    match judgement {
        Judgement::Better | Judgement::NoDifference => Answer::Passed,
        Judgement::Worse => Answer::Failed,
        Judgement::CouldNotTell => Answer::CouldNotTell,
    }
}
