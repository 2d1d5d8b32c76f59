//! The only module that draws progress: indicatif on a terminal, one line per event otherwise.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// In plain mode a task that runs on says so this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Where progress goes: always stderr, so that stdout stays clean for results.
#[derive(Debug)]
pub struct Progress {
    display: Option<MultiProgress>,
    started: Instant,
}

impl Progress {
    /// A display on a terminal, plain lines elsewhere (also when `CI` is set).
    pub fn detect() -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self {
            display: terminal.then(MultiProgress::new),
            started: Instant::now(),
        }
    }

    /// One line that stays.
    pub fn line(&self, text: impl AsRef<str>) {
        match &self.display {
            Some(display) => {
                // Fails only when the terminal is gone; there is nobody to tell then.
                let _ = display.println(text.as_ref());
            }
            None => eprintln!(
                "[{:>6.1}s] {}",
                self.started.elapsed().as_secs_f64(),
                text.as_ref()
            ),
        }
    }

    /// One line of what was asked for: on stdout, without tearing what is drawn.
    pub fn result(&self, text: impl AsRef<str>) {
        match &self.display {
            Some(display) => display.suspend(|| println!("{}", text.as_ref())),
            None => println!("{}", text.as_ref()),
        }
    }

    /// A task with a known or estimated length in steps; 0: unknown.
    pub fn task(&self, name: impl Into<String>, length: u64) -> Task<'_> {
        let name = name.into();
        let bar = self.display.as_ref().map(|display| {
            let bar = display.add(ProgressBar::new(length));
            bar.set_style(style(length));
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            self.line(&name);
        }
        Task {
            progress: self,
            bar,
            name,
            length,
            plain: Mutex::new((Instant::now(), 0)),
        }
    }
}

fn style(length: u64) -> ProgressStyle {
    let template = if length == 0 {
        "{spinner} {prefix} [{elapsed}] {wide_msg}"
    } else {
        "{spinner} {prefix} [{elapsed}] {bar:24} {pos}/{len} {wide_msg}"
    };
    // The templates are constants; a wrong one would show in the first run.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A task under way; dropping it takes it off the display.
#[derive(Debug)]
pub struct Task<'a> {
    progress: &'a Progress,
    bar: Option<ProgressBar>,
    name: String,
    length: u64,
    plain: Mutex<(Instant, u64)>,
}

impl Task<'_> {
    /// Sets how far the task is, in steps, with a word about it.
    pub fn set(&self, position: u64, message: impl AsRef<str>) {
        if let Some(bar) = &self.bar {
            if self.length > 0 {
                bar.set_position(position.min(self.length));
            }
            bar.set_message(message.as_ref().to_owned());
            return;
        }
        let Ok(mut plain) = self.plain.lock() else {
            return;
        };
        if plain.0.elapsed() < PLAIN_INTERVAL {
            return;
        }
        *plain = (Instant::now(), position);
        let of = if self.length > 0 {
            format!(" {position}/{}", self.length)
        } else {
            String::new()
        };
        self.progress
            .line(format!("{}:{of} {}", self.name, message.as_ref()));
    }

    /// Ends the task with a line that stays.
    pub fn finish(self, message: impl AsRef<str>) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress
            .line(format!("{}: {}", self.name, message.as_ref()));
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
