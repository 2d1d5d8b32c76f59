//! The serial port that carries the messages: raw, one line per write.

use std::fs::File;
use std::io::{self, Write};

use kverdict_core::protocol::Message;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, speed, tcdrain, tcgetattr, tcsetattr};

/// The open port.
pub struct Port(File);

impl Port {
    /// Opens a terminal device and makes it raw: no echo, no carriage returns.
    ///
    /// # Errors
    /// When it cannot be opened or is no terminal.
    pub fn open(path: &str) -> io::Result<Self> {
        // NONBLOCK only for the open, which would else wait for a carrier.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let mut settings = tcgetattr(&file)?;
        settings.make_raw();
        settings.control_modes |= rustix::termios::ControlModes::CLOCAL;
        settings.set_speed(speed::B115200)?;
        tcsetattr(&file, OptionalActions::Now, &settings)?;
        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
        Ok(Port(File::from(file)))
    }

    /// Sends one line. The kernel keeps the lines of concurrent writers apart; there is nowhere
    /// to report that the port itself fails, so that is left to the host's silence timeout.
    pub fn send(&self, message: &Message) {
        if let Ok(mut line) = serde_json::to_string(message) {
            line.push('\n');
            let _ = (&self.0).write_all(line.as_bytes());
        }
    }

    /// Waits until everything is sent.
    pub fn drain(&self) {
        let _ = tcdrain(&self.0);
    }
}
