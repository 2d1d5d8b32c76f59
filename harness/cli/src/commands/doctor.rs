//! `kverdict doctor`: is this machine fit for the work, and what is missing.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use kverdict_core::campaign::Accelerator;
use serde::Serialize;

use crate::boot_path::BootPath;
use crate::build::cache::Cache;
use crate::build::enclosure;
use crate::build::tools::{Need, Tool};
use crate::manifest::Host;
use crate::progress::Progress;
use crate::qemu::Acceleration;
use crate::{accel, dependencies};

/// What building and running the default campaign takes, in MiB: source tree, objects, results.
const DISK_NEEDED_MIB: u64 = 6 * 1024;
/// Guest memory, the compiler and kverdict, in MiB.
const MEMORY_NEEDED_MIB: u64 = 2 * 1024;

/// Arguments of `kverdict doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Install what is missing with apt, after printing the command
    #[arg(long)]
    install_deps: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    fit: Fitness,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fitness {
    Good,
    /// Works, with a drawback.
    Limited,
    Missing,
}

/// Runs the command.
///
/// # Errors
/// When apt fails, or the probe cannot be made.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let cache = Cache::from_environment()?;
    let mut findings: Vec<Finding> = dependencies::all()
        .iter()
        .map(|known| tool(known))
        .collect();
    findings.push(enclosure());
    findings.push(accelerator(&cache)?);
    findings.push(disk(&cache)?);
    findings.push(memory());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        findings.iter().for_each(print);
    }
    let fit = findings
        .iter()
        .all(|finding| finding.fit != Fitness::Missing);
    if !fit && !args.json {
        println!("\nSomething is missing; `kverdict doctor --install-deps` installs it.");
    }
    Ok(ExitCode::from(if fit { 0 } else { 1 }))
}

fn tool(tool: &Tool) -> Finding {
    let here = tool.is_here();
    let fit = match (here, tool.need) {
        (true, _) => Fitness::Good,
        (false, Need::Always | Need::Sometimes) => Fitness::Missing,
        (false, Need::Helps) => Fitness::Limited,
    };
    Finding {
        what: tool.name().to_owned(),
        fit,
        found: if here {
            dependencies::version(tool)
        } else {
            "not there".to_owned()
        },
        advice: (!here).then(|| format!("{}; Debian package {}", tool.why, tool.package)),
    }
}

/// Whether builds can reach more than they need.
fn enclosure() -> Finding {
    let (fit, found, advice) = match enclosure::obstacle() {
        None => (
            Fitness::Good,
            "builds have no network, no home, and nothing to write but objects".to_owned(),
            None,
        ),
        Some(why) => (
            Fitness::Limited,
            format!("builds are not enclosed: {why}"),
            Some("a source tree's make can do what you can: build only sources that you trust"),
        ),
    };
    Finding {
        what: "enclosure".to_owned(),
        fit,
        found,
        advice: advice.map(str::to_owned),
    }
}

/// KVM is only believed after a kernel booted under it, so this needs one that was built before.
fn accelerator(cache: &Cache) -> Result<Finding> {
    let what = "accelerator".to_owned();
    let Some(kernel) = cache.newest_kernel() else {
        return Ok(Finding {
            what,
            fit: Fitness::Limited,
            found: "not probed: no kernel was built yet".to_owned(),
            advice: Some("any `kverdict build` gives the probe something to boot".to_owned()),
        });
    };
    let kernel = BootPath::plain(kernel);
    let choice = accel::choose(Accelerator::Auto, &kernel, &cache.kvm_probe())?;
    let (fit, advice) = match choice.acceleration {
        Acceleration::Kvm => (Fitness::Good, None),
        Acceleration::Tcg => (
            Fitness::Limited,
            Some("TCG works everywhere; the guests only run slower".to_owned()),
        ),
    };
    Ok(Finding {
        what,
        fit,
        found: format!("{}: {}", choice.acceleration, choice.why),
        advice,
    })
}

fn disk(cache: &Cache) -> Result<Finding> {
    let dir = cache.root();
    let stat =
        rustix::fs::statvfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let free_mib = stat.f_bavail * stat.f_frsize / (1 << 20);
    let enough = free_mib >= DISK_NEEDED_MIB;
    Ok(Finding {
        what: "disk".to_owned(),
        fit: if enough { Fitness::Good } else { Fitness::Missing },
        found: format!("{free_mib} MiB free for {}", dir.display()),
        advice: (!enough).then(|| {
            format!("a source tree with its objects takes {DISK_NEEDED_MIB} MiB; set KVERDICT_CACHE to a larger disk")
        }),
    })
}

fn memory() -> Finding {
    let host = Host::detect();
    let enough = host.memory_mib >= MEMORY_NEEDED_MIB;
    Finding {
        what: "memory".to_owned(),
        fit: if enough {
            Fitness::Good
        } else {
            Fitness::Limited
        },
        found: format!("{} MiB, {} cores", host.memory_mib, host.cores),
        advice: (!enough).then(|| format!("{MEMORY_NEEDED_MIB} MiB are comfortable")),
    }
}

fn print(finding: &Finding) {
    let mark = match finding.fit {
        Fitness::Good => "ok     ",
        Fitness::Limited => "limited",
        Fitness::Missing => "MISSING",
    };
    println!("{mark} {:<22} {}", finding.what, finding.found);
    if let Some(advice) = &finding.advice {
        println!("        {:<22} {advice}", "");
    }
}
