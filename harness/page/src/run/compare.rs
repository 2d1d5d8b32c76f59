//! What a comparison has to show besides what every run has.

use kverdict_core::compare::audit::Difference;
use kverdict_core::compare::judge::{Judgement, Pair};
use kverdict_core::compare::report::{CompareReport, name_of};

use super::Tone;
use super::table::{Cell, Table};
use crate::text::evidence;

/// A side's name for people.
pub(super) fn letter(index: usize) -> String {
    name_of(index).to_uppercase()
}

/// Every two sides by kind of failure, and where the kernels differ.
pub(super) fn tables(report: &CompareReport) -> Vec<Table> {
    let mut tables = vec![pairs(&report.pairs)];
    tables.extend(differences(
        "config",
        "Configurations that differ",
        &report.config_differences,
        report.sides.len(),
    ));
    tables.extend(differences(
        "making",
        "Sources, compilers and patches that differ",
        &report.making_differences,
        report.sides.len(),
    ));
    tables
}

fn pairs(pairs: &[Pair]) -> Table {
    let mut table = Table::new(
        "pairs",
        "Each two, by kind of failure",
        "Evidence says how many times better different rates explain what was seen than equal ones do; from the number \
         asked for on, a difference counts as shown.",
    )
    .with_head(&["pair", "failure", "judgement", "failures", "evidence", "asked for"]);
    for pair in pairs {
        let names = (letter(pair.side), letter(pair.reference));
        if let Some(why) = &pair.untestable {
            table.rows.push(vec![
                Cell::plain(format!("{} against {}", names.0, names.1)),
                Cell::plain("all"),
                Cell::noted("could not tell", why),
            ]);
        }
        table.rows.extend(pair.rows.iter().map(|row| {
            let over = |index: usize| format!("{} in {:.1}", row.counts[index], row.over[index]);
            vec![
                Cell::plain(format!("{} against {}", names.0, names.1)),
                Cell::noted(&row.failure.to_string(), row.failure.clock().unit()),
                Cell::toned(row.judgement.to_string(), tone(row.judgement)),
                Cell::plain(format!(
                    "{}: {}; {}: {}",
                    names.1,
                    over(0),
                    names.0,
                    over(1)
                )),
                Cell::number(evidence(row.evidence)),
                Cell::number(evidence(1.0 / row.error)),
            ]
        }));
    }
    table
}

fn tone(judgement: Judgement) -> Option<Tone> {
    match judgement {
        Judgement::Worse => Some(Tone::Bad),
        Judgement::Better | Judgement::NoDifference => Some(Tone::Good),
        Judgement::CouldNotTell => Some(Tone::Unsure),
    }
}

fn differences(id: &str, title: &str, found: &[Difference], sides: usize) -> Option<Table> {
    if found.is_empty() {
        return None;
    }
    let mut table = Table::new(id, title, "Whatever differs may be why the kernels do.");
    table.head.push(Cell::plain("what"));
    table
        .head
        .extend((0..sides).map(|index| Cell::plain(letter(index))));
    table.rows = found
        .iter()
        .map(|difference| {
            let mut row = vec![Cell::noted(&difference.what, &difference.about)];
            row.extend(
                difference
                    .values
                    .iter()
                    .map(|value| Cell::plain(value.as_deref().unwrap_or("-"))),
            );
            row
        })
        .collect();
    Some(table)
}
