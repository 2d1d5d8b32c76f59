//! A kernel's code: x86-64 instructions, followed from a function's first one.

mod flow;
mod image;
mod instruction;

pub use image::{BadImage, Image};

use super::calls::{Effect, effect};
use super::fix::{Fix, Function};
use super::flow::Flow;
use super::judge::Kernel;

/// Functions that every kernel has out of line on x86-64, and that count preemption where it is counted.
const SPIN_LOCKS: &[&str] = &[
    "_raw_spin_lock",
    "_raw_spin_lock_irq",
    "_raw_spin_lock_irqsave",
];

impl Kernel for Image {
    fn has(&self, wanted: &Function) -> Result<bool, String> {
        Ok(self.function(&wanted.function).is_some())
    }

    fn flow(&self, entry: &str, fix: &Fix) -> Result<Option<Flow>, String> {
        match self.function(entry) {
            Some(start) => flow::flow(self, entry, start, fix).map(Some),
            None => Ok(None),
        }
    }

    fn hides_preemption(&self) -> Option<String> {
        let lock = SPIN_LOCKS.iter().find_map(|name| self.function(name));
        let Some(lock) = lock else {
            return Some("its spinlocks are not where they have always been".to_owned());
        };
        let counts = instruction::straight(self, lock)
            .iter()
            .any(|one| instruction::preemption(one) == Some(Effect::PreemptOff));
        (!counts).then(|| {
            "its spinlocks do not count preemption, so it was built without kernel preemption, where they make no \
             difference, or is older than v3.13"
                .to_owned()
        })
    }
}

/// What a call of a function with these names does.
fn effect_of(names: &[&str]) -> Option<Effect> {
    names
        .iter()
        .find_map(|name| effect(super::calls::stem(name)))
}
