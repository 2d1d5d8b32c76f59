//! The database itself: opening it, putting runs in, asking.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kverdict_core::compare::failure::Failure;
use kverdict_core::history::CellNight;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use rusqlite_migration::Error as MigrationError;

use super::recorded::{Kind, Recorded, Run};
use super::rows::{RUN, TRIAL, failure_of, put, run_of, sql_limit, trial_of};
use super::schema::{MIGRATIONS, VERSION};
use crate::commands::Usage;
use crate::layout;

/// How long somebody else may be writing.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open history. It is to be held only for short: who makes the history again waits for it.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Connection,
    /// Held as long as this is open.
    _lock: Option<File>,
}

/// Which nights to give.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Runs of this kind.
    pub kind: Kind,
    /// Nights of this name; absent: of all.
    pub night: Option<&'a str>,
    /// Cells whose id this pattern fits, with `*` and `?`; absent: all.
    pub cell: Option<&'a str>,
    /// So many of the newest runs of each name.
    pub limit: usize,
}

impl Default for Selection<'_> {
    fn default() -> Self {
        Self {
            kind: Kind::Night,
            night: None,
            cell: None,
            limit: usize::MAX,
        }
    }
}

/// Nights of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name of the nights.
    pub name: String,
    /// The cell's id.
    pub cell: String,
    /// Oldest first.
    pub nights: Vec<CellNight>,
}

impl Database {
    /// Opens the history of a folder of results to add to it; one that is not there is made.
    ///
    /// # Errors
    /// When it is damaged, of a newer kverdict, or the folder cannot be written.
    pub fn open(results: &Path) -> Result<Self> {
        let lock = lock_file(results)?;
        let cannot = "cannot lock the history";
        lock.lock_shared().context(cannot)?;
        let mut database = Self::at(layout::history(results))?;
        if database.is_behind()? {
            // Tables are made by one program at a time; who waited finds them made.
            lock.lock().context(cannot)?;
            database.prepare()?;
            lock.lock_shared().context(cannot)?;
        }
        database._lock = Some(lock);
        Ok(database)
    }

    /// Opens the history of a folder of results to ask it.
    ///
    /// # Errors
    /// As [`Database::open`], and when there is none.
    pub fn existing(results: &Path) -> Result<Self> {
        let path = layout::history(results);
        if !path.is_file() {
            return Err(Usage(format!(
                "no history in {}: run `kverdict nightly`, or make it of the runs that are there with `kverdict db rebuild --results {0}`",
                results.display()
            ))
            .into());
        }
        Self::open(results)
    }

    /// Makes a database of which nobody knows yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn unknown(path: PathBuf) -> Result<Self> {
        let mut database = Self::at(path)?;
        database.prepare()?;
        // A crash leaves a temporary file and nothing else.
        database.pragma("synchronous", "OFF")?;
        database.pragma("journal_mode", "MEMORY")?;
        Ok(database)
    }

    /// Makes it one that others may know.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn settle(self) -> Result<()> {
        self.pragma("journal_mode", "WAL")
    }

    fn at(path: PathBuf) -> Result<Self> {
        let connection = Connection::open_with_flags(&path, OpenFlags::default())
            .map_err(|error| explain(&path, error))?;
        let database = Self {
            path,
            connection,
            _lock: None,
        };
        database
            .connection
            .busy_timeout(PATIENCE)
            .map_err(|error| database.explain(error))?;
        // What is lost with the machine's power is in the records.
        database.pragma("synchronous", "NORMAL")?;
        Ok(database)
    }

    /// Whether its tables are not those of this version.
    fn is_behind(&self) -> Result<bool> {
        match MIGRATIONS.pending_migrations(&self.connection) {
            Ok(steps) => Ok(steps != 0),
            Err(MigrationError::RusqliteError { err, .. }) => Err(self.explain(err)),
            Err(error) => Err(anyhow!("cannot read {}: {error}", self.path.display())),
        }
    }

    fn prepare(&mut self) -> Result<()> {
        // Readers do not wait for writers then.
        self.pragma("journal_mode", "WAL")?;
        self.migrate()
    }

    fn pragma(&self, name: &str, value: &str) -> Result<()> {
        self.connection
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|error| match error {
                // It has nothing to say.
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(self.explain(error)),
            })
    }

    fn migrate(&mut self) -> Result<()> {
        let path = &self.path;
        MIGRATIONS
            .to_latest(&mut self.connection)
            .map_err(|error| match error {
                MigrationError::RusqliteError { err, .. } => explain(path, err),
                MigrationError::MigrationDefinition(_) => newer(path, &self.connection),
                error => anyhow!("cannot prepare {}: {error}", path.display()),
            })
    }

    fn explain(&self, error: rusqlite::Error) -> anyhow::Error {
        explain(&self.path, error)
    }

    /// Puts a run in, or what is new of it: a trial that is there already is put in its own place.
    ///
    /// # Errors
    /// When the database cannot be written; nothing of it is in then.
    pub fn feed(&mut self, recorded: &Recorded) -> Result<()> {
        let path = &self.path;
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            put(&transaction, recorded)?;
            transaction.commit()
        };
        write().map_err(|error| explain(path, error))
    }

    /// Runs of a kind, the newest first.
    ///
    /// # Errors
    /// When the database is damaged.
    pub fn runs(&self, kind: Option<Kind>, limit: usize) -> Result<Vec<Run>> {
        let sql = format!(
            "SELECT {RUN} FROM run WHERE ?1 IS NULL OR kind = ?1 ORDER BY started DESC, name DESC LIMIT ?2"
        );
        let ask = || -> rusqlite::Result<Vec<Run>> {
            let mut statement = self.connection.prepare(&sql)?;
            let kind = kind.map(Kind::word);
            let rows = statement.query_map(params![kind, sql_limit(limit)], run_of)?;
            rows.collect()
        };
        ask().map_err(|error| self.explain(error))
    }

    /// The run of this name.
    ///
    /// # Errors
    /// When the database is damaged.
    pub fn run(&self, name: &str) -> Result<Option<Run>> {
        let sql = format!("SELECT {RUN} FROM run WHERE name = ?1");
        let ask = || -> rusqlite::Result<Option<Run>> {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query_map([name], run_of)?;
            rows.next().transpose()
        };
        ask().map_err(|error| self.explain(error))
    }

    /// Cells of one run, by their ids.
    ///
    /// # Errors
    /// When the database is damaged.
    pub fn cells(&self, run: &str) -> Result<BTreeMap<String, CellNight>> {
        let found = self.series("run.name = ?1", params![run])?;
        let mut cells = BTreeMap::new();
        for mut series in found {
            cells.extend(series.nights.pop().map(|night| (series.cell, night)));
        }
        Ok(cells)
    }

    /// Nights of each cell, in the order of the nights' names and the cells' ids.
    ///
    /// # Errors
    /// When the database is damaged.
    pub fn nights(&self, selection: &Selection<'_>) -> Result<Vec<Series>> {
        let wanted = "run.kind = ?1 AND (?2 IS NULL OR run.series = ?2) AND cell.name GLOB ?3 \
                      AND run.id IN (SELECT id FROM (SELECT id, row_number() OVER \
                      (PARTITION BY series ORDER BY started DESC, name DESC) AS age FROM run WHERE kind = ?1) \
                      WHERE age <= ?4)";
        let cell = selection.cell.unwrap_or("*");
        self.series(
            wanted,
            params![
                selection.kind.word(),
                selection.night,
                cell,
                sql_limit(selection.limit)
            ],
        )
    }

    fn series(&self, wanted: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<Series>> {
        let failures = self.failures()?;
        // One run after the other, as the trials lie there: sorting them by cell would take longer than reading.
        let sql = format!(
            "SELECT run.series, cell.name, run.name, run.started, kernel.name, {TRIAL}, \
             ifnull(conditions.name, '') FROM run \
             JOIN trial ON trial.run = run.id JOIN cell ON cell.id = trial.cell \
             JOIN kernel ON kernel.id = trial.kernel \
             LEFT JOIN conditions ON conditions.id = trial.conditions WHERE {wanted} \
             ORDER BY run.started, run.name, trial.run, trial.position, trial.id"
        );
        let mut found: BTreeMap<(String, String), Vec<CellNight>> = BTreeMap::new();
        let mut ask = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                let key = (row.get(0)?, row.get(1)?);
                let trial = trial_of(row, &failures)?;
                let nights = found.entry(key).or_default();
                let run = row.get_ref(2)?.as_str()?;
                match nights.last_mut() {
                    Some(night) if night.run == run => night.trials.push(trial),
                    Some(_) | None => nights.push(CellNight {
                        run: run.to_owned(),
                        started: row.get(3)?,
                        kernel: row.get(4)?,
                        conditions: row.get(12)?,
                        trials: vec![trial],
                    }),
                }
            }
            Ok(())
        };
        ask().map_err(|error| self.explain(error))?;
        let series = found
            .into_iter()
            .map(|((name, cell), nights)| Series { name, cell, nights });
        Ok(series.collect())
    }

    /// Kinds of failure, by their numbers in the table.
    fn failures(&self) -> Result<BTreeMap<i64, Failure>> {
        let ask = || -> rusqlite::Result<BTreeMap<i64, Failure>> {
            let mut statement = self.connection.prepare("SELECT id, name FROM failure")?;
            let rows = statement.query_map([], |row| {
                let text: String = row.get(1)?;
                Ok((row.get(0)?, failure_of(1, &text)?))
            })?;
            rows.collect()
        };
        ask().map_err(|error| self.explain(error))
    }
}

/// The file that is locked by whoever has the history open.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn lock_file(results: &Path) -> Result<File> {
    let path = layout::history_lock(results);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn explain(path: &Path, error: rusqlite::Error) -> anyhow::Error {
    let code = error.sqlite_error_code();
    let damaged = matches!(
        code,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    );
    let unreadable = matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
    );
    if damaged || unreadable {
        return Usage(format!(
            "{} is damaged ({error}); make it again of the records with `kverdict db rebuild`",
            path.display()
        ))
        .into();
    }
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => anyhow!(
            "another program writes into {} for longer than {} s",
            path.display(),
            PATIENCE.as_secs()
        ),
        Some(_) | None => anyhow!(error).context(format!("cannot use {}", path.display())),
    }
}

fn newer(path: &Path, connection: &Connection) -> anyhow::Error {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    Usage(format!(
        "{} has schema {}, this kverdict reads {VERSION}: use the newer kverdict that wrote it, or make it again with `kverdict db rebuild`",
        path.display(),
        version.unwrap_or_default()
    ))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kverdict_core::compare::failure::Told;
    use kverdict_core::history::PastTrial;
    use kverdict_core::record::Standing;

    fn recorded(run: &str, day: u32, trials: &[PastTrial]) -> Recorded {
        let started = format!("2026-01-{day:02}T02:00:00Z");
        let night = CellNight {
            run: run.to_owned(),
            started: started.clone(),
            kernel: "6.12 k".to_owned(),
            conditions: "c1".to_owned(),
            trials: trials.to_vec(),
        };
        Recorded {
            run: Run {
                name: run.to_owned(),
                kind: Kind::Night,
                series: "default".to_owned(),
                started,
                alpha: 0.01,
                reach: 14,
                cells: 1,
            },
            cells: BTreeMap::from([("a/b/c/d".to_owned(), night)]),
        }
    }

    /// One trial of everything that can be told.
    fn trials() -> Vec<PastTrial> {
        let counted = |failure| Told::Counted {
            minutes: 1.5,
            completed: true,
            failure,
        };
        let other = Failure::Other {
            clock: kverdict_core::compare::failure::Clock::Completed,
            outcome: kverdict_core::console::Outcome::Warning,
            title: "WARNING: it's \"quoted\"".to_owned(),
        };
        let told = [
            (Told::HostTrouble, Standing::Infrastructure),
            (Told::Unfit("x".to_owned()), Standing::Infrastructure),
            (Told::NotExposed, Standing::NotExposed),
            (counted(None), Standing::Survived),
            (counted(Some(Failure::Target)), Standing::TargetLockup),
            (counted(Some(other)), Standing::Survived),
        ];
        (1..)
            .zip(told)
            .map(|(number, (told, standing))| PastTrial {
                id: format!("{number:04}-arm"),
                told,
                standing,
                title: "x".to_owned(),
            })
            .collect()
    }

    #[test]
    fn what_is_put_in_comes_out_again_however_often_it_was_put_in() {
        let results = tempfile::tempdir().unwrap();
        let one = recorded("one", 1, &trials());
        for part in [2, 6, 6] {
            // Each time by another program.
            let mut database = Database::open(results.path()).unwrap();
            let part = recorded("one", 1, &trials()[..part]);
            database.feed(&part).unwrap();
        }
        let mut database = Database::open(results.path()).unwrap();
        database.feed(&recorded("two", 2, &trials()[..1])).unwrap();
        assert_eq!(database.cells("one").unwrap(), one.cells);
        assert_eq!(database.run("one").unwrap(), Some(one.run));
        assert_eq!(database.run("three").unwrap(), None);
        let newest = database.runs(None, 1).unwrap();
        assert_eq!(newest[0].name, "two");
        let nights = database.nights(&Selection::default()).unwrap();
        let runs: Vec<&str> = nights[0]
            .nights
            .iter()
            .map(|one| one.run.as_str())
            .collect();
        assert_eq!(runs, ["one", "two"], "the oldest first");
        let limited = Selection {
            limit: 1,
            cell: Some("a/*"),
            ..Selection::default()
        };
        assert_eq!(database.nights(&limited).unwrap()[0].nights.len(), 1);
        let other = Selection {
            night: Some("other"),
            ..Selection::default()
        };
        assert!(database.nights(&other).unwrap().is_empty());
    }

    #[test]
    fn a_history_of_an_older_kverdict_is_read_and_goes_on() {
        let results = tempfile::tempdir().unwrap();
        let path = layout::history(results.path());
        let mut connection = Connection::open(&path).unwrap();
        MIGRATIONS.to_version(&mut connection, 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO run VALUES (1, 'old', 'night', 'default', '2026-01-01T02:00:00Z', 0.01, 14, 1);
                 INSERT INTO cell VALUES (1, 'a/b/c/d');
                 INSERT INTO kernel VALUES (1, '6.12 k');
                 INSERT INTO trial VALUES (1, 1, '0001-a', 1, 1, 'survived', 'counted', 1.5, 1, NULL, '');",
            )
            .unwrap();
        drop(connection);
        let mut database = Database::open(results.path()).unwrap();
        let new = recorded("new", 2, &trials());
        database.feed(&new).unwrap();
        let series = database.nights(&Selection::default()).unwrap();
        let [old, other] = &series[0].nights[..] else {
            panic!("{series:?}");
        };
        assert_eq!((old.run.as_str(), old.trials.len()), ("old", 1));
        assert_eq!(old.conditions, "", "nobody knows");
        assert_eq!(*other, new.cells["a/b/c/d"]);
    }

    #[test]
    fn two_programs_that_write_at_a_time_wait_for_each_other() {
        let results = tempfile::tempdir().unwrap();
        let write = &|run: String| {
            for _ in 0..5 {
                let mut database = Database::open(results.path()).unwrap();
                database.feed(&recorded(&run, 1, &trials())).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || write(format!("run-{writer}")));
            }
        });
        let database = Database::open(results.path()).unwrap();
        assert_eq!(database.runs(None, usize::MAX).unwrap().len(), 4);
    }

    #[test]
    fn the_steps_lead_to_the_tables() {
        MIGRATIONS.validate().unwrap();
    }
}
