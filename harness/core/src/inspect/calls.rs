//! The kernel's own words: which functions take and drop spinlocks, and turn preemption off and on.

/// What a call does, whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Takes a spinlock.
    Lock,
    /// Drops one.
    Unlock,
    /// Preemption is off from here on.
    PreemptOff,
    /// Undoes the above.
    PreemptOn,
}

/// Ways to take a spinlock: what follows `spin_lock`.
const LOCKS: &[&str] = &[
    "",
    "_irq",
    "_irqsave",
    "_bh",
    "_nested",
    "_irqsave_nested",
    "_nest_lock",
];
/// Ways to drop one: what follows `spin_unlock`.
const UNLOCKS: &[&str] = &["", "_irq", "_irqrestore", "_bh", "_no_resched"];
const PREEMPT_OFF: &[&str] = &["preempt_disable", "preempt_disable_notrace", "get_cpu"];
const PREEMPT_ON: &[&str] = &[
    "preempt_enable",
    "preempt_enable_notrace",
    "preempt_enable_no_resched",
    "preempt_enable_no_resched_notrace",
    "sched_preempt_enable_no_resched",
    "put_cpu",
];

/// What a call of this function does.
pub fn effect(name: &str) -> Option<Effect> {
    if PREEMPT_OFF.contains(&name) {
        return Some(Effect::PreemptOff);
    }
    if PREEMPT_ON.contains(&name) {
        return Some(Effect::PreemptOn);
    }
    // What paravirtualized kernels drop queued spinlocks with: __raw_callee_save___native_... and others.
    if name.ends_with("_queued_spin_unlock") {
        return Some(Effect::Unlock);
    }
    let plain = ["_raw_", "raw_", "rt_", "_", ""]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix)?.strip_prefix("spin_"))?;
    if let Some(way) = plain.strip_prefix("unlock") {
        return UNLOCKS.contains(&way).then_some(Effect::Unlock);
    }
    let way = plain.strip_prefix("lock")?;
    LOCKS.contains(&way).then_some(Effect::Lock)
}

/// A function's name without what compilers append to clones and parts: `.isra.0`, `.part.3`, `.cold`.
pub fn stem(name: &str) -> &str {
    match name.find('.') {
        Some(at) if at > 0 => &name[..at],
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_all_eras_and_nothing_that_only_sounds_like_one() {
        for (name, expected) in [
            ("spin_lock", Some(Effect::Lock)),
            ("raw_spin_lock_irqsave_nested", Some(Effect::Lock)),
            ("_raw_spin_lock_irq", Some(Effect::Lock)),
            ("rt_spin_lock", Some(Effect::Lock)),
            ("_spin_unlock_irqrestore", Some(Effect::Unlock)),
            ("raw_spin_unlock_irq", Some(Effect::Unlock)),
            (
                "__raw_callee_save___native_queued_spin_unlock",
                Some(Effect::Unlock),
            ),
            ("preempt_disable", Some(Effect::PreemptOff)),
            ("preempt_enable_no_resched", Some(Effect::PreemptOn)),
            ("spin_lock_init", None),
            ("raw_spin_lock_init", None),
            ("_raw_spin_trylock", None),
            ("mutex_lock", None),
            ("lg_double_lock", None),
            ("preempt_count", None),
        ] {
            assert_eq!(effect(name), expected, "{name}");
        }
    }

    #[test]
    fn what_compilers_append_is_no_part_of_a_name() {
        for (name, expected) in [
            ("cpu_stop_queue_work", "cpu_stop_queue_work"),
            ("cpu_stop_queue_work.isra.0", "cpu_stop_queue_work"),
            ("stop_two_cpus.cold", "stop_two_cpus"),
            (".hidden", ".hidden"),
        ] {
            assert_eq!(stem(name), expected);
        }
    }
}
