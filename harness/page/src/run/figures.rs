//! What the trials of a run look like together.

use kverdict_core::compare::failure::{Failure, Told};
use kverdict_core::record::TrialRecord;
use kverdict_core::statistics::survival::{Curve, Watched, survival as curve};

use super::Material;
use super::sides::Side;
use crate::Error;
use crate::figure::{Figure, Key};
use crate::ink::Ink;
use crate::left::Reading;
use crate::plot::{exposure as exposure_plot, survival as survival_plot};
use crate::text::counted;

/// Reads a count off a trial; absent: nobody counted.
type Count = fn(&TrialRecord) -> Option<u64>;

/// Trials whose course is drawn.
const COURSES_MAX: usize = 60;

/// How long the trials of each side stay alive; `None`: none was exposed.
pub(super) fn survival(sides: &[Side], material: &Material<'_>) -> Result<Option<Figure>, Error> {
    let mut curves: Vec<(Ink, Curve)> = Vec::new();
    let mut legend = Vec::new();
    let mut halves = Vec::new();
    for (index, side) in sides.iter().enumerate() {
        let all = watched(material, &side.arm);
        if all.is_empty() {
            continue;
        }
        let failed = all.iter().filter(|one| one.failed).count() as u64;
        let (ink, curve) = (Ink::of(index), curve(&all));
        if let Some(minutes) = curve.median() {
            halves.push(format!(
                " Half of `{}` is locked up after {:.1} s.",
                side.name,
                minutes * 60.0
            ));
        }
        let count = counted(all.len() as u64, "trial");
        legend.push(Key::new(
            ink,
            format!("{}: {count}, {failed} locked up", side.name),
        ));
        curves.push((ink, curve));
    }
    if curves.is_empty() {
        return Ok(None);
    }
    let caption = format!(
        "Each step down is a lockup; an upright tick is a trial that ended alive (or failed in another way) after so much \
         load, and is not counted from there on. A line that stays at 100% never locked up.{} (Kaplan-Meier.)",
        halves.concat()
    );
    let title = "Part of the trials that is still alive";
    Figure::new("survival", title, caption, legend, |width| {
        survival_plot::draw(&curves, width)
    })
    .map(Some)
}

/// The exposed trials of an arm.
fn watched(material: &Material<'_>, arm: &str) -> Vec<Watched> {
    let least = &material.campaign.policy.min_exposure;
    let mine = material.records.iter().filter(|record| record.arm == arm);
    mine.filter_map(|record| match Told::by(record, least) {
        Told::Counted {
            minutes, failure, ..
        } if minutes > 0.0 => Some(Watched {
            minutes,
            failed: failure == Some(Failure::Target),
        }),
        Told::Counted { .. } | Told::HostTrouble | Told::Unfit(_) | Told::NotExposed => None,
    })
    .collect()
}

/// How near trials came to the race; `None`: nobody counted.
pub(super) fn exposure(sides: &[Side], material: &Material<'_>) -> Result<Option<Figure>, Error> {
    let drawn: Vec<&TrialRecord> = material.records.iter().copied().take(COURSES_MAX).collect();
    let courses = courses(sides, material, &drawn);
    let (courses, axes, caption) = if courses.is_empty() {
        let Some((dots, axes)) = dots(sides, material, &drawn) else {
            return Ok(None);
        };
        let caption = "A dot for each trial. Both kernels have to come near the race about as often: a kernel survives for \
                       nothing where the race does not run. The line across is what the campaign asks for, if it asks.";
        (dots, axes, caption)
    } else {
        let axes = exposure_plot::Axes {
            x: "seconds under load",
            y: "near misses so far".to_owned(),
            least: None,
        };
        let caption = "A line for each trial, its dot where the load ended. Lines that climb show that the race ran all the \
                       while; one that ends early locked up.";
        (courses, axes, caption)
    };
    let key = |(index, side): (usize, &Side)| Key::new(Ink::of(index), side.name.clone());
    let legend = sides.iter().enumerate().map(key).collect();
    let title = "How near the trials came to the race";
    Figure::new("exposure", title, caption, legend, |width| {
        exposure_plot::draw(&courses, &axes, width)
    })
    .map(Some)
}

fn ink(sides: &[Side], record: &TrialRecord) -> Option<Ink> {
    let index = sides.iter().position(|side| side.arm == record.arm)?;
    Some(Ink::of(index))
}

/// Near misses as the load went on, where a holder counted.
fn courses(
    sides: &[Side],
    material: &Material<'_>,
    records: &[&TrialRecord],
) -> Vec<exposure_plot::Course> {
    let course = |record: &&TrialRecord| {
        let readings = &material.leftovers.get(&record.id)?.exposure;
        let first = readings.first()?;
        let point = |one: &Reading| {
            let met = one.counts.meetings.saturating_sub(first.counts.meetings);
            (one.load_ms as f64 / 1000.0, met as f64)
        };
        Some(exposure_plot::Course {
            ink: ink(sides, record)?,
            points: readings.iter().map(point).collect(),
        })
    };
    records.iter().filter_map(course).collect()
}

/// A rate for each trial: of near misses where they are counted, otherwise of swaps.
fn dots(
    sides: &[Side],
    material: &Material<'_>,
    records: &[&TrialRecord],
) -> Option<(Vec<exposure_plot::Course>, exposure_plot::Axes)> {
    let least = &material.campaign.policy.min_exposure;
    let kinds: [(&str, f64, Count); 2] = [
        ("near misses/min", least.meetings_per_minute, |record| {
            record.exposure.meetings()
        }),
        ("swaps/min", least.swaps_per_minute, |record| {
            record.exposure.swaps()
        }),
    ];
    kinds.into_iter().find_map(|(name, asked, count)| {
        let dot = |record: &&TrialRecord| {
            let exposure = &record.exposure;
            let counted_ms = exposure.counted_ms.unwrap_or(exposure.load_ms);
            let minutes = (counted_ms > 0).then_some(counted_ms as f64 / 60_000.0)?;
            Some(exposure_plot::Course {
                ink: ink(sides, record)?,
                points: vec![(f64::from(record.number), count(record)? as f64 / minutes)],
            })
        };
        let dots: Vec<_> = records.iter().filter_map(dot).collect();
        let axes = exposure_plot::Axes {
            x: "number of the trial",
            y: name.to_owned(),
            least: (asked > 0.0).then_some(asked),
        };
        (!dots.is_empty()).then_some((dots, axes))
    })
}
