//! Takes a console byte by byte, if need be, and keeps what it finds.

use std::collections::BTreeSet;

use super::line::{self, Caller, Lines, Message, Origin, Piece};
use super::outcome::Outcome;
use super::report::{BootMarkers, ConsoleFindings, DetectorNote, Note, Report, printable};
use super::rules::{Catalogue, Hit, Mark, Role, Rule};
use super::signature::{Evidence, Match, SIGNATURES, SignatureFinding};
use super::stack::{StackBuilder, StackLine};

/// Reports kept; the rest is counted.
const REPORTS_MAX: usize = 64;
/// Stacks kept over all reports; all CPUs of a large machine, several times.
const STACKS_MAX: usize = 1024;
/// Lines kept that go with one report.
const ALSO_MAX: usize = 8;
/// Quotations and detector notes kept.
const NOTES_MAX: usize = 32;
/// Longest text kept of one message.
const TEXT_BYTES_MAX: usize = 240;
/// Stacks that are read at the same time, each from a caller of its own.
const BUILDERS_MAX: usize = 32;
/// A report is over when so many messages in a row do not look like a part of it, ...
const IDLE_MESSAGES_MAX: u32 = 100;
/// ... or when so much of the kernel's time has passed since the last one that does.
const IDLE_US_MAX: u64 = 10_000_000;

/// Reads one console as it grows.
///
/// Memory is bounded whatever the input, and the result does not depend on how the input was
/// split over calls of [`Scanner::feed`].
#[derive(Debug)]
pub struct Scanner {
    lines: Lines,
    reader: Reader,
    bytes: u64,
}

/// A report that a kernel does not recover from.
#[derive(Debug, Clone, Copy)]
pub struct Terminal<'a> {
    /// The most severe report.
    pub report: &'a Report,
    /// Whether all that was announced has come: the panic's last line, or every CPU's backtrace.
    /// Another round of backtraces may still follow, so wait a second or two more; and a kernel
    /// that is stuck itself may never complete its report, so do not wait forever.
    pub complete: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner for a new console.
    pub fn new() -> Self {
        Scanner {
            lines: Lines::new(),
            reader: Reader::new(),
            bytes: 0,
        }
    }

    /// Takes the next bytes of the console.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        let reader = &mut self.reader;
        self.lines.feed(chunk, |piece| reader.piece(&piece));
    }

    /// The reports so far.
    pub fn reports(&self) -> &[Report] {
        &self.reader.reports
    }

    /// The outcome so far.
    pub fn outcome(&self) -> Outcome {
        self.reader.outcome()
    }

    /// How far the kernel got, but for [`BootMarkers::last_kernel_line`], which is filled in at
    /// the end.
    pub fn boot_markers(&self) -> &BootMarkers {
        &self.reader.markers
    }

    /// The report, if any, after which waiting for more is pointless.
    pub fn terminal(&self) -> Option<Terminal<'_>> {
        let reader = &self.reader;
        let report = reader.reports.get(reader.worst?)?;
        report.outcome.is_fatal().then(|| Terminal {
            report,
            complete: reader.is_complete() || self.target_complete(),
        })
    }

    /// The most severe report so far, fatal or not.
    pub fn worst_report(&self) -> Option<&Report> {
        self.reader.reports.get(self.reader.worst?)
    }

    /// Whether every side of a known bug was seen: it is proven, nothing can change that.
    pub fn target_complete(&self) -> bool {
        self.reader
            .signature()
            .is_some_and(|finding| finding.matched == Match::Target)
    }

    /// All findings, at the end of the console.
    pub fn finish(mut self) -> ConsoleFindings {
        let reader = &mut self.reader;
        let lines = self.lines.finish(|piece| reader.piece(&piece));
        self.reader.finish(self.bytes, lines)
    }
}

/// Where a message stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: u64,
    offset: u64,
}

impl Place {
    fn note(self, text: &[u8]) -> Note {
        Note {
            line: self.line,
            offset: self.offset,
            text: printable(text, TEXT_BYTES_MAX),
        }
    }
}

/// The report that is going on.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// Where it is kept; `None` if there were too many.
    at: Option<usize>,
    outcome: Outcome,
    stuck: bool,
    idle_messages: u32,
    latest_us: Option<u64>,
}

/// A stack that is being read.
#[derive(Debug)]
struct Building {
    caller: Option<Caller>,
    report: Current,
    builder: StackBuilder,
}

/// Everything behind the lines.
#[derive(Debug)]
struct Reader {
    escapes: Vec<u8>,
    latest_us: Option<u64>,
    /// Whether the kernel prints timestamps: then what has none is not the kernel's.
    stamped: bool,
    reports: Vec<Report>,
    reports_suppressed: u64,
    worst: Option<usize>,
    current: Option<Current>,
    building: Vec<Building>,
    stacks_kept: usize,
    evidence: Vec<Evidence>,
    any_stuck: bool,
    /// CPUs that were asked for a backtrace and have not answered.
    awaited: BTreeSet<u32>,
    panicked: bool,
    panic_complete: bool,
    markers: BootMarkers,
    last_kernel_line: Option<Place>,
    last_kernel_text: Vec<u8>,
    detectors: Vec<DetectorNote>,
    quoted: Vec<Note>,
}

impl Reader {
    fn new() -> Self {
        Reader {
            escapes: Vec::new(),
            latest_us: None,
            stamped: false,
            reports: Vec::new(),
            reports_suppressed: 0,
            worst: None,
            current: None,
            building: Vec::new(),
            stacks_kept: 0,
            evidence: SIGNATURES.iter().map(|s| Evidence::new(s)).collect(),
            any_stuck: false,
            awaited: BTreeSet::new(),
            panicked: false,
            panic_complete: false,
            markers: BootMarkers::default(),
            last_kernel_line: None,
            last_kernel_text: Vec::new(),
            detectors: Vec::new(),
            quoted: Vec::new(),
        }
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        let mut escapes = std::mem::take(&mut self.escapes);
        let bytes = line::without_escapes(piece.bytes, &mut escapes);
        let place = Place {
            line: piece.line,
            offset: piece.offset,
        };
        let latest_us = self.latest_us;
        line::messages(bytes, piece.continued, latest_us, |message| {
            self.message(place, message)
        });
        self.escapes = escapes;
    }

    fn message(&mut self, place: Place, message: Message<'_>) {
        if message.text.is_empty() {
            return;
        }
        self.latest_us = self.latest_us.max(message.time_us);
        self.stamped |= message.time_us.is_some() && message.origin == Origin::Kernel;
        let is_kernel = match message.origin {
            Origin::Kernel => true,
            Origin::Bare => !self.stamped,
            Origin::User => false,
        };
        if is_kernel {
            self.kernel_message(place, message);
        } else if let Some(Hit::Report(_) | Hit::Quote) = Catalogue::get().find(message.text) {
            self.quote(place, message.text);
        }
    }

    fn kernel_message(&mut self, place: Place, message: Message<'_>) {
        // Without timestamps, firmware and user space look the same: believe what follows a banner.
        if message.origin == Origin::Kernel || self.markers.linux_version.is_some() {
            let kept_bytes = message.text.len().min(TEXT_BYTES_MAX);
            self.last_kernel_line = Some(place);
            self.last_kernel_text.clear();
            self.last_kernel_text
                .extend_from_slice(&message.text[..kept_bytes]);
        }
        // Registers and frames only matter to a report, which nearly all consoles do not have.
        if self.current.is_some() && self.report_line(place, message) {
            return;
        }
        match Catalogue::get().find(message.text) {
            Some(Hit::Report(rule)) => self.matched(place, message, rule),
            Some(Hit::Mark(mark)) => self.mark(place, message.text, mark),
            Some(Hit::Quote) => self.quote(place, message.text),
            None => {}
        }
    }

    /// Reads a line of the report that is going on. Returns whether it was one.
    fn report_line(&mut self, place: Place, message: Message<'_>) -> bool {
        let line = StackLine::read(message.text);
        let is_report = line != StackLine::Other;
        if !self.keep_current(message.time_us, is_report) {
            return false;
        }
        let caller = message.caller;
        match line {
            StackLine::NmiRequest(cpus) => self.awaited = cpus.into_iter().collect(),
            StackLine::NmiSkipped(cpu) => {
                self.awaited.remove(&cpu);
            }
            StackLine::NmiBacktrace(cpu) => {
                self.awaited.remove(&cpu);
                self.begin_stack(place, caller);
                self.with_builder(caller, |b| b.set_cpu(cpu));
            }
            StackLine::Cpu { cpu, pid, comm } => {
                let is_new = self
                    .builder(caller)
                    .is_none_or(|b| b.has_frames() || b.cpu().is_some_and(|c| c != cpu));
                if is_new {
                    self.begin_stack(place, caller);
                }
                self.with_builder(caller, |b| {
                    b.set_cpu(cpu);
                    b.set_task(pid, comm);
                });
            }
            StackLine::Task { pid, comm } => {
                self.begin_stack(place, caller);
                self.with_builder(caller, |b| b.set_task(pid, Some(comm)));
            }
            StackLine::TraceStart => {
                if self.builder(caller).is_none_or(StackBuilder::is_tracing) {
                    self.begin_stack(place, caller);
                }
                self.with_builder(caller, StackBuilder::start_trace);
            }
            StackLine::Instruction(frame) => self.with_builder(caller, |b| b.instruction(frame)),
            StackLine::Trace { boundaries, frame } => {
                self.with_builder(caller, |b| b.trace(boundaries, frame));
            }
            StackLine::TraceEnd => self.end_stack(caller),
            StackLine::UserInstruction | StackLine::Material | StackLine::Other => {}
        }
        is_report
    }

    /// Whether the report is still going on, now that another message has come.
    fn keep_current(&mut self, time_us: Option<u64>, is_report: bool) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        let is_late = match (current.latest_us, time_us) {
            (Some(latest), Some(now)) => now > latest + IDLE_US_MAX,
            (None, _) | (_, None) => false,
        };
        if is_late || (!is_report && current.idle_messages == IDLE_MESSAGES_MAX) {
            self.close_current();
            return false;
        }
        if is_report {
            current.idle_messages = 0;
            current.latest_us = current.latest_us.max(time_us);
        } else {
            current.idle_messages += 1;
        }
        true
    }

    fn close_current(&mut self) {
        self.end_stacks();
        self.current = None;
    }

    fn builder(&self, caller: Option<Caller>) -> Option<&StackBuilder> {
        let building = self.building.iter().find(|b| b.caller == caller)?;
        Some(&building.builder)
    }

    fn with_builder(&mut self, caller: Option<Caller>, change: impl FnOnce(&mut StackBuilder)) {
        if let Some(building) = self.building.iter_mut().find(|b| b.caller == caller) {
            change(&mut building.builder);
        }
    }

    fn begin_stack(&mut self, place: Place, caller: Option<Caller>) {
        self.end_stack(caller);
        let Some(report) = self.current else { return };
        if self.building.len() == BUILDERS_MAX {
            let oldest = self.building.remove(0);
            self.keep_stack(oldest);
        }
        self.building.push(Building {
            caller,
            report,
            builder: StackBuilder::new(place.line, place.offset),
        });
    }

    fn end_stack(&mut self, caller: Option<Caller>) {
        if let Some(at) = self.building.iter().position(|b| b.caller == caller) {
            let building = self.building.remove(at);
            self.keep_stack(building);
        }
    }

    fn end_stacks(&mut self) {
        for building in std::mem::take(&mut self.building) {
            self.keep_stack(building);
        }
    }

    fn keep_stack(&mut self, building: Building) {
        if !building.builder.has_frames() {
            return;
        }
        let stack = building.builder.finish();
        if building.report.stuck {
            self.evidence.iter_mut().for_each(|e| e.add(&stack));
        }
        let Some(report) = building.report.at.and_then(|at| self.reports.get_mut(at)) else {
            return;
        };
        if self.stacks_kept < STACKS_MAX {
            self.stacks_kept += 1;
            report.stacks.push(stack);
        } else {
            report.stacks_suppressed += 1;
        }
    }

    fn matched(&mut self, place: Place, message: Message<'_>, rule: &'static Rule) {
        let text = message.text;
        self.panic_complete |= text.starts_with(b"---[ end Kernel panic");
        if self.goes_on(rule) {
            let report = self
                .current
                .and_then(|c| c.at)
                .and_then(|at| self.reports.get_mut(at));
            if let Some(report) = report.filter(|r| r.also.len() < ALSO_MAX) {
                report.also.push(place.note(text));
            }
        } else {
            self.open(place, message, rule);
        }
        self.panicked |= memchr::memmem::find(text, b"Kernel panic").is_some();
    }

    /// Whether what `rule` found belongs to the report before it.
    fn goes_on(&self, rule: &Rule) -> bool {
        match rule.role {
            Role::Opens => return false,
            Role::Continues => {}
        }
        // The end of a panic comes after every CPU's backtrace.
        if rule.id.ends_with("panic-end") && self.panicked {
            return true;
        }
        let is_fault = |outcome| matches!(outcome, Outcome::Bug | Outcome::Oops);
        self.current.is_some_and(|current| {
            // A fault goes by several names, and may take init with it.
            current.outcome >= rule.outcome
                || (is_fault(current.outcome)
                    && (is_fault(rule.outcome) || rule.id == "init-killed"))
        })
    }

    fn open(&mut self, place: Place, message: Message<'_>, rule: &'static Rule) {
        self.close_current();
        self.any_stuck |= rule.stuck;
        let outcome = self.outcome_of(rule);
        let report = Report {
            rule: rule.id.to_string(),
            outcome,
            title: printable(message.text, TEXT_BYTES_MAX),
            line: place.line,
            offset: place.offset,
            time_us: message.time_us,
            also: Vec::new(),
            stacks: Vec::new(),
            stacks_suppressed: 0,
        };
        self.current = Some(Current {
            at: self.keep_report(report),
            outcome,
            stuck: rule.stuck,
            idle_messages: 0,
            latest_us: message.time_us,
        });
    }

    fn outcome_of(&self, rule: &Rule) -> Outcome {
        let is_booting = self.markers.linux_version.is_some() && !self.markers.init_ran;
        if rule.outcome == Outcome::Panic && is_booting {
            Outcome::BootFailure
        } else {
            rule.outcome
        }
    }

    /// Keeps a report if there is room, or if nothing as severe was kept. Returns where.
    fn keep_report(&mut self, report: Report) -> Option<usize> {
        let is_worse = self
            .worst
            .is_none_or(|at| self.reports[at].outcome < report.outcome);
        if self.reports.len() == REPORTS_MAX {
            self.reports_suppressed += 1;
            if !is_worse {
                return None;
            }
            self.reports.pop();
        }
        let at = self.reports.len();
        self.reports.push(report);
        if is_worse {
            self.worst = Some(at);
        }
        Some(at)
    }

    fn mark(&mut self, place: Place, text: &[u8], mark: Mark) {
        match mark {
            Mark::LinuxVersion => self.boot(text),
            Mark::InitRan => self.markers.init_ran = true,
            Mark::PowerOff => self.markers.powered_off = true,
            Mark::PanicComplete => self.panic_complete = self.panicked,
            Mark::DumpRequested => self.close_current(),
            Mark::DetectorOn(detector) => self.detector(detector, true, place.note(text)),
            Mark::DetectorOff(detector) => self.detector(detector, false, place.note(text)),
        }
    }

    fn boot(&mut self, text: &[u8]) {
        self.markers.boots += 1;
        self.markers.init_ran = false;
        self.close_current();
        let words = text.split(|b| *b == b' ').nth(2);
        self.markers.linux_version = words.map(|release| printable(release, 80));
    }

    fn detector(&mut self, detector: &str, on: bool, note: Note) {
        if self.detectors.len() < NOTES_MAX {
            self.detectors.push(DetectorNote {
                detector: detector.to_string(),
                on,
                note,
            });
        }
    }

    fn quote(&mut self, place: Place, text: &[u8]) {
        if self.quoted.len() < NOTES_MAX {
            self.quoted.push(place.note(text));
        }
    }

    fn outcome(&self) -> Outcome {
        self.worst
            .map_or(Outcome::Clean, |at| self.reports[at].outcome)
    }

    fn is_complete(&self) -> bool {
        let last_has_stacks = self.reports.last().is_some_and(|r| !r.stacks.is_empty());
        self.panic_complete
            || (self.awaited.is_empty() && self.building.is_empty() && last_has_stacks)
    }

    /// The best match of all signatures; `None` when nothing got stuck.
    fn signature(&self) -> Option<SignatureFinding> {
        let open = || {
            self.building
                .iter()
                .filter(|b| b.report.stuck && b.builder.has_frames())
                .map(|b| b.builder.stack())
        };
        let findings = self.evidence.iter().map(|e| e.finding(open()));
        findings.filter(|_| self.any_stuck).reduce(|best, next| {
            if next.matched > best.matched {
                next
            } else {
                best
            }
        })
    }

    fn finish(mut self, bytes: u64, lines: u64) -> ConsoleFindings {
        self.close_current();
        let mut boot_markers = std::mem::take(&mut self.markers);
        boot_markers.last_kernel_line = self
            .last_kernel_line
            .map(|place| place.note(&self.last_kernel_text));
        ConsoleFindings {
            outcome: self.outcome(),
            signature: self.signature(),
            first: (!self.reports.is_empty()).then_some(0),
            worst: self.worst,
            reports: self.reports,
            reports_suppressed: self.reports_suppressed,
            boot_markers,
            detectors: self.detectors,
            quoted: self.quoted,
            bytes,
            lines,
        }
    }
}
