//! All ways through a flow, with what is held on them.

use std::collections::{BTreeMap, HashSet};

use super::flow::{Event, Flow};

/// More nested locks than any code here takes, and more reasons not to preempt.
const DEPTH_MAX: u8 = 4;

/// A wake-up, with the worst that can be said of it on any way that leads there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// Step of the flow.
    pub step: usize,
    /// The function that wakes.
    pub call: String,
    /// The lock may be held.
    pub under_lock: bool,
    /// Preemption is off.
    pub preemption_off: bool,
    /// Preemption was off all the time since the lock was dropped.
    pub off_since_unlock: bool,
}

/// What happens on the ways through a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Wake-ups, in the order of their steps.
    pub wakes: Vec<Wake>,
    /// The lock is taken somewhere.
    pub locks: bool,
    /// Locks are left held, or dropped that are not: something was not recognized.
    pub unbalanced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    step: usize,
    locks: u8,
    preemption: u8,
    /// Something was put into the queue since the lock was taken.
    queued: bool,
    /// Preemption was off since the lock was dropped.
    covered: bool,
}

/// Follows all ways.
pub fn walk(flow: &Flow) -> Walk {
    let start = State {
        step: 0,
        locks: 0,
        preemption: 0,
        queued: false,
        covered: false,
    };
    let mut walker = Walker {
        queues: flow.queues(),
        wakes: BTreeMap::new(),
        found: Walk::default(),
    };
    let mut seen = HashSet::new();
    let mut ways = vec![start];
    while let Some(state) = ways.pop() {
        let Some(step) = flow.steps.get(state.step) else {
            continue;
        };
        if !seen.insert(state) {
            continue;
        }
        let after = walker.take(state, step.event.as_ref());
        ways.extend(step.next.iter().map(|&step| State { step, ..after }));
    }
    walker.found.wakes = walker.wakes.into_values().collect();
    walker.found
}

struct Walker {
    /// The flow shows what is put into the queue; otherwise whoever takes the lock does that.
    queues: bool,
    wakes: BTreeMap<usize, Wake>,
    found: Walk,
}

impl Walker {
    fn take(&mut self, mut state: State, event: Option<&Event>) -> State {
        match event {
            Some(Event::Lock) => {
                self.found.locks = true;
                if state.locks == 0 {
                    state.queued = !self.queues;
                }
                state.locks = (state.locks + 1).min(DEPTH_MAX);
            }
            Some(Event::Unlock) => {
                self.found.unbalanced |= state.locks == 0;
                state.locks = state.locks.saturating_sub(1);
                state.covered = state.preemption > 0;
            }
            Some(Event::Queue) => state.queued |= state.locks > 0,
            Some(Event::Wake(call)) => self.wake(state, call),
            Some(Event::PreemptOff) => state.preemption = (state.preemption + 1).min(DEPTH_MAX),
            Some(Event::PreemptOn) => {
                state.preemption = state.preemption.saturating_sub(1);
                state.covered &= state.preemption > 0;
            }
            Some(Event::Return) => self.found.unbalanced |= state.locks > 0,
            None => {}
        }
        state
    }

    fn wake(&mut self, state: State, call: &str) {
        let under_lock = state.locks > 0;
        if !under_lock && !state.queued {
            return;
        }
        let wake = self.wakes.entry(state.step).or_insert_with(|| Wake {
            step: state.step,
            call: call.to_owned(),
            under_lock: false,
            preemption_off: true,
            off_since_unlock: true,
        });
        wake.under_lock |= under_lock;
        wake.preemption_off &= state.preemption > 0;
        wake.off_since_unlock &= state.covered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::flow::Step;

    /// A flow without branches, but for a way back from the end.
    fn line(events: &[Event], back_to: Option<usize>) -> Walk {
        let mut flow = Flow::default();
        for (number, event) in events.iter().enumerate() {
            let last = number + 1 == events.len();
            flow.steps.push(Step {
                event: Some(event.clone()),
                next: if last {
                    back_to.into_iter().collect()
                } else {
                    vec![number + 1]
                },
                ..Step::default()
            });
        }
        walk(&flow)
    }

    fn wake() -> Event {
        Event::Wake("w".to_owned())
    }

    #[test]
    fn what_is_held_at_a_wake_up() {
        use Event::{Lock, PreemptOff, PreemptOn, Queue, Return, Unlock};
        let one = |events: &[Event]| {
            let walk = line(events, None);
            assert!(!walk.unbalanced, "{events:?}");
            let wake = walk.wakes[0].clone();
            [wake.under_lock, wake.preemption_off, wake.off_since_unlock]
        };
        let early = [Lock, Queue, wake(), Unlock, Return];
        assert_eq!(one(&early), [true, false, false]);
        let late = [Lock, Queue, Unlock, wake(), Return];
        assert_eq!(one(&late), [false, false, false]);
        let whole = [PreemptOff, Lock, Queue, Unlock, wake(), PreemptOn, Return];
        assert_eq!(one(&whole), [false, true, true]);
        let gap = [Lock, Queue, Unlock, PreemptOff, wake(), PreemptOn, Return];
        assert_eq!(one(&gap), [false, true, false]);
        let inner = [Lock, Queue, PreemptOff, Unlock, wake(), PreemptOn, Return];
        assert_eq!(one(&inner), [false, true, true]);
    }

    #[test]
    fn locks_that_do_not_add_up_are_noticed() {
        use Event::{Lock, Queue, Return, Unlock};
        assert!(line(&[Lock, Queue, wake(), Return], None).unbalanced);
        assert!(line(&[Lock, Unlock, Unlock, Return], None).unbalanced);
        assert!(!line(&[Return], None).locks);
    }

    #[test]
    fn loops_end_and_empty_queues_wake_nobody() {
        use Event::{Lock, Queue, Unlock};
        // Of the second round nothing is left over from the first.
        let walk = line(&[Lock, Queue, Unlock, wake(), Lock, Unlock], Some(0));
        assert!(!walk.wakes[0].under_lock);
        let endless = line(&[Lock], Some(0));
        assert!(endless.locks && endless.wakes.is_empty());
        let none = line(&[Lock, Unlock, wake(), Lock, Queue, Unlock], None);
        assert_eq!(none.wakes, []);
    }
}
