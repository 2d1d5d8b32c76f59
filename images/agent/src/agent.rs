//! What PID 1 does, in order.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use kverdict_core::load::LoadSpec;
use kverdict_core::protocol::{AGENT_PORT, GuestPlan, Message, PLAN_PATH, PROTOCOL_VERSION, Task};

use crate::collector::Collector;
use crate::crew::{Crew, Event};
use crate::heartbeat::{self, uptime_ms};
use crate::port::Port;
use crate::settings::{self, Keeper};
use crate::topology::{self, Misfit};
use crate::{detectors, mounts, power, trace};

/// Why the agent stops before the plan is done: the last line it sends.
struct Stop(Message);

/// Runs the plan and powers off.
pub fn main() -> ! {
    let mounted = mounts::all();
    let port = match Port::open(AGENT_PORT) {
        Ok(port) => Arc::new(port),
        Err(error) => {
            let _ = fs::write("/dev/console", format!("kverdict: {AGENT_PORT}: {error}\n"));
            power::off()
        }
    };
    report_panics(&port);
    if let Err(Stop(message)) = mounted
        .map_err(|e| unfit("mounts", "all", e))
        .and_then(|()| run(&port))
    {
        port.send(&message);
    }
    port.drain();
    power::off()
}

/// A panic must not end PID 1: the kernel would panic too, and look guilty.
fn report_panics(port: &Arc<Port>) {
    let port = Arc::clone(port);
    std::panic::set_hook(Box::new(move |info| {
        port.send(&Message::LoadFailed {
            reason: format!("the agent panicked: {info}"),
        });
        port.drain();
        power::off()
    }));
}

fn run(port: &Arc<Port>) -> Result<(), Stop> {
    let nodes = topology::nodes();
    port.send(&Message::Hello {
        protocol: PROTOCOL_VERSION,
        release: line_of("/proc/sys/kernel/osrelease"),
        version: line_of("/proc/sys/kernel/version"),
        uptime_ms: uptime_ms(),
        nodes: nodes.clone(),
        cmdline: line_of("/proc/cmdline"),
    });
    let plan = read_plan()?;
    topology::check(&plan.expect, &nodes).map_err(misfit)?;
    for tuned in settings::apply(&plan) {
        port.send(&tuned);
    }
    topology::check_balancing(&plan.expect).map_err(misfit)?;
    let counts = trace::EventCounts::start();
    port.send(&Message::Armed {
        detectors: detectors::all(),
        tracing: counts.available(),
    });
    let cpus_of_nodes: Vec<Vec<u32>> = nodes.into_iter().map(|node| node.cpus).collect();
    let seconds = match &plan.task {
        Task::Hello => return Ok(()),
        Task::Load { seconds, .. } => Some(*seconds),
        Task::Idle | Task::Provoke { .. } => None,
    };
    Keeper::start(&plan.hold);
    let collector = Collector::start(cpus_of_nodes.clone(), counts);
    heartbeat::start(port, &collector, &cpus_of_nodes);
    match plan.task {
        Task::Hello => Ok(()),
        Task::Idle => wait_for_the_host(),
        Task::Provoke { path, value } => {
            fs::write(&path, value).map_err(|error| unfit(&path, "to be writable", error))?;
            wait_for_the_host()
        }
        Task::Load { spec, .. } => {
            let deadline = Instant::now() + Duration::from_secs(seconds.unwrap_or(0).into());
            run_load(port, &collector, spec, cpus_of_nodes, deadline)
        }
    }
}

fn run_load(
    port: &Port,
    collector: &Collector,
    spec: LoadSpec,
    nodes: Vec<Vec<u32>>,
    deadline: Instant,
) -> Result<(), Stop> {
    let (crew, events) = Crew::start(spec, nodes).map_err(load_failed)?;
    collector.count_packets(crew.board());
    port.send(&Message::LoadStarted {
        uptime_ms: uptime_ms(),
        processes: crew.processes(),
        hugepages: crew.hugepages(),
    });
    watch(&crew, &events, deadline)?;
    port.send(&Message::End {
        uptime_ms: uptime_ms(),
    });
    Ok(())
}

/// Waits for the deadline; any event before it is a failure, because no load process ever ends.
fn watch(crew: &Crew, events: &Receiver<Event>, deadline: Instant) -> Result<(), Stop> {
    let left = deadline.saturating_duration_since(Instant::now());
    match events.recv_timeout(left) {
        Err(_) => Ok(()),
        Ok(event) => Err(load_failed(crew.explain(event, events))),
    }
}

fn wait_for_the_host() -> ! {
    loop {
        std::thread::park();
    }
}

fn read_plan() -> Result<GuestPlan, Stop> {
    let text = fs::read_to_string(PLAN_PATH).map_err(|e| unfit(PLAN_PATH, "a plan", e))?;
    serde_json::from_str(&text).map_err(|e| unfit(PLAN_PATH, "a plan of this version", e))
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

fn unfit(what: &str, expected: &str, found: impl std::fmt::Display) -> Stop {
    misfit(Misfit {
        what: what.into(),
        expected: expected.into(),
        found: found.to_string(),
    })
}

fn misfit(
    Misfit {
        what,
        expected,
        found,
    }: Misfit,
) -> Stop {
    Stop(Message::Unfit {
        what,
        expected,
        found,
    })
}

fn load_failed(reason: impl std::fmt::Display) -> Stop {
    Stop(Message::LoadFailed {
        reason: reason.to_string(),
    })
}
