//! The report: data first, then its writers. Everything in it comes from stored records.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::arming::Arming;
use crate::campaign::Campaign;
use crate::console::{Match, SideFinding};
use crate::ending;
use crate::outside::deadlock;
use crate::record::{Standing, TrialRecord};
use crate::statistics;
use crate::verdict::{ArmTally, Verdict};

/// Version of [`Report`].
pub const SCHEMA_VERSION: u32 = 1;

/// What `report.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// What the run was made with, as label and value.
    pub environment: Vec<(String, String)>,
    /// The verdict and the arms in figures.
    pub verdict: Verdict,
    /// Which detectors noticed a lockup made on purpose.
    pub armings: Vec<Arming>,
    /// One line per trial.
    pub trials: Vec<TrialLine>,
    /// The stacks of the first target lockup, both sides, as the console gave them.
    pub evidence: Option<Evidence>,
    /// How each figure was made.
    pub methods: Vec<String>,
}

/// A trial in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialLine {
    /// Its id.
    pub id: String,
    /// What it counts as.
    pub standing: Standing,
    /// How it ended.
    pub outcome: String,
    /// The first report's title, or what the harness saw.
    pub title: String,
    /// Line of the console that the title stands in, from 1.
    pub line: Option<u64>,
    /// Seconds of guest time under load.
    pub load_seconds: f64,
    /// Seconds of guest time from the start of the load to the first fatal report.
    pub load_to_report_seconds: Option<f64>,
    /// Host seconds from QEMU's start to the agent's hello.
    pub hello_seconds: Option<f64>,
    /// Why it was not exposed, and settings that the guest refused.
    pub remarks: Vec<String>,
}

/// Quoted console of one target lockup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The trial it is from.
    pub trial: String,
    /// Console file, relative to the run's folder.
    pub file: String,
    /// Both sides in words and frames.
    pub text: String,
}

/// Makes the report of a run.
pub fn report(
    run: &str,
    campaign: &Campaign,
    environment: Vec<(String, String)>,
    armings: &[Arming],
    records: &[TrialRecord],
    verdict: Verdict,
) -> Report {
    Report {
        schema: SCHEMA_VERSION,
        run: run.to_owned(),
        environment,
        verdict,
        armings: armings.to_vec(),
        trials: records
            .iter()
            .map(|record| trial_line(campaign, record))
            .collect(),
        evidence: records.iter().find_map(evidence),
        methods: methods(campaign),
    }
}

/// A trial in a line.
pub fn trial_line(campaign: &Campaign, record: &TrialRecord) -> TrialLine {
    let standing = record.standing(&campaign.policy.min_exposure);
    let mut remarks = record.refused_settings.clone();
    remarks.extend(when_noticed(record));
    remarks.extend(
        record
            .contradictions
            .iter()
            .map(|text| format!("contradiction: {text}")),
    );
    if standing == Standing::NotExposed {
        remarks.extend(record.exposure.shortfalls(&campaign.policy.min_exposure));
    }
    TrialLine {
        id: record.id.clone(),
        standing,
        outcome: record.outcome.to_string(),
        title: record.title.clone(),
        line: record.console.first_report().map(|report| report.line),
        load_seconds: record.exposure.load_ms as f64 / 1000.0,
        load_to_report_seconds: record.timing.load_to_report_ms.map(|ms| ms as f64 / 1000.0),
        hello_seconds: record.timing.hello_ms.map(|ms| ms as f64 / 1000.0),
        remarks,
    }
}

/// Which layer noticed a lockup, and when, counted from QEMU's start.
fn when_noticed(record: &TrialRecord) -> Option<String> {
    let seconds = |ms: Option<u64>| {
        ms.map_or("silent".to_owned(), |ms| {
            format!("{:.1} s", ms as f64 / 1000.0)
        })
    };
    let timing = &record.timing;
    (timing.outside_ms.is_some() || timing.console_ms.is_some()).then(|| {
        let stopped = record.outside.stopped_ms();
        let after = stopped.map_or(String::new(), |stopped| {
            let after = record.outside.at_ms.saturating_sub(stopped);
            format!(
                " ({:.1} s after both sides were seen stopped)",
                after as f64 / 1000.0
            )
        });
        format!(
            "noticed from outside: {}{after}, on the console: {}",
            seconds(timing.outside_ms),
            seconds(timing.console_ms)
        )
    })
}

/// Both layers' stacks of a target lockup, as far as they have them.
pub(crate) fn evidence(record: &TrialRecord) -> Option<Evidence> {
    if record.signature != Some(Match::Target) {
        return None;
    }
    let console = record.console.signature.as_ref();
    let text: String = console
        .into_iter()
        .flat_map(|finding| finding.sides.iter().map(quote))
        .collect();
    Some(Evidence {
        trial: record.id.clone(),
        file: format!("trials/{}/console.log", record.id),
        text: text + &deadlock::text(&record.outside.stuck, &record.outside.graph),
    })
}

/// One side in words, with its stack, the innermost frame first.
fn quote(side: &SideFinding) -> String {
    let stack = &side.stack;
    let cpu = stack
        .cpu
        .map_or("a CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    let task = stack
        .comm
        .as_ref()
        .map_or(String::new(), |comm| format!(", {comm}"));
    let mut text = format!(
        "side {} on {cpu}{task} (console line {}): {}\n",
        side.side, stack.line, side.about
    );
    for frame in stack.frames.iter().filter(|frame| frame.reliable) {
        let _ = writeln!(
            text,
            "    {}+{:#x}/{:#x}",
            frame.symbol, frame.offset, frame.size
        );
    }
    text
}

fn methods(campaign: &Campaign) -> Vec<String> {
    let confidence = statistics::CONFIDENCE * 100.0;
    vec![
        format!(
            "rate: target lockups per exposed minute, {confidence:.0}% exact Poisson interval (Garwood 1936); a locked-up \
             trial's minutes end with the report, which comes seconds after the lockup"
        ),
        "luck: (control minutes / all minutes) ^ lockups, the exact conditional test of two Poisson rates \
         (Przyborowski & Wilenski 1940); unlike exp(-rate x minutes) it knows that the control's rate is an estimate"
            .to_owned(),
        format!(
            "exposed: at least {} swaps, {} active balances and {} near misses (both sides in flight for the same two \
             CPUs) per minute of load, of those that the kernel counts",
            campaign.policy.min_exposure.swaps_per_minute,
            campaign.policy.min_exposure.active_balances_per_minute,
            campaign.policy.min_exposure.meetings_per_minute
        ),
        "near misses (model), where they are not counted: side A windows x swaps x 50 us / (time x ordered pairs of CPUs \
         across nodes), as if both sides came at random; for a load that seeks the race a lower bound"
            .to_owned(),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "verdict: {}",
            self.verdict.conclusion.to_string().to_uppercase()
        )?;
        for reason in &self.verdict.reasons {
            writeln!(f, "  {reason}")?;
        }
        writeln!(f, "\n{}", arms_table(&self.verdict.arms))?;
        writeln!(
            f,
            "luck: {:.2e} that the subject survives so long with the control's rate ({:.2e} were that rate exact)",
            self.verdict.luck, self.verdict.luck_at_estimated_rate
        )?;
        write_still_needed(f, &self.verdict)?;
        write_detectors(f, &self.verdict.arms)?;
        ending::write_seen(f, &self.armings, &self.trials, self.evidence.as_ref())?;
        let how = "how the figures are made";
        ending::write_making(f, &self.environment, how, &self.methods)
    }
}

fn arms_table(arms: &[ArmTally]) -> String {
    let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    let mut row = |label, cell: &dyn Fn(&ArmTally) -> String| {
        rows.push((label, arms.iter().map(cell).collect()));
    };
    row("", &|arm| format!("{} ({})", arm.arm, arm.role));
    row("kernel", &|arm| arm.kernel.clone());
    row("trials", &|arm| arm.trials.to_string());
    row("target lockups", &|arm| arm.target_lockups.to_string());
    row("survived", &|arm| arm.survived.to_string());
    row("not exposed", &|arm| arm.not_exposed.to_string());
    row("suspect", &|arm| arm.suspect.to_string());
    row("other failures", &|arm| arm.other_failures.to_string());
    row("infrastructure", &|arm| arm.infrastructure.to_string());
    row("exposed minutes", &|arm| {
        format!("{:.2}", arm.exposed_minutes)
    });
    row("lockups/min", &|arm| {
        arm.rate.map_or("-".to_owned(), |rate| {
            format!("{:.2} [{:.2}, {:.2}]", rate.per_minute, rate.low, rate.high)
        })
    });
    row("s of load, median", &|arm| {
        optional(arm.median_load_to_lockup)
    });
    row("swaps/min", &|arm| optional(arm.swaps_per_minute));
    row("moves/min", &|arm| optional(arm.moves_per_minute));
    row("sticks/min", &|arm| optional(arm.sticks_per_minute));
    row("migration runs/min", &|arm| {
        optional(arm.migration_runs_per_minute)
    });
    row("active balances/min", &|arm| {
        optional(arm.active_balances_per_minute)
    });
    row("side A windows/min", &|arm| {
        optional(arm.windows_per_minute)
    });
    row("near misses/min", &|arm| {
        let modelled = arm.modelled_meetings_per_minute;
        match (arm.meetings_per_minute, modelled) {
            (None, Some(modelled)) => format!("{modelled:.1e} (model)"),
            (counted, _) => optional(counted),
        }
    });
    row("near misses", &|arm| {
        arm.meetings
            .map_or("-".to_owned(), |count| count.to_string())
    });
    row("packets/s", &|arm| format!("{:.0}", arm.packets_per_second));
    let mut table = String::new();
    for (label, cells) in rows {
        let _ = write!(table, "  {label:<20}");
        for cell in cells {
            let _ = write!(table, " {cell:>26}");
        }
        table.push('\n');
    }
    table
}

fn write_still_needed(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let Some(needed) = &verdict.still_needed else {
        return Ok(());
    };
    let trials = |count: Option<u32>| {
        count.map_or(
            "an unknown number of trials: it has not locked up yet".to_owned(),
            |count| format!("about {count} trials"),
        )
    };
    writeln!(f, "still needed:")?;
    if needed.control_lockups > 0 {
        writeln!(
            f,
            "  control: {} more target lockups, {}",
            needed.control_lockups,
            trials(needed.control_trials)
        )?;
    }
    match needed.subject_minutes {
        Some(minutes) => writeln!(
            f,
            "  subject: {minutes:.1} more exposed minutes, {}",
            trials(needed.subject_trials)
        ),
        None => writeln!(f, "  subject: unknown until the control has locked up"),
    }
}

fn write_detectors(f: &mut fmt::Formatter<'_>, arms: &[ArmTally]) -> fmt::Result {
    writeln!(f, "\ndetectors in the guest:")?;
    for arm in arms {
        if arm.detectors.is_empty() {
            writeln!(f, "  {}: unknown, no agent reported", arm.arm)?;
        }
        for detector in &arm.detectors {
            let state = if detector.armed { "armed" } else { "not armed" };
            writeln!(
                f,
                "  {}: {} {state} ({})",
                arm.arm, detector.name, detector.how
            )?;
        }
    }
    Ok(())
}
