//! Command lines that do it again.

use serde::Serialize;

use super::Material;
use crate::closeup::CloseUp;
use crate::text::quoted;

/// A command and what it is for.
#[derive(Debug, Serialize)]
pub(crate) struct Command {
    /// What it does.
    what: String,
    /// As a shell takes it.
    line: String,
}

/// What there is to do again: the run, its judgement, and one guest.
pub(super) fn commands(material: &Material<'_>, evidence: Option<&CloseUp>) -> Vec<Command> {
    let run = material.run;
    let mut words = vec!["kverdict".to_owned()];
    words.extend(material.argv.iter().skip(1).map(|word| quoted(word)));
    let mut commands = vec![
        Command {
            what: "make the run again, from the start".to_owned(),
            line: words.join(" "),
        },
        Command {
            what: "judge its records again, without a guest; this page is made again, too"
                .to_owned(),
            line: format!("kverdict report {}", quoted(&format!("results/{run}"))),
        },
    ];
    if let Some(evidence) = evidence {
        let record = material.records.iter().find(|one| one.id == evidence.id);
        let build = record.map_or("", |record| record.build.as_str());
        let path = |rest: String| quoted(&format!("results/{run}/{rest}"));
        commands.push(Command {
            what: format!(
                "read again what was seen of the vCPUs in trial {}",
                evidence.id
            ),
            line: format!(
                "kverdict diagnose --recorded {} --symbols {}",
                path(format!("trials/{}/vcpus.jsonl", evidence.id)),
                path(format!("builds/{build}/System.map"))
            ),
        });
        commands.push(Command {
            what: format!("judge the console of trial {} again", evidence.id),
            line: format!(
                "kverdict classify {}",
                path(format!("trials/{}/console.log", evidence.id))
            ),
        });
    }
    commands
}
