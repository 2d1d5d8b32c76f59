//! Boots a kernel once and locks up one of its vCPUs on purpose, to see which detectors notice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kverdict_core::agent_channel::Phase;
use kverdict_core::arming::{Arming, Fired};
use kverdict_core::campaign::Policy;
use kverdict_core::outside::symbols::Symbols;

use crate::gdb;
use crate::layout::TrialDir;
use crate::process::{self, Interrupted};
use crate::qemu::Machine;
use crate::running::{FLOOD_BYTES, RunningGuest};

/// A detector that has said nothing after so long is silent: an RCU stall takes 21 s by default, the
/// kernel's hard lockup detector up to 15 s. Of the guest's CPU time: the CPU that spins burns all of it, and
/// on a busy host neither the guest nor who watches it gets on any faster.
const PATIENCE: Duration = Duration::from_secs(30);
/// Without a detector in the guest there is nothing to wait for but the outside one.
const PATIENCE_OUTSIDE: Duration = Duration::from_secs(15);
/// However busy the host is, so many times as long by its clock.
const PATIENCE_OF_THE_HOST: u32 = 8;

/// What has to notice a lockup, by the names that reports give them.
const DETECTORS: [&str; 2] = ["outside", "console"];

/// Boots `machine` in `dir`, which must be new, on `cpus` of the host alone (absent: any), and locks up its last vCPU.
/// Also gives the kernel's
/// names: `symbols`, or those found in its memory if there were none.
///
/// # Errors
/// Trouble of the host only, or [`Interrupted`]; what the guest does or does not is in the result.
pub fn prove(
    arm: &str,
    build: &str,
    dir: &TrialDir,
    machine: &Machine<'_>,
    symbols: &Symbols,
    policy: &Policy,
    cpus: Option<&BTreeSet<u32>>,
) -> Result<(Arming, Symbols)> {
    let boot_deadline = policy.boot_deadline();
    let guest = RunningGuest::start(dir, machine, symbols, policy.sample_interval(), cpus)?;
    let mut proof = Proof {
        boot_deadline,
        guest,
        before: [None, None],
    };
    let mut arming = Arming {
        arm: arm.to_owned(),
        build: build.to_owned(),
        how: "one vCPU made to spin in the kernel with interrupts off".to_owned(),
        fired: Vec::new(),
        silent: Vec::new(),
        waited_ms: 0,
        trouble: None,
    };
    let vcpu = machine.guest.cpus() - 1;
    let locked_up = proof
        .wait_until_armed()
        .and_then(|()| proof.lock_up(dir, vcpu));
    match locked_up {
        Ok(place) => {
            arming.how = format!("vCPU {vcpu} made to spin in {place}() with interrupts off");
            proof.wait_for_detectors(&mut arming)?;
        }
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => arming.trouble = Some(format!("{error:#}")),
    }
    proof.guest.child.kill();
    Ok((arming, proof.guest.outside.symbols().clone()))
}

struct Proof {
    guest: RunningGuest,
    /// What the detectors said before anything was locked up: a warning while booting proves nothing.
    before: [Option<String>; 2],
    boot_deadline: Duration,
}

impl Proof {
    /// One round of watching.
    fn step(&mut self) -> Result<()> {
        if process::interrupted() {
            self.guest.child.kill();
            return Err(Interrupted.into());
        }
        self.guest.hear()?;
        self.guest.outside.tick()?;
        std::thread::sleep(process::POLL_INTERVAL);
        Ok(())
    }

    fn wait_until_armed(&mut self) -> Result<()> {
        while self.guest.agent.phase != Phase::Armed {
            if let Some(status) = self.guest.ended()? {
                anyhow::bail!("QEMU ended ({status}) before the agent was ready");
            }
            if let Phase::Unfit(why) = &self.guest.agent.phase {
                anyhow::bail!("the guest is unfit: {why}");
            }
            if self.guest.floods() {
                anyhow::bail!("the guest wrote more than {} MiB", FLOOD_BYTES >> 20);
            }
            if self.guest.age() > self.boot_deadline {
                anyhow::bail!("the agent was not ready in time");
            }
            self.step()?;
        }
        Ok(())
    }

    fn lock_up(&mut self, dir: &TrialDir, vcpu: u32) -> Result<&'static str> {
        let address = self.guest.outside.symbols().address(gdb::PLACE);
        let monitor = self
            .guest
            .outside
            .monitor()
            .context("QEMU's monitor is not there")?;
        gdb::lock_up(monitor, dir.root(), vcpu, address)
    }

    fn wait_for_detectors(&mut self, arming: &mut Arming) -> Result<()> {
        let start = Instant::now();
        // The lockup is milliseconds old, and no detector is that quick.
        self.before = [self.outside_said(), self.console_said()];
        let in_guest = self
            .guest
            .agent
            .detectors
            .iter()
            .any(|detector| detector.armed);
        let patience = if in_guest { PATIENCE } else { PATIENCE_OUTSIDE };
        let burned = |guest: &RunningGuest| guest.child.cpu_time().unwrap_or_default();
        let burned_before = burned(&self.guest);
        loop {
            self.step()?;
            let after_ms = start.elapsed().as_millis() as u64;
            let said = [self.outside_said(), self.console_said()];
            let news = said.into_iter().zip(&self.before);
            let news = news.map(|(said, before)| said.filter(|what| before.as_ref() != Some(what)));
            for (detector, what) in DETECTORS.into_iter().zip(news) {
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
            let exited = self.guest.ended()?.is_some();
            let over = burned(&self.guest).saturating_sub(burned_before) > patience
                || self.guest.stalls.lived_since(start) > patience * PATIENCE_OF_THE_HOST
                || self.guest.floods();
            if arming.fired.len() == DETECTORS.len() || over || exited {
                break;
            }
        }
        for detector in DETECTORS {
            if !arming.fired.iter().any(|fired| fired.detector == detector) {
                arming.silent.push(detector.to_owned());
            }
        }
        Ok(())
    }

    fn outside_said(&self) -> Option<String> {
        let stuck = self.guest.outside.findings().stuck.first()?;
        Some(stuck.to_string())
    }

    fn console_said(&self) -> Option<String> {
        let report = self.guest.scanner.worst_report()?;
        Some(report.title.clone())
    }
}
