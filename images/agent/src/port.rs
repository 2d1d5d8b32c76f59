//! The serial port that carries the messages: raw, one line per write.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use kverdict_core::protocol::Message;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, speed, tcdrain, tcgetattr, tcsetattr};

/// The open port.
pub struct Port {
    file: File,
    closed: AtomicBool,
}

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
        Ok(Port {
            file: File::from(file),
            closed: AtomicBool::new(false),
        })
    }

    /// Sends one line, unless the port is closed. The kernel keeps the lines of concurrent writers
    /// apart.
    pub fn send(&self, message: &Message) {
        if !self.closed.load(Ordering::Relaxed) {
            self.write(message);
        }
    }

    /// Closes the port, sends the last line, if any, and waits until everything is sent. A line
    /// that another thread is sending at this moment may still follow.
    pub fn finish(&self, last: Option<&Message>) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(message) = last {
            self.write(message);
        }
        let _ = tcdrain(&self.file);
    }

    /// There is nowhere to report that the port itself fails; the host notices the silence.
    fn write(&self, message: &Message) {
        if let Ok(mut line) = serde_json::to_string(message) {
            line.push('\n');
            let _ = (&self.file).write_all(line.as_bytes());
        }
    }
}
