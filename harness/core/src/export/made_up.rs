//! Results of trials that were never run.

use crate::case::{Answer, Case, CaseTrial, Results};
use crate::record::Standing;
use crate::report::TrialLine;

/// What a guest may print: control and escape characters, what ends XML, tables and lines of KTAP, and bytes
/// that are no text.
pub const HOSTILE: &str = "a\0b\u{1b}[31m]]>&<b>\u{b}|x|\r\nnot ok 9 x\n1..3\nKTAP version 1\n# Subtest: y # SKIP \u{fffd}\u{fffe}\u{85}";

fn trial(id: &str, standing: Standing, answer: Answer) -> CaseTrial {
    let (outcome, title, line) = match standing {
        Standing::TargetLockup => ("hard lockup", "both sides", Some(7)),
        Standing::Infrastructure => ("infrastructure", "no space left", None),
        Standing::Survived | Standing::NotExposed | Standing::Suspect | Standing::OtherFailure => {
            ("clean", "", None)
        }
    };
    CaseTrial {
        line: TrialLine {
            id: id.to_owned(),
            standing,
            outcome: outcome.to_owned(),
            title: title.to_owned(),
            line,
            load_seconds: 60.0,
            load_to_report_seconds: None,
            hello_seconds: Some(2.5),
            remarks: Vec::new(),
        },
        started: "2026-01-01T00:00:00Z".to_owned(),
        total_seconds: 70.5,
        answer,
        evidence: (standing == Standing::TargetLockup)
            .then(|| "side A on CPU 1\n    multi_cpu_stop+0x1/0x2\nside B on CPU 5\n".to_owned()),
    }
}

/// A control that locked up and once did not, and a subject that survived and once did not.
pub fn results() -> Results {
    let control = Case {
        name: "unfixed".to_owned(),
        about: "6.12.117 a1".to_owned(),
        expected: "locks up".to_owned(),
        answer: Answer::Passed,
        reasons: vec!["it locked up".to_owned()],
        known: Some("https://bugs.example/1".to_owned()),
        trials: vec![
            trial("0001-unfixed", Standing::TargetLockup, Answer::Passed),
            trial("0003-unfixed", Standing::Survived, Answer::CouldNotTell),
        ],
    };
    let subject = Case {
        name: "fixed".to_owned(),
        about: "6.12.117 b2".to_owned(),
        expected: "survives".to_owned(),
        answer: Answer::Failed,
        reasons: vec!["it locked up as well".to_owned()],
        known: None,
        trials: vec![
            trial("0002-fixed", Standing::Survived, Answer::Passed),
            trial("0004-fixed", Standing::TargetLockup, Answer::Failed),
            trial("0005-fixed", Standing::Infrastructure, Answer::CouldNotTell),
        ],
    };
    let environment = [
        ("command", "kverdict verify race.yaml"),
        ("QEMU", "QEMU emulator version 7.2"),
        ("accelerator", "TCG"),
        ("host", "Linux 6.1, 2 cores"),
    ];
    Results {
        run: "20260101T000000Z-race-1".to_owned(),
        campaign: "race".to_owned(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        kverdict: "0.1.0".to_owned(),
        answer: Answer::Failed,
        reasons: vec!["it locked up as well".to_owned()],
        environment: environment
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .into(),
        cases: vec![control, subject],
    }
}
