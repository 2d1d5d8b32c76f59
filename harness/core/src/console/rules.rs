//! The table of what a kernel says when it is in trouble.
//!
//! Patterns are held against the beginning of a message (prefix taken off), so what is quoted in
//! the middle of one never counts. The first rule that matches wins: special ones come first.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::bytes::Regex;

use super::outcome::Outcome;

/// What a match does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It begins a report.
    Opens,
    /// It belongs to the report before it, if that is still going on; else it begins one.
    Continues,
}

/// One line of the table.
#[derive(Debug)]
pub struct Rule {
    /// Unique name.
    pub id: &'static str,
    /// What a report of this rule amounts to.
    pub outcome: Outcome,
    /// Whether it begins a report.
    pub role: Role,
    /// Whether the stacks that follow show CPUs or tasks that got stuck, so that they can prove a
    /// deadlock's signature.
    pub stuck: bool,
    /// Literal that every match contains: the rule is not tried without it.
    pub needle: &'static str,
    /// Regular expression, anchored at the beginning of the message.
    pub pattern: &'static str,
    /// Near misses: a message that one of these matches (anchored too) is not of this rule.
    pub unless: &'static [&'static str],
    /// Where in the kernel the message comes from, and in which releases it looks like that.
    pub source: &'static str,
}

impl Rule {
    /// A report of its own.
    const fn opens(
        id: &'static str,
        outcome: Outcome,
        needle: &'static str,
        pattern: &'static str,
        source: &'static str,
    ) -> Self {
        Rule {
            id,
            outcome,
            role: Role::Opens,
            stuck: false,
            needle,
            pattern,
            unless: &[],
            source,
        }
    }

    const fn continues(mut self) -> Self {
        self.role = Role::Continues;
        self
    }

    const fn stuck(mut self) -> Self {
        self.stuck = true;
        self
    }

    const fn unless(mut self, unless: &'static [&'static str]) -> Self {
        self.unless = unless;
        self
    }
}

/// The table.
pub static RULES: &[Rule] = &[
    // Hard lockups.
    Rule::opens(
        "hard-lockup",
        Outcome::HardLockup,
        "detected hard LOCKUP on cpu",
        r"(NMI )?watchdog: (CPU\d+: )?Watchdog detected hard LOCKUP on cpu \d+",
        "kernel/watchdog.c, kernel/watchdog_hld.c; 4.0 and later, el7; CPUn: from 6.13",
    )
    .stuck(),
    Rule::opens(
        "hard-lockup-warn",
        Outcome::HardLockup,
        "watchdog_overflow_callback",
        r"WARNING: .*\bat kernel/watchdog\.c:\d+ watchdog_overflow_callback\+",
        "kernel/watchdog.c, WARN() in the NMI handler; 2.6.37 to 3.19",
    )
    .stuck(),
    Rule::opens(
        "hard-lockup-text",
        Outcome::HardLockup,
        "detected hard LOCKUP on cpu",
        r"(CPU\d+: )?Watchdog detected hard LOCKUP on cpu \d+",
        "kernel/watchdog.c, the text of that WARN(), and other prints without a prefix; 2.6.37 to 3.19",
    )
    .continues()
    .stuck(),
    Rule::opens(
        "hard-lockup-panic",
        Outcome::HardLockup,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: (NMI watchdog: )?(Hard LOCKUP|Watchdog detected hard LOCKUP on cpu \d+)",
        "kernel/watchdog.c, nmi_panic(regs, \"Hard LOCKUP\") from 4.0, with the CPU before",
    )
    .stuck(),
    Rule::opens(
        "hard-lockup-panic-end",
        Outcome::HardLockup,
        "Kernel panic - not syncing: ",
        r"---\[ end Kernel panic - not syncing: (Hard LOCKUP|Watchdog detected hard LOCKUP)",
        "kernel/panic.c; 3.17 and later. Proof enough where the panic line itself was lost",
    )
    .continues(),
    Rule::opens(
        "hard-lockup-powerpc",
        Outcome::HardLockup,
        "ard LOCKUP",
        r"(watchdog: )?(Watchdog CPU:\d+ (detected )?Hard LOCKUP|CPU \d+ (self-)?detected hard LOCKUP)",
        "arch/powerpc/kernel/watchdog.c; capital H in 4.13 and 4.14, small h from 4.15",
    )
    .stuck(),
    Rule::opens(
        "hard-lockup-2.6",
        Outcome::HardLockup,
        "Watchdog detected LOCKUP on CPU",
        r"(BUG: )?NMI Watchdog detected LOCKUP on CPU ?\d+",
        "arch/x86/kernel/apic/nmi.c; 2.6",
    )
    .stuck(),
    // Panics by policy count as what they were made of.
    Rule::opens(
        "soft-lockup-panic",
        Outcome::SoftLockup,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: softlockup: hung tasks",
        "kernel/watchdog.c, softlockup_panic; 2.6.26 and later",
    )
    .stuck(),
    Rule::opens(
        "hung-task-panic",
        Outcome::HungTask,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: hung_task: blocked tasks",
        "kernel/hung_task.c, hung_task_panic; 2.6.30 and later",
    )
    .stuck(),
    Rule::opens(
        "rcu-stall-panic",
        Outcome::RcuStall,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: RCU Stall",
        "kernel/rcu/tree_stall.h, panic_on_rcu_stall; 4.8 and later",
    )
    .stuck(),
    Rule::opens(
        "workqueue-lockup-panic",
        Outcome::WorkqueueLockup,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: workqueue: ",
        "kernel/workqueue.c, panic_on_stall; 6.11 and later",
    )
    .stuck(),
    Rule::opens(
        "warning-panic",
        Outcome::Warning,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: (kernel: |WARNING: |UBSAN: )?panic_on_warn set",
        "kernel/panic.c, panic_on_warn; 3.19 and later. The report it follows has the real class",
    )
    .continues(),
    Rule::opens(
        "sanitizer-panic",
        Outcome::Sanitizer,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: (KASAN|KCSAN|KMSAN|KFENCE|kmsan\.panic|kasan\.fault)\b",
        "mm/kasan/report.c, mm/kmsan/report.c; 5.x and later",
    )
    .continues(),
    Rule::opens(
        "oops-panic",
        Outcome::Oops,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: (Oops: )?Fatal exception",
        "arch/x86/kernel/dumpstack.c, panic_on_oops or in interrupt; all",
    )
    .continues(),
    Rule::opens(
        "machine-check-panic",
        Outcome::Oops,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: (Fatal (local )?machine check|Fatal Machine check|Machine check|Uncorrected machine check|Timeout: Not all CPUs entered|Local fatal machine check|Panicing machine check)",
        "arch/x86/kernel/cpu/mce/core.c; 2.6.31 and later",
    )
    .continues(),
    // Boot failures.
    Rule::opens(
        "no-root",
        Outcome::BootFailure,
        "VFS: ",
        r"(Kernel panic - not syncing: )?VFS: (Unable to mount root fs|Cannot open root device)",
        "init/do_mounts.c; all",
    )
    .unless(&[r"VFS: Unable to mount root fs via (NFS|SMB)"]),
    Rule::opens(
        "no-init",
        Outcome::BootFailure,
        "Kernel panic - not syncing: ",
        r"Kernel panic - not syncing: (No (working )?init found|Requested init .* failed|No init specified)",
        "init/main.c; No init found until 3.16, No working init found later",
    ),
    Rule::opens(
        "early-halt",
        Outcome::BootFailure,
        "System halted",
        r"-- System halted",
        "arch/x86/boot/compressed/misc.c, error(); all",
    ),
    Rule::opens(
        "wrong-cpu",
        Outcome::BootFailure,
        "This kernel requires",
        r"This kernel requires (an? [\w-]+ CPU|the following features not present)",
        "arch/x86/boot/cpu.c; all",
    ),
    Rule::opens(
        "no-bootable-device",
        Outcome::BootFailure,
        "No bootable device",
        r"No bootable device",
        "SeaBIOS, src/boot.c",
    ),
    Rule::opens(
        "initramfs-unpacking",
        Outcome::BootFailure,
        "nitramfs unpacking failed",
        r"(Kernel panic - not syncing: |rootfs image is not initramfs \()?[Ii]nitramfs unpacking failed",
        "init/initramfs.c; 3.x and later",
    ),
    Rule::opens(
        "init-killed",
        Outcome::Panic,
        "Attempted to kill init!",
        r"Kernel panic - not syncing: Attempted to kill init!",
        "kernel/exit.c; all. Follows whatever killed it, or init went away by itself",
    )
    .continues(),
    // All other panics; before init they are boot failures (the scanner knows).
    Rule::opens(
        "panic",
        Outcome::Panic,
        "Kernel panic",
        r"Kernel panic( - not syncing)?: ",
        "kernel/panic.c; all",
    ),
    Rule::opens(
        "panic-end",
        Outcome::Panic,
        "Kernel panic - not syncing: ",
        r"---\[ end Kernel panic - not syncing: ",
        "kernel/panic.c; 3.17 and later. Proof enough where the panic line itself was lost",
    )
    .continues(),
    // Stalls of all sorts.
    Rule::opens(
        "soft-lockup",
        Outcome::SoftLockup,
        "soft lockup - CPU#",
        r"((NMI )?watchdog: )?BUG: soft lockup - CPU#\d+ stuck for \d+s!",
        "kernel/watchdog.c; bare until 3.x, NMI watchdog: 4.x, watchdog: 4.12 and later",
    )
    .stuck(),
    Rule::opens(
        "csd-lock-stuck",
        Outcome::SoftLockup,
        "CSD lock",
        r"(smp: )?csd: Detected non-responsive CSD lock ",
        "kernel/smp.c, CONFIG_CSD_LOCK_WAIT_DEBUG: a CPU waits in vain for another; 5.10 and later",
    )
    .stuck(),
    Rule::opens(
        "rcu-stall",
        Outcome::RcuStall,
        "INFO: rcu",
        r"(rcu: )?INFO: rcu\w* (self-)?detected (expedited )?stalls? on ",
        "kernel/rcutree.c, kernel/rcu/tree_stall.h; 2.6.3x and later, rcu: from 4.19",
    )
    .stuck(),
    Rule::opens(
        "hung-task",
        Outcome::HungTask,
        "blocked ",
        r"INFO: task .{1,80}:\d+ blocked (in I/O wait )?for more than \d+ seconds",
        "kernel/hung_task.c; 2.6.30 and later, I/O wait from 6.16",
    )
    .stuck(),
    Rule::opens(
        "workqueue-lockup",
        Outcome::WorkqueueLockup,
        "workqueue lockup",
        r"BUG: workqueue lockup - pool",
        "kernel/workqueue.c, CONFIG_WQ_WATCHDOG; 4.5 and later",
    )
    .stuck(),
    // Sanitizers.
    Rule::opens(
        "kasan",
        Outcome::Sanitizer,
        "KASAN",
        r"BUG: KASAN: ",
        "mm/kasan/report.c; 4.0 and later",
    ),
    Rule::opens(
        "kfence",
        Outcome::Sanitizer,
        "KFENCE",
        r"BUG: KFENCE: ",
        "mm/kfence/report.c; 5.12 and later",
    ),
    Rule::opens(
        "kcsan",
        Outcome::Sanitizer,
        "KCSAN",
        r"BUG: KCSAN: ",
        "kernel/kcsan/report.c; 5.8 and later",
    ),
    Rule::opens(
        "kmsan",
        Outcome::Sanitizer,
        "KMSAN",
        r"BUG: KMSAN: ",
        "mm/kmsan/report.c; 6.1 and later",
    ),
    Rule::opens(
        "ubsan",
        Outcome::Sanitizer,
        "UBSAN",
        r"UBSAN: [\w -]+ in \S",
        "lib/ubsan.c; Undefined behaviour in FILE until 5.4, the kind in FILE later",
    ),
    Rule::opens(
        "kmemleak",
        Outcome::MemoryLeak,
        "kmemleak: ",
        r"kmemleak: (\d+ new suspected memory leaks|unreferenced object 0x)",
        "mm/kmemleak.c; 2.6.31 and later",
    ),
    // Lockdep.
    Rule::opens(
        "lockdep",
        Outcome::Lockdep,
        "possible ",
        r"(WARNING: |\[ INFO: )possible (circular locking|recursive locking|irq lock inversion|deadlock)",
        "kernel/locking/lockdep.c; [ INFO: ... ] until 4.11, WARNING: later",
    ),
    Rule::opens(
        "lockdep-unsafe-order",
        Outcome::Lockdep,
        "lock order detected",
        r"(WARNING: |\[ INFO: )\S+-safe -> \S+-unsafe lock order detected",
        "kernel/locking/lockdep.c; both forms as above",
    ),
    Rule::opens(
        "lockdep-state",
        Outcome::Lockdep,
        "inconsistent lock state",
        r"(WARNING: |\[ INFO: )inconsistent lock state",
        "kernel/locking/lockdep.c; both forms as above",
    ),
    Rule::opens(
        "lockdep-rcu",
        Outcome::Lockdep,
        "suspicious",
        r"(WARNING: |\[ INFO: )suspicious (RCU|rcu_dereference_check\(\)) usage",
        "kernel/locking/lockdep.c, lockdep_rcu_suspicious(); both forms as above",
    ),
    Rule::opens(
        "lockdep-balance",
        Outcome::Lockdep,
        " detected!",
        r"(WARNING: |\[ BUG: )bad (unlock balance|contention) detected!",
        "kernel/locking/lockdep.c; [ BUG: ... ! ] until 4.11, WARNING: later",
    ),
    Rule::opens(
        "lockdep-held",
        Outcome::Lockdep,
        "held",
        r"(WARNING: |\[ BUG: )(held lock freed|.{1,60} still has locks held|lock held (at task exit time|when returning to user space))",
        "kernel/locking/lockdep.c; both forms as above",
    ),
    Rule::opens(
        "lockdep-nested",
        Outcome::Lockdep,
        "Nested lock was not taken",
        r"(WARNING: |\[ BUG: )Nested lock was not taken",
        "kernel/locking/lockdep.c; both forms as above",
    ),
    Rule::opens(
        "lockdep-wait-context",
        Outcome::Lockdep,
        "nvalid wait context",
        r"(\[ BUG: |WARNING: )Invalid wait context",
        "kernel/locking/lockdep.c, CONFIG_PROVE_RAW_LOCK_NESTING; 5.7 and later",
    ),
    Rule::opens(
        "lockdep-limit",
        Outcome::Lockdep,
        "too low!",
        r"BUG: MAX_(LOCK|STACK)\w+ too low!",
        "kernel/locking/lockdep.c: lockdep gives up, so its silence proves nothing from here on",
    ),
    // Oopses.
    Rule::opens(
        "null-dereference",
        Outcome::Oops,
        "NULL pointer dereference",
        r"(BUG: (unable to handle )?kernel NULL pointer dereference|Unable to handle kernel NULL pointer dereference)",
        "arch/x86/mm/fault.c; unable to handle until 5.0; arch/arm64/mm/fault.c",
    ),
    Rule::opens(
        "page-fault",
        Outcome::Oops,
        "nable to handle ",
        r"(BUG: unable to handle (page fault|kernel paging request)|Unable to handle kernel paging request)",
        "arch/x86/mm/fault.c; kernel paging request until 5.0, page fault for address later",
    ),
    Rule::opens(
        "unable-to-handle",
        Outcome::Oops,
        "nable to handle ",
        r"(BUG: unable to handle|Unable to handle kernel) ",
        "arch/*/mm/fault.c; any other kind",
    ),
    Rule::opens(
        "stack-guard-page",
        Outcome::Oops,
        "stack guard page",
        r"BUG: .{0,40}stack guard page was hit",
        "arch/x86/kernel/traps.c, CONFIG_VMAP_STACK; 4.9 and later",
    ),
    Rule::opens(
        "stack-overflow",
        Outcome::Oops,
        "kernel stack overflow",
        r"kernel stack overflow \(.{1,40}\): [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c, handle_stack_overflow(); 4.9 to 5.16",
    )
    .continues(),
    Rule::opens(
        "double-fault",
        Outcome::Oops,
        "double fault",
        r"((traps: )?PANIC: double fault|(Oops: )?double fault: [0-9a-f]{4} \[#\d+\])",
        "arch/x86/kernel/traps.c, doublefault_32.c; all",
    )
    .continues(),
    Rule::opens(
        "general-protection",
        Outcome::Oops,
        "general protection fault",
        r"(Oops: )?general protection fault\b.{0,160}: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; Oops: in front from 6.10",
    ),
    Rule::opens(
        "divide-error",
        Outcome::Oops,
        "divide error",
        r"(Oops: )?divide error: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; Oops: in front from 6.10",
    ),
    Rule::opens(
        "invalid-opcode",
        Outcome::Oops,
        "invalid opcode",
        r"(Oops: )?invalid opcode: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; Oops: in front from 6.10. Follows kernel BUG at",
    )
    .continues(),
    Rule::opens(
        "stack-segment",
        Outcome::Oops,
        "stack segment",
        r"(Oops: )?stack segment: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; Oops: in front from 6.10",
    ),
    Rule::opens(
        "alignment-check",
        Outcome::Oops,
        "alignment check",
        r"(Oops: )?alignment check: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; Oops: in front from 6.10",
    ),
    Rule::opens(
        "int3",
        Outcome::Oops,
        "int3",
        r"(Oops: )?int3: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; Oops: in front from 6.10",
    ),
    Rule::opens(
        "machine-check",
        Outcome::Oops,
        "Machine Check",
        r"(mce: )?\[Hardware Error\]: CPU \d+: Machine Check Exception: ",
        "arch/x86/kernel/cpu/mce/core.c; 2.6.33 and later",
    ),
    Rule::opens(
        "oops-trap",
        Outcome::Oops,
        " [#",
        r"(Oops: )?(overflow|bounds|invalid TSS|segment not present|coprocessor|fpu exception|simd exception|device not available|unexpected #NM exception|Split lock detected|stack guard page|control protection|unexpected #CP|iret exception|Bad pagetable|SMP|exception RIP).{0,80}: [0-9a-f]{4} \[#\d+\]",
        "arch/x86/kernel/traps.c; the other traps",
    )
    .continues(),
    Rule::opens(
        "oops",
        Outcome::Oops,
        "Oops",
        r"(Internal error: )?Oops.{0,120}: [0-9a-f]{1,8} \[#\d+\]",
        "arch/*/kernel: die(); all. Follows BUG: unable to handle",
    )
    .continues(),
    // Assertions.
    Rule::opens(
        "list-corruption",
        Outcome::Bug,
        "list_",
        r"(slab )?list_(add|del)(_rcu)? corruption",
        "lib/list_debug.c, CONFIG_DEBUG_LIST; 2.6 and later",
    ),
    Rule::opens(
        "kernel-bug",
        Outcome::Bug,
        "ernel BUG at ",
        r"[Kk]ernel BUG at (\S+:\d+!|.{1,120} \[verbose debug info unavailable\])",
        "lib/bug.c; all, the second form without CONFIG_DEBUG_BUGVERBOSE",
    ),
    Rule::opens(
        "scheduling-while-atomic",
        Outcome::Bug,
        "BUG: scheduling ",
        r"BUG: scheduling (while atomic|in a non-blocking section): ",
        "kernel/sched/core.c; all",
    ),
    Rule::opens(
        "sleeping-in-atomic",
        Outcome::Bug,
        "BUG: ",
        r"BUG: (sleeping function called from invalid context|assuming (atomic|non migratable) context) at ",
        "kernel/sched/core.c, CONFIG_DEBUG_ATOMIC_SLEEP; all",
    ),
    Rule::opens(
        "spinlock-lockup",
        Outcome::Bug,
        "lock lockup",
        r"BUG: (spin|rw)lock lockup( suspected)? on CPU#\d+",
        "kernel/locking/spinlock_debug.c, CONFIG_DEBUG_SPINLOCK; lockup until 3.1, suspected later",
    )
    .stuck(),
    Rule::opens(
        "spinlock-misuse",
        Outcome::Bug,
        " on CPU#",
        r"BUG: (spin|rw)lock [\w ]+ on CPU#\d+",
        "kernel/locking/spinlock_debug.c, CONFIG_DEBUG_SPINLOCK; all",
    ),
    Rule::opens(
        "bad-page",
        Outcome::Bug,
        "BUG: Bad ",
        r"BUG: Bad (page (state|map|cache) in process|rss-counter state) ",
        "mm/page_alloc.c, mm/memory.c, mm/filemap.c, kernel/fork.c; all",
    ),
    Rule::opens(
        "smp-processor-id",
        Outcome::Bug,
        "in preemptible",
        r"BUG: using \w+\(\) in preemptible ",
        "lib/smp_processor_id.c, CONFIG_DEBUG_PREEMPT; all",
    ),
    Rule::opens(
        "workqueue-leak",
        Outcome::Bug,
        "workqueue leaked",
        r"BUG: workqueue leaked (lock or atomic|atomic, lock or RCU): ",
        "kernel/workqueue.c; second form from 6.9",
    ),
    Rule::opens(
        "slab-corruption",
        Outcome::Bug,
        "BUG ",
        r"BUG \S+ \((Not tainted|Tainted: ?[^)]*)\): ",
        "mm/slub.c, slab_bug(); all",
    ),
    Rule::opens(
        "bug",
        Outcome::Bug,
        "BUG: ",
        r"BUG: \S",
        "Any other message that begins with BUG: ; all",
    )
    .unless(&[
        // Notes of the scheduler's topology code and of the selftests' summary.
        r"BUG: arch topology borken",
        r"BUG: +\d+ unexpected failures",
    ]),
    // Warnings.
    Rule::opens(
        "warning",
        Outcome::Warning,
        "WARNING: ",
        r"WARNING: (CPU: \d+ PID: \d+ )?at (\S+:\d+ \S|\S+\+0x)",
        "kernel/panic.c, __warn(); bare until 3.12, with CPU and PID later; without FILE:LINE if \
         CONFIG_DEBUG_BUGVERBOSE is off",
    ),
    Rule::opens(
        "warning-6.18",
        Outcome::Warning,
        "WARNING: ",
        r"WARNING: \S+:\d+ at \S+, CPU#\d+: ",
        "kernel/panic.c, __warn(); 6.18 and later",
    ),
    // The load.
    Rule::opens(
        "out-of-memory",
        Outcome::LoadFailure,
        "ut of memory",
        r"(Out of memory|Memory cgroup out of memory): Kill(ed)? process \d+",
        "mm/oom_kill.c; Kill until 5.1, Killed later",
    ),
];

/// What a line says about the kernel's life without being a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The kernel's banner.
    LinuxVersion,
    /// The kernel is about to run its init, or did.
    InitRan,
    /// The kernel powers off, halts or reboots in order.
    PowerOff,
    /// A panic has printed all that it prints.
    PanicComplete,
    /// Somebody asked for a dump: the stacks that follow belong to no report.
    DumpRequested,
    /// A detector started.
    DetectorOn(&'static str),
    /// A detector stopped, or could not start.
    DetectorOff(&'static str),
}

pub(super) struct MarkRule {
    pub mark: Mark,
    pub needle: &'static str,
    pub pattern: &'static str,
}

const fn mark(mark: Mark, needle: &'static str, pattern: &'static str) -> MarkRule {
    MarkRule {
        mark,
        needle,
        pattern,
    }
}

pub(super) static MARKS: &[MarkRule] = &[
    mark(Mark::LinuxVersion, "Linux version ", r"Linux version \d"),
    mark(Mark::InitRan, "as init process", r"Run \S+ as init process"),
    // Kernels before 4.16 do not tell; this is the last thing they say before.
    mark(
        Mark::InitRan,
        "Freeing unused kernel ",
        r"Freeing unused kernel (image |memory)",
    ),
    mark(Mark::InitRan, "systemd[1]: ", r"systemd\[1\]: "),
    mark(
        Mark::PowerOff,
        "reboot: ",
        r"reboot: (Power down|System halted|Restarting system|machine restart)",
    ),
    mark(
        Mark::PanicComplete,
        "Rebooting in ",
        r"Rebooting in \d+ seconds",
    ),
    mark(Mark::PanicComplete, "Kernel Offset: ", r"Kernel Offset: "),
    mark(Mark::DumpRequested, "sysrq: ", r"sysrq: \S"),
    mark(Mark::DumpRequested, "SysRq", r"SysRq ?: \S"),
    mark(
        Mark::DetectorOn("hard lockup"),
        "NMI watchdog: ",
        r"NMI watchdog: ([Ee]nabled\b)",
    ),
    mark(
        Mark::DetectorOff("hard lockup"),
        "NMI watchdog: ",
        r"NMI watchdog: (disabled|Disabled|Shutting down hard lockup detector|Perf NMI watchdog permanently disabled|Perf event create on CPU \d+ failed)",
    ),
    mark(
        Mark::DetectorOff("hard lockup"),
        "atchdog: ",
        r"watchdog: (Delayed init of the lockup detector failed|Hard watchdog permanently disabled|NMI not fully supported)",
    ),
    mark(
        Mark::DetectorOff("soft lockup"),
        "atchdog: ",
        r"watchdog: (Disabling watchdog on nohz_full cores|disabled)",
    ),
    mark(
        Mark::DetectorOn("RCU stall"),
        "stall warnings",
        r"(rcu: )?\s*RCU CPU stall warnings timeout set",
    ),
    mark(
        Mark::DetectorOn("lockdep"),
        "Lock dependency validator",
        r"(Running )?Lock dependency validator",
    ),
    mark(
        Mark::DetectorOff("lockdep"),
        "lockdep is turned off",
        r"INFO: lockdep is turned off",
    ),
    mark(
        Mark::DetectorOn("KASAN"),
        "KernelAddressSanitizer",
        r"kasan: KernelAddressSanitizer initialized",
    ),
    mark(
        Mark::DetectorOn("KFENCE"),
        "kfence: initialized",
        r"kfence: initialized",
    ),
    mark(
        Mark::DetectorOn("KCSAN"),
        "kcsan: ",
        r"kcsan: (enabled early|strict mode configured)",
    ),
    mark(
        Mark::DetectorOn("KMSAN"),
        "KernelMemorySanitizer",
        r"Starting KernelMemorySanitizer",
    ),
    mark(
        Mark::DetectorOn("kmemleak"),
        "kmemleak: ",
        r"kmemleak: (Kernel memory leak detector initialized|Automatic memory scanning thread started)",
    ),
    mark(
        Mark::DetectorOff("kmemleak"),
        "kmemleak: ",
        r"kmemleak: (Kernel memory leak detector disabled|Automatic memory scanning thread ended)",
    ),
];

/// What a message is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hit {
    Report(&'static Rule),
    Mark(Mark),
    /// It only quotes what would be a report.
    Quote,
}

/// Both tables, compiled.
pub(super) struct Catalogue {
    needles: AhoCorasick,
    /// For each needle, the entries that need it.
    users: Vec<Vec<Entry>>,
    rules: Vec<OnceLock<(Regex, Vec<Regex>)>>,
    marks: Vec<OnceLock<Regex>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Rule(usize),
    Mark(usize),
}

/// Literals whose appearance in the middle of a message is worth telling.
const QUOTABLE: [&str; 4] = [
    "Hard LOCKUP",
    "hard LOCKUP",
    "Kernel panic - not syncing",
    "BUG: soft lockup",
];

impl Catalogue {
    /// The one and only.
    pub fn get() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(Catalogue::compile)
    }

    fn compile() -> Self {
        let rules = RULES
            .iter()
            .enumerate()
            .map(|(at, r)| (r.needle, Entry::Rule(at)));
        let marks = MARKS
            .iter()
            .enumerate()
            .map(|(at, m)| (m.needle, Entry::Mark(at)));
        let mut needles: Vec<&str> = QUOTABLE.to_vec();
        let mut users: Vec<Vec<Entry>> = vec![Vec::new(); needles.len()];
        for (needle, entry) in rules.chain(marks) {
            match needles.iter().position(|n| *n == needle) {
                Some(at) => users[at].push(entry),
                None => {
                    needles.push(needle);
                    users.push(vec![entry]);
                }
            }
        }
        let needles = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&needles)
            .expect("the needles are few and short");
        Catalogue {
            needles,
            users,
            rules: RULES.iter().map(|_| OnceLock::new()).collect(),
            marks: MARKS.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// What `text`, a whole message without its prefix, is; `None` for nearly all messages.
    pub fn find(&self, text: &[u8]) -> Option<Hit> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut quotable = false;
        for found in self.needles.find_overlapping_iter(text) {
            let needle = found.pattern().as_usize();
            quotable |= needle < QUOTABLE.len();
            entries.extend(&self.users[needle]);
        }
        if entries.is_empty() && !quotable {
            return None;
        }
        entries.sort_unstable();
        entries.dedup();
        let hit = entries
            .into_iter()
            .find_map(|entry| self.try_entry(entry, text));
        hit.or(quotable.then_some(Hit::Quote))
    }

    fn try_entry(&self, entry: Entry, text: &[u8]) -> Option<Hit> {
        match entry {
            Entry::Rule(at) => {
                let rule = &RULES[at];
                let (pattern, unless) = self.rules[at].get_or_init(|| {
                    let unless = rule.unless.iter().map(|p| anchored(p)).collect();
                    (anchored(rule.pattern), unless)
                });
                let is_match = pattern.is_match(text) && !unless.iter().any(|p| p.is_match(text));
                is_match.then_some(Hit::Report(rule))
            }
            Entry::Mark(at) => {
                let rule = &MARKS[at];
                let pattern = self.marks[at].get_or_init(|| anchored(rule.pattern));
                pattern.is_match(text).then_some(Hit::Mark(rule.mark))
            }
        }
    }
}

fn anchored(pattern: &str) -> Regex {
    Regex::new(&format!("^(?-u:{pattern})")).expect("every pattern of the tables is tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sound() {
        let mut ids: Vec<_> = RULES.iter().map(|r| r.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), RULES.len(), "ids are unique");
        for rule in RULES {
            anchored(rule.pattern);
            rule.unless.iter().for_each(|p| drop(anchored(p)));
            assert!(
                !rule.source.is_empty() && !rule.needle.is_empty(),
                "{}",
                rule.id
            );
        }
        for rule in MARKS {
            anchored(rule.pattern);
        }
    }
}
