//! What a bisection found, in words.

use std::fmt;

use super::confirm::Shown;
use super::observation::Reading;
use super::report::{BisectReport, Step};
use crate::ending;

impl fmt::Display for BisectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bisect: {}", self.conclusion)?;
        writeln!(
            f,
            "  {} candidates between {} (good) and {} (bad), {:.1} minutes",
            self.culprits, self.good, self.bad, self.minutes
        )?;
        if self.more_than_one > 0.0 {
            writeln!(
                f,
                "  more than one change: {:.2} %",
                self.more_than_one * 100.0
            )?;
        }
        self.write_suspects(f)?;
        self.write_confirmation(f)?;
        if !self.skipped.is_empty() {
            writeln!(f, "\nnot testable:")?;
        }
        for skipped in &self.skipped {
            writeln!(f, "  {}: {}", skipped.candidate, skipped.why)?;
        }
        self.write_path(f)?;
        self.write_unshown(f)?;
        let further = &self.further;
        writeln!(
            f,
            "\na further {:.0} minutes: settled with a probability of {:.0} %, the culprit's posterior then {:.0} % on average, \
             now {:.0} % ({:.2} bits are missing)",
            further.minutes,
            further.settled * 100.0,
            further.posterior * 100.0,
            further.now * 100.0,
            further.entropy_bits
        )?;
        let how = "how the figures are made";
        ending::write_making(f, &self.environment, how, &self.methods)
    }
}

impl BisectReport {
    fn write_suspects(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nsuspects:")?;
        for suspect in &self.suspects {
            writeln!(
                f,
                "  {:>8.4} %  {}: {} lockups in {:.2} exposed minutes of its own",
                suspect.posterior * 100.0,
                suspect.candidate,
                suspect.lockups,
                suspect.exposed_minutes
            )?;
        }
        match &self.rate {
            Some(rate) => writeln!(
                f,
                "  lockups/min with the bug: {:.2} [{:.2}, {:.2}]",
                rate.per_minute, rate.low, rate.high
            ),
            None => writeln!(f, "  lockups/min with the bug: unknown"),
        }
    }

    fn write_confirmation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = &self.confirmation;
        writeln!(
            f,
            "\nat the change (kernels with the bug: {} lockups in {:.2} exposed minutes):",
            all.lockups, all.exposed_minutes
        )?;
        let of = |one: &Shown| {
            format!(
                "{}: {} lockups in {:.2} exposed minutes",
                self.labels[one.candidate], one.lockups, one.exposed_minutes
            )
        };
        for one in &all.bad {
            writeln!(f, "  with the bug     {}", of(one))?;
        }
        for one in &all.good {
            let luck = one
                .luck
                .map_or(String::new(), |luck| format!(", luck {luck:.2e}"));
            writeln!(f, "  without the bug  {}{luck}", of(one))?;
        }
        Ok(())
    }

    /// What the answer takes for granted.
    fn write_unshown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(unshown) = self.unshown.as_ref() else {
            return Ok(());
        };
        if unshown.stretches.is_empty() {
            return writeln!(f, "\nevery kernel was shown to be as this says");
        }
        writeln!(
            f,
            "\ntaken for granted: a single change. A bug that came and went, or was away for a while, is hidden if it did so \
             among these, which were not shown:"
        )?;
        for stretch in &unshown.stretches {
            let bug = match stretch.with_bug {
                true => "with the bug   ",
                false => "without the bug",
            };
            let (first, last) = (&stretch.first, &stretch.last);
            writeln!(f, "  {bug}  {first} to {last} ({})", stretch.kernels)?;
        }
        for cost in &unshown.sweeps {
            writeln!(
                f,
                "  --sweep {} leaves {} in a row: about {} kernels, {:.0} trials, {:.0} minutes more",
                cost.gap, cost.gap, cost.kernels, cost.trials, cost.minutes
            )?;
        }
        Ok(())
    }

    fn write_path(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\npath:")?;
        for (number, step) in (1..).zip(&self.path) {
            writeln!(
                f,
                "  {number:>4} {:<20} {:<32} {:>+7.2} min  {:>5} left, {:>5.2} bits, {} {:.1} %",
                step.candidate,
                words(step),
                step.minutes,
                step.left,
                step.entropy_bits,
                step.best,
                step.posterior * 100.0
            )?;
        }
        Ok(())
    }
}

fn words(step: &Step) -> String {
    match &step.reading {
        Reading::Counted {
            lockups: 0,
            exposed_minutes,
        } => format!("survived {exposed_minutes:.2} min"),
        Reading::Counted {
            exposed_minutes, ..
        } => format!("locked up after {exposed_minutes:.2} min"),
        Reading::NoAnswer(why) => format!("no answer: {why}"),
        // Why stands with those that were skipped, in full.
        Reading::Untestable(_) => "cannot be tried".to_owned(),
        Reading::HostTrouble(why) => format!("host: {why}"),
    }
}
