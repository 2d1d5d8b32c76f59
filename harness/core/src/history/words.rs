//! Judgements of nights in words.

use std::cmp::Ordering;

use super::change::{Since, Turn};
use super::shift::Shift;
use super::timeline::{Tally, clock, count, kinds};
use crate::compare::failure::{Clock, Failure};

/// Each shift that is shown, the strongest claims first, and what changed with it.
pub(super) fn supported(nights: &[Tally], found: &[Shift]) -> Vec<String> {
    let mut shown: Vec<&Shift> = found.iter().filter(|one| one.order.is_some()).collect();
    shown.sort_by(|one, other| {
        (other.evidence / other.needed).total_cmp(&(one.evidence / one.needed))
    });
    let mut lines = Vec::new();
    for shift in &shown {
        let (before, after) = nights.split_at(nights.len() - shift.nights);
        let verb = match shift.order {
            Some(Ordering::Less) => "less often",
            Some(Ordering::Greater | Ordering::Equal) | None => "more often",
        };
        let when = match shift.nights {
            1 => "tonight".to_owned(),
            nights => format!("in the last {nights} nights"),
        };
        lines.push(format!(
            "{}: {verb} than before: {} {when}, {} before; evidence {} against equal rates, {} is asked for",
            shift.failure,
            times(after, &shift.failure),
            times(before, &shift.failure),
            number(shift.evidence),
            number(shift.needed)
        ));
    }
    lines.extend(shown.first().and_then(|shift| other_kernel(nights, shift)));
    lines
}

/// Whether there is another kernel since a shift.
fn other_kernel(nights: &[Tally], shift: &Shift) -> Option<String> {
    let (before, after) = nights.split_at(nights.len() - shift.nights);
    let (old, new) = (&before.last()?.kernel, &after.first()?.kernel);
    Some(if old == new {
        format!("the kernel is the same as before: {new}")
    } else {
        format!("the kernel was {old} and is {new}")
    })
}

pub(super) fn suspicion(before: &[Tally], tonight: &Tally, failure: &Failure) -> String {
    let here = std::slice::from_ref(tonight);
    format!(
        "{failure}: {} tonight, {} before; that may still be chance",
        times(here, failure),
        times(before, failure)
    )
}

pub(super) fn first(beginning: Option<&Since>, tonight: &Tally) -> Vec<String> {
    let here = std::slice::from_ref(tonight);
    let none = || "there is no earlier night to hold it against".to_owned();
    let mut lines = vec![beginning.map_or_else(none, since)];
    lines.extend(each(here));
    lines
}

pub(super) fn not_exposed(tonight: &Tally) -> String {
    format!(
        "the race hardly ran in any of {} trials",
        tonight.not_exposed
    )
}

pub(super) fn steady(before: &[Tally], tonight: &Tally) -> Vec<String> {
    let here = std::slice::from_ref(tonight);
    if tonight.failed == 0 {
        let failed: u32 = before.iter().map(|night| night.failed).sum();
        let counted: u32 = before.iter().map(|night| night.counted).sum();
        let mut line = format!("none of {} trials failed tonight", tonight.counted);
        if failed > 0 {
            line +=
                &format!(", {failed} of {counted} before: too few trials to call that a change");
        }
        return vec![line];
    }
    let line = |failure: &&Failure| {
        format!(
            "{failure}: {} tonight, {} before",
            times(here, failure),
            times(before, failure)
        )
    };
    kinds(here).iter().map(line).collect()
}

pub(super) fn since(since: &Since) -> String {
    let day = since.started.get(..10).unwrap_or(&since.started);
    match since.turn {
        Turn::Worse => format!("as it is since {day}, when it got worse"),
        Turn::Better => format!("as it is since {day}, when it got better"),
        Turn::OtherLoad => {
            format!("the load changed on {day}, and with that its history began anew")
        }
        Turn::UnknownLoad => format!(
            "its history begins on {day}: of nights before that nobody knows which load they had"
        ),
    }
}

/// Every kind of failure in a line.
fn each(nights: &[Tally]) -> Vec<String> {
    let line = |failure: &&Failure| format!("{failure}: {}", times(nights, failure));
    kinds(nights).iter().map(line).collect()
}

/// Such as `3 times in 0.85 exposed minutes`.
fn times(nights: &[Tally], failure: &Failure) -> String {
    let of = failure.clock();
    let over = clock(nights, of);
    let over = match of {
        Clock::Exposed => format!("{over:.2}"),
        Clock::Completed | Clock::Boots => format!("{over:.0}"),
    };
    let count = count(nights, failure);
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} time{plural} in {over} {}", of.unit())
}

fn number(value: f64) -> String {
    if value < 10_000.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.1e}")
    }
}
