//! The ways through a function and everything that it calls, reduced to what matters for a lock.

/// Something that happens on a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The lock is taken.
    Lock,
    /// The lock is dropped.
    Unlock,
    /// Something is put into the queue.
    Queue,
    /// A thread is woken, by this function.
    Wake(String),
    /// Preemption is turned off.
    PreemptOff,
    /// And on again.
    PreemptOn,
    /// The entry is left.
    Return,
}

/// One step: at most one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub event: Option<Event>,
    /// Where.
    pub place: String,
    /// As the kernel has it.
    pub code: String,
    /// Steps that may come next.
    pub next: Vec<usize>,
}

/// All ways through an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// All steps; the first one is where everything starts.
    pub steps: Vec<Step>,
}

/// More than any function here: whoever needs more is not what we think it is.
const STEPS_MAX: usize = 20_000;

impl Flow {
    /// Adds a step and says which it is; `None`: there are too many.
    pub fn add(&mut self, step: Step) -> Option<usize> {
        if self.steps.len() >= STEPS_MAX {
            return None;
        }
        self.steps.push(step);
        Some(self.steps.len() - 1)
    }

    /// Lets one step come after another.
    pub fn link(&mut self, from: usize, to: usize) {
        let next = &mut self.steps[from].next;
        if !next.contains(&to) {
            next.push(to);
        }
    }

    /// Whether anything is put into the queue on any way.
    pub fn queues(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.event == Some(Event::Queue))
    }
}
