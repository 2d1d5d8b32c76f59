//! `kverdict boot`: one interactive boot of a kernel, with a campaign's topology.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use kverdict_core::campaign::Guest;
use kverdict_core::protocol::Task;

use crate::boot_path::{self, BootPath};
use crate::build::cache::Cache;
use crate::build::{BuildRequest, Builder};
use crate::catalogue::Catalogue;
use crate::process::{Job, Stdout};
use crate::progress::Progress;
use crate::qemu::{Machine, Ports, QEMU};
use crate::{accel, campaigns, initramfs};

/// Arguments of `kverdict boot`.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// Kernel of the catalogue, or the path of a bzImage, or of a vmlinux that was built with CONFIG_PVH
    kernel: String,
    /// Campaign that gives topology, cmdline and settings
    #[arg(long, default_value = campaigns::DEFAULT)]
    campaign: String,
    /// Patch to apply; may be repeated
    #[arg(long, value_name = "PATCH")]
    apply: Vec<String>,
    /// Run the campaign's load instead of an idle guest
    #[arg(long)]
    load: bool,
    /// Print QEMU's command line, and do not boot
    #[arg(long)]
    dry_run: bool,
    /// Folder with more kernels, fragments and patches; wins over what is embedded
    #[arg(long, value_name = "DIR")]
    catalogue: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the kernel cannot be built or QEMU cannot be started.
pub fn run(args: &BootArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    let mut campaign = campaigns::load(&args.campaign)?;
    campaigns::resolve(&mut campaign, &Catalogue::open(&args.catalogue)?)?;
    let cache = Cache::from_environment()?;
    let kernel = kernel_image(args, &campaign.guest, &cache, &progress)?;
    let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
    let archive = dir.path().join("initramfs.cpio");
    let plan = if args.load {
        campaign.load_plan()
    } else {
        campaign.guest_plan(Task::Idle)
    };
    initramfs::write(&archive, &plan, busybox().as_deref())?;
    let choice = accel::choose(campaign.guest.accelerator, &kernel, &cache.kvm_probe())?;
    let machine = Machine {
        name: "boot",
        guest: &campaign.guest,
        acceleration: choice.acceleration,
        kernel: &kernel,
        initramfs: archive,
        cmdline: Vec::new(),
        ports: Ports::Terminal,
        holder: None,
    };
    let job = Job::new(QEMU, Duration::MAX).args(machine.argv());
    if args.dry_run {
        // Kept, so that the line can be run.
        let _ = dir.keep();
        println!("{}", job.shell_line());
        return Ok(ExitCode::SUCCESS);
    }
    progress.line(format!(
        "{} ({}); Ctrl-a x ends the guest, Ctrl-a c is QEMU's monitor",
        choice.acceleration, choice.why
    ));
    let status = job.run_on_terminal(Stdout::Inherited)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// A shell for the guest, when the host has a static one (Debian: busybox-static).
fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| fs::read(path).is_ok_and(|elf| !initramfs::wants_a_loader(&elf)))
}

fn kernel_image(
    args: &BootArgs,
    guest: &Guest,
    cache: &Cache,
    progress: &Progress,
) -> Result<BootPath> {
    let qboot = boot_path::qboot();
    let path = PathBuf::from(&args.kernel);
    if path.is_file() {
        return BootPath::of_file(&std::path::absolute(path)?, guest, qboot.as_deref());
    }
    let catalogue = Catalogue::open(&args.catalogue)?;
    let request = BuildRequest {
        kernel: args.kernel.clone(),
        apply: args.apply.clone(),
        ..BuildRequest::default()
    };
    let kernel = Builder::new(&catalogue, cache, progress).build(&request)?;
    BootPath::of(&kernel, guest, qboot.as_deref())
}
