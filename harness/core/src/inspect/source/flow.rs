//! The ways through functions of a C file.

use std::collections::BTreeMap;

use super::function::Function;
use super::statement::{Call, Statement};
use crate::inspect::calls::{Effect, effect};
use crate::inspect::fix::Fix;
use crate::inspect::flow::{Event, Flow, Step};

/// All ways through an entry and the functions of its file that it calls; `None`: there is no such
/// function.
///
/// # Errors
/// When there is more than can be followed.
pub fn flow(
    functions: &BTreeMap<String, Function>,
    entry: &str,
    fix: &Fix,
) -> Result<Option<Flow>, String> {
    let Some(function) = functions.get(entry) else {
        return Ok(None);
    };
    let mut builder = Builder {
        functions,
        fix,
        flow: Flow::default(),
        open: Vec::new(),
        within: Vec::new(),
        full: false,
    };
    builder.quiet();
    builder.function(function);
    builder.add(Step {
        event: Some(Event::Return),
        ..Step::default()
    });
    match builder.full {
        true => Err("it calls more than can be followed".to_owned()),
        false => Ok(Some(builder.flow)),
    }
}

struct Builder<'a> {
    functions: &'a BTreeMap<String, Function>,
    fix: &'a Fix,
    flow: Flow,
    /// Steps that lead to whatever comes next.
    open: Vec<usize>,
    /// Functions that are being followed, the innermost last.
    within: Vec<Frame>,
    full: bool,
}

/// What jumps of a function lead to.
#[derive(Default)]
struct Frame {
    name: String,
    labels: BTreeMap<String, usize>,
    gotos: Vec<(usize, String)>,
    returns: Vec<usize>,
    /// Loops and switches around, the innermost last.
    breakable: Vec<Breakable>,
}

#[derive(Default)]
struct Breakable {
    /// Where `continue` leads; a switch has none.
    again: Option<usize>,
    breaks: Vec<usize>,
    /// Where cases of a switch start from.
    cases: Option<Vec<usize>>,
}

impl Builder<'_> {
    /// Adds a step behind all that are open.
    fn add(&mut self, step: Step) {
        let Some(added) = self.flow.add(step) else {
            self.full = true;
            return;
        };
        for from in std::mem::take(&mut self.open) {
            self.flow.link(from, added);
        }
        self.open = vec![added];
    }

    /// A step without an event, to come back to.
    fn quiet(&mut self) -> usize {
        self.add(Step::default());
        self.open.first().copied().unwrap_or_default()
    }

    fn frame(&mut self) -> &mut Frame {
        if self.within.is_empty() {
            self.within.push(Frame::default());
        }
        let last = self.within.len() - 1;
        &mut self.within[last]
    }

    fn function(&mut self, function: &Function) {
        self.within.push(Frame {
            name: function.name.clone(),
            ..Frame::default()
        });
        self.all(&function.body);
        if let Some(frame) = self.within.pop() {
            for (from, label) in frame.gotos {
                if let Some(to) = frame.labels.get(&label) {
                    self.flow.link(from, *to);
                }
            }
            self.open.extend(frame.returns);
        }
    }

    fn all(&mut self, statements: &[Statement]) {
        for statement in statements {
            if self.full {
                return;
            }
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Calls(calls) => self.calls(calls),
            Statement::Block(all) => self.all(all),
            Statement::If {
                condition,
                then,
                otherwise,
            } => {
                self.calls(condition);
                let fork = self.quiet();
                self.statement(then);
                let mut ends = std::mem::replace(&mut self.open, vec![fork]);
                if let Some(otherwise) = otherwise {
                    self.statement(otherwise);
                }
                self.open.append(&mut ends);
            }
            Statement::Loop {
                head,
                body,
                endless,
                body_first,
            } => self.a_loop(head, body, *endless, *body_first),
            Statement::Switch { value, body } => self.switch(value, body),
            Statement::Case => {
                let frame = self.frame();
                let from = frame
                    .breakable
                    .iter()
                    .rev()
                    .find_map(|one| one.cases.clone());
                self.open.extend(from.unwrap_or_default());
                self.quiet();
            }
            Statement::Label(name) => {
                let here = self.quiet();
                self.frame().labels.insert(name.clone(), here);
            }
            Statement::Goto(name) => {
                let here = self.quiet();
                self.frame().gotos.push((here, name.clone()));
                self.open.clear();
            }
            Statement::Return(calls) => {
                self.calls(calls);
                let mut open = std::mem::take(&mut self.open);
                self.frame().returns.append(&mut open);
            }
            Statement::Break => {
                let mut open = std::mem::take(&mut self.open);
                if let Some(around) = self.frame().breakable.last_mut() {
                    around.breaks.append(&mut open);
                }
            }
            Statement::Continue => self.go_on(),
        }
    }

    fn go_on(&mut self) {
        let around = self.frame().breakable.iter().rev();
        let again = around.filter_map(|one| one.again).next();
        for from in std::mem::take(&mut self.open) {
            if let Some(again) = again {
                self.flow.link(from, again);
            }
        }
    }

    fn a_loop(&mut self, head: &[Call], body: &Statement, endless: bool, body_first: bool) {
        let again = self.quiet();
        if !body_first {
            self.calls(head);
        }
        let leave = if body_first || endless {
            Vec::new()
        } else {
            self.open.clone()
        };
        self.frame().breakable.push(Breakable {
            again: Some(again),
            ..Breakable::default()
        });
        self.statement(body);
        if body_first {
            self.calls(head);
        }
        let ends = std::mem::take(&mut self.open);
        for from in &ends {
            self.flow.link(*from, again);
        }
        self.open = leave;
        if body_first && !endless {
            self.open.extend(ends);
        }
        let around = self.frame().breakable.pop().unwrap_or_default();
        self.open.extend(around.breaks);
    }

    fn switch(&mut self, value: &[Call], body: &Statement) {
        self.calls(value);
        let fork = self.quiet();
        self.open.clear();
        self.frame().breakable.push(Breakable {
            cases: Some(vec![fork]),
            ..Breakable::default()
        });
        self.statement(body);
        // Without a default it may run none of its cases.
        self.open.push(fork);
        let around = self.frame().breakable.pop().unwrap_or_default();
        self.open.extend(around.breaks);
    }

    fn calls(&mut self, calls: &[Call]) {
        for call in calls {
            if let Some(event) = self.event(call) {
                let step = Step {
                    event: Some(event),
                    place: format!("{}:{}", self.fix.file, call.line),
                    code: format!(
                        "{}() calls {}({})",
                        self.frame().name,
                        call.name,
                        call.arguments.join(", ")
                    ),
                    next: Vec::new(),
                };
                self.add(step);
            } else if let Some(function) = self.callee(&call.name) {
                self.function(&function);
            }
        }
    }

    fn event(&self, call: &Call) -> Option<Event> {
        if self.fix.wakes.contains(&call.name) {
            return Some(Event::Wake(call.name.clone()));
        }
        if self.fix.queues.contains(&call.name) {
            return Some(Event::Queue);
        }
        match effect(&call.name)? {
            Effect::Lock => self.is_the_lock(call).then_some(Event::Lock),
            Effect::Unlock => self.is_the_lock(call).then_some(Event::Unlock),
            Effect::PreemptOff => Some(Event::PreemptOff),
            Effect::PreemptOn => Some(Event::PreemptOn),
        }
    }

    /// Whether a lock's expression ends with the member that is meant.
    fn is_the_lock(&self, call: &Call) -> bool {
        let lock = call.arguments.first();
        let member = lock.and_then(|lock| lock.rsplit(['>', '.', '&']).next());
        member == Some(self.fix.lock.as_str())
    }

    /// A function of the file that is not being followed yet.
    fn callee(&self, name: &str) -> Option<Function> {
        let followed = self.within.iter().any(|frame| frame.name == name);
        self.functions.get(name).filter(|_| !followed).cloned()
    }
}
