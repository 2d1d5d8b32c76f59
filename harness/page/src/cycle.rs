//! Who waits for whom, as a drawing: CPUs on a circle, arrows along it.

use std::f64::consts::{FRAC_PI_2, PI, TAU};
use std::fmt::Write;

use kverdict_core::outside::finding::{Findings, Kind, Stuck};
use kverdict_core::outside::waits::{How, Wait};

use crate::Error;
use crate::figure::{Figure, Width};
use crate::text::{cut, escape, visible, wrap};

/// Pixels of a letter in a drawing, on average.
const LETTER: f64 = 7.2;
/// Pixels of a line of text.
const LINE: f64 = 17.0;
/// Functions named in a CPU's box, from the inside out.
const FUNCTIONS: usize = 3;
/// Lines of what a CPU waits for; the sentences below a drawing have all of it.
const LABEL_LINES: usize = 7;
/// Points along which an arrow is laid.
const STEPS: usize = 240;
/// Pixels between a box and an arrow.
const GAP: f64 = 5.0;
/// Pixels of an arrow's head.
const HEAD: f64 = 12.0;

/// The deadlock that was seen, if CPUs wait for each other.
pub(crate) fn figure(id: &str, findings: &Findings) -> Result<Option<Figure>, Error> {
    let Some(cycle) = &findings.graph.cycle else {
        return Ok(None);
    };
    let sure = match cycle.proven {
        true => "Stacks and memory of the guest prove it",
        false => "As far as could be read from outside, it is likely",
    };
    let caption = format!(
        "Follow the arrows: each CPU waits for something that the next one has, and the last one waits for the first, \
         so that none of them ever gets on. {sure}. A box names what its CPU is doing, the innermost function first."
    );
    let ring = Ring::new(findings, &cycle.cpus);
    Figure::new(id, "Who waits for whom", caption, Vec::new(), |width| {
        Ok(ring.draw(width))
    })
    .map(Some)
}

/// Every wait in a sentence, those of the cycle first.
pub(crate) fn sentences(findings: &Findings) -> Vec<String> {
    let graph = &findings.graph;
    let cycle = graph.cycle.as_ref().map_or(&[][..], |cycle| &cycle.cpus);
    let in_cycle = |wait: &&Wait| cycle.contains(&wait.cpu);
    let (first, rest): (Vec<&Wait>, Vec<&Wait>) = graph.waits.iter().partition(in_cycle);
    let mut all: Vec<String> = first.into_iter().chain(rest).map(sentence).collect();
    let named = |stuck: &&Stuck| graph.waits.iter().any(|wait| wait.cpu == name(stuck));
    let silent = findings.stuck.iter().filter(|stuck| !named(stuck));
    all.extend(silent.map(|stuck| format!("{stuck}; what it waits for is not known")));
    all
}

fn sentence(wait: &Wait) -> String {
    let place = match (wait.address, wait.value) {
        (0, _) => String::new(),
        (address, None) => format!(" at {address:x}"),
        (address, Some(value)) => format!(" at {address:x} = {value:#x}"),
    };
    let how = match wait.how {
        How::Unknown => "as is only guessed",
        How::Exclusion => "as no other CPU can be the one",
        How::Stack => "as its stack shows",
        How::Memory => "as the guest's memory shows",
    };
    let holder = match wait.holder {
        Some(holder) => format!("; CPU {holder} has to end that, {how}"),
        None => String::new(),
    };
    format!("CPU {} waits for {}{place}{holder}", wait.cpu, wait.what)
}

fn name(stuck: &Stuck) -> u32 {
    stuck.cpu.unwrap_or(stuck.vcpu)
}

/// CPUs in a circle.
struct Ring {
    boxes: Vec<Cpu>,
    /// What each waits for, of the next one.
    waits: Vec<String>,
    /// CPUs that wait for the circle, and why.
    piled_up: Vec<(String, String)>,
}

/// What stands in a CPU's box.
struct Cpu {
    head: String,
    lines: Vec<String>,
}

impl Ring {
    fn new(findings: &Findings, cpus: &[u32]) -> Self {
        let next = cpus.iter().cycle().skip(1);
        let of = |cpu: u32| findings.graph.waits.iter().filter(move |w| w.cpu == cpu);
        let wait = |(cpu, next): (&u32, &u32)| {
            let wait = of(*cpu).max_by_key(|wait| wait.holder == Some(*next));
            let what = wait.map_or("something", |wait| wait.what.as_str());
            format!("waits for {what}, held by CPU {next}")
        };
        let piled = findings.graph.piled_up.iter().map(|cpu| {
            let wait = of(*cpu).next();
            let why = wait.map_or(String::new(), |wait| match wait.holder {
                Some(holder) => format!("waits for CPU {holder}: {}", wait.what),
                None => format!("waits for {}", wait.what),
            });
            (format!("CPU {cpu}"), why)
        });
        Self {
            boxes: cpus.iter().map(|cpu| Cpu::new(*cpu, findings)).collect(),
            waits: cpus.iter().zip(next).map(wait).collect(),
            piled_up: piled.collect(),
        }
    }

    fn draw(&self, width: Width) -> String {
        let place = Place::new(self.boxes.len(), width);
        let mut body = String::new();
        for index in 0..self.boxes.len() {
            body.push_str(&self.arrow(&place, index));
        }
        for (index, cpu) in self.boxes.iter().enumerate() {
            body.push_str(&cpu.draw(&place, place.center(index)));
        }
        let (piled, height) = self.draw_piled_up(&place, width);
        let wide = width.pixels();
        format!(
            "<svg width=\"{wide}\" height=\"{height:.0}\" viewBox=\"0 0 {wide} {height:.0}\" \
             xmlns=\"http://www.w3.org/2000/svg\" class=\"cycle\">\n{body}{piled}</svg>\n"
        )
    }

    /// The arrow from a CPU to the next one, and what it says.
    fn arrow(&self, place: &Place, index: usize) -> String {
        let path = place.path(index);
        let (Some(tip), Some(before)) = (path.last(), path.iter().rev().nth(6)) else {
            return String::new();
        };
        let points: Vec<String> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let angle = (tip.1 - before.1).atan2(tip.0 - before.0);
        let wing = |turn: f64| {
            let (x, y) = ((angle + turn).cos(), (angle + turn).sin());
            format!("{:.1},{:.1}", tip.0 + x * HEAD, tip.1 + y * HEAD)
        };
        let mut out = format!(
            "<polyline class=\"arrow\" points=\"{}\"/>\n<polygon class=\"tip\" points=\"{:.1},{:.1} {} {}\"/>\n",
            points.join(" "),
            tip.0,
            tip.1,
            wing(PI - 0.45),
            wing(PI + 0.45)
        );
        let middle = path[path.len() / 2];
        match place.label {
            Some(label) => out.push_str(&place.words(&label, middle, &self.waits[index])),
            None => out.push_str(&number(middle, index + 1)),
        }
        out
    }

    /// CPUs that wait for those of the circle, below it; and where the drawing ends.
    fn draw_piled_up(&self, place: &Place, width: Width) -> (String, f64) {
        let mut y = place.height;
        let mut out = String::new();
        if self.piled_up.is_empty() {
            return (out, y);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<text class=\"faint\" x=\"{}\" y=\"{:.1}\">piled up behind them:</text>",
            GAP,
            y + LINE
        );
        y += 1.6 * LINE;
        let letters = width.pick(78, 34);
        for (cpu, why) in &self.piled_up {
            let mut lines = wrap(&visible(why), letters);
            lines.truncate(LABEL_LINES);
            let high = lines.len().max(1) as f64 * LINE + 10.0;
            let _ = write!(
                out,
                "<rect class=\"box piled\" x=\"{GAP}\" y=\"{y:.1}\" width=\"64\" height=\"{high:.1}\" rx=\"5\"/>\n\
                 <text class=\"head\" x=\"12\" y=\"{:.1}\">{}</text>\n",
                y + LINE,
                escape(cpu)
            );
            for (index, line) in lines.iter().enumerate() {
                let down = y + LINE * (index as f64 + 1.0);
                let _ = writeln!(
                    out,
                    "<text x=\"80\" y=\"{down:.1}\">{}</text>",
                    escape(line)
                );
            }
            y += high + 6.0;
        }
        (out, y + 2.0)
    }
}

/// A number in a dot, for arrows without room for words.
fn number((x, y): (f64, f64), number: usize) -> String {
    format!(
        "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"11\"/>\
         <text class=\"number\" x=\"{x:.1}\" y=\"{:.1}\">{number}</text>\n",
        y + 5.0
    )
}

impl Cpu {
    fn new(cpu: u32, findings: &Findings) -> Self {
        let stuck = findings.stuck.iter().find(|stuck| name(stuck) == cpu);
        let sides = findings.signature.iter().flat_map(|seen| &seen.sides);
        let side = sides.into_iter().find(|side| side.cpu == cpu);
        let side = side.map_or(String::new(), |side| format!(", side {}", side.side));
        let mut lines = Vec::new();
        if let Some(stuck) = stuck {
            lines.push(match stuck.kind {
                Kind::HardLockup => "interrupts off".to_owned(),
                Kind::SoftLockup => "interrupts on".to_owned(),
            });
            let sure = stuck.stack.frames.iter().filter(|frame| frame.is_sure());
            let names = sure.filter_map(|frame| frame.base());
            lines.extend(names.take(FUNCTIONS).map(|name| format!("{name}()")));
        }
        Self {
            head: format!("CPU {cpu}{side}"),
            lines,
        }
    }

    fn draw(&self, place: &Place, (x, y): (f64, f64)) -> String {
        let (wide, high) = place.size;
        let (left, top) = (x - wide / 2.0, y - high / 2.0);
        let letters = ((wide - 16.0) / LETTER) as usize;
        let mut out = format!(
            "<rect class=\"box\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" rx=\"6\"/>\n\
             <text class=\"head\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            left + 9.0,
            top + LINE,
            escape(&cut(&self.head, letters))
        );
        let room = ((high - LINE - 6.0) / LINE) as usize;
        for (index, line) in self.lines.iter().take(room).enumerate() {
            let down = top + LINE * (index as f64 + 2.0);
            let class = if index == 0 { "faint" } else { "code" };
            let _ = writeln!(
                out,
                "<text class=\"{class}\" x=\"{:.1}\" y=\"{down:.1}\">{}</text>",
                left + 9.0,
                escape(&cut(line, letters))
            );
        }
        out
    }
}

/// Where things are.
struct Place {
    count: usize,
    middle: (f64, f64),
    radius: (f64, f64),
    /// Of a CPU's box.
    size: (f64, f64),
    /// Direction in which the first CPU lies.
    first: f64,
    height: f64,
    /// Room for words along arrows; without it they have numbers.
    label: Option<Label>,
}

/// Room for words inside of the circle.
#[derive(Clone, Copy)]
struct Label {
    letters: usize,
    /// Whether words stand above and below the middle, or left and right of it.
    stacked: bool,
}

impl Place {
    fn new(count: usize, width: Width) -> Self {
        let pixels = f64::from(width.pixels());
        if count == 2 {
            return match width {
                Width::Wide => Self::pair((pixels / 2.0, 130.0), (254.0, 106.0), PI, 260.0, true),
                Width::Narrow => Self::pair(
                    (pixels / 2.0, 240.0),
                    (148.0, 178.0),
                    -FRAC_PI_2,
                    480.0,
                    false,
                ),
            };
        }
        let radius = (
            width.pick(280.0, 112.0),
            width.pick(42.0, 34.0) * count as f64 + 40.0,
        );
        let size = (width.pick(190.0, 108.0), width.pick(88.0, 54.0));
        let height = 2.0 * radius.1 + size.1 + 8.0;
        Self {
            count,
            middle: (pixels / 2.0, height / 2.0),
            radius,
            size,
            first: -FRAC_PI_2,
            height,
            label: None,
        }
    }

    fn pair(
        middle: (f64, f64),
        radius: (f64, f64),
        first: f64,
        height: f64,
        stacked: bool,
    ) -> Self {
        Self {
            count: 2,
            middle,
            radius,
            size: (234.0, 98.0),
            first,
            height,
            label: Some(Label {
                letters: if stacked { 35 } else { 18 },
                stacked,
            }),
        }
    }

    fn at(&self, turn: f64) -> (f64, f64) {
        let angle = self.first + TAU * turn / self.count as f64;
        (
            self.middle.0 + self.radius.0 * angle.cos(),
            self.middle.1 + self.radius.1 * angle.sin(),
        )
    }

    fn center(&self, index: usize) -> (f64, f64) {
        self.at(index as f64)
    }

    /// The part of the circle between a box and the next one.
    fn path(&self, index: usize) -> Vec<(f64, f64)> {
        let (from, to) = (self.center(index), self.center((index + 1) % self.count));
        let inside = |(x, y): (f64, f64), center: (f64, f64)| {
            (x - center.0).abs() < self.size.0 / 2.0 + GAP
                && (y - center.1).abs() < self.size.1 / 2.0 + GAP
        };
        (0..=STEPS)
            .map(|step| self.at(index as f64 + step as f64 / STEPS as f64))
            .filter(|point| !inside(*point, from) && !inside(*point, to))
            .collect()
    }

    /// Words beside the middle of an arrow, on the inner side of it.
    fn words(&self, label: &Label, arrow: (f64, f64), text: &str) -> String {
        let mut lines = wrap(&visible(text), label.letters);
        lines.truncate(LABEL_LINES);
        let high = lines.len() as f64 * LINE;
        let (x, top) = match label.stacked {
            true if arrow.1 < self.middle.1 => (self.middle.0, arrow.1 + 8.0),
            true => (self.middle.0, arrow.1 - 8.0 - high),
            false if arrow.0 > self.middle.0 => (
                self.middle.0 + self.radius.0 / 2.0 - 6.0,
                self.middle.1 - high / 2.0,
            ),
            false => (
                self.middle.0 - self.radius.0 / 2.0 + 6.0,
                self.middle.1 - high / 2.0,
            ),
        };
        let mut out = String::new();
        for (index, line) in lines.iter().enumerate() {
            let down = top + LINE * (index as f64 + 0.78);
            let _ = writeln!(
                out,
                "<text class=\"label\" x=\"{x:.1}\" y=\"{down:.1}\">{}</text>",
                escape(line)
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_lead_from_box_to_box_and_touch_neither() {
        for count in [2, 3, 5] {
            for width in [Width::Wide, Width::Narrow] {
                let place = Place::new(count, width);
                for index in 0..count {
                    let path = place.path(index);
                    assert!(path.len() > 10, "{count} CPUs: the arrow is too short");
                    let far = |one: (f64, f64), other: (f64, f64)| {
                        (one.0 - other.0).hypot(one.1 - other.1)
                    };
                    let (from, to) = (place.center(index), place.center((index + 1) % count));
                    assert!(far(path[0], from) < far(path[0], to));
                    let tip = path[path.len() - 1];
                    assert!(far(tip, to) < far(tip, from));
                    for (x, y) in path {
                        assert!(
                            x > 0.0 && x < f64::from(width.pixels()) && y > 0.0 && y < place.height
                        );
                    }
                }
            }
        }
    }
}
