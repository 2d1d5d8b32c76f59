//! One trial from near: who waited for whom, what each CPU did, and what the console said.

use std::collections::BTreeMap;

use kverdict_core::campaign::{Campaign, Role};
use kverdict_core::record::{Standing, TrialRecord};
use serde::Serialize;

use crate::activity::Timeline;
use crate::console::{self, Excerpt};
use crate::figure::{Figure, Key};
use crate::left::Leftovers;
use crate::{CLOSE_UPS_MAX, Error, anchor, cycle, plot};

/// One trial from near.
#[derive(Debug, Serialize)]
pub(crate) struct CloseUp {
    /// Its id.
    pub id: String,
    /// Name of its place in the page.
    pub anchor: String,
    /// What it counts as.
    pub standing: String,
    /// How it ended, with its title.
    pub ending: String,
    /// Who waits for whom, drawn.
    pub cycle: Option<Figure>,
    /// The same in sentences.
    pub waits: Vec<String>,
    /// What each CPU did.
    pub timeline: Option<Figure>,
    /// The console's deciding lines; absent: it is gone.
    pub console: Option<Excerpt>,
    /// Link to the whole console.
    pub console_file: String,
    /// Link to QEMU's command line.
    pub argv_file: String,
}

impl CloseUp {
    pub fn new(
        record: &TrialRecord,
        standing: Standing,
        leftovers: &Leftovers,
    ) -> Result<Self, Error> {
        let left = leftovers.get(&record.id);
        let slug = anchor::slug(&record.id);
        let console = left.and_then(|left| left.console.as_deref());
        let decisive = console::decisive(record);
        let samples = left.map_or(&[][..], |left| &left.samples);
        let title = match record.title.is_empty() {
            true => String::new(),
            false => format!(": {}", record.title),
        };
        Ok(Self {
            anchor: anchor::trial(&record.id),
            standing: standing.to_string(),
            ending: format!("{}{title}", record.outcome),
            cycle: cycle::figure(&format!("cycle-{slug}"), &record.outside)?,
            waits: cycle::sentences(&record.outside),
            timeline: Timeline::new(samples, record)
                .map(|timeline| timeline_figure(&format!("timeline-{slug}"), &timeline))
                .transpose()?,
            console: console.map(|bytes| Excerpt::new(&record.id, bytes, &decisive)),
            console_file: anchor::file(&record.id, "console.log"),
            argv_file: anchor::file(&record.id, "qemu.argv"),
            id: record.id.clone(),
        })
    }

    /// Where a line of its console stands in the page, if it does.
    pub fn line(&self, number: u64) -> Option<String> {
        let console = self.console.as_ref()?;
        console.has(number).then(|| anchor::line(&self.id, number))
    }
}

fn timeline_figure(id: &str, timeline: &Timeline) -> Result<Figure, Error> {
    let marks: Vec<String> = timeline
        .marks
        .iter()
        .map(|mark| {
            let seconds = mark.at_ms as f64 / 1000.0;
            format!("{}: {} ({seconds:.1} s)", mark.sign, mark.what)
        })
        .collect();
    let marks = match marks.is_empty() {
        true => String::new(),
        false => format!(" Upright lines: {}.", marks.join("; ")),
    };
    let caption = format!(
        "One strip for each CPU of the guest, as samples from outside show it; the last seconds of the trial. A CPU \
         whose strip turns to \"stuck\" and stays so never came back.{marks}"
    );
    let key = |activity: crate::activity::Activity| Key::new(activity.ink(), activity.words());
    let legend = timeline.activities().into_iter().map(key).collect();
    Figure::new(id, "What each CPU did", caption, legend, |width| {
        plot::timeline::draw(timeline, width)
    })
}

/// Trials that a page shows from near, in the order in which it does: those that went wrong, of each arm and
/// kind one before there are more; at most [`CLOSE_UPS_MAX`].
pub fn close_ups<'a>(campaign: &Campaign, records: &[&'a TrialRecord]) -> Vec<&'a TrialRecord> {
    let mut seen: BTreeMap<(&str, Standing), usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Standing, &TrialRecord)> = records
        .iter()
        .map(|record| (*record, record.standing(&campaign.policy.min_exposure)))
        .filter(|(_, standing)| went_wrong(*standing))
        .map(|(record, standing)| {
            let before = seen.entry((record.arm.as_str(), standing)).or_default();
            *before += 1;
            (*before, standing, record)
        })
        .collect();
    ranked.sort_by_key(|(before, standing, record)| {
        let control = is_control(campaign, record);
        (*before, *standing, control, record.number)
    });
    let records = ranked.into_iter().map(|(_, _, record)| record);
    records.take(CLOSE_UPS_MAX).collect()
}

/// A control that locks up does what it is there for: what others do tells more.
fn is_control(campaign: &Campaign, record: &TrialRecord) -> bool {
    let arm = campaign.arms.get(&record.arm);
    arm.is_some_and(|arm| arm.role == Role::Control)
}

fn went_wrong(standing: Standing) -> bool {
    match standing {
        Standing::TargetLockup
        | Standing::Suspect
        | Standing::OtherFailure
        | Standing::Infrastructure => true,
        Standing::Survived | Standing::NotExposed => false,
    }
}
