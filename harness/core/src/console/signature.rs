//! What identifies one bug: who waits for whom, as seen in stacks.

use serde::{Deserialize, Serialize};

use super::stack::Stack;

/// One bug. A deadlock has several sides, each of which has to be seen on a CPU of its own.
#[derive(Debug)]
pub struct Signature {
    /// Unique name.
    pub name: &'static str,
    /// What it is about, in one sentence.
    pub about: &'static str,
    /// Folders and files of the kernel that a change in the matter probably touches.
    pub paths: &'static [&'static str],
    /// All of these make a target.
    pub sides: &'static [Side],
}

/// One participant of a deadlock.
#[derive(Debug)]
pub struct Side {
    /// Short name, such as `A`.
    pub name: &'static str,
    /// What the CPU is doing, in one sentence.
    pub about: &'static str,
    /// Where it is stuck: the innermost frames, at least one, are all among these. A trailing `*`
    /// stands for anything.
    pub stuck_in: &'static [&'static str],
    /// How it got there, from the inside out: the first step is the caller of the innermost
    /// frames, the others come after it in this order, other frames may be between them. Each step
    /// lists the names that a function had over the years and that of callers it is inlined into.
    pub path: &'static [&'static [&'static str]],
}

impl Side {
    /// Whether a context's reliable frames (base symbols, innermost first) are this side.
    pub fn matches(&self, frames: &[&str]) -> bool {
        let stuck = frames
            .iter()
            .take_while(|frame| is_any(frame, self.stuck_in))
            .count();
        if stuck == 0 {
            return false;
        }
        let mut rest = &frames[stuck..];
        for (number, step) in self.path.iter().enumerate() {
            let Some(at) = rest.iter().position(|frame| is_any(frame, step)) else {
                return false;
            };
            if number == 0 && at != 0 {
                return false;
            }
            rest = &rest[at + 1..];
        }
        true
    }
}

fn is_any(symbol: &str, names: &[&str]) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(stem) => symbol.starts_with(stem),
        None => symbol == *name,
    })
}

/// Commit 0b26351b910f: a stopper's wake-up under both stopper locks waits for a CPU that waits for
/// one of these locks in its newly-idle balance.
pub static STOP_TWO_CPUS: Signature = Signature {
    name: "stop-two-cpus",
    about: "stop_two_cpus() wakes a stopper under its lock while that stopper, going to sleep, \
            wants the other one's lock for an active balance (fixed by 0b26351b910f)",
    paths: &[
        "kernel/stop_machine.c",
        "include/linux/stop_machine.h",
        "kernel/sched/",
    ],
    sides: &[
        Side {
            name: "A",
            about: "a stopper going to sleep waits for another stopper's lock to start an active balance",
            stuck_in: &[
                "queued_spin_lock_slowpath",
                "native_queued_spin_lock_slowpath",
                "__pv_queued_spin_lock_slowpath",
                "pv_queued_spin_lock_slowpath",
                "__raw_callee_save___pv_queued_spin_lock_slowpath",
                "_raw_spin_lock*",
                "__raw_spin_lock*",
                "do_raw_spin_lock*",
                "__ticket_spin_lock",
                "__lock_text_start",
                // What a debug build of the lock spins in.
                "delay_tsc",
                "delay_loop",
                "__delay",
                "__const_udelay",
            ],
            path: &[
                &["cpu_stop_queue_work", "stop_one_cpu_nowait"],
                &["load_balance", "sched_balance_rq"],
                &[
                    "idle_balance",
                    "newidle_balance",
                    "sched_balance_newidle",
                    "pick_next_task_fair",
                    "balance_fair",
                ],
                &["__schedule", "schedule"],
            ],
        },
        Side {
            name: "B",
            about: "a NUMA swap holds both stopper locks and waits for that stopper to leave schedule()",
            stuck_in: &["try_to_wake_up", "wake_up_process"],
            path: &[
                &[
                    "__cpu_stop_queue_work",
                    "cpu_stop_queue_two_works",
                    "stop_two_cpus",
                ],
                &["migrate_swap"],
            ],
        },
    ],
};

/// Every signature that consoles are held against.
pub static SIGNATURES: &[&Signature] = &[&STOP_TWO_CPUS];

/// How much of a signature was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Something got stuck, but none of the sides was seen.
    Other,
    /// Some of the sides were seen, not all.
    Possible,
    /// Every side was seen, on different CPUs.
    Target,
}

/// What the console shows of one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureFinding {
    /// The signature's name.
    pub name: String,
    /// How much of it was seen.
    pub matched: Match,
    /// The stacks that show it, one for each side that was seen.
    pub sides: Vec<SideFinding>,
}

/// One side, seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideFinding {
    /// The side's name.
    pub side: String,
    /// What the CPU is doing.
    pub about: String,
    /// Where it was seen.
    pub stack: Stack,
}

/// Collects the sides of one signature from a stream of stacks.
#[derive(Debug)]
pub(super) struct Evidence {
    signature: &'static Signature,
    /// For each side the stacks that show it, on different CPUs.
    seen: Vec<Vec<Stack>>,
}

/// More CPUs per side prove nothing more.
const STACKS_PER_SIDE_MAX: usize = 4;

impl Evidence {
    pub fn new(signature: &'static Signature) -> Self {
        let seen = signature.sides.iter().map(|_| Vec::new()).collect();
        Evidence { signature, seen }
    }

    pub fn add(&mut self, stack: &Stack) {
        let contexts = stack.contexts();
        for (side, seen) in self.signature.sides.iter().zip(&mut self.seen) {
            let is_new =
                seen.len() < STACKS_PER_SIDE_MAX && seen.iter().all(|s| s.cpu != stack.cpu);
            if is_new && contexts.iter().any(|frames| side.matches(frames)) {
                seen.push(stack.clone());
            }
        }
    }

    /// What was seen, with `open` as one more source of stacks that are not complete yet.
    pub fn finding<'a>(&self, open: impl Iterator<Item = &'a Stack>) -> SignatureFinding {
        let mut all = Evidence {
            signature: self.signature,
            seen: self.seen.clone(),
        };
        open.for_each(|stack| all.add(stack));
        let chosen = all.choose(0, &mut Vec::new());
        let target = chosen.is_some();
        let stacks = chosen.unwrap_or_else(|| all.seen.iter().map(|s| s.first()).collect());
        let sides: Vec<SideFinding> = all
            .signature
            .sides
            .iter()
            .zip(stacks)
            .filter_map(|(side, stack)| {
                Some(SideFinding {
                    side: side.name.to_string(),
                    about: side.about.to_string(),
                    stack: stack?.clone(),
                })
            })
            .collect();
        let matched = match (target, sides.is_empty()) {
            (true, _) => Match::Target,
            (false, false) => Match::Possible,
            (false, true) => Match::Other,
        };
        SignatureFinding {
            name: self.signature.name.to_string(),
            matched,
            sides,
        }
    }

    /// One stack for each side from `side` on, all on different CPUs.
    fn choose<'a>(
        &'a self,
        side: usize,
        taken: &mut Vec<Option<u32>>,
    ) -> Option<Vec<Option<&'a Stack>>> {
        let Some(seen) = self.seen.get(side) else {
            return Some(Vec::new());
        };
        seen.iter().find_map(|stack| {
            if taken.contains(&stack.cpu) {
                return None;
            }
            taken.push(stack.cpu);
            let rest = self.choose(side + 1, taken);
            taken.pop();
            rest.map(|mut rest| {
                rest.insert(0, Some(stack));
                rest
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &Side = &STOP_TWO_CPUS.sides[0];
    const B: &Side = &STOP_TWO_CPUS.sides[1];

    fn frames(text: &str) -> Vec<&str> {
        text.split(" <- ").collect()
    }

    #[test]
    fn both_sides_in_every_era() {
        for a in [
            "queued_spin_lock_slowpath <- _raw_spin_lock_irqsave <- cpu_stop_queue_work <- stop_one_cpu_nowait <- sched_balance_rq <- sched_balance_newidle <- balance_fair <- __schedule <- schedule",
            "_raw_spin_lock_irqsave <- cpu_stop_queue_work <- stop_one_cpu_nowait <- load_balance <- idle_balance <- __schedule <- schedule",
            "native_queued_spin_lock_slowpath <- _raw_spin_lock_irqsave <- stop_one_cpu_nowait <- load_balance <- pick_next_task_fair <- __schedule",
        ] {
            assert!(A.matches(&frames(a)) && !B.matches(&frames(a)), "{a}");
        }
        for b in [
            "try_to_wake_up <- wake_up_process <- stop_two_cpus <- migrate_swap <- task_numa_migrate",
            "try_to_wake_up <- wake_up_process <- __cpu_stop_queue_work <- cpu_stop_queue_two_works <- stop_two_cpus <- migrate_swap",
            "wake_up_process <- stop_two_cpus <- migrate_swap <- task_numa_migrate",
        ] {
            assert!(B.matches(&frames(b)) && !A.matches(&frames(b)), "{b}");
        }
    }

    #[test]
    fn those_who_pile_up_are_no_side() {
        for other in [
            "queued_spin_lock_slowpath <- _raw_spin_lock <- stop_two_cpus <- migrate_swap <- task_numa_migrate",
            "_raw_spin_lock_irqsave <- cpu_stop_queue_work <- stop_one_cpu <- set_cpus_allowed_ptr <- sched_setaffinity",
            "multi_cpu_stop <- cpu_stopper_thread <- smpboot_thread_fn",
            "_raw_spin_lock_irqsave <- cpu_stop_queue_work <- stop_one_cpu_nowait <- load_balance <- rebalance_domains <- run_rebalance_domains",
            "_raw_spin_lock <- load_balance <- idle_balance <- __schedule",
            "queued_spin_lock_slowpath <- try_to_wake_up <- wake_up_process <- stop_two_cpus <- migrate_swap",
            "wait_for_completion <- stop_two_cpus <- migrate_swap",
            "try_to_wake_up <- wake_up_process <- kick_pool",
        ] {
            assert!(
                !A.matches(&frames(other)) && !B.matches(&frames(other)),
                "{other}"
            );
        }
    }
}
