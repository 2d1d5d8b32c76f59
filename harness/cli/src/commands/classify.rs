//! `kverdict classify`: what recorded consoles say.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::console::{
    ConsoleFindings, Match, Report, Scanner, SideFinding, SignatureFinding,
};
use serde::Serialize;

use super::Usage;

/// Read consoles in pieces of this size: memory does not depend on how long they are.
const CHUNK_BYTES: usize = 256 << 10;
/// Reports listed for one console; `--json` has them all.
const REPORTS_SHOWN: usize = 12;
/// Quotations listed for one console.
const QUOTES_SHOWN: usize = 5;

const EXIT_CLEAN: u8 = 0;
const EXIT_FOUND: u8 = 1;
const EXIT_CANNOT_TELL: u8 = 125;

/// Say what went wrong on a recorded console, and whether it is the deadlock in question
///
/// Takes consoles of any x86 kernel from 3.10 on, raw as QEMU or a serial port recorded them, or what
/// dmesg or a syslog daemon made of them. Exit code: 0 all are clean, 1 something was found, 125 nothing
/// was found but one proves nothing (it is empty, has no kernel in it or ends before init), 129 a file
/// cannot be read.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Console logs; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object a file and line
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &ClassifyArgs) -> Result<ExitCode> {
    let mut worst = EXIT_CLEAN;
    let mut out = io::stdout().lock();
    for path in &args.files {
        let findings = match scan(path) {
            Ok(findings) => findings,
            Err(error) => {
                out.flush()?;
                let advice = advice(&error);
                let path = path.display();
                return Err(Usage(format!("cannot read console {path}: {error}. {advice}")).into());
            }
        };
        let text = if args.json {
            json_line(path, &findings)?
        } else {
            describe(path, &findings)
        };
        match out.write_all(text.as_bytes()) {
            Ok(()) => {}
            // Whoever reads this has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error.into()),
        }
        worst = graver(worst, exit_code(&findings));
    }
    Ok(ExitCode::from(worst))
}

fn scan(path: &Path) -> io::Result<ConsoleFindings> {
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path)?)
    };
    let mut scanner = Scanner::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(scanner.finish()),
            Ok(read_bytes) => scanner.feed(&chunk[..read_bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "Check the path; a trial of kverdict keeps its console in results/RUN/trials/TRIAL/console.log."
        }
        io::ErrorKind::PermissionDenied => "Check the file's permissions.",
        io::ErrorKind::IsADirectory => "Name the console log in that directory.",
        _ => "Use - to read standard input instead.",
    }
}

/// A finding is certain; that another console could not tell takes nothing away from it.
fn graver(one: u8, other: u8) -> u8 {
    if one == EXIT_FOUND || other == EXIT_FOUND {
        EXIT_FOUND
    } else {
        one.max(other)
    }
}

fn exit_code(findings: &ConsoleFindings) -> u8 {
    if findings.inconclusive().is_some() {
        EXIT_CANNOT_TELL
    } else if findings.reports.is_empty() {
        EXIT_CLEAN
    } else {
        EXIT_FOUND
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    file: String,
    inconclusive: Option<&'static str>,
    title: Option<&'a str>,
    #[serde(flatten)]
    findings: &'a ConsoleFindings,
}

fn json_line(path: &Path, findings: &ConsoleFindings) -> Result<String> {
    let line = JsonLine {
        file: path.display().to_string(),
        inconclusive: findings.inconclusive(),
        title: findings.title(),
        findings,
    };
    Ok(serde_json::to_string(&line)? + "\n")
}

/// Text for people.
fn describe(path: &Path, findings: &ConsoleFindings) -> String {
    let verdict = match findings.inconclusive() {
        Some(why) => format!("cannot tell: {why}"),
        None => findings.outcome.to_string(),
    };
    let mut text = format!("{}: {verdict}\n", path.display());
    for (label, value) in summary(findings) {
        text += &format!("  {label:<12} {value}\n");
    }
    if let Some(signature) = &findings.signature {
        text += &describe_signature(signature);
    }
    text += &describe_reports(findings);
    text += &describe_notes(findings);
    text
}

fn summary(findings: &ConsoleFindings) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(first) = findings.first_report() {
        rows.push(("title", cite(first)));
    }
    if let Some(worst) = findings
        .worst_report()
        .filter(|_| findings.worst != findings.first)
    {
        rows.push(("most severe", cite(worst)));
    }
    let markers = &findings.boot_markers;
    if let Some(version) = &markers.linux_version {
        let init = if markers.init_ran {
            "init ran"
        } else {
            "init did not run"
        };
        let again = match markers.boots {
            0 | 1 => String::new(),
            boots => format!(", booted {boots} times"),
        };
        rows.push(("kernel", format!("{version}, {init}{again}")));
    }
    if let Some(note) = &markers.last_kernel_line {
        rows.push(("last line", format!("{} (line {})", note.text, note.line)));
    }
    rows.push((
        "size",
        format!("{} lines, {} bytes", findings.lines, findings.bytes),
    ));
    rows
}

fn cite(report: &Report) -> String {
    format!("{} (line {})", report.title, report.line)
}

fn describe_signature(signature: &SignatureFinding) -> String {
    let why = match signature.matched {
        Match::Target => "target: every side of the deadlock is in the stacks",
        Match::Possible => "possible: only one side of the deadlock is in the stacks",
        Match::Other => "other: no stack shows a side of the deadlock",
    };
    let mut text = format!("  {:<12} {why} ({})\n", "signature", signature.name);
    for side in &signature.sides {
        text += &describe_side(side);
    }
    text
}

fn describe_side(side: &SideFinding) -> String {
    let stack = &side.stack;
    let cpu = stack
        .cpu
        .map_or("CPU unknown".to_string(), |cpu| format!("CPU {cpu}"));
    let comm = stack.comm.as_deref().unwrap_or("unknown task");
    let mut text = format!(
        "    side {}: {cpu}, {comm}, line {}: {}\n",
        side.side, stack.line, side.about
    );
    for frame in stack.frames.iter().filter(|frame| frame.reliable) {
        // Writing to a String cannot fail.
        writeln!(
            text,
            "      {}+{:#x}/{:#x}",
            frame.symbol, frame.offset, frame.size
        )
        .unwrap_or_default();
    }
    text
}

fn describe_reports(findings: &ConsoleFindings) -> String {
    if findings.reports.len() < 2 {
        return String::new();
    }
    let mut text = format!("  {} reports:\n", findings.reports.len());
    for report in findings.reports.iter().take(REPORTS_SHOWN) {
        text += &format!(
            "    line {:<7} {:<16} {}\n",
            report.line,
            report.outcome.as_str(),
            report.title
        );
    }
    let hidden = findings.reports.len().saturating_sub(REPORTS_SHOWN);
    let hidden = hidden as u64 + findings.reports_suppressed;
    if hidden > 0 {
        text += &format!("    and {hidden} more\n");
    }
    text
}

fn describe_notes(findings: &ConsoleFindings) -> String {
    let mut text = String::new();
    for detector in &findings.detectors {
        let state = if detector.on { "on" } else { "off" };
        text += &format!(
            "  detector     {} {state}: {} (line {})\n",
            detector.detector, detector.note.text, detector.note.line
        );
    }
    let hard = findings
        .detectors
        .iter()
        .rfind(|note| note.detector == "hard lockup");
    if findings.reports.is_empty() && hard.is_some_and(|note| !note.on) {
        text += "  note         the hard lockup detector was off: a deadlocked kernel may say nothing\n";
    }
    for note in findings.quoted.iter().take(QUOTES_SHOWN) {
        text += &format!("  only quoted  {} (line {})\n", note.text, note.line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(console: &[u8]) -> ConsoleFindings {
        let mut scanner = Scanner::new();
        scanner.feed(console);
        scanner.finish()
    }

    #[test]
    fn exit_codes() {
        assert_eq!(exit_code(&classify(b"")), EXIT_CANNOT_TELL);
        assert_eq!(
            exit_code(&classify(b"[    0.000000] Linux version 6.12.0\n")),
            EXIT_CANNOT_TELL
        );
        assert_eq!(
            exit_code(&classify(b"[    9.000000] eth0: link up\n")),
            EXIT_CLEAN
        );
        assert_eq!(
            exit_code(&classify(
                b"[    9.000000] Kernel panic - not syncing: Hard LOCKUP\n"
            )),
            EXIT_FOUND
        );
        assert_eq!(graver(EXIT_CANNOT_TELL, EXIT_FOUND), EXIT_FOUND);
        assert_eq!(graver(EXIT_CLEAN, EXIT_CANNOT_TELL), EXIT_CANNOT_TELL);
    }

    #[test]
    fn silence_without_a_detector_is_pointed_out() {
        let log = include_bytes!("../../../core/tests/logs/silent-el7-detectors-off.log");
        let text = describe(Path::new("console.log"), &classify(log));
        assert!(
            text.contains("detector was off: a deadlocked kernel may say nothing"),
            "{text}"
        );
        let clean = include_bytes!("../../../core/tests/logs/clean-6.12.log");
        assert!(!describe(Path::new("console.log"), &classify(clean)).contains("was off"));
    }

    #[test]
    fn both_sides_are_quoted() {
        let log = include_bytes!("../../../core/tests/logs/target-6.12-reintroduced.log");
        let text = describe(Path::new("console.log"), &classify(log));
        for expected in [
            "console.log: hard lockup\n",
            "Watchdog detected hard LOCKUP on cpu 2 (line 274)",
            "target: every side",
            "side A: CPU 2, migration/2, line 277",
            "side B: CPU 7, init, line 549",
            "try_to_wake_up+0xf5/0x5a0",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
