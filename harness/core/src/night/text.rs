//! The report of a night for people: first what changed, then everything else.

use std::fmt::{self, Write as _};

use super::cell::CellId;
use super::report::{CellReport, Hit, NightReport};
use crate::ending;
use crate::history::change::Change;
use crate::record::Standing;
use crate::report::TrialLine;
use crate::statistics::Rate;

impl fmt::Display for NightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "night: {}", self.conclusion.to_string().to_uppercase())?;
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        self.write_changes(f)?;
        writeln!(f, "\ncells:\n{}", matrix(&self.cells))?;
        self.write_untestable(f)?;
        self.write_known(f)?;
        self.write_trials(f)?;
        writeln!(
            f,
            "\nbudget: {:.1} of {:.0} minutes{}",
            self.budget.spent,
            self.budget.minutes,
            if self.budget.cut_short {
                ", which were not enough"
            } else {
                ""
            }
        )?;
        let how = "how that is known";
        ending::write_making(f, &self.environment, how, &self.methods)
    }
}

impl NightReport {
    /// Cells of which something is to be said, what is worst first.
    pub fn changed(&self) -> Vec<&CellReport> {
        let mut changed: Vec<&CellReport> = self
            .cells
            .iter()
            .filter(|cell| !cell.control && urgency(cell).is_some())
            .collect();
        changed.sort_by_key(|cell| urgency(cell));
        changed
    }

    /// Where a night stands, in a line.
    pub fn outlook(&self) -> String {
        let tried = self.cells.iter().filter(|cell| !cell.trials.is_empty());
        format!(
            "{}; {} of {} cells tried, {:.1} of {:.0} minutes",
            self.conclusion,
            tried.count(),
            self.cells.len(),
            self.budget.spent,
            self.budget.minutes
        )
    }

    /// What a mail or a merge request says, in Markdown.
    pub fn summary_markdown(&self) -> String {
        let mut text = format!(
            "# Night {}: {}\n\n",
            self.run,
            self.conclusion.to_string().to_uppercase()
        );
        // Writing to a String cannot fail.
        for reason in &self.reasons {
            let _ = writeln!(text, "- {}", plain(reason));
        }
        let changed = self.changed();
        if !changed.is_empty() {
            text += "\n| cell | is | failed | before | tonight |\n|---|---|--:|--:|--:|\n";
        }
        for cell in changed {
            let judged = &cell.judged;
            let _ = writeln!(
                text,
                "| {} | {} | {} of {} | {} | {} |",
                cell.cell,
                judged.change,
                failed(cell),
                cell.trials.len(),
                rate(judged.before),
                rate(judged.tonight)
            );
        }
        for signature in &self.known.new_signatures {
            let _ = writeln!(
                text,
                "\nNever seen before, in {} (trial {}): {}",
                signature.cell,
                signature.trial,
                plain(&signature.failure.to_string())
            );
        }
        let _ = writeln!(
            text,
            "\n{:.0} of {:.0} minutes. Everything else: `kverdict report results/{}`",
            self.budget.spent, self.budget.minutes, self.run
        );
        text
    }

    fn write_changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = self.changed();
        if changed.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nwhat is new:")?;
        for cell in changed {
            let judged = &cell.judged;
            writeln!(f, "  {}: {} ({})", cell.cell, judged.change, cell.kernel)?;
            for reason in &judged.reasons {
                writeln!(f, "      {reason}")?;
            }
            for (failure, count, issue) in &cell.failures {
                let issue = issue
                    .as_ref()
                    .map_or(String::new(), |link| format!(", filed as {link}"));
                writeln!(
                    f,
                    "      {count} of {}: {failure}{issue}",
                    cell.trials.len()
                )?;
            }
        }
        Ok(())
    }

    fn write_untestable(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let untestable = |cell: &CellReport| Some((cell.cell.clone(), cell.untestable.clone()?));
        let cells: Vec<(CellId, String)> = self.cells.iter().filter_map(untestable).collect();
        if !cells.is_empty() {
            writeln!(f, "\ncannot be tested:")?;
        }
        for (cell, why) in cells {
            writeln!(f, "  {cell}: {why}")?;
        }
        Ok(())
    }

    fn write_known(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = &self.known;
        if !known.new_signatures.is_empty() {
            writeln!(
                f,
                "\nfailures that nobody has filed and no earlier night has seen:"
            )?;
        }
        for one in &known.new_signatures {
            writeln!(
                f,
                "  {}: {} (in {}, first seen in {})",
                one.cell,
                one.failure,
                trials_of(one.count),
                one.trial
            )?;
        }
        write_hits(f, "known issues that were seen", &known.hits)?;
        write_hits(
            f,
            "known issues that have expired, and count again",
            &known.expired,
        )?;
        if !known.never_hit.is_empty() {
            writeln!(f, "\nknown issues that were not seen:")?;
        }
        for link in &known.never_hit {
            writeln!(f, "  {link}")?;
        }
        Ok(())
    }

    /// Trials that did not just survive.
    fn write_trials(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for cell in &self.cells {
            let unusual = cell.trials.iter().filter(|trial| is_worth_a_line(trial));
            lines.extend(unusual.map(|trial| (&cell.cell, trial)));
        }
        if !lines.is_empty() {
            writeln!(f, "\ntrials that did not just survive:")?;
        }
        for (cell, trial) in lines {
            let title = if trial.title.is_empty() { "" } else { ": " };
            writeln!(
                f,
                "  {:<14} {:<14} {:>5.1} s load  {cell}  {}{title}{}",
                trial.id, trial.standing, trial.load_seconds, trial.outcome, trial.title
            )?;
        }
        Ok(())
    }
}

fn write_hits(f: &mut fmt::Formatter<'_>, what: &str, hits: &[Hit]) -> fmt::Result {
    if hits.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{what}:")?;
    for hit in hits {
        writeln!(
            f,
            "  {} (until {}): {} in {} of {}",
            hit.link,
            hit.expires,
            hit.failure,
            trials_of(hit.count),
            hit.cell
        )?;
    }
    Ok(())
}

fn trials_of(count: u32) -> String {
    format!("{count} trial{}", if count == 1 { "" } else { "s" })
}

/// How much a cell's change matters, 0 the most; `None`: nothing has to be said of it.
fn urgency(cell: &CellReport) -> Option<u8> {
    match cell.judged.change {
        Change::Regression => Some(0),
        Change::Suspicion => Some(1),
        Change::New => (!cell.failures.is_empty() || cell.judged.begins_anew).then_some(2),
        Change::Recovery => Some(3),
        Change::StillFailing => Some(4),
        Change::Flake => Some(5),
        Change::Infrastructure | Change::NotExposed => Some(6),
        Change::Unchanged | Change::NotRun => None,
    }
}

fn is_worth_a_line(trial: &TrialLine) -> bool {
    match trial.standing {
        Standing::Survived => !trial.title.is_empty(),
        Standing::TargetLockup
        | Standing::NotExposed
        | Standing::Suspect
        | Standing::OtherFailure
        | Standing::Infrastructure => true,
    }
}

fn failed(cell: &CellReport) -> u32 {
    cell.failures.iter().map(|(_, count, _)| count).sum()
}

fn rate(rate: Option<Rate>) -> String {
    rate.map_or("-".to_owned(), |rate| {
        format!("{:.2} [{:.2}, {:.2}]", rate.per_minute, rate.low, rate.high)
    })
}

/// Titles come from consoles: nothing in them is markup, and nothing ends a line.
fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Kernels (rows) in environments (columns): how many trials failed, and what that is.
fn matrix(cells: &[CellReport]) -> String {
    let kernels = in_order(cells.iter().map(|cell| cell.cell.kernel.clone()));
    let environments = in_order(cells.iter().map(|cell| cell.cell.environment().join("/")));
    let entry = |kernel: &str, environment: &str| {
        let mut found = cells.iter();
        let cell = found.find(|cell| {
            cell.cell.kernel == kernel && cell.cell.environment().join("/") == environment
        });
        cell.map_or(String::new(), summary)
    };
    let mut columns = vec![kernels.clone()];
    columns[0].insert(0, String::new());
    for environment in &environments {
        let mut column = vec![environment.clone()];
        column.extend(kernels.iter().map(|kernel| entry(kernel, environment)));
        columns.push(column);
    }
    let widths: Vec<usize> = columns.iter().map(|column| width(column)).collect();
    let mut table = String::new();
    for row in 0..=kernels.len() {
        let mut line = " ".to_owned();
        for (column, width) in columns.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, " {:<width$} ", column[row]);
        }
        table += line.trim_end();
        table.push('\n');
    }
    table.pop();
    table
}

fn width(column: &[String]) -> usize {
    let widths = column.iter().map(|text| text.chars().count());
    widths.max().unwrap_or_default()
}

fn in_order(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// A cell in a few words.
fn summary(cell: &CellReport) -> String {
    let (failed, trials) = (failed(cell), cell.trials.len());
    if cell.untestable.is_some() && trials == 0 {
        return "untestable".to_owned();
    }
    let word = if cell.control {
        "control".to_owned()
    } else {
        cell.judged.change.to_string()
    };
    match (trials, failed) {
        (0, _) => word,
        (_, 0) => format!("{word}, 0/{trials} in {:.1} min", cell.exposed_minutes),
        (_, _) => format!("{word}, {failed}/{trials}"),
    }
}
