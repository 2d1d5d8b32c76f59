//! Two nights held against each other, cell by cell, as [`crate::compare`] holds kernels.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::CellNight;
use crate::compare::Demands;
use crate::compare::evidence::SideEvidence;
use crate::compare::failure::Told;
use crate::compare::judge::{Conclusion, Judgement, Row, of_rows, rows};

/// What differs between two nights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The earlier night's run, and the later one's.
    pub runs: [String; 2],
    /// What it says of the later one.
    pub conclusion: Conclusion,
    /// Cells that both have, what is worse first.
    pub cells: Vec<CellDiff>,
    /// Cells of the earlier night alone.
    pub only_before: Vec<String>,
    /// Cells of the later night alone.
    pub only_after: Vec<String>,
    /// How that is known.
    pub methods: Vec<String>,
}

/// One cell in both nights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellDiff {
    /// Its id.
    pub cell: String,
    /// What is said of the later night.
    pub judgement: Judgement,
    /// Whether its trials ran under the same load in both. Otherwise rates are not held against each other.
    #[serde(default = "yes")]
    pub same_load: bool,
    /// Its kernel in each night.
    pub kernels: [String; 2],
    /// Trials of each night, and how many of them failed.
    pub trials: [Trials; 2],
    /// Kinds of failure, the target first.
    pub rows: Vec<Row>,
}

fn yes() -> bool {
    true
}

/// Trials of a cell in one night.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trials {
    /// All of them.
    pub all: u32,
    /// Those that failed in any way.
    pub failed: u32,
}

/// A night's cells, by their ids.
pub type Night = BTreeMap<String, CellNight>;

/// Holds a night against an earlier one. `alpha` and `beta` are those of a comparison, the former for all cells
/// together.
pub fn diff(runs: [String; 2], nights: [&Night; 2], alpha: f64, beta: f64) -> Diff {
    let [before, after] = nights;
    let both: Vec<&String> = before
        .keys()
        .filter(|cell| after.contains_key(*cell))
        .collect();
    let share = alpha / both.len().max(1) as f64;
    let mut cells: Vec<CellDiff> = both
        .iter()
        .map(|cell| cell_diff(cell, [&before[*cell], &after[*cell]], share, beta))
        .collect();
    cells.sort_by_key(|cell| order(cell.judgement));
    let only = |these: &Night, others: &Night| {
        let mine = these.keys().filter(|cell| !others.contains_key(*cell));
        mine.cloned().collect()
    };
    Diff {
        runs,
        conclusion: conclusion(&cells),
        only_before: only(before, after),
        only_after: only(after, before),
        methods: vec![
            format!(
                "worse, better: evidence against equal rates, looked at after every trial (Ville's inequality); any of \
                 these {} cells is called so wrongly with probability {alpha} at most",
                cells.len()
            ),
            format!(
                "no difference shown: had the night failed once in a full trial or more, and 4 times as often as the \
                 other, that would have been seen but for a probability of {beta} in each cell"
            ),
        ],
        cells,
    }
}

fn order(judgement: Judgement) -> u8 {
    match judgement {
        Judgement::Worse => 0,
        Judgement::Better => 1,
        Judgement::CouldNotTell => 2,
        Judgement::NoDifference => 3,
    }
}

fn conclusion(cells: &[CellDiff]) -> Conclusion {
    if cells.iter().any(|cell| cell.judgement == Judgement::Worse) {
        Conclusion::SomeWorse
    } else if !cells.is_empty() && cells.iter().all(|cell| cell.judgement.is_decided()) {
        Conclusion::NothingWorse
    } else {
        Conclusion::CouldNotTell
    }
}

fn cell_diff(cell: &str, nights: [&CellNight; 2], alpha: f64, beta: f64) -> CellDiff {
    let sides = nights.map(evidence);
    let minutes = trial_minutes(nights);
    let demands = Demands::of_trials(minutes, alpha, beta);
    let same_load = nights[0].conditions == nights[1].conditions;
    let (judgement, rows) = if same_load {
        let rows = rows(&demands, minutes / 2.0, alpha, [&sides[0], &sides[1]]);
        (of_rows(&rows), rows)
    } else {
        (Judgement::CouldNotTell, Vec::new())
    };
    CellDiff {
        cell: cell.to_owned(),
        judgement,
        same_load,
        kernels: nights.map(|night| night.kernel.clone()),
        trials: nights.map(trials),
        rows,
    }
}

fn evidence(night: &CellNight) -> SideEvidence {
    let mut evidence = SideEvidence::default();
    for trial in &night.trials {
        evidence.take(trial.told.clone(), &|| trial.title.clone());
    }
    evidence
}

fn trials(night: &CellNight) -> Trials {
    let failed = night
        .trials
        .iter()
        .filter(|trial| trial.failure().is_some());
    Trials {
        all: night.trials.len() as u32,
        failed: failed.count() as u32,
    }
}

/// Minutes of a trial that does not fail; 1 if there was none.
fn trial_minutes(nights: [&CellNight; 2]) -> f64 {
    let all = nights.iter().flat_map(|night| &night.trials);
    let lengths = all.filter_map(|trial| match &trial.told {
        Told::Counted {
            minutes, completed, ..
        } => completed.then_some(*minutes),
        Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => None,
    });
    let longest = lengths.fold(0.0, f64::max);
    if longest > 0.0 { longest } else { 1.0 }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = &self.runs;
        let conclusion = self.conclusion.to_string().to_uppercase();
        writeln!(f, "{conclusion}: {after} against {before}")?;
        if self.cells.is_empty() {
            writeln!(f, "  the nights have no cell in common")?;
        }
        let width = self.cells.iter().map(|cell| cell.cell.len()).max();
        for cell in &self.cells {
            let [one, other] = cell.trials;
            writeln!(
                f,
                "  {:<19}  {:<width$}  {} of {} trials failed, {} of {} before",
                cell.judgement,
                cell.cell,
                other.failed,
                other.all,
                one.failed,
                one.all,
                width = width.unwrap_or(0)
            )?;
            if !cell.same_load {
                writeln!(
                    f,
                    "      the load is not the same, so that rates say nothing about the kernel"
                )?;
            }
            for row in cell.rows.iter().filter(|row| row.counts != [0, 0]) {
                writeln!(f, "      {}", sentence(row))?;
            }
        }
        write_kernels(f, &self.cells)?;
        for (cells, words) in [
            (&self.only_before, "not tested any more"),
            (&self.only_after, "new"),
        ] {
            if !cells.is_empty() {
                writeln!(f, "{words}:")?;
            }
            for cell in cells {
                writeln!(f, "  {cell}")?;
            }
        }
        writeln!(f, "\nhow that is known:")?;
        for method in &self.methods {
            writeln!(f, "  {method}")?;
        }
        Ok(())
    }
}

/// Kernels that differ, each once.
fn write_kernels(f: &mut fmt::Formatter<'_>, cells: &[CellDiff]) -> fmt::Result {
    let mut changed: BTreeMap<&[String; 2], Vec<&str>> = BTreeMap::new();
    for cell in cells
        .iter()
        .filter(|cell| cell.kernels[0] != cell.kernels[1])
    {
        changed.entry(&cell.kernels).or_default().push(&cell.cell);
    }
    if !changed.is_empty() {
        writeln!(f, "kernels that differ:")?;
    }
    for ([before, after], cells) in changed {
        let more = match cells.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        writeln!(f, "  {before} -> {after}: {}{more}", cells[0])?;
    }
    Ok(())
}

fn sentence(row: &Row) -> String {
    let unit = row.failure.clock().unit();
    format!(
        "{}: {}: {} in {:.2} {unit}, {} in {:.2} before; evidence {:.1}, {:.1} is asked for",
        row.judgement,
        row.failure,
        row.counts[1],
        row.over[1],
        row.counts[0],
        row.over[0],
        row.evidence,
        1.0 / row.error
    )
}
