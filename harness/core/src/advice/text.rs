//! The advice as text: the advice, the table, how it is known.

use std::fmt::{self, Display, Formatter};

use super::attempt::{Attempt, Fit};
use super::conclusion::{Advice, Build, Outcome, Own};
use super::needed::Need;
use crate::inspect::fix::{Commit, Part};

impl Display for Advice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.sentence)?;
        table(f, self)?;
        how(f, self)
    }
}

fn table(f: &mut Formatter<'_>, advice: &Advice) -> fmt::Result {
    if advice.facts.attempts.is_empty() {
        return Ok(());
    }
    let rows: Vec<[String; 5]> = advice
        .facts
        .attempts
        .iter()
        .zip(&advice.needs)
        .map(|(attempt, need)| row(attempt, *need))
        .collect();
    let heads = ["commit", "is", "on this tree", "then it is", ""].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&heads]).map(|row| row[column].len());
        cells.max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2), width(3)];
    writeln!(f)?;
    for row in [&heads].into_iter().chain(&rows) {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            line += &format!(" {cell:<width$} ");
        }
        line += &format!(" {}", row[4]);
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn row(attempt: &Attempt, need: Need) -> [String; 5] {
    let after = attempt.after.as_ref();
    [
        attempt.commit.id.clone(),
        part_words(attempt.part).to_owned(),
        attempt.fit.words(),
        after.map_or("-".to_owned(), |after| after.words()),
        need.words().to_owned(),
    ]
}

fn part_words(part: Part) -> &'static str {
    match part {
        Part::Fix => "the fix",
        Part::FollowUp => "follow-up",
        Part::Tidy => "tidy",
        Part::OtherForm => "another form",
    }
}

fn how(f: &mut Formatter<'_>, advice: &Advice) -> fmt::Result {
    let facts = &advice.facts;
    writeln!(f, "\nhow it is known:")?;
    let series: String = facts
        .series
        .iter()
        .map(|name| format!(", with {name}"))
        .collect();
    writeln!(f, "  tree: {}, {}{series}", facts.kernel, facts.source)?;
    writeln!(f, "  fix: {}", cite(&facts.commit))?;
    writeln!(
        f,
        "  before: {}: {}",
        facts.before.state.word(),
        facts.before.why
    )?;
    if !facts.attempts.is_empty() {
        writeln!(
            f,
            "  commits: from {}, each tried on a private copy, after those before it that were put in; {}",
            facts.commits_from,
            match facts.fuzz {
                0 => "none that needs fuzz was put in".to_owned(),
                fuzz => format!("fuzz up to {fuzz} was allowed"),
            }
        )?;
    }
    for attempt in &facts.attempts {
        details(f, attempt)?;
    }
    match facts.lean {
        None => {}
        Some(true) => writeln!(
            f,
            "  without those that are not needed the others fit too, and it is whole"
        )?,
        Some(false) => writeln!(
            f,
            "  without those that change nothing the others do not fit"
        )?,
    }
    if let Some(own) = &facts.own {
        describe_own(f, own)?;
    }
    checks(f, advice)
}

fn details(f: &mut Formatter<'_>, attempt: &Attempt) -> fmt::Result {
    writeln!(f, "  {}: {}", cite(&attempt.commit), attempt.fit.words())?;
    for place in attempt.fit.places() {
        writeln!(f, "    {place}")?;
    }
    if let (Fit::Fuzzy { .. }, true) = (&attempt.fit, attempt.is_in()) {
        writeln!(
            f,
            "    put in because fuzz was allowed: see that each hunk landed where it belongs"
        )?;
    }
    Ok(())
}

fn describe_own(f: &mut Formatter<'_>, own: &Own) -> fmt::Result {
    match &own.outcome {
        Outcome::Applies { after } => writeln!(
            f,
            "  {}, a semantic patch of kverdict's: applies; then it is {}: {}",
            own.name,
            after.words(),
            after.why
        ),
        Outcome::DoesNot { why } => {
            writeln!(f, "  {}, a semantic patch of kverdict's: {why}", own.name)
        }
    }
}

fn checks(f: &mut Formatter<'_>, advice: &Advice) -> fmt::Result {
    match &advice.facts.build {
        None if advice.set.is_empty() => {}
        None => writeln!(f, "  source alone was read: nothing was built (--build)")?,
        Some(Build::Builds { release, key }) => writeln!(f, "  built: {release}, build {key}")?,
        Some(Build::Breaks { said }) => {
            writeln!(f, "  the tree builds, and with the set it does not:")?;
            for line in said.lines() {
                writeln!(f, "    {}", line.trim_end())?;
            }
        }
        Some(Build::CannotTell { why }) => writeln!(f, "  not built: {why}")?,
    }
    if let Some(run) = &advice.facts.verification {
        writeln!(f, "  {} by trials, {}:", run.conclusion, run.run)?;
        for reason in &run.reasons {
            writeln!(f, "    {reason}")?;
        }
    }
    Ok(())
}

fn cite(commit: &Commit) -> String {
    format!("{} (\"{}\", {})", commit.id, commit.title, commit.since)
}
