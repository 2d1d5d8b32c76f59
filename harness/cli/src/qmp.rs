//! QEMU's monitor: QMP over a socket of its own, or through libvirt where that holds the socket.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kverdict_core::outside::monitor::{Line, excerpt, vcpu_threads};
use kverdict_core::outside::registers::{self, Registers};
use kverdict_core::outside::sample::{Sample, Vcpu};
use qapi::qmp;
use serde_json::Value;
use xshell::{Shell, cmd};

/// A monitor that says nothing for so long is taken for dead. A busy guest delays answers by some
/// ten milliseconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// So is one whose answer has not come to its end by then, whatever trickles in: megabytes of registers take less
/// than a second.
const WHOLE_ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The same for a call of virsh, whose answer goes through libvirtd.
const LIBVIRT_DEADLINE_SECONDS: u32 = 30;
/// Exit status of coreutils' `timeout` when it ended the command, and when there is none.
const TIMED_OUT: i32 = 124;
const NOT_FOUND: i32 = 127;
/// Longest answer that is read: registers of some hundred vCPUs take a megabyte.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Events between a request and its answer, and events that are remembered: QEMU has a handful.
const EVENTS_MAX: usize = 1000;

/// A connection to one guest's monitor.
pub struct Monitor {
    wire: Wire,
    threads: Vec<Thread>,
    /// Events that came in, such as `SHUTDOWN guest-reset`.
    pub events: Vec<String>,
}

enum Wire {
    Socket {
        reader: BufReader<UnixStream>,
        path: PathBuf,
    },
    Libvirt {
        connect: Option<String>,
        domain: String,
    },
}

/// A vCPU and the host's thread that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thread {
    vcpu: u32,
    id: Option<i64>,
}

impl Monitor {
    /// Connects to a QMP socket. QEMU serves one client at a time and lets others wait.
    ///
    /// # Errors
    /// When there is no socket, nobody answers, or something else than QEMU does.
    pub fn connect(path: &Path) -> Result<Self> {
        let what = || format!("QMP socket {}", path.display());
        let stream = open_socket(path).with_context(what)?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        let mut wire = Wire::Socket {
            reader: BufReader::new(stream),
            path: path.to_owned(),
        };
        let greeting = wire.read_line(Instant::now() + WHOLE_ANSWER_DEADLINE).with_context(|| {
            format!(
                "{}: no greeting; another client may hold the socket (libvirt's own sockets: use --libvirt)",
                path.display()
            )
        })?;
        if serde_json::from_str::<qmp::QapiCapabilities>(&greeting).is_err() {
            let shown = excerpt(&greeting);
            bail!("{}: expected QEMU's greeting, found `{shown}`", what());
        }
        let mut monitor = Self {
            wire,
            threads: Vec::new(),
            events: Vec::new(),
        };
        monitor
            .execute(&qmp::qmp_capabilities { enable: None })
            .with_context(what)?;
        monitor.find_threads().with_context(what)?;
        Ok(monitor)
    }

    /// Goes through libvirt, which holds its guests' sockets itself: each command is one call of
    /// `virsh qemu-monitor-command`.
    ///
    /// # Errors
    /// When virsh is missing, or there is no such running domain.
    pub fn through_libvirt(connect: Option<String>, domain: &str) -> Result<Self> {
        let mut monitor = Self {
            wire: Wire::Libvirt {
                connect,
                domain: domain.to_owned(),
            },
            threads: Vec::new(),
            events: Vec::new(),
        };
        monitor
            .find_threads()
            .with_context(|| format!("libvirt domain {domain}"))?;
        Ok(monitor)
    }

    /// Runs a QMP command.
    ///
    /// # Errors
    /// When QEMU refuses it, does not answer in time, or is gone.
    pub fn execute<C: qmp::QmpCommand>(&mut self, command: &C) -> Result<C::Ok> {
        let request = serde_json::to_string(&qapi::Execute::<&C>::from(command))?;
        let answer = self
            .answer(&request)
            .with_context(|| format!("QMP command {}", C::NAME))?;
        Ok(serde_json::from_value(answer)?)
    }

    /// Runs a command of the human monitor, as seen from `vcpu`.
    ///
    /// # Errors
    /// As [`Monitor::execute`].
    pub fn human(&mut self, line: &str, vcpu: Option<u32>) -> Result<String> {
        self.execute(&qmp::human_monitor_command {
            command_line: line.to_owned(),
            cpu_index: vcpu.map(i64::from),
        })
    }

    /// QEMU's run state, such as `running` or `paused`.
    ///
    /// # Errors
    /// As [`Monitor::execute`].
    pub fn run_state(&mut self) -> Result<String> {
        let info = self.execute(&qmp::query_status {})?;
        let state = serde_json::to_value(info)?;
        Ok(state["status"].as_str().unwrap_or("unknown").to_owned())
    }

    /// What the guest and its vCPUs do now, `at_ms` milliseconds after the watch began.
    ///
    /// # Errors
    /// As [`Monitor::vcpus`].
    pub fn sample(&mut self, at_ms: u64) -> Result<Sample> {
        Ok(Sample {
            at_ms,
            run_state: self.run_state()?,
            vcpus: self.vcpus()?,
        })
    }

    /// Registers and CPU time of every vCPU.
    ///
    /// # Errors
    /// As [`Monitor::execute`], or when the answer is not what QEMU prints.
    pub fn vcpus(&mut self) -> Result<Vec<Vcpu>> {
        let text = self.human("info registers -a", None)?;
        let mut all: Vec<(u32, Registers)> = registers::parse(&text)?;
        all.sort_by_key(|(index, _)| *index);
        Ok(all
            .into_iter()
            .map(|(index, registers)| Vcpu {
                index,
                registers,
                cpu_time_ns: self.cpu_time_ns(index),
            })
            .collect())
    }

    /// CPU time of the thread that runs a vCPU. `None` when one thread runs several of them
    /// (TCG with `thread=single`), or when it cannot be seen from here.
    fn cpu_time_ns(&self, vcpu: u32) -> Option<u64> {
        let id = self.threads.iter().find(|thread| thread.vcpu == vcpu)?.id?;
        if self
            .threads
            .iter()
            .filter(|thread| thread.id == Some(id))
            .count()
            > 1
        {
            return None;
        }
        // The first figure is the time on a CPU in nanoseconds: Documentation/scheduler/sched-stats.rst.
        let text = std::fs::read_to_string(format!("/proc/{id}/schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse().ok()
    }

    /// What QEMU said before it closed the connection: the last event tells why it ended.
    pub fn last_words(&mut self) -> Vec<String> {
        let until = Instant::now() + WHOLE_ANSWER_DEADLINE;
        for _ in 0..EVENTS_MAX {
            let Ok(line) = self.wire.read_line(until) else {
                break;
            };
            if let Ok(Line::Event(event)) = Line::read(&line) {
                self.remember(event);
            }
        }
        std::mem::take(&mut self.events)
    }

    fn find_threads(&mut self) -> Result<()> {
        let answer = self.answer(r#"{"execute":"query-cpus-fast"}"#)?;
        let threads = vcpu_threads(&answer).context("query-cpus-fast gave no list")?;
        self.threads = threads
            .into_iter()
            .map(|(vcpu, id)| Thread {
                vcpu,
                id: id.filter(|id| is_vcpu_thread(*id)),
            })
            .collect();
        Ok(())
    }

    pub fn answer(&mut self, request: &str) -> Result<Value> {
        let until = Instant::now() + WHOLE_ANSWER_DEADLINE;
        let mut line = self.wire.send(request, until)?;
        for _ in 0..EVENTS_MAX {
            match Line::read(&line)? {
                Line::Return(value) => return Ok(value),
                Line::Refused(why) => bail!("{why}"),
                Line::Event(event) => self.remember(event),
            }
            line = self.wire.read_line(until)?;
        }
        bail!("{EVENTS_MAX} events and no answer: this is no QEMU")
    }

    fn remember(&mut self, event: String) {
        if self.events.len() == EVENTS_MAX {
            self.events.remove(0);
        }
        self.events.push(event);
    }
}

/// Whether a thread is one of a QEMU on this host: ids from another PID namespace are strangers here.
fn is_vcpu_thread(id: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/cmdline"))
        .is_ok_and(|cmdline| cmdline.contains("qemu") || cmdline.contains("kvm"))
}

/// What virsh says is wrong, in one line: it begins each of its lines with `error:`.
fn virsh_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("error:").unwrap_or(line).trim())
        .filter(|line| !line.is_empty());
    let words: Vec<&str> = lines.collect();
    match words.is_empty() {
        true => "failed and said nothing".to_owned(),
        false => words.join(": "),
    }
}

impl Wire {
    /// The first line of what comes back, which may be an event.
    fn send(&mut self, request: &str, until: Instant) -> Result<String> {
        match self {
            Self::Socket { reader, .. } => {
                let stream = reader.get_mut();
                stream.write_all(request.as_bytes())?;
                stream.write_all(b"\n")?;
                self.read_line(until)
            }
            Self::Libvirt { connect, domain } => {
                let uri = connect.iter().flat_map(|uri| ["--connect", uri.as_str()]);
                // A domain's name may begin with a dash.
                let arguments = ["qemu-monitor-command", "--domain", domain, "--cmd", request];
                let shell = Shell::new()?;
                let deadline = LIBVIRT_DEADLINE_SECONDS.to_string();
                let output = cmd!(shell, "timeout {deadline} virsh {uri...} {arguments...}")
                    .env("LC_ALL", "C")
                    .quiet()
                    .ignore_status()
                    .output()?;
                match output.status.code() {
                    Some(TIMED_OUT) => {
                        bail!("virsh: no answer within {LIBVIRT_DEADLINE_SECONDS} s")
                    }
                    Some(NOT_FOUND) => bail!(
                        "there is no virsh here; install libvirt's client (Debian: libvirt-clients)"
                    ),
                    Some(_) | None => {}
                }
                if !output.status.success() {
                    bail!("virsh: {}", virsh_words(&output.stderr));
                }
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
        }
    }

    fn read_line(&mut self, until: Instant) -> Result<String> {
        let Self::Socket { reader, path } = self else {
            bail!("no answer");
        };
        match line_of(reader, until) {
            Ok(line) if line.is_empty() => bail!("{}: QEMU closed the connection", path.display()),
            Ok(line) if !line.ends_with(b"\n") => {
                bail!("{}: QEMU's answer ends in the middle", path.display())
            }
            Ok(line) => Ok(String::from_utf8_lossy(&line).into_owned()),
            Err(error) if is_timeout(&error) => bail!(
                "{}: no answer within {} s, or no end of it within {} s",
                path.display(),
                ANSWER_DEADLINE.as_secs(),
                WHOLE_ANSWER_DEADLINE.as_secs()
            ),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }
}

/// A line with its end, or what there was of it when the connection was closed or it got too long.
fn line_of(reader: &mut BufReader<UnixStream>, until: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while (line.len() as u64) < ANSWER_BYTES_MAX {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        reader
            .get_ref()
            .set_read_timeout(Some(left.min(ANSWER_DEADLINE)))?;
        let come = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            come => come?,
        };
        let end = memchr::memchr(b'\n', come);
        let taken = end.map_or(come.len(), |at| at + 1);
        line.extend_from_slice(&come[..taken]);
        reader.consume(taken);
        if end.is_some() || taken == 0 {
            break;
        }
    }
    Ok(line)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Connects to a Unix socket. Its path is limited to 107 bytes; through its folder's descriptor any
/// path is short.
///
/// # Errors
/// When there is none, or nobody listens.
pub fn open_socket(path: &Path) -> io::Result<UnixStream> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let folder = File::open(parent)?;
    let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
    UnixStream::connect(Path::new(&short).join(name))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU that greets, then answers with these lines and closes the connection.
    pub fn fake(lines: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap());
            for (number, line) in lines.iter().enumerate() {
                if number > 0 {
                    let _ = requests.read_line(&mut String::new());
                }
                // The other side may have left already, which is its right.
                let _ = stream.write_all(line.as_bytes());
            }
        });
        (dir, path)
    }

    pub const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
    pub const OK: &str = "{\"return\": {}}\r\n";
    pub const CPUS: &str = "{\"return\": [{\"cpu-index\": 0, \"thread-id\": 1}]}\r\n";

    fn error_of(lines: &'static [&'static str]) -> String {
        let (_dir, path) = fake(lines);
        let result = Monitor::connect(&path).and_then(|mut monitor| monitor.run_state());
        format!("{:#}", result.expect_err("must fail"))
    }

    #[test]
    fn answers_come_through_events_that_nobody_knows() {
        let (_dir, path) = fake(&[
            GREETING,
            OK,
            CPUS,
            "{\"event\": \"NEW_IN_QEMU_99\", \"data\": {\"reason\": \"why\"}}\r\n{\"return\": {\"running\": true, \"singlestep\": false, \"status\": \"running\"}}\r\n",
        ]);
        let mut monitor = Monitor::connect(&path).unwrap();
        assert_eq!(monitor.run_state().unwrap(), "running");
        assert_eq!(monitor.events, ["NEW_IN_QEMU_99 why"]);
        assert_eq!(monitor.cpu_time_ns(0), None, "process 1 is no QEMU");
    }

    #[test]
    fn events_without_end_are_no_answer() {
        let flood = "{\"event\": \"E\"}\r\n".repeat(EVENTS_MAX + 1);
        let lines: &[&str] = vec![GREETING, OK, CPUS, flood.leak()].leak();
        let text = error_of(lines);
        assert!(text.contains("events and no answer"), "{text}");
    }

    #[test]
    fn an_answer_that_trickles_in_ends_at_its_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || while theirs.write_all(b"x").is_ok() {});
        let begun = Instant::now();
        let error = line_of(&mut BufReader::new(ours), begun + Duration::from_millis(50));
        let error = error.expect_err("it has no end");
        assert!(is_timeout(&error), "{error}");
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn a_qemu_that_dies_or_babbles_is_an_error_with_the_sockets_name() {
        for (lines, expected) in [
            (&[][..], "closed the connection"),
            (
                &["SSH-2.0-OpenSSH\r\n"],
                "expected QEMU's greeting, found `SSH-2.0",
            ),
            (&[GREETING, "{\"retu"], "ends in the middle"),
            (&[GREETING, OK, CPUS, "{\"return\"}\r\n"], "no JSON"),
            (&[GREETING, OK, CPUS, "[]\r\n"], "neither answer nor error"),
            (
                &[
                    GREETING,
                    OK,
                    CPUS,
                    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\r\n",
                ],
                "not now",
            ),
        ] {
            let text = error_of(lines);
            assert!(text.contains(expected), "{text}");
        }
        let text = format!(
            "{:#}",
            Monitor::connect(Path::new("no-such.sock")).err().unwrap()
        );
        assert!(text.contains("no-such.sock"), "{text}");
    }

    #[test]
    fn what_virsh_says_is_told_in_one_line() {
        let said = virsh_words(
            b"error: failed to connect to the hypervisor\nerror: no connection driver available for foo:///bar\n\n",
        );
        assert_eq!(
            said,
            "failed to connect to the hypervisor: no connection driver available for foo:///bar"
        );
        assert_eq!(virsh_words(b""), "failed and said nothing");
    }
}
