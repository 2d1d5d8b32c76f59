//! Which accelerator a guest gets. `auto` is decided by booting a kernel: /dev/kvm may open, create
//! a VM and run the firmware, and still never get a Linux kernel to its first message.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kverdict_core::agent_channel::Phase;
use kverdict_core::campaign::{Accelerator, Boot, Guest, Node};
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::protocol::{GuestPlan, Task, Topology};
use serde::{Deserialize, Serialize};

use crate::boot_path::BootPath;
use crate::initramfs;
use crate::layout::TrialDir;
use crate::process::{self, Interrupted};
use crate::qemu::{Acceleration, Machine, Ports};
use crate::running::RunningGuest;
use crate::store;

const KVM_DEVICE: &str = "/dev/kvm";
/// Under working KVM a small guest says hello in about a second.
const PROBE_DEADLINE: Duration = Duration::from_secs(15);

/// An accelerator and how it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What guests will use.
    pub acceleration: Acceleration,
    /// Why, for the report.
    pub why: String,
}

impl Choice {
    /// QEMU's translator, because of `why`.
    pub fn tcg(why: &str) -> Self {
        Self {
            acceleration: Acceleration::Tcg,
            why: why.to_owned(),
        }
    }
}

/// Whether this machine has what somebody else has chosen; how well it works its trials show.
///
/// # Errors
/// When KVM cannot be opened.
pub fn check(acceleration: Acceleration) -> Result<()> {
    match acceleration {
        Acceleration::Tcg => Ok(()),
        Acceleration::Kvm => open_kvm().map(|_| ()).with_context(|| {
            format!("the run's trials need KVM, and {KVM_DEVICE} cannot be opened here")
        }),
    }
}

/// Decides which accelerator `asked` means on this machine. `auto` boots `kernel` to find out, and
/// keeps the answer in `memo` until the host boots again.
///
/// # Errors
/// Trouble of the host, or [`Interrupted`]. That KVM does not work is an answer.
pub fn choose(asked: Accelerator, kernel: &BootPath, memo: &Path) -> Result<Choice> {
    let choice = |acceleration, why: &str| {
        Ok(Choice {
            acceleration,
            why: why.to_owned(),
        })
    };
    match asked {
        Accelerator::Tcg => choice(Acceleration::Tcg, "asked for"),
        Accelerator::Kvm => choice(Acceleration::Kvm, "asked for"),
        Accelerator::Auto => match open_kvm() {
            Err(error) => choice(
                Acceleration::Tcg,
                &format!("{KVM_DEVICE} cannot be opened: {error}"),
            ),
            Ok(_) => {
                let probe = remembered(kernel, memo)?;
                let text = match (probe.acceleration, probe.milliseconds) {
                    (Acceleration::Kvm, ms) => format!("a probe boot under KVM took {ms} ms"),
                    (Acceleration::Tcg, ms) => {
                        format!(
                            "{KVM_DEVICE} opens, but a probe boot under KVM did not reach user space in {ms} ms"
                        )
                    }
                };
                choice(
                    probe.acceleration,
                    &format!("{text}; probed {}", probe.when),
                )
            }
        },
    }
}

fn open_kvm() -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(KVM_DEVICE)
}

/// A probe's answer, which holds until the host boots again.
#[derive(Debug, Serialize, Deserialize)]
struct Probe {
    boot_id: String,
    when: String,
    acceleration: Acceleration,
    milliseconds: u128,
}

fn remembered(kernel: &BootPath, memo: &Path) -> Result<Probe> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let known: Option<Probe> = fs::read(memo)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(probe) = known.filter(|probe| probe.boot_id == boot_id) {
        return Ok(probe);
    }
    let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
    let answer = probe_kvm(kernel, dir.path())?;
    let acceleration = if answer.is_some() {
        Acceleration::Kvm
    } else {
        Acceleration::Tcg
    };
    let milliseconds = answer.unwrap_or(PROBE_DEADLINE).as_millis();
    let probe = Probe {
        boot_id,
        when: store::now(),
        acceleration,
        milliseconds,
    };
    store::replace(memo, &serde_json::to_vec(&probe)?)?;
    Ok(probe)
}

/// Boots a small guest under KVM; how long its agent took to say hello, if it did.
fn probe_kvm(kernel: &BootPath, folder: &Path) -> Result<Option<Duration>> {
    let archive = folder.join("initramfs.cpio");
    let expect = Topology {
        cpus_per_node: vec![2],
        numa_balancing: false,
    };
    let plan = GuestPlan {
        expect,
        sysctls: Vec::new(),
        sched_features: Vec::new(),
        files: Vec::new(),
        hold: Vec::new(),
        spare_cpus: None,
        task: Task::Hello,
    };
    initramfs::write(&archive, &plan, None)?;
    let guest = Guest {
        nodes: vec![Node {
            cpus: 2,
            memory_mib: 256,
        }],
        distance: 20,
        accelerator: Accelerator::Kvm,
        machine: "pc".into(),
        cpu_model: "host".into(),
        cmdline: Vec::new(),
        boot: Boot::Shortest,
    };
    let machine = Machine {
        name: "kvm-probe",
        guest: &guest,
        acceleration: Acceleration::Kvm,
        kernel,
        initramfs: archive,
        cmdline: Vec::new(),
        ports: Ports::Files,
        holder: None,
    };
    let dir = TrialDir::at(folder.join("probe"));
    let names = Symbols::default();
    let mut guest = RunningGuest::start(&dir, &machine, &names, PROBE_DEADLINE, None)?;
    loop {
        let ended = guest.ended()?.is_some();
        guest.hear()?;
        if guest.agent.phase != Phase::Booting {
            return Ok(Some(guest.start.elapsed()));
        }
        if ended || guest.floods() || guest.age() > PROBE_DEADLINE {
            return Ok(None);
        }
        if process::interrupted() {
            return Err(Interrupted.into());
        }
        std::thread::sleep(process::POLL_INTERVAL);
    }
}
