//! What each CPU did towards the end of a trial, out of the samples that were taken of it.

use kverdict_core::outside::finding::Findings;
use kverdict_core::outside::sample::{Sample, Vcpu};
use kverdict_core::record::TrialRecord;

use crate::ink::Ink;

/// So much of a trial's end is shown, in milliseconds.
const SHOWN_MS: u64 = 30_000;
/// So much of what came before a lockup is shown, too.
const BEFORE_MS: u64 = 8_000;
/// A sample says nothing of what comes later than that.
const SAMPLE_MS_MAX: u64 = 3_000;

/// What a CPU was seen doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Waits in HLT.
    Idle,
    /// Runs a program.
    User,
    /// Runs the kernel.
    Kernel,
    /// Runs the kernel with interrupts off.
    Masked,
    /// Burns CPU time in one place.
    Stuck,
    /// Runs firmware, a boot loader, or early boot.
    Firmware,
}

impl Activity {
    /// All of them, harmless first.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::User,
        Self::Kernel,
        Self::Masked,
        Self::Stuck,
        Self::Firmware,
    ];

    fn of(vcpu: &Vcpu, at_ms: u64, findings: &Findings) -> Self {
        let registers = &vcpu.registers;
        let mut stuck = findings.stuck.iter();
        if stuck.any(|stuck| stuck.vcpu == vcpu.index && stuck.since_ms <= at_ms) {
            Self::Stuck
        } else if registers.halted {
            Self::Idle
        } else if registers.cpl == 3 {
            Self::User
        } else if !registers.in_kernel() {
            Self::Firmware
        } else if registers.interrupts_on() {
            Self::Kernel
        } else {
            Self::Masked
        }
    }

    /// What it is drawn with.
    pub fn ink(self) -> Ink {
        match self {
            Self::Idle => Ink::Idle,
            Self::User => Ink::User,
            Self::Kernel => Ink::Kernel,
            Self::Masked => Ink::Masked,
            Self::Stuck => Ink::Stuck,
            Self::Firmware => Ink::Firmware,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::User => "runs a program",
            Self::Kernel => "runs the kernel",
            Self::Masked => "kernel, interrupts off",
            Self::Stuck => "stuck: burns CPU time in one place",
            Self::Firmware => "no kernel yet",
        }
    }
}

/// A CPU did one thing for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// Host milliseconds since QEMU's start.
    pub from_ms: u64,
    /// The same, at its end.
    pub until_ms: u64,
    /// What it did.
    pub activity: Activity,
}

/// Something that happened to the whole guest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// Host milliseconds since QEMU's start.
    pub at_ms: u64,
    /// A number, by which the caption calls it.
    pub sign: String,
    /// What it was.
    pub what: &'static str,
}

/// What each CPU did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Host milliseconds since QEMU's start.
    pub from_ms: u64,
    /// The same, at its end.
    pub until_ms: u64,
    /// By vCPU, in order.
    pub rows: Vec<(u32, Vec<Span>)>,
    /// In order.
    pub marks: Vec<Mark>,
}

impl Timeline {
    /// Of a trial's last samples; `None`: there are none.
    pub fn new(samples: &[Sample], record: &TrialRecord) -> Option<Self> {
        let until_ms = samples.last()?.at_ms;
        let stopped = record.outside.stopped_ms();
        let from_ms = until_ms
            .saturating_sub(SHOWN_MS)
            .min(stopped.map_or(u64::MAX, |stopped| stopped.saturating_sub(BEFORE_MS)))
            .max(samples.first()?.at_ms);
        let shown: Vec<&Sample> = samples
            .iter()
            .filter(|one| one.at_ms >= from_ms && one.run_state == "running")
            .collect();
        let mut rows: Vec<(u32, Vec<Span>)> = Vec::new();
        for (index, sample) in shown.iter().enumerate() {
            let next = shown.get(index + 1).map_or(until_ms, |next| next.at_ms);
            for vcpu in &sample.vcpus {
                let span = Span {
                    from_ms: sample.at_ms,
                    until_ms: next.min(sample.at_ms + SAMPLE_MS_MAX),
                    activity: Activity::of(vcpu, sample.at_ms, &record.outside),
                };
                let row = rows.iter_mut().find(|(cpu, _)| *cpu == vcpu.index);
                match row {
                    Some((_, spans)) => push(spans, span),
                    None => rows.push((vcpu.index, vec![span])),
                }
            }
        }
        rows.sort_by_key(|(cpu, _)| *cpu);
        for (cpu, spans) in &mut rows {
            if record.outside.graph.piled_up.contains(cpu) {
                pile_up(spans);
            }
        }
        (from_ms < until_ms && !rows.is_empty()).then(|| Self {
            from_ms,
            until_ms,
            marks: marks(record, from_ms, until_ms),
            rows,
        })
    }

    /// Which activities it shows.
    pub fn activities(&self) -> Vec<Activity> {
        let spans = || self.rows.iter().flat_map(|(_, spans)| spans);
        let shown = |activity: &Activity| spans().any(|span| span.activity == *activity);
        Activity::ALL.into_iter().filter(shown).collect()
    }
}

fn push(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.activity == span.activity && last.until_ms == span.from_ms => {
            last.until_ms = span.until_ms;
        }
        Some(_) | None => spans.push(span),
    }
}

/// What waits for a deadlock is not found stuck by itself before it waited for long. If it never came back, it
/// has been stuck since interrupts went off.
fn pile_up(spans: &mut [Span]) {
    if let Some(last) = spans.last_mut()
        && last.activity == Activity::Masked
    {
        last.activity = Activity::Stuck;
    }
}

fn marks(record: &TrialRecord, from_ms: u64, until_ms: u64) -> Vec<Mark> {
    let mut found: Vec<(u64, &'static str)> = [
        (
            record.outside.stopped_ms(),
            "the last CPU that matters got stuck",
        ),
        (record.timing.outside_ms, "kverdict noticed from outside"),
        (
            record.timing.console_ms,
            "the kernel said so on its console",
        ),
    ]
    .into_iter()
    .filter_map(|(at, what)| Some((at?, what)))
    .filter(|(at, _)| (from_ms..=until_ms).contains(at))
    .collect();
    found.sort_unstable();
    let signs = ["1", "2", "3"];
    let mark = |((at_ms, what), sign): ((u64, &'static str), &str)| Mark {
        at_ms,
        sign: sign.to_owned(),
        what,
    };
    found.into_iter().zip(signs).map(mark).collect()
}
