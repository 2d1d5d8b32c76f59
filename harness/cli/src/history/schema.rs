//! Tables of the history.

use rusqlite_migration::{M, Migrations};

/// What a trial said is kept in columns, so that SQL can count it: `told` is its kind, `minutes`, `completed` and
/// `failure` are there where it counts. Names that repeat are kept once. `position` is a function of `id`, and before it
/// in the key, so that trials lie in the order in which they were made.
const FIRST: &str = "
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    series TEXT NOT NULL,
    started TEXT NOT NULL,
    alpha REAL NOT NULL,
    reach INTEGER NOT NULL,
    cells INTEGER NOT NULL
);
CREATE INDEX run_by_time ON run (kind, series, started);
CREATE TABLE cell (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE kernel (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE failure (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE trial (
    run INTEGER NOT NULL REFERENCES run (id),
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    cell INTEGER NOT NULL REFERENCES cell (id),
    kernel INTEGER NOT NULL REFERENCES kernel (id),
    standing TEXT NOT NULL,
    told TEXT NOT NULL,
    minutes REAL,
    completed INTEGER,
    failure INTEGER REFERENCES failure (id),
    title TEXT NOT NULL,
    PRIMARY KEY (run, position, id)
) WITHOUT ROWID;
";

/// What trials ran under, as a digest; NULL: not known.
const CONDITIONS: &str = "
CREATE TABLE conditions (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
ALTER TABLE trial ADD COLUMN conditions INTEGER REFERENCES conditions (id);
";

const STEPS: &[M<'static>] = &[M::up(FIRST), M::up(CONDITIONS)];

/// Every step from an empty database to the tables of this version.
pub const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// Version of the tables.
pub const VERSION: usize = STEPS.len();
