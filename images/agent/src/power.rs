//! The end of the guest.

use rustix::system::{RebootCommand, reboot};

/// Powers off; where the machine cannot be powered off, halts its last process for good.
pub fn off() -> ! {
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Halt);
    loop {
        std::thread::park();
    }
}
