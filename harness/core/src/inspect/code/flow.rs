//! The ways through a function's instructions.

use std::collections::{BTreeMap, VecDeque};

use iced_x86::{FlowControl, Instruction};

use super::instruction::{Locks, decode, pointer, preemption};
use super::{Image, effect_of};
use crate::inspect::calls::{Effect, stem};
use crate::inspect::fix::Fix;
use crate::inspect::flow::{Event, Flow, Step};

/// Helpers in helpers: more than there are.
const DEPTH_MAX: usize = 4;
const TOO_LONG: &str = "its code is longer than can be followed";

/// All ways from the function at `start`, through what it calls of the fix's helpers.
///
/// # Errors
/// When its code is too long, or cannot be decoded.
pub fn flow(image: &Image, name: &str, start: u64, fix: &Fix) -> Result<Flow, String> {
    let mut builder = Builder {
        image,
        fix,
        flow: Flow::default(),
    };
    let routine = builder.routine(name, start, 0)?;
    let end = builder.add(Some(Event::Return), start, String::new())?;
    for exit in routine.exits {
        builder.flow.link(exit, end);
    }
    Ok(builder.flow)
}

struct Builder<'a> {
    image: &'a Image,
    fix: &'a Fix,
    flow: Flow,
}

/// A function in the flow; its first step is the entry.
struct Routine {
    entry: usize,
    /// Steps after which it returns.
    exits: Vec<usize>,
}

/// What a function calls, or jumps to for good.
struct Callee {
    event: Option<Event>,
    /// A helper, to be followed.
    helper: Option<u64>,
    name: String,
}

/// One pass over a function.
struct Pass {
    name: String,
    start: u64,
    locks: Locks,
    /// First and last step of each instruction.
    steps: BTreeMap<u64, usize>,
    /// From a step to an address.
    edges: Vec<(usize, u64)>,
    exits: Vec<usize>,
    next: VecDeque<u64>,
    depth: usize,
}

impl Builder<'_> {
    fn add(&mut self, event: Option<Event>, at: u64, code: String) -> Result<usize, String> {
        let place = match event {
            Some(_) => self.image.place(at),
            None => String::new(),
        };
        let step = Step {
            event,
            place,
            code,
            next: Vec::new(),
        };
        self.flow.add(step).ok_or_else(|| TOO_LONG.to_owned())
    }

    fn routine(&mut self, name: &str, start: u64, depth: usize) -> Result<Routine, String> {
        let mut pass = Pass {
            name: stem(name).to_owned(),
            start,
            locks: Locks::of(self.image, start),
            steps: BTreeMap::new(),
            edges: Vec::new(),
            exits: Vec::new(),
            next: VecDeque::from([start]),
            depth,
        };
        while let Some(at) = pass.next.pop_front() {
            if pass.steps.contains_key(&at) {
                continue;
            }
            let instruction = decode(self.image, at)
                .ok_or_else(|| format!("no instruction at {}", self.image.place(at)))?;
            self.take(&instruction, &mut pass)?;
        }
        for (from, to) in &pass.edges {
            if let Some(to) = pass.steps.get(to) {
                self.flow.link(*from, *to);
            }
        }
        let entry = pass.steps.get(&start).copied().unwrap_or_default();
        Ok(Routine {
            entry,
            exits: pass.exits,
        })
    }

    fn take(&mut self, instruction: &Instruction, pass: &mut Pass) -> Result<(), String> {
        let at = instruction.ip();
        match instruction.flow_control() {
            FlowControl::Call => {
                let target = instruction.near_branch_target();
                let last = self.call(&self.callee(target), at, "call", pass)?;
                pass.go(&last, instruction.next_ip(), self.image);
            }
            FlowControl::IndirectCall => {
                let target = pointer(instruction).and_then(|at| self.image.word(at));
                let callee = self.callee(target.unwrap_or_default());
                let last = self.call(&callee, at, "call", pass)?;
                pass.go(&last, instruction.next_ip(), self.image);
            }
            FlowControl::UnconditionalBranch => {
                self.branch(instruction.near_branch_target(), at, None, pass)?;
            }
            FlowControl::ConditionalBranch => {
                let step = self.add(None, at, String::new())?;
                pass.steps.insert(at, step);
                pass.go(&[step], instruction.next_ip(), self.image);
                self.branch(instruction.near_branch_target(), at, Some(step), pass)?;
            }
            FlowControl::Return => {
                let step = self.add(None, at, String::new())?;
                pass.steps.insert(at, step);
                pass.exits.push(step);
            }
            FlowControl::Next | FlowControl::XbeginXabortXend => {
                let (event, code) = self.plain(instruction, pass);
                let step = self.add(event, at, code)?;
                pass.steps.insert(at, step);
                pass.go(&[step], instruction.next_ip(), self.image);
            }
            // Jump tables and traps: what comes behind them is not known.
            FlowControl::IndirectBranch | FlowControl::Interrupt | FlowControl::Exception => {
                let step = self.add(None, at, String::new())?;
                pass.steps.insert(at, step);
            }
        }
        Ok(())
    }

    fn plain(&self, instruction: &Instruction, pass: &Pass) -> (Option<Event>, String) {
        if pass.locks.counts(instruction) {
            return (None, String::new());
        }
        match preemption(instruction) {
            Some(Effect::PreemptOff) => (Some(Event::PreemptOff), "preemption off".to_owned()),
            Some(Effect::PreemptOn) => (Some(Event::PreemptOn), "preemption on".to_owned()),
            Some(Effect::Lock | Effect::Unlock) | None if pass.locks.drops(instruction) => (
                Some(Event::Unlock),
                "a store that drops the lock".to_owned(),
            ),
            Some(Effect::Lock | Effect::Unlock) | None => (None, String::new()),
        }
    }

    /// A jump: within the function and its parts, or to another function for good. It starts behind
    /// `from`, or is a step of its own.
    fn branch(
        &mut self,
        target: u64,
        at: u64,
        from: Option<usize>,
        pass: &mut Pass,
    ) -> Result<(), String> {
        if !pass.is_left_by(target, self.image) {
            let step = match from {
                Some(step) => step,
                None => self.add(None, at, String::new())?,
            };
            pass.steps.entry(at).or_insert(step);
            pass.edges.push((step, target));
            pass.next.push_back(target);
            return Ok(());
        }
        let callee = self.callee(target);
        let last = match from {
            None => self.call(&callee, at, "jump to", pass)?,
            Some(step) => {
                let (first, last) = self.called(&callee, at, "jump to", pass.depth)?;
                self.flow.link(step, first);
                last
            }
        };
        pass.exits.extend(last);
        Ok(())
    }

    /// Adds a call as the step of its instruction; returns the steps after which it is done.
    fn call(
        &mut self,
        callee: &Callee,
        at: u64,
        verb: &str,
        pass: &mut Pass,
    ) -> Result<Vec<usize>, String> {
        let (first, last) = self.called(callee, at, verb, pass.depth)?;
        pass.steps.insert(at, first);
        Ok(last)
    }

    fn called(
        &mut self,
        callee: &Callee,
        at: u64,
        verb: &str,
        depth: usize,
    ) -> Result<(usize, Vec<usize>), String> {
        let code = format!("{verb} {}", callee.name);
        let step = self.add(callee.event.clone(), at, code)?;
        let Some(helper) = callee.helper.filter(|_| depth < DEPTH_MAX) else {
            return Ok((step, vec![step]));
        };
        let routine = self.routine(&callee.name, helper, depth + 1)?;
        self.flow.link(step, routine.entry);
        Ok((step, routine.exits))
    }

    fn callee(&self, target: u64) -> Callee {
        let names = self.image.names(target);
        let stems = || names.iter().map(|name| stem(name));
        let among = |list: &[String]| stems().find(|name| list.iter().any(|one| one == name));
        let event = if let Some(wake) = among(&self.fix.wakes) {
            Some(Event::Wake(wake.to_owned()))
        } else if among(&self.fix.queues).is_some() {
            Some(Event::Queue)
        } else {
            effect_of(&names).map(|effect| match effect {
                Effect::Lock => Event::Lock,
                Effect::Unlock => Event::Unlock,
                Effect::PreemptOff => Event::PreemptOff,
                Effect::PreemptOn => Event::PreemptOn,
            })
        };
        Callee {
            event,
            helper: among(&self.fix.helpers).map(|_| target),
            name: among(&self.fix.wakes)
                .or(names.first().copied())
                .unwrap_or("a function")
                .to_owned(),
        }
    }
}

impl Pass {
    /// Goes on behind an instruction, unless another function begins there: then what came before does
    /// not return.
    fn go(&mut self, from: &[usize], to: u64, image: &Image) {
        if self.is_left_by(to, image) {
            return;
        }
        self.edges.extend(from.iter().map(|from| (*from, to)));
        self.next.push_back(to);
    }

    /// Whether another function begins there.
    fn is_left_by(&self, to: u64, image: &Image) -> bool {
        let names = image.names(to);
        to != self.start && !names.is_empty() && names.iter().all(|name| stem(name) != self.name)
    }
}
