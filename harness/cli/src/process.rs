//! The only module that starts processes.
//!
//! Every child gets its own process group, a deadline and, when it is long-lived, a log file. It
//! dies with kverdict even when kverdict is killed with SIGKILL (`PR_SET_PDEATHSIG`), so no guest
//! and no compiler is left behind. The death signal is tied to the spawning *thread*: spawn from
//! threads that live as long as the child. Where a child starts others, a guard stands between, which
//! takes the whole group along.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

/// How often a waiting loop looks at its conditions.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time that a group has between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// What stands before a command that starts others, so that all of them end with kverdict, whose death is SIGUSR1
/// for the guard. Each of them could look after its own children, but not all do at all times: bubblewrap 0.8, killed
/// within its first millisecond, leaves a process that waits for it for ever. SIGTERM, which asks the others to end, the
/// guard itself survives.
const GUARD: [&str; 3] = [
    "-c",
    "trap 'kill -KILL 0' USR1; trap : TERM; \"$@\" & \
     while :; do wait \"$!\"; s=$?; kill -0 \"$!\" 2>/dev/null || exit \"$s\"; done",
    "guard",
];

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes SIGINT, SIGTERM and SIGHUP set a flag that [`interrupted`] reads; a second one ends the
/// program at once (children die with it).
///
/// # Errors
/// When the handlers cannot be installed.
pub fn catch_interrupts() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let flag = INTERRUPTED.get_or_init(Default::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Registered first, so it sees the flag that an earlier signal set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// Whether the user asked the program to stop.
pub fn interrupted() -> bool {
    INTERRUPTED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// What a user who asked the program to stop gets, as an error that `main` turns into exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited by itself.
    Exited(ExitStatus),
    /// It was killed because its time was up.
    DeadlinePassed,
}

impl Ending {
    /// Whether it was cut off, and may have left half a file behind: for its time, or by a signal, which what stands
    /// before it tells as 128 and the signal's number.
    pub fn is_cut_off(self) -> bool {
        match self {
            Self::DeadlinePassed => true,
            Self::Exited(status) => status.code().is_none_or(|code| code > 128),
        }
    }
}

/// Where a command on the terminal writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// Where kverdict writes.
    Inherited,
    /// To stderr, because stdout is for results.
    ToStderr,
}

/// A command to run.
#[derive(Debug, Clone)]
pub struct Job {
    program: OsString,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    log: Option<PathBuf>,
    input: Option<Vec<u8>>,
    cpus: Option<CpuSet>,
    held: Vec<Arc<File>>,
    is_guarded: bool,
    deadline: Duration,
}

impl Job {
    /// A command with a deadline.
    pub fn new(program: impl AsRef<OsStr>, deadline: Duration) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            dir: None,
            env: Vec::new(),
            log: None,
            input: None,
            cpus: None,
            held: Vec::new(),
            is_guarded: false,
            deadline,
        }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs it through another command, such as one that changes the root, and with no variables but
    /// its own and `kept`: `words` is what stands before it; none: it is run here. It is
    /// [guarded](Job::guarded).
    pub fn inside(mut self, words: Vec<String>, kept: Vec<(OsString, OsString)>) -> Self {
        let mut words = words.into_iter().chain(["env".to_owned(), "-i".to_owned()]);
        let program = OsString::from(words.next().unwrap_or_default());
        let mut args: Vec<OsString> = words.map(OsString::from).collect();
        for (name, value) in kept.into_iter().chain(std::mem::take(&mut self.env)) {
            let mut setting = name;
            setting.push("=");
            setting.push(value);
            args.push(setting);
        }
        args.push(std::mem::replace(&mut self.program, program));
        args.append(&mut self.args);
        self.args = args;
        self.guarded()
    }

    /// All that it starts, and all that they start, ends with it and with kverdict. That it is not installed is
    /// then told by its exit status only, and it has no input: a shell's background commands get none.
    pub fn guarded(mut self) -> Self {
        self.is_guarded = true;
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Appends stdout and stderr to a file, whose first line is the command that reproduces it
    /// when the file is new.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// What it reads from stdin; without, there is nothing to read.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// The host's CPUs that it may run on, with all its threads; absent: any.
    pub fn cpus(mut self, cpus: Option<&BTreeSet<u32>>) -> Self {
        self.cpus = cpus.map(|cpus| {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(*cpu as usize));
            set
        });
        self
    }

    /// Lets the command and all that it starts have files open: locks on them are then held until the
    /// last of them is gone, also of those that outlive kverdict when it is killed.
    pub fn holding(mut self, files: impl IntoIterator<Item = Arc<File>>) -> Self {
        self.held.extend(files);
        self
    }

    /// The command as one would type it in a shell.
    pub fn shell_line(&self) -> String {
        let mut words = Vec::new();
        if let Some(dir) = &self.dir {
            words.push(format!("cd {} &&", shell_word(dir.as_os_str())));
        }
        for (name, value) in &self.env {
            words.push(format!("{}={}", name.to_string_lossy(), shell_word(value)));
        }
        words.push(shell_word(&self.program));
        words.extend(self.args.iter().map(|arg| shell_word(arg)));
        words.join(" ")
    }

    /// Starts the command.
    ///
    /// # Errors
    /// When the program is missing or the log cannot be written; names both.
    pub fn start(&self) -> Result<Child> {
        let expression = self.expression();
        self.start_as(match &self.log {
            Some(path) => {
                let file = self.open_log(path)?;
                expression.stdout_file(file.try_clone()?).stderr_file(file)
            }
            None => expression.stdout_null().stderr_null(),
        })
    }

    /// Runs the command to its end, and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started or its time is up; [`Interrupted`].
    pub fn capture(&self) -> Result<Output> {
        let child = self.start_as(self.expression().stdout_capture().stderr_capture())?;
        match child.wait()? {
            Ending::Exited(_) => Ok(child.handle.wait()?.clone()),
            ending => bail!(
                "`{}` {}",
                self.shell_line(),
                describe(ending, self.deadline)
            ),
        }
    }

    fn expression(&self) -> duct::Expression {
        if !self.is_guarded {
            return duct::cmd(&self.program, &self.args);
        }
        let guard = GUARD.map(OsString::from).into_iter();
        let own = std::iter::once(&self.program).chain(&self.args).cloned();
        duct::cmd("sh", guard.chain(own))
    }

    /// With its output arranged for.
    fn start_as(&self, expression: duct::Expression) -> Result<Child> {
        let expression = match &self.input {
            Some(bytes) => expression.stdin_bytes(bytes.clone()),
            None => expression.stdin_null(),
        };
        let (cpus, held) = (self.cpus, self.held.clone());
        let parent = rustix::process::getpid();
        let is_guarded = self.is_guarded;
        let mut expression = expression.unchecked().before_spawn(move |command| {
            let held = held.clone();
            // SAFETY: the closure runs between fork and exec and calls only setpgid, setsid, prctl,
            // getppid, sched_setaffinity and fcntl, which are plain system calls.
            unsafe {
                command.pre_exec(move || {
                    if let Some(cpus) = &cpus {
                        rustix::thread::sched_setaffinity(None, cpus)?;
                    }
                    if is_guarded {
                        // A group that nobody in it leaves, and no terminal to type into.
                        rustix::process::setsid()?;
                        die_with(parent, Signal::USR1)?;
                    } else {
                        rustix::process::setpgid(None, None)?;
                        die_with(parent, Signal::KILL)?;
                    }
                    held.iter().try_for_each(keep_open)
                })
            };
            Ok(())
        });
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        for (name, value) in &self.env {
            expression = expression.env(name, value);
        }
        let handle = expression.start().map_err(|error| self.explain(error))?;
        let pid = handle
            .pids()
            .first()
            .copied()
            .ok_or_else(|| anyhow!("no process id"))?;
        Ok(Child {
            handle,
            group: Pid::from_raw(i32::try_from(pid)?).ok_or_else(|| anyhow!("process id 0"))?,
            is_guarded: self.is_guarded,
            deadline: Instant::now() + self.deadline,
        })
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// When it cannot be started, or the user interrupts ([`Interrupted`]).
    pub fn run(&self) -> Result<Ending> {
        self.start()?.wait()
    }

    /// Runs the command and fails unless it exits with 0.
    ///
    /// # Errors
    /// Names the command, how it ended, and the end of its log.
    pub fn run_checked(&self) -> Result<()> {
        self.check(self.run()?)
    }

    /// Fails unless the command, which ended like this, exited with 0.
    ///
    /// # Errors
    /// As [`Job::run_checked`].
    pub fn check(&self, ending: Ending) -> Result<()> {
        if matches!(ending, Ending::Exited(status) if status.success()) {
            return Ok(());
        }
        let mut text = format!(
            "`{}` {}",
            self.shell_line(),
            describe(ending, self.deadline)
        );
        if let Some(log) = &self.log {
            text += &format!("\nend of {}:\n{}", log.display(), tail_of(log, 15));
        }
        bail!(text)
    }

    /// Runs the command on this terminal, in the foreground, without a deadline: a person is there
    /// to answer and to end it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_on_terminal(&self, stdout: Stdout) -> Result<ExitStatus> {
        let mut expression = duct::cmd(&self.program, &self.args).unchecked();
        for (name, value) in &self.env {
            expression = expression.env(name, value);
        }
        if stdout == Stdout::ToStderr {
            expression = expression.stdout_to_stderr();
        }
        let parent = rustix::process::getpid();
        let output = expression
            .before_spawn(move |command| {
                // SAFETY: prctl and getppid are async-signal-safe.
                unsafe { command.pre_exec(move || die_with(parent, Signal::KILL)) };
                Ok(())
            })
            .run()
            .map_err(|error| self.explain(error))?;
        Ok(output.status)
    }

    fn open_log(&self, path: &Path) -> Result<File> {
        use std::io::Write;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the log {}", path.display()))?;
        writeln!(file, "# {}", self.shell_line())
            .with_context(|| format!("cannot write the log {}", path.display()))?;
        Ok(file)
    }

    fn explain(&self, error: io::Error) -> anyhow::Error {
        let program = self.program.to_string_lossy();
        if error.kind() == io::ErrorKind::NotFound {
            return anyhow!(
                "the program `{program}` is not installed; `kverdict doctor` names the package to install"
            );
        }
        anyhow::Error::new(error).context(format!("cannot start `{program}`"))
    }
}

/// A running child and its process group.
#[derive(Debug)]
pub struct Child {
    handle: duct::Handle,
    group: Pid,
    is_guarded: bool,
    deadline: Instant,
}

impl Child {
    /// Its process id.
    pub fn id(&self) -> Pid {
        self.group
    }

    /// The exit status, when it has exited.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        let status = self.handle.try_wait()?.map(|output| output.status);
        if self.is_guarded && status.is_some() {
            // What it had started may live on if it was killed, or its guard. Mostly there is nothing.
            let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        }
        Ok(status)
    }

    /// Waits for the end, the deadline, or an interrupt.
    ///
    /// # Errors
    /// [`Interrupted`], after the group was killed.
    pub fn wait(&self) -> Result<Ending> {
        self.wait_with(|| Ok(()))
    }

    /// Like [`Child::wait`], and calls `tick` every [`POLL_INTERVAL`].
    ///
    /// # Errors
    /// [`Interrupted`] or what `tick` returned, after the group was killed.
    pub fn wait_with(&self, mut tick: impl FnMut() -> Result<()>) -> Result<Ending> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Ending::Exited(status));
            }
            if interrupted() {
                self.kill();
                return Err(Interrupted.into());
            }
            if Instant::now() >= self.deadline {
                self.kill();
                return Ok(Ending::DeadlinePassed);
            }
            if let Err(error) = tick() {
                self.kill();
                return Err(error);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// CPU time that the child itself, with all its threads, has had so far; see proc_pid_stat(5). `None`: it
    /// is gone, or does not tell.
    pub fn cpu_time(&self) -> Option<Duration> {
        let path = format!("/proc/{}/stat", self.group.as_raw_nonzero());
        cpu_time_in(&std::fs::read_to_string(path).ok()?)
    }

    /// Host time for which a thread of the child was ready to run and others ran, the longest of any thread; see
    /// Documentation/scheduler/sched-stats.rst. 0 where the host does not tell.
    pub fn waited(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.group.as_raw_nonzero());
        let tasks = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let waited = tasks.filter_map(|task| {
            waited_in(&std::fs::read_to_string(task.path().join("schedstat")).ok()?)
        });
        waited.max().unwrap_or_default()
    }

    /// Ends the whole group: SIGTERM, then SIGKILL, and reaps the child.
    pub fn kill(&self) {
        // Both may fail because the group is gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(self.group, Signal::TERM);
        let end = Instant::now() + TERM_GRACE;
        while Instant::now() < end {
            if !matches!(self.handle.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        let _ = self.handle.wait();
    }
}

/// Bytes that a process has read so far, pipes included; see proc_pid_io(5). `None`: it is gone, or does
/// not tell.
pub fn bytes_read(id: Pid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", id.as_raw_nonzero())).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("rchar: "))?
        .parse()
        .ok()
}

/// User and system time, fields 14 and 15, unless the third, its state, says that it has ended; the second one, a name
/// in brackets, may hold anything.
fn cpu_time_in(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    let times = fields.skip(10).take(2);
    if has_ended {
        return None;
    }
    let ticks: u64 = times
        .map(|text| text.parse::<u64>().ok())
        .sum::<Option<_>>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

/// Nanoseconds on a runqueue, the second of three numbers.
fn waited_in(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.handle.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Files close on exec unless they are told not to.
fn keep_open(file: &Arc<File>) -> io::Result<()> {
    rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
    Ok(())
}

/// The signal comes for deaths from now on: the parent may have died before.
fn die_with(parent: Pid, signal: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(())
}

/// Says in words how a child ended.
pub fn describe(ending: Ending, deadline: Duration) -> String {
    match ending {
        Ending::Exited(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Ending::DeadlinePassed => {
            format!("was stopped after its limit of {} s", deadline.as_secs())
        }
    }
}

/// The last lines of a text file; empty when it cannot be read.
pub fn tail_of(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A word as a shell's script or somebody at a shell has to write it.
pub fn shell_word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_read_whatever_its_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 9 0 0 0 250 50 8 8 20 0 1 0 99";
        let ticks = 300 * 1000 / rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_time_in(stat), Some(Duration::from_millis(ticks)));
        assert_eq!(cpu_time_in("7 (a) S 1 x x x x x x x x x x y"), None);
        assert_eq!(cpu_time_in(""), None);
        let ended = stat.replacen(") S", ") Z", 1);
        assert_ne!(ended, stat);
        assert_eq!(cpu_time_in(&ended), None);
    }

    #[test]
    fn what_a_busy_host_keeps_a_child_waiting_is_counted() {
        assert_eq!(
            waited_in("204595 7588446 2\n"),
            Some(Duration::from_nanos(7_588_446))
        );
        assert_eq!(waited_in("0 x 0"), None);
        // Two that never rest, on one CPU.
        let busy = || {
            let job = Job::new("taskset", Duration::from_secs(60));
            job.args(["-c", "0", "sh", "-c", "while :; do :; done"])
                .start()
                .unwrap()
        };
        let (one, other) = (busy(), busy());
        let end = Instant::now() + Duration::from_secs(50);
        while one.waited().min(other.waited()) < Duration::from_millis(200) {
            assert!(Instant::now() < end, "nobody waited");
            thread::sleep(POLL_INTERVAL);
        }
    }

    #[test]
    fn a_child_that_outstays_its_deadline_is_killed_with_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let job = Job::new("sh", Duration::from_millis(500)).args(["-c", &script]);
        assert_eq!(job.run().unwrap(), Ending::DeadlinePassed);
        let grandchild = std::fs::read_to_string(pid_file).unwrap();
        // A zombie is dead, too; only its own init has not looked yet.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        let end = Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(
                Instant::now() < end,
                "the grandchild {} lives",
                grandchild.trim()
            );
            thread::sleep(POLL_INTERVAL);
        }
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let error = Job::new("no-such-program-kv", Duration::from_secs(1))
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no-such-program-kv") && text.contains("kverdict doctor"),
            "{text}"
        );
    }

    #[test]
    fn a_failure_shows_the_command_and_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let job = Job::new("sh", Duration::from_secs(10))
            .args(["-c", "echo it broke; exit 3"])
            .log(dir.path().join("log"));
        let text = job.run_checked().unwrap_err().to_string();
        assert!(
            text.contains("exited with status 3") && text.contains("it broke"),
            "{text}"
        );
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(
            log.starts_with("# sh -c 'echo it broke; exit 3'\n"),
            "{log}"
        );
    }
}
