//! Watches a guest through QEMU's monitor while its trial runs: samples, closer looks, and the
//! evidence that is taken when something is stuck.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kverdict_core::outside::detector::Limits;
use kverdict_core::outside::finding::{Findings, State};
use kverdict_core::outside::kallsyms;
use kverdict_core::outside::memory::{Code, Recorder};
use kverdict_core::outside::sample::{Line, Look, Sample, Vcpu};
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::watch::Watcher;
use qapi::qmp;

use crate::guest_memory::GuestMemory;
use crate::layout::{self, TrialDir};
use crate::process;
use crate::qmp::Monitor;
use crate::vmcore;

/// Between two samples while something looks stuck.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// QEMU opens its monitor before the guest starts, but a busy host may take long to start QEMU.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// What a guest has to say after it was asked comes within so long, even over a slow serial port.
const SPEAK_TIME: Duration = Duration::from_secs(2);
/// Each search reads some megabytes of the guest.
const SYMBOL_SEARCHES_MAX: u32 = 5;
/// Between two keys typed on the console.
const KEY_TIME: Duration = Duration::from_millis(200);
/// Longest time for a dump of guest memory.
const DUMP_DEADLINE: Duration = Duration::from_secs(600);

/// A guest under watch.
pub struct Outside {
    dir: TrialDir,
    monitor: Link,
    watcher: Watcher,
    code: Code,
    log: BufWriter<File>,
    symbol_searches: u32,
    /// What QEMU said when it ended.
    last_words: Vec<String>,
    start: Instant,
    interval_quiet: Duration,
    next: Instant,
}

enum Link {
    /// Not connected yet; the first refusal was no reason to give up.
    Waiting,
    Up(Box<Monitor>),
    /// Why nothing is sampled any more.
    Lost(String),
}

impl Outside {
    /// Gets ready to watch the guest whose folder this is, with `interval` between two samples while
    /// nothing looks stuck.
    ///
    /// # Errors
    /// When the file for the samples cannot be written.
    pub fn new(
        dir: &TrialDir,
        symbols: Symbols,
        start: Instant,
        interval: Duration,
    ) -> Result<Self> {
        let path = dir.vcpus();
        let log =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self {
            dir: dir.clone(),
            monitor: Link::Waiting,
            code: Code::new(symbols.text()),
            watcher: Watcher::new(symbols, Limits::default()),
            log: BufWriter::new(log),
            symbol_searches: 0,
            last_words: Vec::new(),
            start,
            interval_quiet: interval,
            next: start,
        })
    }

    /// Takes a sample when it is time to, and looks closer where that shows something.
    ///
    /// # Errors
    /// When the file for the samples cannot be written. A monitor that fails is a finding.
    pub fn tick(&mut self) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + self.interval_quiet;
        let begin = Instant::now();
        self.connect();
        let Some(sample) = self.sample() else {
            return Ok(());
        };
        // Raw, before it is understood.
        self.write(&Line::Sample(sample.clone()))?;
        if self.watcher.symbols().is_empty() {
            self.find_symbols(&sample);
        }
        let suspects = self.watcher.sample(&sample);
        if !suspects.is_empty() {
            self.next = begin + INTERVAL.min(self.interval_quiet);
            self.look(&suspects)?;
        }
        Ok(())
    }

    /// What was found so far.
    pub fn findings(&self) -> &Findings {
        self.watcher.findings()
    }

    /// Why QEMU ended, in its own words, such as `SHUTDOWN guest-reset`: a reset that the console does
    /// not announce is a triple fault. To be asked once QEMU has ended.
    pub fn why_ended(&mut self) -> Option<String> {
        if let Link::Up(monitor) = &mut self.monitor {
            self.last_words = monitor.last_words();
        }
        let ends = |word: &&String| word.starts_with("SHUTDOWN") || word.starts_with("GUEST_");
        self.last_words.iter().rev().find(ends).cloned()
    }

    /// The findings at the end, and why there are no more.
    pub fn finish(mut self) -> (Findings, Option<String>) {
        // What could not be written is missing from the file, not from the findings.
        let _ = self.log.flush();
        let lost = match self.monitor {
            Link::Lost(why) => Some(why),
            Link::Waiting => Some("QEMU's monitor was never reached".to_owned()),
            Link::Up(_) => None,
        };
        (self.watcher.findings().clone(), lost)
    }

    /// The monitor, for what a person or an arming does beside the watch.
    pub fn monitor(&mut self) -> Option<&mut Monitor> {
        match &mut self.monitor {
            Link::Up(monitor) => Some(monitor),
            Link::Waiting | Link::Lost(_) => None,
        }
    }

    /// Names of the guest's kernel.
    pub fn symbols(&self) -> &Symbols {
        self.watcher.symbols()
    }

    /// Asks a guest that is silent to print the stacks of its CPUs: SysRq-9, so that a quiet console
    /// shows them, and SysRq-l by breaks on its serial console, then an NMI to every CPU. What it says
    /// comes on the console.
    pub fn ask_to_speak(&mut self) {
        let dir = self.dir.clone();
        let Some(monitor) = self.monitor() else {
            return;
        };
        // A guest that cannot answer is a finding of its own, and the console shows it.
        let _ = press_sysrq(monitor, &dir, b"9l");
        let _ = std::fs::remove_file(dir.console_input());
        std::thread::sleep(SPEAK_TIME);
        let _ = monitor.execute(&qmp::inject_nmi {});
        std::thread::sleep(SPEAK_TIME);
    }

    /// Writes the guest's memory, compressed, in the format that crash and drgn open. `release` is what
    /// the guest calls its kernel.
    ///
    /// # Errors
    /// When QEMU refuses, or does not finish in time.
    pub fn dump(&mut self, release: &str) -> Result<()> {
        let (flat, path) = (self.dir.flat_vmcore(), self.dir.vmcore());
        let monitor = self.monitor().context("QEMU's monitor is lost")?;
        dump(monitor, &flat)?;
        vmcore::unflatten(&flat, &path, release)?;
        Ok(std::fs::remove_file(&flat)?)
    }

    fn connect(&mut self) {
        let Link::Waiting = self.monitor else { return };
        match Monitor::connect(&self.dir.qmp()) {
            Ok(monitor) => self.monitor = Link::Up(Box::new(monitor)),
            Err(error) if self.start.elapsed() > CONNECT_DEADLINE => {
                self.monitor = Link::Lost(format!("{error:#}"));
            }
            Err(_) => {}
        }
    }

    fn sample(&mut self) -> Option<Sample> {
        let at_ms = self.start.elapsed().as_millis() as u64;
        let monitor = self.monitor()?;
        match monitor.sample(at_ms) {
            Ok(sample) => Some(sample),
            Err(error) => {
                self.last_words = monitor.last_words();
                self.monitor = Link::Lost(format!("{error:#}"));
                None
            }
        }
    }

    /// Finds the kernel's kallsyms in its memory. Tried again with each sample until found, but not for
    /// ever: there are kernels without.
    fn find_symbols(&mut self, sample: &Sample) {
        let (Some(vcpu), Link::Up(monitor)) = (sample.vcpu_in_kernel(), &mut self.monitor) else {
            return;
        };
        if self.symbol_searches == SYMBOL_SEARCHES_MAX {
            return;
        }
        self.symbol_searches += 1;
        let memory = GuestMemory::in_bulk(monitor, vcpu.index);
        if let Ok(symbols) = kallsyms::from_guest(vcpu.registers.idt_base, &memory) {
            self.code = Code::new(symbols.text());
            self.watcher.name_by(symbols);
        }
    }

    fn look(&mut self, suspects: &[Vcpu]) -> Result<()> {
        let at_ms = self.start.elapsed().as_millis() as u64;
        let Link::Up(monitor) = &mut self.monitor else {
            return Ok(());
        };
        let memory = GuestMemory::new(monitor, suspects[0].index);
        let recorder = Recorder::new(&memory, &self.code);
        self.watcher.look(at_ms, suspects, &recorder);
        let memory = recorder.into_chunks();
        self.write(&Line::Look(Look {
            at_ms,
            vcpus: suspects.to_vec(),
            memory,
        }))
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let path = self.dir.vcpus();
        let what = || format!("cannot write {}", path.display());
        serde_json::to_writer(&mut self.log, line).with_context(what)?;
        self.log.write_all(b"\n").with_context(what)?;
        // A trial may be killed at any time, and its samples are wanted most then.
        if self.watcher.findings().state == State::Stuck {
            self.log.flush().with_context(what)?;
        }
        Ok(())
    }
}

/// A break, then a letter: Documentation/admin-guide/sysrq.rst. The console's file has no input, so
/// QEMU is told to go on with one that has a FIFO for it.
fn press_sysrq(monitor: &mut Monitor, dir: &TrialDir, keys: &[u8]) -> Result<()> {
    let fifo = dir.console_input();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .with_context(|| format!("cannot create {}", fifo.display()))?;
    // Opened for both, it waits for nobody, and QEMU's open finds a writer.
    let mut input = OpenOptions::new().read(true).write(true).open(&fifo)?;
    monitor.execute(&qmp::chardev_change {
        id: "console".to_owned(),
        backend: qmp::ChardevBackend::file(qmp::ChardevFileWrapper {
            data: qmp::ChardevFile {
                base: qmp::ChardevCommon {
                    logfile: None,
                    logappend: None,
                },
                append: Some(true),
                in_: Some(layout::CONSOLE_INPUT.to_owned()),
                out: layout::CONSOLE.to_owned(),
            },
        }),
    })?;
    for key in keys {
        monitor.execute(&qmp::chardev_send_break {
            id: "console".to_owned(),
        })?;
        input.write_all(&[*key])?;
        // The next break must not overtake the key on its way through the FIFO.
        std::thread::sleep(KEY_TIME);
    }
    Ok(())
}

fn dump(monitor: &mut Monitor, path: &Path) -> Result<()> {
    monitor.execute(&qmp::dump_guest_memory {
        begin: None,
        detach: Some(true),
        format: Some(qmp::DumpGuestMemoryFormat::kdump_zlib),
        length: None,
        paging: false,
        protocol: format!("file:{}", path.display()),
    })?;
    let deadline = Instant::now() + DUMP_DEADLINE;
    loop {
        let status = serde_json::to_value(monitor.execute(&qmp::query_dump {})?)?;
        match status["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("active") if Instant::now() < deadline => {
                std::thread::sleep(process::POLL_INTERVAL)
            }
            other => bail!(
                "the dump to {} ended as {}",
                path.display(),
                other.unwrap_or("unknown")
            ),
        }
    }
}
