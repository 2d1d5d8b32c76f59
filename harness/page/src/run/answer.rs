//! What was asked, and what came out, in words.

use kverdict_core::assessment::{Assessment, Enough, State};
use kverdict_core::bisect::range::Direction;
use kverdict_core::bisect::report::BisectReport;
use kverdict_core::bisect::search::Ending;
use kverdict_core::campaign::{Campaign, Role};
use kverdict_core::compare::judge::Conclusion as Compared;
use kverdict_core::compare::report::CompareReport;
use kverdict_core::console::signature::SIGNATURES;
use kverdict_core::report::Report;
use kverdict_core::verdict::{Conclusion, StillNeeded};
use serde::Serialize;

use super::arm;
use super::compare::letter;
use crate::text::{counted, odds};

/// Whether an answer is one to be glad about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tone {
    /// It is.
    Good,
    /// It is not.
    Bad,
    /// It is none.
    Unsure,
}

/// What was asked, and what came out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    /// The question.
    pub asked: String,
    /// The answer in a word or two.
    pub word: String,
    /// How it is meant.
    pub tone: Tone,
    /// The same in a sentence.
    pub sentence: String,
    /// Why.
    pub reasons: Vec<String>,
    /// How sure that is, and what is still missing.
    pub sure: Vec<String>,
}

impl Answer {
    pub fn of_verdict(report: &Report, campaign: &Campaign) -> Self {
        let (control, subject) = (
            campaign.arm_with(Role::Control),
            campaign.arm_with(Role::Subject),
        );
        let (word, tone, sentence) = match report.verdict.conclusion {
            Conclusion::Verified => (
                "Verified",
                Tone::Good,
                format!("The fix works: `{subject}` survived what locks up `{control}`."),
            ),
            Conclusion::Refuted => (
                "Refuted",
                Tone::Bad,
                format!("`{subject}`, which should have the fix, has the bug."),
            ),
            Conclusion::Inconclusive => (
                "Inconclusive",
                Tone::Unsure,
                "The evidence does not suffice, in either direction.".to_owned(),
            ),
        };
        Self {
            asked: format!(
                "Is the lockup `{}` gone from {}? {}Both arms run the same load in the same guest: {} has the bug and \
                 has to lock up, or nothing is proven; the other has to survive for so long that luck is no \
                 explanation.",
                campaign.signature,
                arm(campaign, Role::Subject),
                about(&campaign.signature),
                arm(campaign, Role::Control),
            ),
            word: word.to_owned(),
            tone,
            sentence,
            reasons: report.verdict.reasons.clone(),
            sure: sureness(report, campaign, control, subject),
        }
    }

    pub fn of_comparison(report: &CompareReport) -> Self {
        let (word, tone, sentence) = match report.conclusion {
            Compared::NothingWorse => (
                "Nothing is worse",
                Tone::Good,
                "No side was shown to fail more often than A.",
            ),
            Compared::SomeWorse => (
                "Worse",
                Tone::Bad,
                "At least one side fails more often than A.",
            ),
            Compared::CouldNotTell => (
                "Could not tell",
                Tone::Unsure,
                "No side is known to be worse than A, and for some that could not be told.",
            ),
        };
        let sides = report.sides.iter().enumerate().map(|(index, side)| {
            let why = side.side.untestable.as_ref();
            let why = why.map_or(String::new(), |why| format!(" (cannot be tested: {why})"));
            format!("{} is `{}`{why}", letter(index), side.side.label)
        });
        let sides: Vec<String> = sides.collect();
        Self {
            asked: format!(
                "Does any kernel fail more often than the first one, A, under the same load? {}.",
                sides.join("; ")
            ),
            word: word.to_owned(),
            tone,
            sentence: sentence.to_owned(),
            reasons: report.verdict.clone(),
            sure: vec![format!(
                "Kernels that do not differ are called different anywhere in such a comparison with odds of {} at most, \
                 however often one looks.",
                odds(report.demands.alpha)
            )],
        }
    }

    pub fn of_assessment(assessment: &Assessment, enough: &Enough, campaign: &Campaign) -> Self {
        let (word, tone) = match assessment.state {
            State::HasBug => ("Has the bug", Tone::Bad),
            State::NoBugShown => ("No bug shown", Tone::Good),
            State::Unknown => ("Could not tell", Tone::Unsure),
        };
        let minutes = enough.minutes(campaign.policy.alpha);
        let mut sure = vec![format!(
            "{}, {} of them locked up, in {:.1} exposed minutes; {minutes:.1} minutes of survival were asked for.",
            counted(assessment.trials.into(), "trial"),
            assessment.lockups,
            assessment.minutes
        )];
        if let Some(rate) = assessment.rate_below {
            sure.push(format!(
                "It locks up less than {rate:.2} times per exposed minute (95% interval)."
            ));
        }
        Self {
            asked: format!(
                "Has {} the lockup `{}`? {}",
                arm(campaign, Role::Subject),
                campaign.signature,
                about(&campaign.signature)
            ),
            word: word.to_owned(),
            tone,
            sentence: format!("{word}."),
            reasons: assessment.reasons.clone(),
            sure,
        }
    }

    pub fn of_bisection(report: &BisectReport) -> Self {
        let (word, tone) = match &report.ending {
            Some(Ending::Found { .. }) => ("Found", Tone::Good),
            Some(_) => ("Not found", Tone::Unsure),
            None => ("Not finished", Tone::Unsure),
        };
        let what = match report.direction {
            Direction::Broke => "brought the bug in",
            Direction::Fixed => "fixed the bug",
        };
        Self {
            asked: format!(
                "Which change {what}, of {} between `{}` (good) and `{}` (bad)?",
                counted(report.culprits as u64, "candidate"),
                report.good,
                report.bad
            ),
            word: word.to_owned(),
            tone,
            sentence: report.conclusion.clone(),
            reasons: Vec::new(),
            sure: [format!(
                "That more than one change is behind it has probability {:.2}%.",
                report.more_than_one * 100.0
            )]
            .into_iter()
            .chain(of_further(report))
            .collect(),
        }
    }
}

/// What more time would bring; a search that has ended needs none.
fn of_further(report: &BisectReport) -> Option<String> {
    let further = &report.further;
    let line = format!(
        "Another {:.0} minutes would end the search with probability {:.0}%, and the true culprit would be held for it with \
         {:.0}% on average, now with {:.0}%.",
        further.minutes,
        further.settled * 100.0,
        further.posterior * 100.0,
        further.now * 100.0
    );
    report.ending.is_none().then_some(line)
}

/// What a signature is about.
fn about(signature: &str) -> String {
    let known = SIGNATURES.iter().find(|one| one.name == signature);
    known.map_or(String::new(), |one| {
        format!(
            "That is: {}. ",
            crate::text::wrap(one.about, usize::MAX).join(" ")
        )
    })
}

fn sureness(report: &Report, campaign: &Campaign, control: &str, subject: &str) -> Vec<String> {
    let verdict = &report.verdict;
    let mut lines = Vec::new();
    if verdict.luck < 1.0 {
        lines.push(format!(
            "If `{subject}` had the bug and locked up as often as `{control}`, it would survive so long by luck alone with \
             odds of {}; less than {} is asked for.",
            odds(verdict.luck),
            odds(campaign.policy.alpha)
        ));
    }
    lines.extend(report.armings.iter().map(|arming| {
        let fired: Vec<String> = arming
            .fired
            .iter()
            .map(|one| {
                let seconds = one.after_ms as f64 / 1000.0;
                format!("{} after {seconds:.1} s", one.detector)
            })
            .collect();
        match (fired.is_empty(), arming.doubt()) {
            (true, doubt) => doubt.unwrap_or_default(),
            (false, _) => format!(
                "A lockup made on purpose in `{}` was noticed: {}. So silence means something there.",
                arming.arm,
                fired.join(", ")
            ),
        }
    }));
    lines.extend(verdict.still_needed.iter().flat_map(missing));
    lines
}

fn missing(needed: &StillNeeded) -> Vec<String> {
    let about = |trials: Option<u32>| {
        trials.map_or(String::new(), |count| {
            format!(", about {}", counted(count.into(), "trial"))
        })
    };
    let mut lines = Vec::new();
    if needed.control_lockups > 0 {
        lines.push(format!(
            "Still needed of the control: {}{}.",
            counted(needed.control_lockups.into(), "target lockup"),
            about(needed.control_trials)
        ));
    }
    lines.push(match needed.subject_minutes {
        Some(minutes) => format!(
            "Still needed of the subject: {minutes:.1} exposed minutes of survival{}.",
            about(needed.subject_trials)
        ),
        None => {
            "What the subject still needs is not known until the control has locked up.".to_owned()
        }
    });
    lines
}
