//! The agent: PID 1 of the guest.
//!
//! It mounts what it needs, says hello, checks the guest against the plan, applies the plan's
//! settings, says which lockup detectors are really armed, runs the load and reports counters
//! once a second, all as [`kverdict_core::protocol::Message`] lines over a serial port.
//!
//! Rules: the kernel panics when PID 1 ends, so the agent never ends except by powering off; what
//! goes wrong is reported, never lost; nothing here needs a system call newer than Linux 3.10.

mod agent;
mod cmdline;
mod collector;
mod counters;
mod crew;
mod detectors;
mod globs;
mod heartbeat;
mod kernel_log;
mod mounts;
mod pace;
mod port;
mod power;
mod settings;
mod shell;
mod spare_cpus;
mod topology;
mod trace;

/// Whether this process is a guest's PID 1 or one of its load processes, rather than the
/// orchestrator. Linux starts the initramfs's init with `argv[0]` being `/init`.
pub fn is_guest() -> bool {
    kverdict_load::is_load_process() || is_init()
}

fn is_init() -> bool {
    std::process::id() == 1
        && std::env::args_os()
            .next()
            .is_some_and(|name| name == "/init")
}

/// Runs the guest's part of the program; call it only when [`is_guest`] says so, before anything
/// else.
pub fn main() -> ! {
    if kverdict_load::is_load_process() {
        kverdict_load::main()
    }
    agent::main()
}
