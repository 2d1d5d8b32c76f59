//! What PID 1 does, in order.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kverdict_core::load::LoadSpec;
use kverdict_core::protocol::{
    AGENT_PORT, GuestPlan, Message, NodeInfo, PLAN_PATH, PROTOCOL_VERSION, Task,
};
use kverdict_load::memory::interleave;

use crate::collector::Collector;
use crate::crew::Crew;
use crate::heartbeat;
use crate::pace::uptime_ms;
use crate::port::Port;
use crate::settings::{self, Keeper};
use crate::spare_cpus::{self, Cpuset};
use crate::topology::{self, Misfit};
use crate::{detectors, mounts, power, shell, trace};

/// Why the agent stops before the plan is done.
enum Stop {
    /// The guest is not what the campaign asked for.
    Unfit(Misfit),
    /// The load could not be started or died.
    LoadFailed(String),
}

impl Stop {
    fn message(self) -> Message {
        match self {
            Stop::Unfit(Misfit {
                what,
                expected,
                found,
            }) => Message::Unfit {
                what,
                expected,
                found,
            },
            Stop::LoadFailed(reason) => Message::LoadFailed { reason },
        }
    }
}

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
    let mounted = mounted.map_err(|error| unfit("mounts", "proc and sysfs", error));
    let last = match mounted.and_then(|()| run(&port)) {
        Ok(last) => last,
        Err(stop) => Some(stop.message()),
    };
    port.finish(last.as_ref());
    power::off()
}

/// A panic must not end PID 1: the kernel would panic too, and look guilty.
fn report_panics(port: &Arc<Port>) {
    let port = Arc::clone(port);
    std::panic::set_hook(Box::new(move |info| {
        let reason = format!("the agent panicked: {info}");
        port.finish(Some(&Message::LoadFailed { reason }));
        power::off()
    }));
}

/// A CPU that runs nothing for so long after the load is locked up: its heartbeat thread is due
/// every second, and the amplifier's longest wait is a fraction of one. On a host with many other
/// things to do a CPU was silent for more than 10 s. The host allows 30.
const ROLL_CALL_LIMIT: Duration = Duration::from_secs(25);

/// Carries out the plan and returns the last line, if it has one.
fn run(port: &Arc<Port>) -> Result<Option<Message>, Stop> {
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
    topology::check(&plan.expect, &nodes).map_err(Stop::Unfit)?;
    // First, because it makes the scheduling domains anew, and settings of the old ones are lost.
    let mut nodes = nodes;
    let cpuset = take_spare_cpus_away(port, &plan, &mut nodes);
    for tuned in settings::apply(&plan) {
        port.send(&tuned);
    }
    // A setting may have taken further CPUs offline.
    topology::keep_online(&mut nodes);
    topology::check_balancing(&plan.expect).map_err(Stop::Unfit)?;
    port.send(&Message::Armed {
        detectors: detectors::all(),
        tracing: trace::start(),
    });
    let cpus_of_nodes: Vec<Vec<u32>> = nodes.iter().map(|node| node.cpus.clone()).collect();
    if plan.task == Task::Hello {
        return Ok(None);
    }
    // To scan memory for NUMA balancing, the kernel interrupts all CPUs that the process uses and
    // waits: with one of them locked up, the agent would get stuck. Best effort, as the check of
    // the nodes has passed.
    let _ = interleave(&nodes.iter().map(|node| node.node).collect::<Vec<_>>());
    Keeper::start(&plan.hold);
    let collector = Collector::start(cpus_of_nodes.clone());
    let pulse = heartbeat::start(port, &collector, &cpus_of_nodes);
    match plan.task {
        Task::Hello => Ok(None),
        Task::Idle => match shell::run() {
            Some(()) => Ok(None),
            None => wait_for_the_host(),
        },
        Task::Provoke { path, value } => {
            fs::write(&path, value).map_err(|error| unfit(&path, "to be writable", error))?;
            wait_for_the_host()
        }
        Task::Load { spec, seconds } => {
            let duration = Duration::from_secs(seconds.into());
            run_load(port, &collector, spec, cpus_of_nodes, cpuset, duration)?;
            let silent_cpus = pulse.silent_cpus(uptime_ms(), ROLL_CALL_LIMIT);
            port.send(&Message::RollCall { silent_cpus });
            Ok(Some(Message::End {
                uptime_ms: uptime_ms(),
            }))
        }
    }
}

fn run_load(
    port: &Port,
    collector: &Collector,
    spec: LoadSpec,
    nodes: Vec<Vec<u32>>,
    cpuset: Option<Cpuset>,
    duration: Duration,
) -> Result<(), Stop> {
    let (crew, events) =
        Crew::start(spec, nodes, cpuset).map_err(|e| load_failed(format!("{e:#}")))?;
    collector.count_packets(crew.board());
    port.send(&Message::LoadStarted {
        uptime_ms: uptime_ms(),
        processes: crew.processes(),
        hugepages: crew.hugepages(),
    });
    // Any event is a failure, because no load process ever ends.
    if let Ok(event) = events.recv_timeout(duration) {
        return Err(load_failed(crew.explain(event, &events)));
    }
    Ok(())
}

fn take_spare_cpus_away(port: &Port, plan: &GuestPlan, nodes: &mut [NodeInfo]) -> Option<Cpuset> {
    let (Some(how), Task::Load { spec, .. }) = (plan.spare_cpus, &plan.task) else {
        return None;
    };
    let (told, cpuset) = spare_cpus::take_away(how, spec, nodes);
    port.send(&told);
    cpuset
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
    let (what, expected, found) = (what.into(), expected.into(), found.to_string());
    Stop::Unfit(Misfit {
        what,
        expected,
        found,
    })
}

fn load_failed(reason: impl std::fmt::Display) -> Stop {
    Stop::LoadFailed(reason.to_string())
}
