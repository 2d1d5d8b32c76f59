//! The load's processes: starting them together and noticing when one dies.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use crate::spare_cpus::Cpuset;
use anyhow::{Context, Result, bail};
use kverdict_core::load::LoadSpec;
use kverdict_load::board::Board;
use kverdict_load::{ARGV0, Assignment, Report, Role, hugepages_needed};
use rustix::process::{WaitOptions, WaitStatus, wait};

/// The pollers' counters.
const BOARD: &str = "/dev/shm/kverdict-load";
/// How long the processes may take to get ready. Prefaulting is slow in emulated guests.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last words of a process that died may take to arrive.
const WORDS_TIMEOUT: Duration = Duration::from_millis(200);

/// Something that happened to a load process.
pub enum Event {
    /// It said something about itself.
    Said(String),
    /// It ended.
    Died {
        /// Its process id.
        pid: i32,
        /// How.
        status: WaitStatus,
    },
}

/// All load processes.
pub struct Crew {
    names: BTreeMap<i32, String>,
    processes: u32,
    hugepages: bool,
    board: Board,
}

impl Crew {
    /// Starts all processes, waits until every one is ready and sets them off together.
    ///
    /// # Errors
    /// When one cannot be started, fails, dies or does not get ready in time.
    pub fn start(
        spec: LoadSpec,
        nodes: Vec<Vec<u32>>,
        cpuset: Option<Cpuset>,
    ) -> Result<(Self, Receiver<Event>)> {
        let board = Board::map(Path::new(BOARD), spec.pollers.count)?;
        let hugepages = reserve_hugepages(&spec);
        let (words, to_agent) = std::io::pipe().context("pipe")?;
        let (from_agent, go) = std::io::pipe().context("pipe")?;
        let mut crew = Crew {
            names: BTreeMap::new(),
            processes: 0,
            hugepages,
            board,
        };
        let mut assignment = Assignment {
            role: Role::Pollers,
            spec,
            nodes,
            hugepages,
            board: BOARD.into(),
            roamers: Vec::new(),
        };
        for role in roles(&assignment.spec) {
            assignment.role = role;
            let pid = spawn(&assignment, &from_agent, &to_agent)?;
            if let Some(cpuset) = cpuset {
                cpuset.admit(pid)?;
            }
            crew.names.insert(pid, role.name());
            if let Role::Roamer { .. } = role {
                assignment.roamers.push(pid);
            }
        }
        // Our copies have to go, or the load would never see the end of its input.
        drop((from_agent, to_agent));
        crew.processes = process_count(&assignment.spec);
        let events = crew.listen(words);
        crew.await_ready(&events)?;
        drop::<PipeWriter>(go);
        Ok((crew, events))
    }

    /// Pollers, roamers and shufflers; pollers are threads, but count as what they are named for.
    pub fn processes(&self) -> u32 {
        self.processes
    }

    /// Whether the pollers' memory is in huge pages.
    pub fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// The pollers' counters.
    pub fn board(&self) -> Board {
        self.board
    }

    /// What an event means, which never is good; waits a moment for the last words of a process
    /// that died, as they come another way.
    pub fn explain(&self, event: Event, events: &Receiver<Event>) -> String {
        let (pid, status) = match event {
            Event::Said(line) => return said(&line),
            Event::Died { pid, status } => (pid, status),
        };
        let name = self
            .names
            .get(&pid)
            .map_or("an unknown process", String::as_str);
        let death = format!("{name} (pid {pid}) {}", Ending(status));
        match events.recv_timeout(WORDS_TIMEOUT) {
            Ok(Event::Said(line)) => format!("{death}; {}", said(&line)),
            Ok(Event::Died { .. }) | Err(_) => death,
        }
    }

    /// Two threads turn the pipe and the deaths into events.
    fn listen(&self, words: PipeReader) -> Receiver<Event> {
        let (sender, events) = mpsc::channel();
        let said: Sender<Event> = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                let _ = said.send(Event::Said(line));
            }
        });
        std::thread::spawn(move || {
            // Ends when there is no child left.
            while let Ok(Some((pid, status))) = wait(WaitOptions::empty()) {
                let _ = sender.send(Event::Died {
                    pid: pid.as_raw_nonzero().get(),
                    status,
                });
            }
        });
        events
    }

    fn await_ready(&self, events: &Receiver<Event>) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut waiting: Vec<&String> = self.names.values().collect();
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = events.recv_timeout(left) else {
                bail!("not ready after {} s: {waiting:?}", READY_TIMEOUT.as_secs());
            };
            match ready_name(&event) {
                Some(ready) => waiting.retain(|name| **name != ready),
                None => bail!("{}", self.explain(event, events)),
            }
        }
        Ok(())
    }
}

fn ready_name(event: &Event) -> Option<String> {
    match event {
        Event::Said(line) => match Report::from_line(line).ok()? {
            Report::Ready { name } => Some(name),
            Report::Failed { .. } => None,
        },
        Event::Died { .. } => None,
    }
}

fn said(line: &str) -> String {
    match Report::from_line(line) {
        Ok(Report::Failed { name, reason }) => format!("{name}: {reason}"),
        Ok(Report::Ready { name }) => format!("{name} got ready twice"),
        Err(_) => format!("a load process said {line:?}"),
    }
}

/// Roamers first: shufflers have to know them.
fn roles(spec: &LoadSpec) -> Vec<Role> {
    let shufflers = spec.shuffler.as_ref().map_or(0, |shuffler| shuffler.count);
    let mut roles: Vec<Role> = (0..spec.roamers.count)
        .map(|index| Role::Roamer { index })
        .collect();
    roles.extend((spec.pollers.count > 0).then_some(Role::Pollers));
    roles.extend((0..shufflers).map(|index| Role::Shuffler { index }));
    if let Some(swappers) = &spec.swappers {
        roles.extend((0..swappers.returners).map(|index| Role::Returner { index }));
        roles.extend((0..swappers.hoppers).map(|index| Role::Hopper { index }));
    }
    roles
}

fn process_count(spec: &LoadSpec) -> u32 {
    // The pollers are threads of one process.
    let processes = roles(spec).len() as u32 - u32::from(spec.pollers.count > 0);
    spec.pollers.count + processes
}

fn spawn(assignment: &Assignment, input: &PipeReader, output: &PipeWriter) -> Result<i32> {
    let name = assignment.role.name();
    let assignment = serde_json::to_string(assignment).context("assignment")?;
    let child = Command::new("/proc/self/exe")
        .arg0(ARGV0)
        .arg(assignment)
        .stdin(Stdio::from(input.try_clone()?))
        .stdout(Stdio::from(output.try_clone()?))
        // The console is the kernel's; what matters comes through the pipe.
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    Ok(child.id() as i32)
}

/// Tries to have the huge pages that the pollers need, on their node; says whether it has them.
fn reserve_hugepages(spec: &LoadSpec) -> bool {
    let needed = hugepages_needed(spec);
    let directory = format!(
        "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB",
        spec.node
    );
    let _ = fs::write(format!("{directory}/nr_hugepages"), needed.to_string());
    let free = fs::read_to_string(format!("{directory}/free_hugepages")).unwrap_or_default();
    needed > 0 && free.trim().parse().is_ok_and(|free: usize| free >= needed)
}

/// How a process ended, in words.
struct Ending(WaitStatus);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.exit_status(), self.0.terminating_signal()) {
            (Some(status), _) => write!(f, "exited with status {status}"),
            (None, Some(signal)) => write!(f, "was killed by signal {signal}"),
            (None, None) => write!(f, "ended with status {:#x}", self.0.as_raw()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kverdict_core::load::{Placement, PollerSpec, RoamerSpec, ShufflerSpec};

    fn spec() -> LoadSpec {
        LoadSpec {
            node: 1,
            pollers: PollerSpec {
                count: 3,
                placement: Placement::StackedOnLastCpu,
                burst_packets: 32,
                ring_slots: 1024,
                mbufs: 4096,
                realtime: None,
            },
            roamers: RoamerSpec {
                count: 2,
                working_set_kib: 4096,
                burst_us: 0,
                sleep_us: 0,
            },
            shuffler: Some(ShufflerSpec {
                count: 1,
                interval_us: 2000,
            }),
            swappers: None,
        }
    }

    #[test]
    fn shufflers_come_after_the_roamers_they_shuffle() {
        let names: Vec<String> = roles(&spec()).into_iter().map(Role::name).collect();
        assert_eq!(
            names,
            ["kv-roamer-0", "kv-roamer-1", "kv-pollers", "kv-shuffle-0"]
        );
        assert_eq!(process_count(&spec()), 6);
    }

    #[test]
    fn a_failure_is_told_with_its_name() {
        assert_eq!(
            said("failed kv-pollers mbind to node 3"),
            "kv-pollers: mbind to node 3"
        );
        assert_eq!(said("garbage"), "a load process said \"garbage\"");
    }
}
