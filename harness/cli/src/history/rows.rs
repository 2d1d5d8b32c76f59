//! Rows of the history's tables: what is written, and what is made of it again.

use std::collections::BTreeMap;

use kverdict_core::compare::failure::{Failure, Told};
use kverdict_core::history::PastTrial;
use kverdict_core::record::Standing;
use rusqlite::{Row, Transaction, params};

use super::recorded::{Kind, Recorded, Run};

/// Columns of a run.
pub(super) const RUN: &str = "name, kind, series, started, alpha, reach, cells";
/// Columns of a trial, after five others.
pub(super) const TRIAL: &str = "trial.id, trial.standing, trial.told, trial.minutes, trial.completed, trial.failure, trial.title";

/// A number as SQL has them; what is too large is no limit.
pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Puts a run in, or what is new of it.
///
/// # Errors
/// When the database does not take it.
pub(super) fn put(transaction: &Transaction<'_>, recorded: &Recorded) -> rusqlite::Result<()> {
    let run = put_run(transaction, &recorded.run)?;
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO trial \
         (run, position, id, cell, kernel, standing, told, minutes, completed, failure, title, conditions) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for (name, night) in &recorded.cells {
        let cell = number(transaction, "cell", name)?;
        let kernel = number(transaction, "kernel", &night.kernel)?;
        let conditions = Some(&night.conditions).filter(|digest| !digest.is_empty());
        let conditions = conditions.map(|digest| number(transaction, "conditions", digest));
        let conditions = conditions.transpose()?;
        for trial in &night.trials {
            let (told, counted) = columns(&trial.told);
            let (minutes, completed, failure) = match counted {
                Some((minutes, completed, failure)) => (Some(minutes), Some(completed), failure),
                None => (None, None, None),
            };
            let failure = failure.map(|failure| number(transaction, "failure", &text(failure)));
            insert.execute(params![
                run,
                position(&trial.id),
                trial.id,
                cell,
                kernel,
                text(&trial.standing),
                told,
                minutes,
                completed,
                failure.transpose()?,
                trial.title,
                conditions,
            ])?;
        }
    }
    Ok(())
}

fn put_run(transaction: &Transaction<'_>, run: &Run) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO run (name, kind, series, started, alpha, reach, cells) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![
            run.name,
            run.kind.word(),
            run.series,
            run.started,
            run.alpha,
            sql_limit(run.reach),
            sql_limit(run.cells)
        ])?;
    transaction
        .prepare_cached("SELECT id FROM run WHERE name = ?1")?
        .query_row([&run.name], |row| row.get(0))
}

/// Number of a name that is kept once.
fn number(transaction: &Transaction<'_>, table: &str, name: &str) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(&format!(
            "INSERT INTO {table} (name) VALUES (?1) ON CONFLICT (name) DO NOTHING"
        ))?
        .execute([name])?;
    transaction
        .prepare_cached(&format!("SELECT id FROM {table} WHERE name = ?1"))?
        .query_row([name], |row| row.get(0))
}

/// Place of a trial in its run's order, which its id begins with.
fn position(id: &str) -> u32 {
    let digits = id.split('-').next().unwrap_or_default();
    digits.parse().unwrap_or(u32::MAX)
}

/// As text that SQL can compare: what serde makes of it, without quotes where it is a word.
fn text(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(value) => value.to_string(),
        // Neither a standing nor a kind of failure has anything that is not text.
        Err(_) => String::new(),
    }
}

type Counted<'a> = (f64, bool, Option<&'a Failure>);

fn columns(told: &Told) -> (&'static str, Option<Counted<'_>>) {
    match told {
        Told::HostTrouble => (HOST_TROUBLE, None),
        Told::Unfit(_) => (UNFIT, None),
        Told::NotExposed => (NOT_EXPOSED, None),
        Told::Counted {
            minutes,
            completed,
            failure,
        } => (COUNTED, Some((*minutes, *completed, failure.as_ref()))),
    }
}

const HOST_TROUBLE: &str = "host-trouble";
const UNFIT: &str = "unfit";
const NOT_EXPOSED: &str = "not-exposed";
const COUNTED: &str = "counted";

/// A run, of columns in the order of [`RUN`].
///
/// # Errors
/// When a column holds what no run has.
pub(super) fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let kind: String = row.get(1)?;
    Ok(Run {
        name: row.get(0)?,
        kind: Kind::of(&kind).ok_or_else(|| unknown(1, &kind))?,
        series: row.get(2)?,
        started: row.get(3)?,
        alpha: row.get(4)?,
        reach: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(1),
        cells: usize::try_from(row.get::<_, i64>(6)?).unwrap_or(1),
    })
}

/// A trial, of columns in the order of [`TRIAL`].
///
/// # Errors
/// When a column holds what no trial has.
pub(super) fn trial_of(
    row: &Row<'_>,
    failures: &BTreeMap<i64, Failure>,
) -> rusqlite::Result<PastTrial> {
    let title: String = row.get(11)?;
    let told = match row.get_ref(7)?.as_str()? {
        HOST_TROUBLE => Told::HostTrouble,
        UNFIT => Told::Unfit(title.clone()),
        NOT_EXPOSED => Told::NotExposed,
        COUNTED => Told::Counted {
            minutes: row.get(8)?,
            completed: row.get(9)?,
            failure: match row.get::<_, Option<i64>>(10)? {
                Some(id) => match failures.get(&id) {
                    Some(failure) => Some(failure.clone()),
                    None => return Err(unknown(10, &id.to_string())),
                },
                None => None,
            },
        },
        word => return Err(unknown(7, word)),
    };
    Ok(PastTrial {
        id: row.get(5)?,
        told,
        standing: standing(row.get_ref(6)?.as_str()?)?,
        title,
    })
}

fn standing(word: &str) -> rusqlite::Result<Standing> {
    let value = serde_json::Value::String(word.to_owned());
    serde_json::from_value(value).map_err(|_| unknown(6, word))
}

/// A kind of failure, of its text.
///
/// # Errors
/// When it is none.
pub(super) fn failure_of(column: usize, text: &str) -> rusqlite::Result<Failure> {
    serde_json::from_str(text).map_err(|_| unknown(column, text))
}

fn unknown(column: usize, text: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Text,
        format!("`{text}` is nothing that a trial can be").into(),
    )
}
