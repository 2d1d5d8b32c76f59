//! The load that runs in the guest: pollers that never sleep on one node, processes that roam
//! between nodes, processes that shuffle the roamers' CPU affinity, and processes placed where NUMA
//! balancing has to swap them.
//!
//! Every load process is the guest's one binary, executed again with [`ARGV0`] and an
//! [`Assignment`]. It prepares itself, says so in one [`Report`] line on its standard output, and
//! starts to work when its standard input reaches the end of file. So the starter sees every
//! failure before the load begins, and all processes begin together.

pub mod affinity;
pub mod assignment;
pub mod board;
mod mbuf;
pub mod memory;
mod pipeline;
mod pollers;
pub mod ring;
mod roamer;
mod seed;
mod shuffler;
mod swapper;
mod walk;

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{Read, Write};

use anyhow::{Context, Result};

pub use assignment::{Assignment, Report, Role};
pub use pollers::{hugepages_needed, pinned_to};

/// `argv[0]` of every load process.
pub const ARGV0: &str = "kverdict-load";

/// Whether this process was started as a load process.
pub fn is_load_process() -> bool {
    std::env::args_os().next().is_some_and(|name| name == ARGV0)
}

/// Runs the role that `argv[1]` assigns; only ever returns by exiting, and exits only on failure.
pub fn main() -> ! {
    let words: Vec<String> = std::env::args().collect();
    let assignment: Assignment = match words.get(1).map(|text| serde_json::from_str(text)) {
        Some(Ok(assignment)) => assignment,
        Some(Err(error)) => fail("load", &format!("assignment does not parse: {error}")),
        None => fail("load", "no assignment in argv[1]"),
    };
    let name = assignment.role.name();
    let panicking = name.clone();
    std::panic::set_hook(Box::new(move |info| fail(&panicking, &info.to_string())));
    let Err(error) = run(&assignment);
    fail(&name, &format!("{error:#}"))
}

fn run(assignment: &Assignment) -> Result<Infallible> {
    let comm = CString::new(assignment.role.name()).context("a name with a NUL")?;
    rustix::thread::set_name(&comm).context("cannot name the process")?;
    // The agent exempts itself from NUMA balancing, and its policy is inherited.
    memory::default_policy()?;
    match assignment.role {
        Role::Pollers => pollers::run(assignment),
        Role::Roamer { index } => roamer::run(assignment, index),
        Role::Shuffler { index } => shuffler::run(assignment, index),
        Role::Returner { .. } => swapper::run_returner(assignment),
        Role::Hopper { index } => swapper::run_hopper(assignment, index),
    }
}

/// Says that this process is prepared and waits until all others are, too.
fn ready_and_go(assignment: &Assignment) -> Result<()> {
    say(&Report::Ready {
        name: assignment.role.name(),
    })
    .context("cannot report")?;
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("cannot wait for the start")?;
    Ok(())
}

fn fail(name: &str, reason: &str) -> ! {
    // Nobody is left to tell when this fails; the exit status remains.
    let _ = say(&Report::Failed {
        name: name.into(),
        reason: reason.into(),
    });
    std::process::exit(1)
}

/// One line in one write, because all load processes share the pipe.
fn say(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(report.to_line().as_bytes())?;
    out.flush()
}
