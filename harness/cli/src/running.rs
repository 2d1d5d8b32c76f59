//! A guest that runs and is watched: QEMU, what the console and the agent say, and the vCPUs.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kverdict_core::agent_channel::AgentChannel;
use kverdict_core::console::Scanner;
use kverdict_core::outside::symbols::Symbols;

use crate::layout::TrialDir;
use crate::outside::Outside;
use crate::process::{Child, Job};
use crate::qemu::{self, Machine};
use crate::stalls::Stalls;
use crate::store;
use crate::tail::Tail;

/// A console or an agent's port beyond this is a flood: the agent says some 400 bytes a second, a kernel less.
pub const FLOOD_BYTES: u64 = 64 << 20;
/// Who watches a guest ends it, by deadlines that do not count what the host took. Ten years.
const NO_DEADLINE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// One QEMU and all that is known of its guest. Dropping it ends the guest.
pub struct RunningGuest {
    /// QEMU.
    pub child: Child,
    /// What came over ttyS0, as far as it was read.
    pub console: Tail,
    /// What that amounts to.
    pub scanner: Scanner,
    /// What came over ttyS1, as far as it was read.
    pub agent_port: Tail,
    /// What that amounts to.
    pub agent: AgentChannel,
    /// What its vCPUs do.
    pub outside: Outside,
    /// When QEMU was started.
    pub start: Instant,
    /// When it stood still, as far as [`Self::ended`] was asked all the time.
    pub stalls: Stalls,
}

impl RunningGuest {
    /// Starts `machine` in `dir`, which is emptied first: a folder without a record is what a killed
    /// run left. The vCPUs are sampled every `sample_interval`, and more often when something looks stuck. Of the
    /// host's CPUs it gets `cpus` only; absent: any.
    ///
    /// # Errors
    /// When the folder cannot be written, or QEMU cannot be started.
    pub fn start(
        dir: &TrialDir,
        machine: &Machine<'_>,
        symbols: &Symbols,
        sample_interval: Duration,
        cpus: Option<&BTreeSet<u32>>,
    ) -> Result<Self> {
        let _ = fs::remove_dir_all(dir.root());
        fs::create_dir_all(dir.root())
            .with_context(|| format!("cannot create {}", dir.root().display()))?;
        if let Some(holder) = machine.holder {
            holder.lay_out(dir)?;
        }
        let job = Job::new(qemu::QEMU, NO_DEADLINE)
            .args(machine.argv())
            .dir(dir.root())
            .log(dir.qemu_log())
            .cpus(cpus);
        store::replace(
            &dir.qemu_argv(),
            format!("{}\n", job.shell_line()).as_bytes(),
        )?;
        let start = Instant::now();
        let child = job.start()?;
        Ok(Self {
            stalls: Stalls::of(&child, machine.acceleration),
            child,
            console: Tail::new(dir.console()),
            scanner: Scanner::new(),
            agent_port: Tail::new(dir.agent()),
            agent: AgentChannel::new(),
            outside: Outside::new(dir, symbols.clone(), start, sample_interval)?,
            start,
        })
    }

    /// Host time since QEMU was started for which the host let it run: neither on run queues, nor while it stood still
    /// with everything around it. What a guest has not done by some deadline is its own fault only by this clock.
    pub fn age(&self) -> Duration {
        let lived = self.stalls.lived_since(self.start);
        lived.saturating_sub(self.child.waited())
    }

    /// How QEMU ended; none: it runs.
    ///
    /// # Errors
    /// When the host does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        // Of a child that was waited for, nothing is there any more to look at.
        self.stalls.look(&self.child);
        self.child.try_wait()
    }

    /// Whether it says more than is worth reading, or keeping.
    pub fn floods(&self) -> bool {
        let sizes = [self.console.size_bytes(), self.agent_port.size_bytes()];
        sizes.iter().any(|size| *size > FLOOD_BYTES)
    }

    /// Takes in what the console and the agent have said since. Gives whether that was all.
    ///
    /// # Errors
    /// When their files cannot be read.
    pub fn hear(&mut self) -> Result<bool> {
        let scanner = &mut self.scanner;
        let console = self.console.follow(|bytes| scanner.feed(bytes))?;
        let agent = &mut self.agent;
        let port = self
            .agent_port
            .follow(|bytes| agent.feed(bytes, Instant::now()))?;
        Ok(console && port)
    }
}
