//! Boots a kernel once and locks up one of its vCPUs on purpose, to see which detectors notice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kverdict_core::arming::{Arming, Fired};
use kverdict_core::console::Scanner;
use kverdict_core::outside::symbols::Symbols;

use crate::agent_channel::{AgentChannel, Phase};
use crate::gdb;
use crate::layout::TrialDir;
use crate::outside::Outside;
use crate::process::{self, Child, Interrupted, Job};
use crate::qemu::{self, Machine};
use crate::store;
use crate::tail::Tail;

/// A detector that has said nothing after so long is silent: an RCU stall takes 21 s by default, the
/// kernel's hard lockup detector up to 15 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Without a detector in the guest there is nothing to wait for but the outside one.
const PATIENCE_OUTSIDE: Duration = Duration::from_secs(15);

/// Boots `machine` in `dir`, which must be new, and locks up its last vCPU.
///
/// # Errors
/// Trouble of the host only, or [`Interrupted`]; what the guest does or does not is in the result.
pub fn prove(
    arm: &str,
    build: &str,
    dir: &TrialDir,
    machine: &Machine<'_>,
    symbols: Symbols,
    boot_deadline: Duration,
) -> Result<Arming> {
    let mut proof = Proof::start(dir, machine, symbols, boot_deadline)?;
    let mut arming = Arming {
        arm: arm.to_owned(),
        build: build.to_owned(),
        how: "one vCPU made to spin in the kernel with interrupts off".to_owned(),
        fired: Vec::new(),
        silent: Vec::new(),
        waited_ms: 0,
        trouble: None,
    };
    let vcpu = machine
        .guest
        .nodes
        .iter()
        .map(|node| node.cpus)
        .sum::<u32>()
        - 1;
    let locked_up = proof.wait_until_armed().and_then(|()| proof.lock_up(vcpu));
    match locked_up {
        Ok(place) => {
            arming.how = format!("vCPU {vcpu} made to spin in {place}() with interrupts off");
            proof.wait_for_detectors(&mut arming)?;
        }
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => arming.trouble = Some(format!("{error:#}")),
    }
    proof.child.kill();
    Ok(arming)
}

struct Proof {
    child: Child,
    console: Tail,
    scanner: Scanner,
    agent: AgentChannel,
    outside: Outside,
    dir: TrialDir,
    boot_deadline: Instant,
}

impl Proof {
    fn start(
        dir: &TrialDir,
        machine: &Machine<'_>,
        symbols: Symbols,
        boot_deadline: Duration,
    ) -> Result<Self> {
        let _ = std::fs::remove_dir_all(dir.root());
        std::fs::create_dir_all(dir.root())
            .with_context(|| format!("cannot create {}", dir.root().display()))?;
        let start = Instant::now();
        let job = Job::new(qemu::QEMU, boot_deadline + PATIENCE * 2)
            .args(machine.argv())
            .dir(dir.root())
            .log(dir.qemu_log());
        store::replace(
            &dir.qemu_argv(),
            format!("{}\n", job.shell_line()).as_bytes(),
        )?;
        Ok(Self {
            child: job.start()?,
            console: Tail::new(dir.console()),
            scanner: Scanner::new(),
            agent: AgentChannel::new(Tail::new(dir.agent())),
            outside: Outside::new(dir, symbols, start)?,
            dir: dir.clone(),
            boot_deadline: start + boot_deadline,
        })
    }

    /// One round of watching.
    fn step(&mut self) -> Result<()> {
        if process::interrupted() {
            self.child.kill();
            return Err(Interrupted.into());
        }
        let scanner = &mut self.scanner;
        self.console.follow(|bytes| scanner.feed(bytes))?;
        self.agent.follow()?;
        self.outside.tick()?;
        std::thread::sleep(process::POLL_INTERVAL);
        Ok(())
    }

    fn wait_until_armed(&mut self) -> Result<()> {
        while self.agent.phase != Phase::Armed {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("QEMU ended ({status}) before the agent was ready");
            }
            if let Phase::Unfit(why) = &self.agent.phase {
                anyhow::bail!("the guest is unfit: {why}");
            }
            if Instant::now() > self.boot_deadline {
                anyhow::bail!("the agent was not ready in time");
            }
            self.step()?;
        }
        Ok(())
    }

    fn lock_up(&mut self, vcpu: u32) -> Result<&'static str> {
        let symbols = self.outside.symbols().clone();
        let monitor = self
            .outside
            .monitor()
            .context("QEMU's monitor is not there")?;
        gdb::lock_up(monitor, self.dir.root(), vcpu, &symbols)
    }

    fn wait_for_detectors(&mut self, arming: &mut Arming) -> Result<()> {
        let start = Instant::now();
        let in_guest = self.agent.detectors.iter().any(|detector| detector.armed);
        let patience = if in_guest { PATIENCE } else { PATIENCE_OUTSIDE };
        loop {
            self.step()?;
            let after_ms = start.elapsed().as_millis() as u64;
            let said = [
                ("outside", self.outside_said()),
                ("console", self.console_said()),
            ];
            for (detector, what) in said {
                let known = arming.fired.iter().any(|fired| fired.detector == detector);
                if let Some(what) = what.filter(|_| !known) {
                    arming.fired.push(Fired {
                        detector: detector.to_owned(),
                        after_ms,
                        what,
                    });
                }
            }
            arming.waited_ms = after_ms;
            let exited = self.child.try_wait()?.is_some();
            if arming.fired.len() == 2 || start.elapsed() > patience || exited {
                break;
            }
        }
        for detector in ["outside", "console"] {
            if !arming.fired.iter().any(|fired| fired.detector == detector) {
                arming.silent.push(detector.to_owned());
            }
        }
        Ok(())
    }

    fn outside_said(&self) -> Option<String> {
        let stuck = self.outside.findings().stuck.first()?;
        Some(stuck.to_string())
    }

    fn console_said(&self) -> Option<String> {
        let report = self.scanner.worst_report()?;
        Some(report.title.clone())
    }
}
