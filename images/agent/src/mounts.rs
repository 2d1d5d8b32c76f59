//! The file systems that the agent and the load need.

use std::ffi::CStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// One mount. Those not needed are left out silently when the kernel lacks them; what misses
/// because of that is reported where it is used.
struct Mount {
    kind: &'static str,
    target: &'static str,
    needed: bool,
}

const MOUNTS: [Mount; 8] = [
    Mount {
        kind: "proc",
        target: "/proc",
        needed: true,
    },
    Mount {
        kind: "sysfs",
        target: "/sys",
        needed: true,
    },
    Mount {
        kind: "devtmpfs",
        target: "/dev",
        needed: false,
    },
    Mount {
        kind: "tmpfs",
        target: "/dev/shm",
        needed: false,
    },
    Mount {
        kind: "tmpfs",
        target: "/tmp",
        needed: false,
    },
    Mount {
        kind: "debugfs",
        target: "/sys/kernel/debug",
        needed: false,
    },
    // Before 4.1 there is no tracefs: debugfs has the tracing directory.
    Mount {
        kind: "tracefs",
        target: "/sys/kernel/tracing",
        needed: false,
    },
    Mount {
        kind: "hugetlbfs",
        target: "/dev/hugepages",
        needed: false,
    },
];

/// The second ISA serial port, for kernels without devtmpfs.
const SERIAL_MAJOR: u32 = 4;
const SERIAL_MINOR: u32 = 65;

/// Mounts everything.
///
/// # Errors
/// When a file system is missing without which nothing works.
pub fn all() -> std::result::Result<(), String> {
    let mut result = Ok(());
    for Mount {
        kind,
        target,
        needed,
    } in MOUNTS
    {
        let _ = fs::create_dir_all(target);
        let mounted = mount(kind, target, kind, MountFlags::empty(), None::<&CStr>);
        if let (Err(error), true, true) = (mounted, needed, result.is_ok()) {
            result = Err(format!("{kind} on {target}: {error}"));
        }
    }
    let port = "/dev/ttyS1";
    if !Path::new(port).exists() {
        // Opening the port says what is wrong if this does not help.
        let device = makedev(SERIAL_MAJOR, SERIAL_MINOR);
        let _ = mknodat(
            CWD,
            port,
            FileType::CharacterDevice,
            Mode::RUSR | Mode::WUSR,
            device,
        );
    }
    result
}

/// Mounts the cgroups' cpuset controller on `target`, the newer way if the kernel has it there; says
/// whether that is version 2.
///
/// # Errors
/// When the kernel has neither.
pub fn cgroups(target: &str) -> Result<bool> {
    // sysfs has the folder where there are cgroups at all.
    let plain = None::<&CStr>;
    if mount("cgroup2", target, "cgroup2", MountFlags::empty(), plain).is_ok() {
        let controllers = fs::read_to_string(format!("{target}/cgroup.controllers"));
        if controllers.is_ok_and(|all| all.split_whitespace().any(|one| one == "cpuset")) {
            return Ok(true);
        }
        unmount(target, UnmountFlags::empty()).context("unmount cgroup2")?;
    }
    mount(
        "cgroup",
        target,
        "cgroup",
        MountFlags::empty(),
        Some(c"cpuset"),
    )
    .with_context(|| format!("cpusets on {target}"))?;
    Ok(false)
}
