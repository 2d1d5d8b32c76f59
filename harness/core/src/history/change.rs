//! What changed in a cell, as far as statistics support it.
//!
//! A red cell after a green one is no regression: kernels with a race fail when they like. What counts is a change
//! of rate that chance explains at most as often as [`Demands`] allow; [`super::shift`] says how that is known.
//! Once a change is supported, the past begins with it: rates of a kernel that is long mended do not haunt. It also
//! begins anew where trials run under another load, since then rates differ without any change of the kernel.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::shift::{Shift, shifts};
use super::timeline::{Tally, clock, count, kinds};
use super::{CellNight, words};
use crate::compare::failure::{Clock, Failure, Told};
use crate::statistics::{Rate, rate};

/// What a cell's night is against its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// There is no past to hold it against.
    New,
    /// Nothing failed, as before.
    Unchanged,
    /// It fails more often than before, as far as that can be shown.
    Regression,
    /// It fails less often than before, in the same sense.
    Recovery,
    /// It failed in a way of which the past has less, and that may still be chance: more trials will tell.
    Suspicion,
    /// It fails sometimes, about as often as before.
    Flake,
    /// It fails in (nearly) every trial, as before.
    StillFailing,
    /// No trial said anything about the kernel: the host failed, or the guest was not what was asked for.
    Infrastructure,
    /// Trials ran to the end, but the race hardly ran in any.
    NotExposed,
    /// There was no trial.
    NotRun,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
            Self::Regression => "regression",
            Self::Recovery => "recovery",
            Self::Suspicion => "suspicion",
            Self::Flake => "flake",
            Self::StillFailing => "still failing",
            Self::Infrastructure => "infrastructure",
            Self::NotExposed => "not exposed",
            Self::NotRun => "not run",
        })
    }
}

/// What is said of a cell's night.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What it is against its past.
    pub change: Change,
    /// Why, in words, the most important one first.
    pub reasons: Vec<String>,
    /// The kind of failure that decided.
    pub failure: Option<Failure>,
    /// Its rate before, per unit of its clock (minutes, if the clock is exposed minutes).
    pub before: Option<Rate>,
    /// Its rate since then, in the same unit: of tonight, and of nights before it where `reasons` say so.
    pub tonight: Option<Rate>,
    /// Largest evidence against equal rates; 1: none.
    pub evidence: f64,
    /// From so much evidence a change is supported.
    pub needed: f64,
    /// Whether its past does not count, because its trials run under another load, or nobody knows under which
    /// they ran.
    #[serde(default)]
    pub begins_anew: bool,
}

impl Judged {
    /// Whether the past has nothing at all of the failure that decided.
    pub fn is_unheard_of(&self) -> bool {
        let before = self.before.map_or(0.0, |rate| rate.per_minute);
        self.failure.is_some() && before == 0.0
    }
}

/// What is asked of the judgement of a night.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// Probability, at most, of any false regression or recovery in a night; 0 to 1.
    pub alpha: f64,
    /// Cells that the night tests.
    pub cells: usize,
    /// Nights that the later side may reach back, tonight among them; at least 1.
    pub reach: usize,
}

/// Holds a cell's night against earlier ones, which are in the order of their time.
pub fn judge(past: &[CellNight], tonight: &CellNight, demands: &Demands) -> Judged {
    Past::of(past, demands).judge(tonight)
}

/// So many nights are remembered of a past that did not change.
const HORIZON: usize = 64;
/// A share of failing trials from which on a cell counts as one that always fails.
pub(super) const NEARLY_ALL: f64 = 0.9;
/// A failure is suspicious if one as frequent is at most so probable at the past's rate. This claims nothing: it
/// only asks for more trials.
const SURPRISING: f64 = 0.1;

/// A cell's nights so far, back to its last change of rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    demands: Demands,
    nights: Vec<Tally>,
    since: Option<Since>,
    in_doubt: bool,
}

/// What the past begins with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Since {
    /// When its first night was started.
    pub started: String,
    /// What came about in it.
    pub turn: Turn,
}

/// What the past may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It fails more often.
    Worse,
    /// It fails less often.
    Better,
    /// Its trials run under another load.
    OtherLoad,
    /// Of the nights before nobody knows what their trials ran under.
    UnknownLoad,
}

impl Past {
    /// Of these nights, in the order of their time.
    pub fn of(nights: &[CellNight], demands: &Demands) -> Self {
        let mut past = Self {
            demands: *demands,
            nights: Vec::new(),
            since: None,
            in_doubt: false,
        };
        for night in nights {
            past.add(night);
        }
        past
    }

    /// Holds a night against the past.
    pub fn judge(&self, tonight: &CellNight) -> Judged {
        self.clone().add(tonight)
    }

    /// The same, after which that night is part of the past. One that told nothing changes nothing.
    pub fn add(&mut self, tonight: &CellNight) -> Judged {
        let tally = Tally::of(tonight);
        if !tally.tells() {
            return self.blind(tonight);
        }
        let is_counted = tally.counted > 0;
        let begins_anew = self.begin_with_load(&tally);
        self.nights.push(tally);
        let found = shifts(
            &self.nights,
            self.demands.reach,
            self.demands.alpha / self.demands.cells.max(1) as f64,
        );
        let judged = Judged {
            begins_anew,
            ..self.verdict(&found)
        };
        if is_counted {
            self.in_doubt = judged.change == Change::Suspicion;
        }
        self.begin_with_change(&found);
        if self.nights.len() > HORIZON {
            self.nights.remove(0);
        }
        judged
    }

    /// Whether the last of its nights that counted ended with a suspicion.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The nights since the last change, and what that was.
    pub(super) fn segment(&self) -> (&[Tally], Option<&Since>) {
        (&self.nights, self.since.as_ref())
    }

    fn blind(&self, tonight: &CellNight) -> Judged {
        let change = if tonight.trials.is_empty() {
            Change::NotRun
        } else {
            Change::Infrastructure
        };
        let said = |told: &Told| matches!(told, Told::HostTrouble | Told::Unfit(_));
        let mut reasons: Vec<String> = tonight
            .trials
            .iter()
            .filter(|trial| said(&trial.told))
            .map(|trial| format!("{}: {}", trial.id, trial.title))
            .collect();
        if reasons.is_empty() {
            reasons.push("no trial was made".to_owned());
        }
        Judged {
            change,
            reasons,
            ..self.about_target(&[])
        }
    }

    fn verdict(&self, found: &[Shift]) -> Judged {
        let Some((tonight, before)) = self.nights.split_last() else {
            return self.about_target(&[]);
        };
        let here = std::slice::from_ref(tonight);
        let mut reasons = words::supported(&self.nights, found);
        let plain = |change, reasons| Judged {
            change,
            reasons,
            ..self.about_target(here)
        };
        if tonight.counted == 0 {
            let since = self.since.iter();
            let begins = since.filter(|since| since.started == tonight.started);
            let mut reasons = vec![words::not_exposed(tonight)];
            reasons.extend(begins.map(words::since));
            return plain(Change::NotExposed, reasons);
        }
        if before.iter().all(|night| night.counted == 0) {
            return plain(Change::New, words::first(self.since.as_ref(), tonight));
        }
        if let Some(shift) = strongest(found, Some(Ordering::Greater)) {
            return self.of_shift(Change::Regression, shift, reasons);
        }
        if let Some(failure) = suspicious(before, tonight) {
            reasons.insert(0, words::suspicion(before, tonight, failure));
            let asked = found.iter().find(|shift| shift.failure == *failure);
            let shift = Shift {
                nights: 1,
                ..asked.cloned().unwrap_or_else(|| self.unasked(failure))
            };
            return self.of_shift(Change::Suspicion, &shift, reasons);
        }
        if let Some(shift) = strongest(found, Some(Ordering::Less)) {
            return self.of_shift(Change::Recovery, shift, reasons);
        }
        let change = steady(&self.nights);
        reasons.extend(words::steady(before, tonight));
        reasons.extend(self.since.as_ref().map(words::since));
        match strongest(found, None) {
            Some(shift) => Judged {
                reasons,
                ..self.of_shift(
                    change,
                    &Shift {
                        nights: 1,
                        ..shift.clone()
                    },
                    Vec::new(),
                )
            },
            None => plain(change, reasons),
        }
    }

    /// A judgement for which one kind of failure decided.
    fn of_shift(&self, change: Change, shift: &Shift, reasons: Vec<String>) -> Judged {
        let (before, after) = self.nights.split_at(self.nights.len() - shift.nights);
        let of = shift.failure.clock();
        Judged {
            change,
            reasons,
            failure: Some(shift.failure.clone()),
            before: rate(count(before, &shift.failure), clock(before, of)),
            tonight: rate(count(after, &shift.failure), clock(after, of)),
            evidence: shift.evidence,
            needed: shift.needed,
            begins_anew: false,
        }
    }

    /// Of a kind of failure that came too late for any evidence.
    fn unasked(&self, failure: &Failure) -> Shift {
        Shift {
            failure: failure.clone(),
            nights: 1,
            order: None,
            evidence: 1.0,
            needed: self.least_needed(),
        }
    }

    /// Evidence that is needed at the very least.
    fn least_needed(&self) -> f64 {
        self.demands.cells.max(1) as f64 / self.demands.alpha
    }

    /// A judgement for which no kind of failure decided: rates are those of the target.
    fn about_target(&self, tonight: &[Tally]) -> Judged {
        let before = &self.nights[..self.nights.len() - tonight.len()];
        let target = |nights: &[Tally]| {
            rate(
                count(nights, &Failure::Target),
                clock(nights, Clock::Exposed),
            )
        };
        Judged {
            change: Change::Unchanged,
            reasons: Vec::new(),
            failure: None,
            before: target(before),
            tonight: target(tonight),
            evidence: 1.0,
            needed: self.least_needed(),
            begins_anew: false,
        }
    }

    /// Forgets nights whose trials ran under another load than this one's, and says whether there were any.
    fn begin_with_load(&mut self, tonight: &Tally) -> bool {
        let turn = match self.nights.last() {
            None => return false,
            Some(last) if last.conditions == tonight.conditions => return false,
            Some(last) if last.conditions.is_empty() => Turn::UnknownLoad,
            Some(_) => Turn::OtherLoad,
        };
        self.nights.clear();
        self.in_doubt = false;
        self.since = Some(Since {
            started: tonight.started.clone(),
            turn,
        });
        true
    }

    fn begin_with_change(&mut self, found: &[Shift]) {
        let worse = strongest(found, Some(Ordering::Greater));
        let better = || strongest(found, Some(Ordering::Less));
        let (shift, turn) = match (worse, better) {
            (Some(shift), _) => (shift, Turn::Worse),
            (None, better) => match better() {
                Some(shift) => (shift, Turn::Better),
                None => return,
            },
        };
        self.nights.drain(..self.nights.len() - shift.nights);
        self.since = Some(Since {
            started: self.nights[0].started.clone(),
            turn,
        });
    }
}

/// The shift with the most evidence for what it asks, of those in this direction.
fn strongest(found: &[Shift], order: Option<Ordering>) -> Option<&Shift> {
    let strength = |shift: &Shift| shift.evidence / shift.needed;
    found
        .iter()
        .filter(|shift| shift.order == order)
        .max_by(|one, other| strength(one).total_cmp(&strength(other)))
}

/// The kind of failure tonight of which the past has least, if that is surprisingly little.
fn suspicious<'a>(before: &[Tally], tonight: &'a Tally) -> Option<&'a Failure> {
    let here = std::slice::from_ref(tonight);
    kinds(here)
        .into_iter()
        .map(|failure| (failure, surprise(before, here, failure)))
        .filter(|(_, surprise)| *surprise <= SURPRISING)
        .min_by(|one, other| one.1.total_cmp(&other.1))
        .map(|(failure, _)| failure)
}

/// Probability of as many of tonight's and the past's failures tonight, if there was no change; 0 if the past
/// has none at all.
fn surprise(before: &[Tally], tonight: &[Tally], failure: &Failure) -> f64 {
    let (earlier, now) = (count(before, failure), count(tonight, failure));
    if earlier == 0 {
        return 0.0;
    }
    let of = failure.clock();
    let (long, short) = (clock(before, of), clock(tonight, of));
    let together = Binomial::new(short / (long + short), u64::from(earlier + now));
    // There is a share, because there were failures, and so the clocks ran.
    together.map_or(1.0, |one| one.sf(u64::from(now).saturating_sub(1)))
}

/// What a cell is whose rates did not change.
fn steady(nights: &[Tally]) -> Change {
    let tonight = nights.last().map_or(0, |night| night.failed);
    let failed: u32 = nights.iter().map(|night| night.failed).sum();
    let counted: u32 = nights.iter().map(|night| night.counted).sum();
    if tonight == 0 {
        Change::Unchanged
    } else if f64::from(failed) >= NEARLY_ALL * f64::from(counted) {
        Change::StillFailing
    } else {
        Change::Flake
    }
}
