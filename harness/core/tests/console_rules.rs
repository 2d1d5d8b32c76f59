//! Every rule has messages that it must find and near misses that it must not.

use std::collections::BTreeSet;

use kverdict_core::console::rules::{RULES, Role};
use kverdict_core::console::{ConsoleFindings, Scanner};

struct Case {
    rule: &'static str,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        rule: "hard-lockup",
        hits: &[
            "watchdog: Watchdog detected hard LOCKUP on cpu 2",
            "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3",
            "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3Modules linked in: ip_tables",
            "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 2",
        ],
        misses: &[
            "NMI watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]",
            "app: watchdog: Watchdog detected hard LOCKUP on cpu 2",
            "NMI watchdog: Shutting down hard lockup detector on all cpus",
        ],
    },
    Case {
        rule: "hard-lockup-warn",
        hits: &[
            "WARNING: at kernel/watchdog.c:246 watchdog_overflow_callback+0x9c/0xd0()",
            "WARNING: CPU: 1 PID: 0 at kernel/watchdog.c:290 watchdog_overflow_callback+0x9c/0xd0()",
        ],
        misses: &["WARNING: at kernel/watchdog.c:300 proc_dowatchdog+0x9c/0xd0()"],
    },
    Case {
        rule: "hard-lockup-text",
        hits: &[
            "Watchdog detected hard LOCKUP on cpu 1",
            "CPU1: Watchdog detected hard LOCKUP on cpu 2",
        ],
        misses: &["The Watchdog detected hard LOCKUP on cpu 1"],
    },
    Case {
        rule: "hard-lockup-panic",
        hits: &[
            "Kernel panic - not syncing: Hard LOCKUP",
            "Kernel panic - not syncing: Watchdog detected hard LOCKUP on cpu 1",
        ],
        misses: &[
            "Kernel panic - not syncing: hardlockup_panic",
            "expecting Kernel panic - not syncing: Hard LOCKUP",
        ],
    },
    Case {
        rule: "hard-lockup-panic-end",
        hits: &["---[ end Kernel panic - not syncing: Hard LOCKUP ]---"],
        misses: &["---[ end trace 5a0b12a5d4c1b7e0 ]---"],
    },
    Case {
        rule: "hard-lockup-powerpc",
        hits: &[
            "Watchdog CPU:5 Hard LOCKUP",
            "Watchdog CPU:4 detected Hard LOCKUP other CPUS:5",
            "watchdog: CPU 3 self-detected hard LOCKUP @ some_function+0x1/0x2",
            "watchdog: CPU 3 detected hard LOCKUP on other CPUs 5",
        ],
        misses: &[
            "Watchdog CPU:5 became unstuck",
            "watchdog: CPU 3 became unstuck TB:123",
        ],
    },
    Case {
        rule: "hard-lockup-2.6",
        hits: &["BUG: NMI Watchdog detected LOCKUP on CPU0, ip ffffffff8127b3c0, registers:"],
        misses: &["NMI watchdog: enabled on all CPUs, permanently consumes one hw-PMU counter."],
    },
    Case {
        rule: "soft-lockup-panic",
        hits: &["Kernel panic - not syncing: softlockup: hung tasks"],
        misses: &["kernel.softlockup_panic = 1"],
    },
    Case {
        rule: "hung-task-panic",
        hits: &["Kernel panic - not syncing: hung_task: blocked tasks"],
        misses: &["kernel.hung_task_panic = 1"],
    },
    Case {
        rule: "rcu-stall-panic",
        hits: &["Kernel panic - not syncing: RCU Stall"],
        misses: &["kernel.panic_on_rcu_stall = 1"],
    },
    Case {
        rule: "workqueue-lockup-panic",
        hits: &["Kernel panic - not syncing: workqueue: panic_on_stall after 3 stall(s)"],
        misses: &[
            "workqueue: some_work hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
        ],
    },
    Case {
        rule: "warning-panic",
        hits: &[
            "Kernel panic - not syncing: panic_on_warn set ...",
            "Kernel panic - not syncing: kernel: panic_on_warn set ...",
        ],
        misses: &["Kernel command line: console=ttyS0 panic_on_warn=1"],
    },
    Case {
        rule: "sanitizer-panic",
        hits: &[
            "Kernel panic - not syncing: KASAN: panic_on_warn set ...",
            "Kernel panic - not syncing: kmsan.panic set ...",
        ],
        misses: &["Kernel command line: kasan.fault=panic"],
    },
    Case {
        rule: "oops-panic",
        hits: &[
            "Kernel panic - not syncing: Fatal exception",
            "Kernel panic - not syncing: Fatal exception in interrupt",
        ],
        misses: &["app: Fatal exception"],
    },
    Case {
        rule: "machine-check-panic",
        hits: &[
            "Kernel panic - not syncing: Fatal machine check",
            "Kernel panic - not syncing: Fatal local machine check",
        ],
        misses: &["mce: [Hardware Error]: Machine check events logged"],
    },
    Case {
        rule: "no-root",
        hits: &[
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "VFS: Cannot open root device \"vda\" or unknown-block(0,0): error -6",
        ],
        misses: &[
            "VFS: Unable to mount root fs via NFS.",
            "VFS: Mounted root (ext4 filesystem) readonly on device 254:0.",
        ],
    },
    Case {
        rule: "no-init",
        hits: &[
            "Kernel panic - not syncing: No init found.  Try passing init= option to kernel.",
            "Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.",
            "Kernel panic - not syncing: Requested init /nothere failed (error -2).",
        ],
        misses: &["Failed to execute /init (error -2)"],
    },
    Case {
        rule: "early-halt",
        hits: &["-- System halted"],
        misses: &["reboot: System halted"],
    },
    Case {
        rule: "wrong-cpu",
        hits: &["This kernel requires an x86-64 CPU, but only detected an i686 CPU."],
        misses: &["This kernel requires more memory"],
    },
    Case {
        rule: "no-bootable-device",
        hits: &["No bootable device."],
        misses: &["Booting from ROM..."],
    },
    Case {
        rule: "initramfs-unpacking",
        hits: &[
            "Initramfs unpacking failed: write error",
            "Kernel panic - not syncing: initramfs unpacking failed: junk within compressed archive",
        ],
        misses: &["Unpacking initramfs..."],
    },
    Case {
        rule: "init-killed",
        hits: &["Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300"],
        misses: &["Attempted to kill init!"],
    },
    Case {
        rule: "panic",
        hits: &[
            "Kernel panic - not syncing: dumptest",
            "Kernel panic - not syncing: sysrq triggered crash",
        ],
        misses: &[
            "kernel.panic = 0",
            "lkdtm: Performing direct entry PANIC",
            "Kernel Offset: disabled",
        ],
    },
    Case {
        rule: "panic-end",
        hits: &["---[ end Kernel panic - not syncing: dumptest ]---"],
        misses: &["[ end Kernel panic - not syncing: dumptest ]"],
    },
    Case {
        rule: "soft-lockup",
        hits: &[
            "watchdog: BUG: soft lockup - CPU#0 stuck for 52s! [init:75]",
            "NMI watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]",
            "BUG: soft lockup - CPU#1 stuck for 22s! [a:1]",
        ],
        misses: &[
            "watchdog: Disabling watchdog on nohz_full cores by default",
            "CPU#0 Utilization every 4s during lockup:",
        ],
    },
    Case {
        rule: "csd-lock-stuck",
        hits: &[
            "smp: csd: Detected non-responsive CSD lock (#1) on CPU#0, waiting 5000001536 ns for CPU#02 do_nothing+0x0/0x10(0x0).",
        ],
        misses: &["smp: csd: CSD lock (#1) got unstuck on CPU#00, CPU#02 released the lock."],
    },
    Case {
        rule: "rcu-stall",
        hits: &[
            "rcu: INFO: rcu_sched self-detected stall on CPU",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {",
            "INFO: rcu_sched self-detected stall on CPU { 3}  (t=60000 jiffies g=1 c=0 q=2)",
            "INFO: rcu_sched_state detected stalls on CPUs/tasks: { 1} (detected by 2, t=60002 jiffies)",
            "INFO: rcu_bh_state detected stalls on CPUs/tasks: { 1}",
        ],
        misses: &[
            "rcu: RCU CPU stall warnings timeout set to 21 (rcu_cpu_stall_timeout).",
            "rcu: INFO: Stall ended before state dump start",
            "rcu: rcu_preempt kthread starved for 8000 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1",
        ],
    },
    Case {
        rule: "hung-task",
        hits: &[
            "INFO: task init:1 blocked for more than 10 seconds.",
            "INFO: task kworker/0:1 x:123 blocked in I/O wait for more than 120 seconds.",
        ],
        misses: &[
            "INFO: task init:1 is blocked on a mutex likely owned by task a:2.",
            "INFO: lockdep is turned off.",
        ],
    },
    Case {
        rule: "workqueue-lockup",
        hits: &["BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 33s!"],
        misses: &["Showing busy workqueues and worker pools:"],
    },
    Case {
        rule: "kasan",
        hits: &["BUG: KASAN: slab-out-of-bounds in provoke+0x570/0x1000 [provoke]"],
        misses: &[
            "kasan: KernelAddressSanitizer initialized (generic)",
            "KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]",
        ],
    },
    Case {
        rule: "kfence",
        hits: &["BUG: KFENCE: use-after-free read in provoke+0x36c/0x1000 [provoke]"],
        misses: &[
            "kfence: initialized - using 2097152 bytes for 255 objects at 0xffff88800f600000-0xffff88800f800000",
        ],
    },
    Case {
        rule: "kcsan",
        hits: &["BUG: KCSAN: data-race in first_function / second_function"],
        misses: &["kcsan: enabled early"],
    },
    Case {
        rule: "kmsan",
        hits: &["BUG: KMSAN: uninit-value in some_function+0x12/0x40"],
        misses: &["Starting KernelMemorySanitizer"],
    },
    Case {
        rule: "ubsan",
        hits: &[
            "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/bugs.c:406:16",
            "UBSAN: Undefined behaviour in lib/test_ubsan.c:18:6",
        ],
        misses: &["UBSAN: enabled"],
    },
    Case {
        rule: "kmemleak",
        hits: &[
            "kmemleak: 4 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "kmemleak: unreferenced object 0xffff888000baf200 (size 256):",
        ],
        misses: &[
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 15195)",
            "kmemleak: Automatic memory scanning thread started",
        ],
    },
    Case {
        rule: "lockdep",
        hits: &[
            "WARNING: possible circular locking dependency detected",
            "[ INFO: possible circular locking dependency detected ]",
            "[ INFO: possible recursive locking detected ]",
            "WARNING: possible irq lock inversion dependency detected",
        ],
        misses: &[
            "Possible unsafe locking scenario:",
            "INFO: possible causes are many",
        ],
    },
    Case {
        rule: "lockdep-unsafe-order",
        hits: &[
            "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
            "[ INFO: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected ]",
        ],
        misses: &["... which became HARDIRQ-irq-safe at:"],
    },
    Case {
        rule: "lockdep-state",
        hits: &[
            "WARNING: inconsistent lock state",
            "[ INFO: inconsistent lock state ]",
        ],
        misses: &["inconsistent {HARDIRQ-ON-W} -> {IN-HARDIRQ-W} usage."],
    },
    Case {
        rule: "lockdep-rcu",
        hits: &[
            "WARNING: suspicious RCU usage",
            "[ INFO: suspicious RCU usage. ]",
        ],
        misses: &["mod.c:12 suspicious rcu_dereference_check() usage!"],
    },
    Case {
        rule: "lockdep-balance",
        hits: &[
            "WARNING: bad unlock balance detected!",
            "[ BUG: bad unlock balance detected! ]",
            "WARNING: bad contention detected!",
        ],
        misses: &["usb 1-1: new device detected!"],
    },
    Case {
        rule: "lockdep-held",
        hits: &[
            "WARNING: held lock freed!",
            "[ BUG: tool/812 still has locks held! ]",
            "WARNING: lock held when returning to user space!",
        ],
        misses: &["1 lock held by tool/812:", "no locks held by tool/812."],
    },
    Case {
        rule: "lockdep-nested",
        hits: &["WARNING: Nested lock was not taken"],
        misses: &["tool/812 is trying to lock:"],
    },
    Case {
        rule: "lockdep-wait-context",
        hits: &["[ BUG: Invalid wait context ]"],
        misses: &["context-{5:5}"],
    },
    Case {
        rule: "lockdep-limit",
        hits: &[
            "BUG: MAX_LOCKDEP_ENTRIES too low!",
            "BUG: MAX_STACK_TRACE_ENTRIES too low!",
        ],
        misses: &["turning off the locking correctness validator: too low!"],
    },
    Case {
        rule: "null-dereference",
        hits: &[
            "BUG: kernel NULL pointer dereference, address: 0000000000000010",
            "BUG: unable to handle kernel NULL pointer dereference at 0000000000000010",
        ],
        misses: &[
            "tool[812]: segfault at 0 ip 0000000000401643 sp 00007ffcc1e43030 error 6",
            "kasan: NULL pointer dereference",
        ],
    },
    Case {
        rule: "page-fault",
        hits: &[
            "BUG: unable to handle page fault for address: ffffc8dead000000",
            "BUG: unable to handle kernel paging request at ffffc8dead000000",
        ],
        misses: &[
            "#PF: supervisor instruction fetch in kernel mode",
            "app is unable to handle page fault",
        ],
    },
    Case {
        rule: "unable-to-handle",
        hits: &[
            "BUG: unable to handle kernel access to user memory",
            "Unable to handle kernel read from unreadable memory",
        ],
        misses: &["Unable to handle the request"],
    },
    Case {
        rule: "stack-guard-page",
        hits: &[
            "BUG: TASK stack guard page was hit at 0000000000000000 (stack is 0000000000000000..0000000000000000)",
            "BUG: stack guard page was hit at ffffc900000d8000 (stack is ffffc900000d9000..ffffc900000dcfff)",
        ],
        misses: &["lkdtm: attempting bad read from page below current stack"],
    },
    Case {
        rule: "stack-overflow",
        hits: &["kernel stack overflow (page fault): 0000 [#1] SMP"],
        misses: &["a kernel stack overflow (page fault)"],
    },
    Case {
        rule: "double-fault",
        hits: &[
            "traps: PANIC: double fault, error_code: 0x0",
            "double fault: 0000 [#1] SMP",
            "Oops: double fault: 0000 [#1] SMP",
        ],
        misses: &[
            "lkdtm: Performing direct entry DOUBLE_FAULT",
            "a double fault: maybe",
        ],
    },
    Case {
        rule: "general-protection",
        hits: &[
            "general protection fault: 0000 [#1] SMP",
            "Oops: general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: 0000 [#1] SMP",
        ],
        misses: &[
            "traps: app[123] general protection fault ip:401659 sp:7ffdfebe0330 error:0 in app[401000+78000]",
            "app[123] general protection ip:401659 sp:7ffdfebe0330 error:0",
        ],
    },
    Case {
        rule: "divide-error",
        hits: &[
            "divide error: 0000 [#1] SMP",
            "Oops: divide error: 0000 [#1] SMP",
        ],
        misses: &[
            "traps: app[123] trap divide error ip:401659 sp:7ffdfebe0330 error:0 in app[401000+78000]",
        ],
    },
    Case {
        rule: "invalid-opcode",
        hits: &[
            "invalid opcode: 0000 [#1] SMP",
            "Oops: invalid opcode: 0000 [#1] SMP",
        ],
        misses: &[
            "traps: app[123] trap invalid opcode ip:401685 sp:7ffffeb42260 error:0 in app[401000+78000]",
        ],
    },
    Case {
        rule: "stack-segment",
        hits: &["stack segment: 0000 [#1] SMP"],
        misses: &[
            "traps: app[123] trap stack segment ip:401685 sp:7ffffeb42260 error:0 in app[401000+78000]",
        ],
    },
    Case {
        rule: "alignment-check",
        hits: &["alignment check: 0000 [#1] SMP"],
        misses: &[
            "traps: app[123] trap alignment check ip:401685 sp:7ffffeb42260 error:0 in app[401000+78000]",
        ],
    },
    Case {
        rule: "int3",
        hits: &["int3: 0000 [#1] SMP", "Oops: int3: 0000 [#1] SMP"],
        misses: &[
            "traps: app[123] trap int3 ip:40168e sp:7ffc7f5e4880 error:0 in app[401000+78000]",
        ],
    },
    Case {
        rule: "machine-check",
        hits: &[
            "mce: [Hardware Error]: CPU 2: Machine Check Exception: 5 Bank 6: b200000000000175",
        ],
        misses: &[
            "mce: [Hardware Error]: Machine check events logged",
            "mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 5: 9000000000000000",
        ],
    },
    Case {
        rule: "oops-trap",
        hits: &[
            "Oops: stack guard page: 0000 [#1] SMP",
            "invalid TSS: 0000 [#1] SMP",
            "control protection fault: 0003 [#1] SMP",
        ],
        misses: &["traps: app[123] trap overflow ip:401685 sp:7ffffeb42260 error:0 [#1]"],
    },
    Case {
        rule: "oops",
        hits: &[
            "Oops: 0000 [#1] SMP",
            "Oops: Oops: 0002 [#1] SMP",
            "Internal error: Oops: 96000004 [#1] SMP",
        ],
        misses: &["Oops: the load said so", "oops=panic"],
    },
    Case {
        rule: "list-corruption",
        hits: &[
            "list_add corruption. next->prev should be prev (ffff), but was 0000. (next=ffff).",
            "list_del corruption, ffff->next is LIST_POISON1 (dead000000000100)",
        ],
        misses: &["list_lru: corruption"],
    },
    Case {
        rule: "kernel-bug",
        hits: &[
            "kernel BUG at mm/slab.c:3012!",
            "Kernel BUG at some_function+0x170/0x170 [verbose debug info unavailable]",
        ],
        misses: &["a kernel BUG at mm/slab.c:3012!", "kernel BUG at last"],
    },
    Case {
        rule: "scheduling-while-atomic",
        hits: &["BUG: scheduling while atomic: init/1/0x00000002"],
        misses: &["scheduling while atomic"],
    },
    Case {
        rule: "sleeping-in-atomic",
        hits: &["BUG: sleeping function called from invalid context at fs/file_table.c:452"],
        misses: &["in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 1, name: init"],
    },
    Case {
        rule: "spinlock-lockup",
        hits: &[
            "BUG: spinlock lockup suspected on CPU#2, tool/812",
            "BUG: spinlock lockup on CPU#2, tool/812, ffff88003d4b8000",
        ],
        misses: &["lock: provoke_spin+0x0/0x40, .magic: dead4ead, .owner: a/1, .owner_cpu: 1"],
    },
    Case {
        rule: "spinlock-misuse",
        hits: &[
            "BUG: spinlock bad magic on CPU#1, tool/812",
            "BUG: rwlock wrong CPU on CPU#1, tool/812, ffff",
        ],
        misses: &["spinlock bad magic on CPU#1"],
    },
    Case {
        rule: "bad-page",
        hits: &[
            "BUG: Bad page state in process insmod  pfn:102f5",
            "BUG: Bad page map in process a  pte:1 pmd:2",
            "BUG: Bad rss-counter state mm:ffff type:MM_ANONPAGES val:1",
        ],
        misses: &["page dumped because: PAGE_FLAGS_CHECK_AT_FREE flag(s) set"],
    },
    Case {
        rule: "smp-processor-id",
        hits: &["BUG: using smp_processor_id() in preemptible [00000000] code: tool/812"],
        misses: &["caller is debug_smp_processor_id+0x17/0x20, in preemptible code"],
    },
    Case {
        rule: "workqueue-leak",
        hits: &[
            "BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/9",
            "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[9]",
        ],
        misses: &["the workqueue leaked some work"],
    },
    Case {
        rule: "slab-corruption",
        hits: &[
            "BUG kmalloc-64 (Not tainted): Redzone overwritten",
            "BUG kmalloc-64 (Tainted: G        W): Poison overwritten",
        ],
        misses: &["BUG report address: none"],
    },
    Case {
        rule: "bug",
        hits: &["BUG: non-zero pgtables_bytes on freeing mm: 4096"],
        misses: &[
            "BUG: arch topology borken",
            "DEBUG: all is well",
            "PCI: if necessary, use \"pci=nocrs\" and report a bug",
        ],
    },
    Case {
        rule: "warning",
        hits: &[
            "WARNING: at kernel/sched/core.c:123 some_function+0x12/0x40()",
            "WARNING: CPU: 2 PID: 34 at kernel/sched/core.c:123 some_function+0x12/0x40",
            "WARNING: CPU: 2 PID: 1 at lkdtm_WARNING+0xa/0x10",
        ],
        misses: &[
            "WARNING: 'bootconfig' found on the kernel command line but CONFIG_BOOT_CONFIG is not set.",
            "lkdtm: Performing direct entry WARNING",
        ],
    },
    Case {
        rule: "warning-6.18",
        hits: &["WARNING: kernel/sched/core.c:123 at some_function+0x12/0x40, CPU#3: tool/812"],
        misses: &["WARNING: look at CPU#3"],
    },
    Case {
        rule: "out-of-memory",
        hits: &[
            "Out of memory: Killed process 61 (dd) total-vm:3284kB",
            "Out of memory: Kill process 61 (dd) score 9 or sacrifice child",
            "Memory cgroup out of memory: Killed process 61 (dd)",
        ],
        misses: &[
            "dd invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0",
        ],
    },
];

fn scan(console: &str) -> ConsoleFindings {
    let mut scanner = Scanner::new();
    scanner.feed(console.as_bytes());
    scanner.finish()
}

fn rule_of(line: &str) -> Option<String> {
    scan(line).first_report().map(|report| report.rule.clone())
}

/// The ways that a console shows one message.
fn dressed(message: &str) -> [String; 7] {
    [
        format!("[   12.345678] {message}\n"),
        format!("[   12.345678][    C6] {message}\r\n"),
        format!("[   12.345678] [ T123] {message}\r\r\n"),
        format!("<2>[   12.345678] {message}\n"),
        format!("{message}\n"),
        format!("[   12.000000] unfinished[   12.345678] {message}"),
        format!("\x1bc\x1b[?7l\x1b[2J[   12.345678] {message}\x1b[0m\n"),
    ]
}

#[test]
fn every_rule_has_hits_and_near_misses() {
    let rules: BTreeSet<_> = RULES.iter().map(|r| r.id).collect();
    let cases: BTreeSet<_> = CASES.iter().map(|c| c.rule).collect();
    assert_eq!(rules, cases);
    for case in CASES {
        assert!(
            !case.hits.is_empty() && !case.misses.is_empty(),
            "{}",
            case.rule
        );
    }
}

#[test]
fn hits_are_found_however_they_are_printed() {
    for case in CASES {
        for hit in case.hits {
            for line in dressed(hit) {
                assert_eq!(rule_of(&line).as_deref(), Some(case.rule), "{line:?}");
            }
        }
    }
}

#[test]
fn near_misses_are_not_found() {
    for case in CASES {
        for miss in case.misses {
            for line in dressed(miss) {
                assert_ne!(rule_of(&line).as_deref(), Some(case.rule), "{line:?}");
            }
        }
    }
}

/// What user space, a tool or a person wrote is not the kernel's, whatever it says.
#[test]
fn quotations_are_never_reports() {
    for case in CASES {
        for hit in case.hits {
            for line in [
                format!("[   12.000000] booted\n{hit}\n"),
                format!("[   12.000000] app: {hit}\n"),
                format!("[   12.000000] booted\n> [   13.000000] {hit}\n"),
                format!("[   12.000000] booted\ntool: [   11.000000] {hit}\n"),
                format!("[   12.000000] booted\nsaw '[   13.000000] {hit}'\n"),
                format!("[   12.000000] [   13.000000] {hit}\n"),
                format!("<14>[   12.000000] {hit}\n"),
                format!("[    0.000000] Command line: console=ttyS0 x=\"{hit}\"\n"),
            ] {
                assert_eq!(rule_of(&line), None, "{line:?}");
            }
        }
    }
}

/// The first rule that matches wins, so a rule that another one shadows would be dead.
#[test]
fn what_continues_opens_when_it_stands_alone() {
    for case in CASES {
        let rule = RULES
            .iter()
            .find(|r| r.id == case.rule)
            .expect("the tables agree");
        if rule.role == Role::Continues {
            let findings = scan(&format!("[   12.345678] {}\n", case.hits[0]));
            assert_eq!(findings.outcome, rule.outcome, "{}", rule.id);
        }
    }
}
