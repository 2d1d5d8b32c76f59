//! The table of waits: which functions wait, and for what kind of thing.

/// What a CPU waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A spinlock; [`LOCKS`] says more about some of them.
    SpinLock,
    /// A task to leave its CPU: `p->on_cpu`.
    OnCpu,
    /// All stoppers of a `stop_machine()` or `stop_two_cpus()` to reach the next step.
    Stoppers,
    /// Another CPU to take a function call by interrupt.
    CrossCall,
}

/// One line of the table: the first that matches wins.
#[derive(Debug)]
pub struct Rule {
    /// Unique name.
    pub id: &'static str,
    /// The innermost frames, at least one, are all among these. A trailing `*` stands for anything.
    pub innermost: &'static [&'static str],
    /// One of these has to be among them.
    pub one_of: &'static [&'static str],
    /// What it waits for.
    pub object: Object,
    /// Where in the kernel, and in which releases.
    pub source: &'static str,
}

/// What loops call to pass the time, and what a debug build of a spinlock spins in.
macro_rules! passing_time {
    ($($name:literal),* $(,)?) => {
        &[
            $($name,)*
            "delay_*", "__delay", "__const_udelay", "cpu_relax", "rep_nop",
        ]
    };
}

/// The table.
pub static RULES: &[Rule] = &[
    Rule {
        id: "spin-lock",
        innermost: passing_time!(
            "queued_spin_lock_slowpath",
            "native_queued_spin_lock_slowpath",
            "__pv_queued_spin_lock_slowpath",
            "pv_queued_spin_lock_slowpath",
            "__raw_callee_save___pv_queued_spin_lock_slowpath",
            "pv_wait*",
            "kvm_wait",
            "_raw_spin_lock*",
            "__raw_spin_lock*",
            "do_raw_spin_lock*",
            "__spin_lock_debug",
            "__ticket_spin_lock",
            "__lock_text_start",
        ),
        one_of: &["*spin_lock*", "__lock_text_start"],
        object: Object::SpinLock,
        source: "kernel/locking/qspinlock.c (4.2 and later), arch/x86 spinlock.h (tickets, before), \
                 kernel/locking/spinlock_debug.c",
    },
    Rule {
        id: "on-cpu",
        innermost: passing_time!("try_to_wake_up", "wake_up_process", "wake_up_state"),
        one_of: &["try_to_wake_up", "wake_up_process", "wake_up_state"],
        object: Object::OnCpu,
        source: "kernel/sched/core.c, try_to_wake_up(): while (p->on_cpu), all releases since 3.0",
    },
    Rule {
        id: "multi-cpu-stop",
        innermost: passing_time!(
            "stop_machine_yield",
            "rcu_momentary_*",
            "touch_softlockup_watchdog*",
            "touch_nmi_watchdog",
            "arch_touch_nmi_watchdog",
            "multi_cpu_stop",
            "stop_machine_cpu_stop",
            "cpu_stopper_thread",
        ),
        // Where RIP is stale, multi_cpu_stop() may be missing between its caller and what it calls.
        one_of: &[
            "multi_cpu_stop",
            "stop_machine_cpu_stop",
            "cpu_stopper_thread",
        ],
        object: Object::Stoppers,
        source: "kernel/stop_machine.c, multi_cpu_stop(): loops until the state changes",
    },
    Rule {
        id: "cross-call",
        innermost: passing_time!(
            "smp_call_function_many*",
            "smp_call_function_single*",
            "generic_exec_single",
            "csd_lock_wait",
            "__csd_lock_wait",
            "csd_lock",
        ),
        one_of: &["smp_call_function_*", "generic_exec_single", "*csd_lock*"],
        object: Object::CrossCall,
        source: "kernel/smp.c: csd_lock_wait(), inlined or not",
    },
];

/// A lock that every CPU has one of.
#[derive(Debug)]
pub struct PerCpuLock {
    /// Unique name.
    pub id: &'static str,
    /// The per-CPU variable that it is in.
    pub variable: &'static str,
    /// Where in the variable the lock is, unless a symbol of [`PerCpuLock::otherwise`] exists.
    pub offset: u64,
    /// A symbol that only kernels have where the lock is elsewhere, and where.
    pub otherwise: Option<(&'static str, u64)>,
    /// Bytes from the variable's start on; who has a pointer there knows the variable.
    pub extent: u64,
    /// What people call it; the CPU's number is added.
    pub about: &'static str,
    /// Functions that hold it while they call others. Only a stack with one of them, and with a
    /// pointer to the variable, shows a holder.
    pub holders: &'static [&'static str],
}

/// Locks whose users are known.
pub static LOCKS: &[PerCpuLock] = &[
    PerCpuLock {
        id: "stopper-lock",
        variable: "cpu_stopper",
        offset: 8,
        // Before 4.2 the thread was a variable of its own and the lock came first.
        otherwise: Some(("cpu_stopper_task", 0)),
        extent: 0x20,
        about: "lock of the stopper of CPU",
        holders: &[
            "stop_two_cpus",
            "cpu_stop_queue_two_works",
            "__cpu_stop_queue_work",
            "cpu_stop_queue_work",
        ],
    },
    PerCpuLock {
        id: "runqueue-lock",
        variable: "runqueues",
        offset: 0,
        otherwise: None,
        extent: 4,
        about: "lock of the runqueue of CPU",
        // The scheduler hands runqueues around by pointer, locked and unlocked: a pointer on a
        // stack says nothing about who holds one.
        holders: &[],
    },
];

/// Per-CPU variables with the nodes of queued spinlocks: who polls one waits in a lock's queue.
pub static QUEUE_NODES: &[&str] = &["qnodes", "mcs_nodes"];

/// Whether a symbol is among names with `*` at their end, their beginning, or both.
pub fn is_any(symbol: &str, names: &[&str]) -> bool {
    names.iter().any(|name| {
        let (name, any_end) = name.strip_suffix('*').map_or((*name, false), |n| (n, true));
        let (name, any_start) = name.strip_prefix('*').map_or((name, false), |n| (n, true));
        match (any_start, any_end) {
            (true, true) => symbol.contains(name),
            (true, false) => symbol.ends_with(name),
            (false, true) => symbol.starts_with(name),
            (false, false) => symbol == name,
        }
    })
}

impl Rule {
    /// How many of the frames, innermost first, are where it waits; 0: not this rule.
    pub fn waiting_frames(&self, frames: &[&str]) -> usize {
        let waiting = frames
            .iter()
            .take_while(|frame| is_any(frame, self.innermost))
            .count();
        let named = frames[..waiting]
            .iter()
            .any(|frame| is_any(frame, self.one_of));
        if named { waiting } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule that knows these frames, and how many of them are where it waits.
    fn rule(frames: &str) -> Option<(&'static str, usize)> {
        let frames: Vec<&str> = frames.split(" <- ").collect();
        let mut rules = RULES
            .iter()
            .map(|rule| (rule.id, rule.waiting_frames(&frames)));
        rules.find(|(_, waiting)| *waiting > 0)
    }

    #[test]
    fn every_wait_in_every_era() {
        for (frames, expected) in [
            (
                "queued_spin_lock_slowpath <- _raw_spin_lock <- f",
                ("spin-lock", 2),
            ),
            (
                "native_queued_spin_lock_slowpath <- do_raw_spin_lock <- _raw_spin_lock <- f",
                ("spin-lock", 3),
            ),
            ("_raw_spin_lock_irqsave <- f", ("spin-lock", 1)),
            (
                "delay_tsc <- __delay <- do_raw_spin_lock <- _raw_spin_lock <- f",
                ("spin-lock", 4),
            ),
            ("try_to_wake_up <- wake_up_process <- f", ("on-cpu", 2)),
            ("wake_up_process <- f", ("on-cpu", 1)),
            (
                "multi_cpu_stop <- cpu_stopper_thread <- f",
                ("multi-cpu-stop", 2),
            ),
            (
                "stop_machine_yield <- multi_cpu_stop <- cpu_stopper_thread <- f",
                ("multi-cpu-stop", 3),
            ),
            (
                "rcu_momentary_dyntick_idle <- multi_cpu_stop <- f",
                ("multi-cpu-stop", 2),
            ),
            (
                "smp_call_function_many <- native_flush_tlb_others <- f",
                ("cross-call", 1),
            ),
            (
                "csd_lock_wait <- smp_call_function_single <- f",
                ("cross-call", 2),
            ),
        ] {
            assert_eq!(rule(frames), Some(expected), "{frames}");
        }
    }

    #[test]
    fn what_only_passes_time_waits_for_nothing() {
        for frames in [
            "delay_tsc <- __const_udelay <- kv_swap_begin <- migrate_swap",
            "rcu_momentary_eqs <- rcu_sched_clock_irq",
            "touch_nmi_watchdog <- f",
            "_raw_read_lock <- f",
            "f <- _raw_spin_lock",
            "",
        ] {
            assert_eq!(rule(frames), None, "{frames}");
        }
    }

    #[test]
    fn names_with_stars() {
        for (symbol, name, expected) in [
            ("ab", "a*", true),
            ("ba", "a*", false),
            ("ba", "*a", true),
            ("bac", "*a", false),
            ("bac", "*a*", true),
            ("a", "a", true),
            ("ab", "a", false),
        ] {
            assert_eq!(is_any(symbol, &["x", name]), expected, "{symbol} {name}");
        }
    }

    #[test]
    fn rules_have_names_of_their_own_and_can_match() {
        for (number, rule) in RULES.iter().enumerate() {
            assert!(RULES[..number].iter().all(|other| other.id != rule.id));
            assert!(!rule.source.is_empty() && !rule.one_of.is_empty());
        }
        let locks: Vec<&str> = LOCKS.iter().map(|lock| lock.id).collect();
        assert_eq!(locks, ["stopper-lock", "runqueue-lock"]);
    }
}
