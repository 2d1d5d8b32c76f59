//! What the guest's agent said, as far as the trial goes.
//!
//! It comes out of a guest whose kernel may have been anybody's, so what is kept of it is bounded and
//! holds nothing that a terminal would obey.

use std::time::Instant;

use serde_json::{Map, Value};

use crate::protocol::{Counters, Detector, Message};
use crate::record::Exposure;

/// A longer line is not the agent's.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Refused settings that are kept; plans have some dozen settings.
const REFUSED_MAX: usize = 100;

/// How far the guest has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// No hello yet.
    Booting,
    /// Hello was said; set-up goes on.
    SettingUp,
    /// The detectors are known; the load is being started.
    Armed,
    /// The load runs.
    Loading,
    /// The plan is done; the guest is powering off.
    Ended,
    /// The guest is not what was asked for.
    Unfit(String),
    /// The load could not run.
    LoadFailed(String),
}

/// Reader of the agent channel.
#[derive(Debug)]
pub struct AgentChannel {
    partial: Vec<u8>,
    /// How far the guest has come.
    pub phase: Phase,
    /// In-guest detectors, once it said.
    pub detectors: Vec<Detector>,
    /// Settings that did not hold.
    pub refused_settings: Vec<String>,
    /// CPUs that did not answer the roll call after the load.
    pub silent_cpus: Vec<u32>,
    /// Kernel release, once it said hello.
    pub release: Option<String>,
    /// Lines that are not messages.
    pub garbage_lines: u64,
    /// Messages so far; grows as long as the agent lives.
    pub messages: u64,
    load_started_ms: u64,
    load_started: Option<Instant>,
    first: Option<Counters>,
    last: Option<(u64, Counters)>,
    heartbeats: u64,
}

impl Default for AgentChannel {
    fn default() -> Self {
        Self::new()
    }
}

impl AgentChannel {
    /// Nothing said yet.
    pub fn new() -> Self {
        Self {
            partial: Vec::new(),
            phase: Phase::Booting,
            detectors: Vec::new(),
            refused_settings: Vec::new(),
            silent_cpus: Vec::new(),
            release: None,
            garbage_lines: 0,
            messages: 0,
            load_started_ms: 0,
            load_started: None,
            first: None,
            last: None,
            heartbeats: 0,
        }
    }

    /// Takes in what has come by the host's time `now`.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                match read(&line) {
                    Some(message) => self.take(message, now),
                    None => self.garbage_lines += 1,
                }
            } else if self.partial.len() <= LINE_BYTES_MAX {
                // One byte more than a line has says that it is too long.
                self.partial.push(byte);
            }
        }
    }

    /// Guest milliseconds under load so far.
    pub fn load_ms(&self) -> u64 {
        self.last.as_ref().map_or(0, |(uptime_ms, _)| {
            uptime_ms.saturating_sub(self.load_started_ms)
        })
    }

    /// Guest uptime when the load started, in milliseconds; `None` before.
    pub fn load_started_ms(&self) -> Option<u64> {
        (self.load_started_ms > 0).then_some(self.load_started_ms)
    }

    fn counted_ms(&self) -> Option<u64> {
        let (_, last) = self.last.as_ref()?;
        let counted = last.read_at_ms?.saturating_sub(self.load_started_ms);
        (counted > 0).then_some(counted)
    }

    /// When the load started, by the host's clock; `None` before.
    pub fn load_started(&self) -> Option<Instant> {
        self.load_started
    }

    /// What ran under load.
    pub fn exposure(&self) -> Exposure {
        let counters = match (&self.first, &self.last) {
            (Some(first), Some((_, last))) => last.grown_since(first),
            (None, _) | (_, None) => Counters::default(),
        };
        Exposure {
            load_ms: self.load_ms(),
            heartbeats: self.heartbeats,
            counted_ms: self.counted_ms(),
            counters,
            holder: None,
        }
    }

    fn take(&mut self, message: Message, now: Instant) {
        self.messages += 1;
        match message {
            Message::Hello { release, .. } => {
                self.release = Some(release);
                self.phase = Phase::SettingUp;
            }
            Message::Tuned { name, value, error } => {
                if let Some(error) = error
                    && self.refused_settings.len() < REFUSED_MAX
                {
                    self.refused_settings
                        .push(format!("{name}={value}: {error}"));
                }
            }
            Message::Unfit {
                what,
                expected,
                found,
            } => {
                self.phase = Phase::Unfit(format!("{what}: expected {expected}, found {found}"));
            }
            Message::Armed { detectors, .. } => {
                self.detectors = detectors;
                self.phase = Phase::Armed;
            }
            Message::LoadStarted { uptime_ms, .. } => {
                self.load_started_ms = uptime_ms;
                self.load_started = Some(now);
                self.phase = Phase::Loading;
            }
            Message::Heartbeat {
                uptime_ms,
                counters,
                ..
            } => {
                if self.phase == Phase::Loading {
                    self.heartbeats += 1;
                    self.first.get_or_insert_with(|| counters.clone());
                    self.last = Some((uptime_ms, counters));
                } else if self.phase == Phase::Armed {
                    // What was counted when the load began, as nearly as it is known.
                    self.first = Some(counters);
                }
            }
            Message::LoadFailed { reason } => self.phase = Phase::LoadFailed(reason),
            Message::RollCall { silent_cpus } => self.silent_cpus = silent_cpus,
            Message::End { .. } => self.phase = Phase::Ended,
        }
    }
}

fn read(line: &[u8]) -> Option<Message> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let value = serde_json::from_slice(line).ok()?;
    serde_json::from_value(without_controls(value)).ok()
}

/// The same with marks in place of control characters, which JSON can carry past any terminal driver.
fn without_controls(value: Value) -> Value {
    let plain = |text: String| text.replace(char::is_control, "\u{fffd}");
    match value {
        Value::String(text) => Value::String(plain(text)),
        Value::Array(items) => items.into_iter().map(without_controls).collect(),
        Value::Object(entries) => {
            let entries = entries.into_iter();
            let entries = entries.map(|(key, value)| (plain(key), without_controls(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[String]) -> AgentChannel {
        let mut channel = AgentChannel::new();
        for line in lines {
            channel.feed(line.as_bytes(), Instant::now());
            channel.feed(b"\n", Instant::now());
        }
        channel
    }

    #[test]
    fn an_agent_that_floods_is_heard_up_to_a_limit() {
        let refused = r#"{"type": "tuned", "name": "n", "value": "v", "error": "no"}"#.to_owned();
        let channel = heard(&vec![refused.clone(); 3 * REFUSED_MAX]);
        assert_eq!(channel.refused_settings.len(), REFUSED_MAX);
        assert_eq!(channel.garbage_lines, 0);
        // JSON ends before the line does.
        let padded = refused + &" ".repeat(LINE_BYTES_MAX);
        let channel = heard(&[padded]);
        assert_eq!((channel.messages, channel.garbage_lines), (0, 1));
    }

    #[test]
    fn an_agents_words_cannot_write_to_the_terminal() {
        let line = r#"{"type": "load-failed", "reason": "\u001b[2J\u0007 gone"}"#;
        let channel = heard(&[line.to_owned()]);
        let Phase::LoadFailed(reason) = channel.phase else {
            panic!("{:?}", channel.phase);
        };
        assert_eq!(reason, "\u{fffd}[2J\u{fffd} gone");
    }
}
