//! Functions that a stack begins with, by their names.

use super::super::stack::End;

/// Code that a CPU or a kernel thread starts with, which nothing called: `arch/x86/kernel/head_64.S`,
/// `entry_64.S`, `init/main.c`.
const FIRST: [&str; 9] = [
    "ret_from_fork",
    "ret_from_fork_asm",
    "kernel_thread_helper",
    "secondary_startup_64",
    "secondary_startup_64_no_verify",
    "common_startup_64",
    "start_cpu",
    "start_cpu0",
    "x86_64_start_kernel",
];

/// Functions close to the beginning of a kernel thread or of the idle task: a stack that cannot be
/// followed further than these is as good as whole. `kernel/kthread.c`, `kernel/sched/idle.c`,
/// `arch/x86/kernel/smpboot.c`, `init/main.c` (whose code is gone after the boot).
const NEARLY_FIRST: [&str; 8] = [
    "kthread",
    "cpu_startup_entry",
    "cpu_idle",
    "start_secondary",
    "rest_init",
    "start_kernel",
    "arch_call_rest_init",
    "x86_64_start_reservations",
];

/// Where system calls enter, 3.10 to today: `arch/x86/kernel/entry_64.S`, `arch/x86/entry/`,
/// `arch/x86/ia32/ia32entry.S`.
const FROM_USER: [&str; 18] = [
    "entry_SYSCALL_",
    "entry_SYSENTER_compat",
    "entry_INT80_compat",
    "entry_FRED",
    "asm_int80_emulation",
    "asm_fred_entrypoint_user",
    "system_call",
    "sysenter_",
    "cstar_",
    "ia32_",
    "int_ret_from_sys_call",
    "int_with_check",
    "int_signal",
    "int_very_careful",
    "sysret_",
    "tracesys",
    "stub_",
    "ret_from_sys_call",
];

/// Where interrupts enter in kernels before 5.8 (same sources): there the registers that they saved
/// are found through a pointer on the interrupt stack.
const INTERRUPTS: [&str; 20] = [
    "common_interrupt",
    "ret_from_intr",
    "apic_timer_interrupt",
    "reschedule_interrupt",
    "call_function_interrupt",
    "call_function_single_interrupt",
    "irq_work_interrupt",
    "x86_platform_ipi",
    "threshold_interrupt",
    "thermal_interrupt",
    "deferred_error_interrupt",
    "error_interrupt",
    "spurious_interrupt",
    "irq_move_cleanup_interrupt",
    "reboot_interrupt",
    "kvm_posted_intr_ipi",
    "kvm_posted_intr_wakeup_ipi",
    "kvm_posted_intr_nested_ipi",
    "hyperv_callback_vector",
    "xen_hvm_callback_vector",
];

/// Whether this code was called by nothing.
pub fn is_first(symbol: &str) -> bool {
    FIRST.contains(&symbol)
}

/// How a stack ends whose outermost known function is this one.
pub fn end(symbol: &str) -> End {
    if FIRST.contains(&symbol) || NEARLY_FIRST.contains(&symbol) {
        End::Complete
    } else if FROM_USER.iter().any(|start| symbol.starts_with(start)) {
        End::UserSpace
    } else {
        End::Broken
    }
}

/// Whether this is where interrupts enter in kernels before 5.8.
pub fn is_interrupt(symbol: &str) -> bool {
    let untraced = symbol.strip_prefix("trace_").unwrap_or(symbol);
    INTERRUPTS.contains(&untraced)
}

/// Whether this is code that a call or jump through a register goes through.
pub fn is_indirect_thunk(symbol: &str) -> bool {
    symbol.starts_with("__x86_indirect_")
}

/// Whether this is code that a function jumps to in order to return.
pub fn is_return_thunk(symbol: &str) -> bool {
    symbol.contains("return_thunk") || symbol.ends_with("_untrain_ret")
}

/// A function that the compiler split: `schedule` for `schedule.cold`.
pub fn whole(symbol: &str) -> &str {
    symbol.strip_suffix(".cold").unwrap_or(symbol)
}
