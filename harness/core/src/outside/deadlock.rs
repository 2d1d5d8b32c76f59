//! Who waits for whom, as text for people.

use std::fmt::Write;

use super::finding::{Kind, Stuck};
use super::stack::{Frame, Origin};
use super::waits::{Graph, How, Wait};

/// Characters in a column.
const COLUMN: usize = 58;
/// Characters in a line: two columns and what is between them.
const WIDTH: usize = 2 * COLUMN + SEPARATOR.len();
const SEPARATOR: &str = " | ";

/// A table of the CPUs of the cycle side by side, their calls from the outside in, what each holds
/// and wants; below it the other CPUs that wait.
pub fn text(stuck: &[Stuck], graph: &Graph) -> String {
    let of = |cpu: u32| stuck.iter().find(|stuck| name(stuck) == cpu);
    let mut out = String::new();
    let in_cycle = graph.cycle.as_ref().map_or(&[][..], |cycle| &cycle.cpus);
    if let Some(cycle) = &graph.cycle {
        let cpus: Vec<String> = cycle.cpus.iter().map(u32::to_string).collect();
        let (first, how) = (&cpus[0], if cycle.proven { "proven" } else { "likely" });
        let _ = writeln!(
            out,
            "Deadlock, {how}: CPU {} -> {first}\n",
            cpus.join(" -> ")
        );
    }
    for pair in in_cycle.chunks(2) {
        let columns: Vec<Vec<String>> = pair
            .iter()
            .map(|cpu| column(*cpu, of(*cpu), graph))
            .collect();
        out.push_str(&side_by_side(&columns));
        out.push('\n');
    }
    let others = graph
        .waits
        .iter()
        .filter(|wait| !in_cycle.contains(&wait.cpu));
    for wait in others {
        let _ = writeln!(out, "CPU {} waits for {}", wait.cpu, target(wait));
        if let Some(stuck) = of(wait.cpu) {
            let _ = writeln!(out, "    {}", cut(&stuck.stack.to_string(), WIDTH - 4));
        }
    }
    let silent = stuck.iter().filter(|stuck| {
        let is_named = |wait: &Wait| wait.cpu == name(stuck);
        !graph.waits.iter().any(is_named) && !in_cycle.contains(&name(stuck))
    });
    for stuck in silent {
        let _ = writeln!(out, "CPU {} is stuck, {}", name(stuck), interrupts(stuck));
        let _ = writeln!(out, "    {}", cut(&stuck.stack.to_string(), WIDTH - 4));
    }
    out
}

fn name(stuck: &Stuck) -> u32 {
    stuck.cpu.unwrap_or(stuck.vcpu)
}

fn interrupts(stuck: &Stuck) -> &'static str {
    match stuck.kind {
        Kind::HardLockup => "interrupts off",
        Kind::SoftLockup => "interrupts on",
    }
}

fn column(cpu: u32, stuck: Option<&Stuck>, graph: &Graph) -> Vec<String> {
    let mut lines = Vec::new();
    let about = stuck.map_or("", interrupts);
    lines.push(format!("CPU {cpu}, {about}"));
    lines.push("-".repeat(COLUMN));
    if let Some(stuck) = stuck {
        let frames = stuck.stack.frames.iter().rev().enumerate();
        lines.extend(frames.map(|(depth, frame)| call(depth, frame)));
    }
    lines.push(String::new());
    for wait in graph.waits.iter().filter(|wait| wait.holder == Some(cpu)) {
        lines.extend(wrap(&format!(
            "keeps CPU {} waiting for {}",
            wait.cpu, wait.what
        )));
    }
    for wait in graph.waits.iter().filter(|wait| wait.cpu == cpu) {
        lines.extend(wrap(&format!("waits for {}", target(wait))));
    }
    lines
}

fn call(depth: usize, frame: &Frame) -> String {
    let mark = match frame.origin {
        Origin::Register | Origin::Chained => "",
        Origin::Interrupted => "interrupted: ",
        Origin::Scanned => "? ",
    };
    let function = match frame.base() {
        Some(symbol) => format!("{symbol}()"),
        None => format!("{:x}", frame.address),
    };
    cut(&format!("{}{mark}{function}", " ".repeat(depth)), COLUMN)
}

/// What a wait is for, where that is, and who has to end it.
fn target(wait: &Wait) -> String {
    let mut text = wait.what.clone();
    if wait.address != 0 {
        let _ = write!(text, " at {:x}", wait.address);
    }
    if let Some(value) = wait.value {
        let _ = write!(text, " = {value:#x}");
    }
    let how = match wait.how {
        How::Unknown => "",
        How::Exclusion => ", as no other CPU can be",
        How::Stack => ", as its stack shows",
        How::Memory => ", as memory shows",
    };
    if let Some(holder) = wait.holder {
        let _ = write!(text, ": up to CPU {holder}{how}");
    }
    text
}

fn side_by_side(columns: &[Vec<String>]) -> String {
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column: &Vec<String>, row: usize| column.get(row).cloned().unwrap_or_default();
    let mut out = String::new();
    for row in 0..rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| format!("{:COLUMN$}", cell(column, row)))
            .collect();
        let _ = writeln!(out, "{}", cells.join(SEPARATOR).trim_end());
    }
    out
}

/// Lines of at most a column, broken at blanks.
fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMN => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(cut(&format!("  {word}"), COLUMN)),
            None => lines.push(cut(word, COLUMN)),
        }
    }
    lines
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 3).collect();
    short.push_str("...");
    short
}
