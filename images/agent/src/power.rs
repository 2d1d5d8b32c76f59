//! The end of the guest.

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};
use rustix::system::{RebootCommand, reboot};

/// Ends all other processes and powers off: under load, CPUs that go offline one after the other
/// make the scheduler warn about tasks that it still moves there. Where the machine cannot be powered off, halts its last process for good.
pub fn off() -> ! {
    // To the kernel, init's process group is every process but init itself.
    let _ = kill_process_group(Pid::INIT, Signal::KILL);
    while matches!(wait(WaitOptions::empty()), Ok(Some(_))) {}
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Halt);
    loop {
        std::thread::park();
    }
}
