//! What the guest's agent said, as far as the trial goes.

use std::time::Instant;

use anyhow::Result;
use kverdict_core::protocol::{Counters, Detector, Message};
use kverdict_core::record::Exposure;

use crate::tail::Tail;

/// A longer line is not the agent's.
const LINE_LIMIT_BYTES: usize = 64 * 1024;

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
    tail: Tail,
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

impl AgentChannel {
    /// Follows the file that the agent's serial port goes to.
    pub fn new(tail: Tail) -> Self {
        Self {
            tail,
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

    /// Takes in what has come. Gives whether that was all, as [`Tail::follow`] does.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn follow(&mut self) -> Result<bool> {
        let mut lines = Vec::new();
        let partial = &mut self.partial;
        let all = self.tail.follow(|bytes| {
            for &byte in bytes {
                if byte == b'\n' {
                    lines.push(std::mem::take(partial));
                } else if partial.len() < LINE_LIMIT_BYTES {
                    partial.push(byte);
                }
            }
        })?;
        for line in lines {
            match serde_json::from_slice(&line) {
                Ok(message) => self.take(message),
                Err(_) => self.garbage_lines += 1,
            }
        }
        Ok(all)
    }

    /// Bytes that came so far.
    pub fn read_bytes(&self) -> u64 {
        self.tail.read_bytes()
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

    fn take(&mut self, message: Message) {
        self.messages += 1;
        match message {
            Message::Hello { release, .. } => {
                self.release = Some(release);
                self.phase = Phase::SettingUp;
            }
            Message::Tuned { name, value, error } => {
                if let Some(error) = error {
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
                self.load_started = Some(Instant::now());
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
