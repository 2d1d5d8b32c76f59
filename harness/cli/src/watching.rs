//! Following a run that another process writes.

use std::fs::{self, File};
use std::mem;

use anyhow::Result;
use kverdict_core::night::NightTrial;
use kverdict_core::record::{Standing, TrialRecord};
use serde::Deserialize;
use serde_json::Value;

use crate::layout::RunDir;
use crate::manifest::{Manifest, NightManifest};
use crate::tail::Tail;
use crate::{reports, store, verification};

/// What a run has said so far.
#[derive(Debug)]
pub struct Watched {
    dir: RunDir,
    events: Lines,
    /// Ids of the trials under way, the latest last.
    under_way: Vec<String>,
    counts: Vec<(Standing, u32)>,
}

/// A line of `events.jsonl`.
#[derive(Debug, Deserialize)]
struct Event {
    time: String,
    event: String,
    #[serde(default)]
    detail: Value,
}

/// A growing file, line by line.
#[derive(Debug)]
struct Lines {
    tail: Tail,
    rest: Vec<u8>,
}

impl Lines {
    fn new(tail: Tail) -> Self {
        Self {
            tail,
            rest: Vec::new(),
        }
    }

    /// Whole lines that have come since the last call.
    fn follow(&mut self) -> Result<Vec<Vec<u8>>> {
        let rest = &mut self.rest;
        self.tail.follow(|bytes| rest.extend_from_slice(bytes))?;
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let after = self.rest.split_off(end + 1);
            let mut line = mem::replace(&mut self.rest, after);
            line.pop();
            lines.push(line);
        }
        Ok(lines)
    }
}

impl Watched {
    /// Follows a run from its start.
    pub fn new(dir: RunDir) -> Self {
        Self {
            events: Lines::new(Tail::new(dir.events())),
            dir,
            under_way: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// What has happened since the last call, a line for each thing.
    ///
    /// # Errors
    /// When the run's files cannot be read.
    pub fn follow(&mut self) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for line in self.events.follow()? {
            // A line that a kill cut short is followed by whole ones.
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                continue;
            };
            let text = self.take(&event);
            said.push(format!("{} {text}", event.time));
        }
        Ok(said)
    }

    /// Whether a process writes into the run.
    ///
    /// # Errors
    /// When the run's lock cannot be read.
    pub fn is_running(&self) -> Result<bool> {
        let lock = match File::open(self.dir.lock()) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // Shared, and given back at once.
        Ok(lock.try_lock_shared().is_err())
    }

    /// What is being done now, in a few words; empty: nothing that is known.
    pub fn now(&self) -> String {
        match &self.under_way[..] {
            [] => String::new(),
            [id] => format!("trial {id}"),
            [.., id] => format!("{} trials, the latest {id}", self.under_way.len()),
        }
    }

    /// Trials so far, in words.
    pub fn counts(&self) -> String {
        let total: u32 = self.counts.iter().map(|(_, count)| count).sum();
        let parts: Vec<String> = self
            .counts
            .iter()
            .map(|(standing, count)| format!("{count} {standing}"))
            .collect();
        match total {
            0 => "no trial has ended".to_owned(),
            1 => format!("1 trial: {}", parts.join(", ")),
            _ => format!("{total} trials: {}", parts.join(", ")),
        }
    }

    /// Where the run stands, by its records or its last report; empty: there is neither yet.
    pub fn outlook(&self) -> String {
        if let Ok((manifest, records)) = store::read::<Manifest, TrialRecord>(&self.dir) {
            return verification::outlook(&manifest.campaign, &records)
                .trim()
                .to_owned();
        }
        if let Ok((manifest, records)) = store::read::<NightManifest, NightTrial>(&self.dir) {
            let night = reports::judge_night(&self.dir, &manifest, &records);
            return night.map_or_else(|_| String::new(), |night| night.outlook());
        }
        // Of all other kinds there is a report after each trial.
        let report = fs::read_to_string(self.dir.report_text()).unwrap_or_default();
        let lines: Vec<&str> = report.lines().take(2).map(str::trim).collect();
        lines.join(": ")
    }

    fn take(&mut self, event: &Event) -> String {
        let word = |key: &str| event.detail[key].as_str().unwrap_or_default().to_owned();
        match event.event.as_str() {
            "trial-started" => {
                let id = word("id");
                // One that was begun before a kill begins anew.
                self.under_way.retain(|one| *one != id);
                self.under_way.push(id);
                format!("trial {} began", word("id"))
            }
            "trial-ended" => {
                self.under_way.retain(|one| *one != word("id"));
                if let Ok(standing) = serde_json::from_value(event.detail["standing"].clone()) {
                    self.count(standing);
                }
                format!(
                    "trial {}: {} ({})",
                    word("id"),
                    word("standing"),
                    word("outcome")
                )
            }
            "built" => format!(
                "kernel of {}: {} {}",
                word("arm"),
                event.detail["kernel"]["release"].as_str().unwrap_or("?"),
                event.detail["kernel"]["key"].as_str().unwrap_or_default()
            ),
            other => format!("{other}: {}", event.detail),
        }
    }

    fn count(&mut self, standing: Standing) {
        match self.counts.iter_mut().find(|(one, _)| *one == standing) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((standing, 1)),
        }
        self.counts.sort_unstable();
    }
}
