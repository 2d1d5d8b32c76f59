//! What a tune found, in words: Markdown, and the header of the campaign that it leaves.

use std::fmt::{self, Write};

use super::report::{PointLine, TuneReport};
use crate::campaign::Campaign;
use crate::statistics::Rate;

/// Least width of a column: Markdown wants that many dashes.
const LEAST_WIDTH: usize = 3;

impl TuneReport {
    /// The best point and what it is worth, in a line.
    pub fn headline(&self) -> String {
        let Some(best) = self.best() else {
            return "no point gave a reading".to_owned();
        };
        let what = self.objective.as_deref().unwrap_or_default();
        let found = format!(
            "{}, {what} per minute {}",
            best.name,
            with_interval(best.rate)
        );
        match self.own() {
            Some(own) if own.best => format!("{found}; that is the campaign as it is"),
            Some(own) => format!(
                "{found}; the campaign as it is has {}",
                with_interval(own.rate)
            ),
            None => found,
        }
    }

    /// What the best point has other than the campaign, one line each.
    fn changes(&self) -> Vec<String> {
        let (Some(best), Some(own)) = (self.best(), self.own()) else {
            return Vec::new();
        };
        let pairs = self
            .parameters
            .iter()
            .zip(best.values.iter().zip(&own.values));
        let changed = pairs.filter(|(_, (now, before))| now != before);
        changed
            .map(|(field, (now, before))| format!("{field}: {now} (was {before})"))
            .collect()
    }

    /// What nobody may miss: bug shown, objective missing.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.refuted() {
            warnings.push(format!(
                "THIS KERNEL HAS THE BUG: arm `{}`, which should have the fix, locked up with the campaign's signature in {}",
                self.arm,
                self.target_lockups.join(", ")
            ));
        }
        if self.proxy {
            warnings.push(
                "NEAR MISSES ARE NOT COUNTED by this kernel: the figures are a proxy made of the rates of both sides, which need not meet"
                    .to_owned(),
            );
        }
        warnings
    }

    /// The campaign with the best values, with a header that says how they were found.
    ///
    /// # Errors
    /// When the campaign cannot be written as YAML.
    pub fn tuned_yaml(&self, campaign: &Campaign) -> Result<String, serde_yaml::Error> {
        let (trials, minutes) = self.counted();
        let mut lines = vec![
            format!(
                "The campaign {}, tuned by `kverdict tune` ({}), run {}.",
                self.campaign, self.name, self.run
            ),
            format!("Best of {} points: {}", self.points.len(), self.headline()),
            format!(
                "(95 % intervals; {trials} trials, {minutes:.1} minutes under load; {})",
                self.ended.as_deref().unwrap_or("the search has not ended")
            ),
        ];
        lines.extend(self.warnings());
        lines.extend(self.changes());
        let environment = self.environment.iter();
        lines.extend(environment.map(|(label, value)| format!("{label}: {value}")));
        let header: String = lines
            .iter()
            .map(|line| format!("# {}\n", line.replace(['\n', '\r'], " ")))
            .collect();
        Ok(header + &serde_yaml::to_string(campaign)?)
    }

    /// All points, with the names of the columns first.
    fn table(&self) -> Vec<Vec<String>> {
        let windows = self
            .points
            .iter()
            .any(|line| line.windows_per_minute.is_some());
        let lines = self.points.iter().map(|line| row(line, windows));
        std::iter::once(self.header(windows)).chain(lines).collect()
    }

    fn header(&self, windows: bool) -> Vec<String> {
        let rate = match self.proxy {
            true => "proxy/min [95 %]",
            false => "near misses/min [95 %]",
        };
        let side_a = match windows {
            true => "windows/min",
            false => "active balances/min",
        };
        let figures = [
            "trials",
            "minutes",
            "near misses",
            rate,
            "swaps/min",
            side_a,
            "packets/s",
        ];
        std::iter::once("point".to_owned())
            .chain((0..self.parameters.len()).map(letter))
            .chain(figures.map(str::to_owned))
            .collect()
    }

    fn write_remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_point = |line: &PointLine| {
            let remarks = line.remarks.iter();
            remarks
                .map(|text| format!("{}, {text}", line.name))
                .collect::<Vec<_>>()
        };
        let remarks: Vec<String> = self.points.iter().flat_map(of_point).collect();
        if !remarks.is_empty() {
            writeln!(
                f,
                "\nTrials that did not run to their end, or were not counted:\n"
            )?;
            write_list(f, &remarks)?;
        }
        let impossible = self.impossible.iter().map(|one| {
            let values = one.values.iter().enumerate();
            let values = values.map(|(index, value)| format!("{}={value}", letter(index)));
            format!("{}: {}", values.collect::<Vec<_>>().join(" "), one.why)
        });
        let impossible: Vec<String> = impossible.collect();
        if !impossible.is_empty() {
            writeln!(f, "\nPoints that cannot be tried:\n")?;
            write_list(f, &impossible)?;
        }
        Ok(())
    }
}

fn row(line: &PointLine, windows: bool) -> Vec<String> {
    let best = if line.best { " (best)" } else { "" };
    let own = if line.own { " (campaign)" } else { "" };
    let side_a = match windows {
        true => line.windows_per_minute,
        false => line.active_balances_per_minute,
    };
    let mut row = vec![format!("{}{own}{best}", line.name)];
    row.extend(line.values.iter().cloned());
    row.extend([
        line.trials.to_string(),
        format!("{:.2}", line.minutes),
        or_dash(line.near_misses),
        with_interval(line.rate),
        or_dash(line.swaps_per_minute.map(|rate| format!("{rate:.1}"))),
        or_dash(side_a.map(|rate| format!("{rate:.1}"))),
        or_dash(line.packets_per_second.map(|rate| format!("{rate:.0}"))),
    ]);
    row
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

/// `a` to `z`, then `a1` and so on.
fn letter(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    match index / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{round}"),
    }
}

fn with_interval(rate: Option<Rate>) -> String {
    or_dash(rate.map(|rate| format!("{:.1} [{:.1}, {:.1}]", rate.per_minute, rate.low, rate.high)))
}

/// A table that reads well as plain text and as Markdown.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0).max(LEAST_WIDTH))
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {:>width$} ", cell.replace('|', "/"));
        }
        text.push_str("|\n");
        if index == 0 {
            for width in &widths {
                let _ = write!(text, "| {}: ", "-".repeat(width - 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

impl fmt::Display for TuneReport {
    /// Markdown that is also read without being rendered.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Tune {} of campaign {}\n", self.name, self.campaign)?;
        for warning in self.warnings() {
            writeln!(f, "**{warning}**\n")?;
        }
        writeln!(f, "Best: {}", self.headline())?;
        write_list(f, &self.changes())?;
        let (trials, minutes) = self.counted();
        let ended = self.ended.as_deref().unwrap_or("the search has not ended");
        writeln!(
            f,
            "\nArm {} ({}), {trials} trials counted, {minutes:.1} minutes under load; {ended}.\n",
            self.arm, self.role
        )?;
        writeln!(f, "{}", aligned(&self.table()))?;
        let letters = self.parameters.iter().enumerate();
        let legend: Vec<String> = letters
            .map(|(index, field)| format!("{}: {field}", letter(index)))
            .collect();
        write_list(f, &legend)?;
        self.write_remarks(f)?;
        writeln!(f, "\nHow the figures are made:\n")?;
        write_list(f, &self.methods)?;
        writeln!(f, "\nMade with:\n")?;
        let environment = self.environment.iter();
        let lines: Vec<String> = environment
            .map(|(label, value)| format!("{label}: {value}"))
            .collect();
        write_list(f, &lines)
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    for line in lines {
        writeln!(f, "- {line}")?;
    }
    Ok(())
}
