//! The report of a comparison for people.

use std::fmt::{self, Write as _};

use super::audit::Difference;
use super::failure::Clock;
use super::judge::{Judgement, Pair, Row};
use super::report::{CompareReport, SideLine, letter, plain};
use crate::ending;
use crate::statistics::sequential::Ratio;

impl fmt::Display for CompareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conclusion = self.conclusion.to_string().to_uppercase();
        writeln!(f, "comparison: {conclusion}")?;
        for line in &self.verdict {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "\nsides:")?;
        for (index, side) in self.sides.iter().enumerate() {
            writeln!(f, "  {}  {}", letter(index), side.side.label)?;
            if let Some(why) = &side.side.untestable {
                writeln!(f, "     untestable: {why}")?;
            }
        }
        write!(f, "\n{}", sides_table(&self.sides))?;
        if self.sides.len() > 2 {
            write!(f, "\n{}", matrix(self.sides.len(), &self.pairs))?;
        }
        write_pairs(f, &self.pairs)?;
        write_audit(f, self)?;
        ending::write_seen(f, &self.armings, &self.trials, self.evidence.as_ref())?;
        let how = "how that is known";
        ending::write_making(f, &self.environment, how, &self.methods)
    }
}

fn sides_table(sides: &[SideLine]) -> String {
    let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let mut table = String::new();
    let mut row = |label: &str, cell: &dyn Fn(usize, &SideLine) -> String| {
        // Writing to a String cannot fail.
        let _ = write!(table, "  {label:<20}");
        for (index, side) in sides.iter().enumerate() {
            let _ = write!(table, " {:>24}", cell(index, side));
        }
        table.push('\n');
    };
    row("", &|index, _| letter(index));
    row("release", &|_, side| {
        side.facts.release.clone().unwrap_or("-".to_owned())
    });
    row("trials", &|_, side| side.trials.to_string());
    row("target lockups", &|_, side| side.target_lockups.to_string());
    row("survived", &|_, side| side.survived.to_string());
    row("other failures", &|_, side| side.other_failures.to_string());
    row("not exposed", &|_, side| side.not_exposed.to_string());
    row("infrastructure", &|_, side| side.infrastructure.to_string());
    row("exposed minutes", &|_, side| {
        format!("{:.2}", side.exposed_minutes)
    });
    row("lockups/min", &|_, side| {
        side.rate.map_or("-".to_owned(), |rate| {
            format!("{:.2} [{:.2}, {:.2}]", rate.per_minute, rate.low, rate.high)
        })
    });
    row("s of load, median", &|_, side| {
        optional(side.median_load_to_lockup)
    });
    row("swaps/min", &|_, side| optional(side.swaps_per_minute));
    row("side A windows/min", &|_, side| {
        optional(side.windows_per_minute)
    });
    row("near misses/min", &|_, side| {
        optional(side.meetings_per_minute)
    });
    row("packets/s", &|_, side| {
        format!("{:.0}", side.packets_per_second)
    });
    table
}

/// Each side (row) held against each other one (column).
fn matrix(count: usize, pairs: &[Pair]) -> String {
    let said = |side: usize, reference: usize| {
        pairs.iter().find_map(|pair| {
            if (pair.side, pair.reference) == (side, reference) {
                Some(pair.judgement)
            } else if (pair.side, pair.reference) == (reference, side) {
                Some(pair.judgement.reversed())
            } else {
                None
            }
        })
    };
    let mut text = "each side, held against the others:\n  ".to_owned();
    for reference in 0..count {
        let _ = write!(text, " {:>20}", format!("against {}", letter(reference)));
    }
    text.push('\n');
    for side in 0..count {
        let _ = write!(text, "  {}", letter(side));
        for reference in 0..count {
            let cell = said(side, reference).map_or("-".to_owned(), |one| one.to_string());
            let _ = write!(text, " {cell:>20}");
        }
        text.push('\n');
    }
    text
}

fn write_pairs(f: &mut fmt::Formatter<'_>, pairs: &[Pair]) -> fmt::Result {
    for pair in pairs {
        let (side, reference) = (letter(pair.side), letter(pair.reference));
        writeln!(f, "\n{side} against {reference}, by kind of failure:")?;
        for row in &pair.rows {
            write_row(f, pair, row, &side, &reference)?;
        }
    }
    Ok(())
}

fn write_row(
    f: &mut fmt::Formatter<'_>,
    pair: &Pair,
    row: &Row,
    side: &str,
    reference: &str,
) -> fmt::Result {
    let over = |index: usize| match row.failure.clock() {
        Clock::Exposed => format!("{:.2} min", row.over[index]),
        Clock::Completed => format!("{:.0} whole trials", row.over[index]),
        Clock::Boots => format!("{:.0} boots", row.over[index]),
    };
    // Of sides that were not held against each other nothing is said.
    let judgement = match pair.untestable {
        Some(_) => Judgement::CouldNotTell,
        None => row.judgement,
    };
    writeln!(f, "  {judgement:<20} {}", row.failure)?;
    writeln!(
        f,
        "    {side} {} in {}, {reference} {} in {}; {side}'s rate is {} times {reference}'s; evidence {}, asked for {:.0}",
        row.counts[1],
        over(1),
        row.counts[0],
        over(0),
        interval(&row.ratio),
        plain(row.evidence),
        1.0 / row.error
    )
}

fn interval(ratio: &Ratio) -> String {
    let high = ratio
        .high
        .map_or("any".to_owned(), |high| format!("{high:.2}"));
    format!("{:.2} to {high}", ratio.low)
}

fn write_audit(f: &mut fmt::Formatter<'_>, report: &CompareReport) -> fmt::Result {
    writeln!(f, "\nfixes, without booting:")?;
    for (index, side) in report.sides.iter().enumerate() {
        if side.facts.fixes.is_empty() {
            writeln!(f, "  {}: not looked at", letter(index))?;
        }
        for fix in &side.facts.fixes {
            writeln!(
                f,
                "  {}: {} {}: {}",
                letter(index),
                fix.commit,
                fix.state,
                fix.why
            )?;
        }
    }
    write_differences(
        f,
        "where they are made otherwise",
        &report.making_differences,
    )?;
    write_differences(
        f,
        "where their configurations differ in what matters",
        &report.config_differences,
    )
}

fn write_differences(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    differences: &[Difference],
) -> fmt::Result {
    if differences.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    for one in differences {
        let values: Vec<String> = (0..)
            .zip(&one.values)
            .map(|(index, value)| {
                let value = value.as_deref().unwrap_or("not known");
                format!("{} {value}", letter(index))
            })
            .collect();
        writeln!(f, "  {} ({}): {}", one.what, one.about, values.join(" | "))?;
    }
    Ok(())
}
