//! Which of the kernel's own lockup detectors are really running.
//!
//! A parameter that says 1 proves nothing: under emulation and in guests without performance
//! counters the perf detector gives up at boot and leaves its parameter as it was. So it counts as
//! armed only when the kernel's log says that it took a counter.

use std::fs;
use std::io::{BufRead, BufReader};

use kverdict_core::protocol::Detector;

use crate::{cmdline, kernel_log};

/// Has to be in the kernel for the buddy detector to exist.
const BUDDY_SYMBOL: &str = "watchdog_buddy_check_hardlockup";

/// What the kernel tells about its watchdogs, gathered once.
#[derive(Debug, Default)]
struct Facts {
    /// `/proc/sys/kernel/nmi_watchdog`.
    nmi_watchdog: Option<u64>,
    /// `/proc/sys/kernel/soft_watchdog`, since 4.3.
    soft_watchdog: Option<u64>,
    /// `/proc/sys/kernel/watchdog`.
    watchdog: Option<u64>,
    /// `/proc/sys/kernel/watchdog_thresh`, in seconds.
    thresh_s: Option<u64>,
    /// Whether [`BUDDY_SYMBOL`] is in `/proc/kallsyms`.
    buddy: bool,
    /// The kernel's log.
    log: String,
    /// The kernel's command line.
    cmdline: String,
}

/// All detectors, armed or not.
pub fn all() -> Vec<Detector> {
    let number = |name: &str| read_number(&format!("/proc/sys/kernel/{name}"));
    let mut facts = Facts {
        nmi_watchdog: number("nmi_watchdog"),
        soft_watchdog: number("soft_watchdog"),
        watchdog: number("watchdog"),
        thresh_s: number("watchdog_thresh"),
        buddy: false,
        log: kernel_log::text(),
        cmdline: fs::read_to_string("/proc/cmdline").unwrap_or_default(),
    };
    // Reading all symbols takes a good part of a second, so only where it can matter.
    facts.buddy = facts.nmi_watchdog == Some(1) && perf_line(&facts.log).is_none() && has_buddy();
    vec![
        hard_lockup(&facts),
        soft_lockup(&facts),
        rcu_stall(),
        hung_task(),
        workqueue(),
    ]
}

fn hard_lockup(facts: &Facts) -> Detector {
    let (armed, how) = hard_lockup_state(facts);
    Detector {
        name: "hard-lockup".into(),
        armed,
        how,
    }
}

fn hard_lockup_state(facts: &Facts) -> (bool, String) {
    let thresh = format!("watchdog_thresh={}", facts.thresh_s.unwrap_or(0));
    if let Some(name) = switched_off(&facts.cmdline) {
        return (false, format!("{name} on the command line"));
    }
    match facts.nmi_watchdog {
        None => return (false, "no /proc/sys/kernel/nmi_watchdog".into()),
        Some(0) => return (false, "nmi_watchdog=0".into()),
        Some(_) => {}
    }
    if facts.watchdog == Some(0) || facts.thresh_s == Some(0) {
        return (
            false,
            format!("watchdog={:?}, {thresh}", facts.watchdog.unwrap_or(0)),
        );
    }
    if let Some(line) = refusal(&facts.log) {
        return (false, format!("kernel log: {line}"));
    }
    if facts.buddy {
        return (true, format!("buddy, {thresh}"));
    }
    match perf_line(&facts.log) {
        Some(line) => (true, format!("perf, {thresh}; kernel log: {line}")),
        None => (
            false,
            "nmi_watchdog=1, but the kernel log names no counter that it took".into(),
        ),
    }
}

fn soft_lockup(facts: &Facts) -> Detector {
    let (armed, how) = soft_lockup_state(facts);
    Detector {
        name: "soft-lockup".into(),
        armed,
        how,
    }
}

fn soft_lockup_state(facts: &Facts) -> (bool, String) {
    let thresh = facts.thresh_s.unwrap_or(0);
    let (name, value) = match facts.soft_watchdog {
        Some(value) => ("soft_watchdog", Some(value)),
        None => ("watchdog", facts.watchdog),
    };
    match value {
        None => (false, "no /proc/sys/kernel/watchdog".into()),
        Some(value) => {
            let on = value != 0 && facts.watchdog != Some(0) && thresh != 0;
            (on, format!("{name}={value}, watchdog_thresh={thresh}"))
        }
    }
}

fn rcu_stall() -> Detector {
    // Before 3.14 the parameters belong to rcutree.
    let found = ["rcupdate", "rcutree"].into_iter().find_map(|module| {
        let parameters = format!("/sys/module/{module}/parameters");
        let suppress = read_number(&format!("{parameters}/rcu_cpu_stall_suppress"))?;
        let timeout = read_number(&format!("{parameters}/rcu_cpu_stall_timeout"));
        Some((suppress, timeout))
    });
    let (armed, how) = match found {
        None => (false, "no parameter rcu_cpu_stall_suppress".into()),
        Some((suppress, timeout)) => {
            let timeout = timeout.map_or("unknown".into(), |seconds| seconds.to_string());
            (
                suppress == 0,
                format!("rcu_cpu_stall_suppress={suppress}, timeout={timeout} s"),
            )
        }
    };
    Detector {
        name: "rcu-stall".into(),
        armed,
        how,
    }
}

fn hung_task() -> Detector {
    positive("hung-task", "/proc/sys/kernel/hung_task_timeout_secs")
}

fn workqueue() -> Detector {
    positive(
        "workqueue",
        "/sys/module/workqueue/parameters/watchdog_thresh",
    )
}

/// A detector that runs when its one parameter, in seconds, is not 0.
fn positive(name: &str, path: &str) -> Detector {
    let (armed, how) = match read_number(path) {
        None => (false, format!("no {path}")),
        Some(seconds) => (seconds > 0, format!("{path} says {seconds} s")),
    };
    Detector {
        name: name.into(),
        armed,
        how,
    }
}

/// The parameter on the command line that switched the hard lockup detector off.
fn switched_off(line: &str) -> Option<&'static str> {
    if cmdline::value(line, "nowatchdog").is_some() {
        return Some("nowatchdog");
    }
    None
}

/// The log line by which the detector gave up.
fn refusal(log: &str) -> Option<&str> {
    const REFUSALS: [&str; 6] = [
        "Shutting down hard lockup detector",
        "Perf NMI watchdog permanently disabled",
        "Hard watchdog permanently disabled",
        "hardware events not enabled",
        "NMI not fully supported",
        "NMI watchdog: disabled (cpu",
    ];
    log.lines()
        .find(|line| REFUSALS.iter().any(|text| line.contains(text)))
        .map(message)
}

/// The log line by which the perf detector says that it runs.
fn perf_line(log: &str) -> Option<&str> {
    let positive = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.contains("enabled") && line.contains("permanently consumes one hw-pmu counter")
    };
    log.lines().find(positive).map(message)
}

/// A log line without its level and time stamp.
fn message(line: &str) -> &str {
    line.split_once("] ").map_or(line, |(_, text)| text)
}

fn has_buddy() -> bool {
    let Ok(file) = fs::File::open("/proc/kallsyms") else {
        return false;
    };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        let name = line.split(|&byte| byte == b' ').nth(2).unwrap_or_default();
        if name.strip_suffix(b"\n").unwrap_or(name) == BUDDY_SYMBOL.as_bytes() {
            return true;
        }
        line.clear();
    }
    false
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(log: &str) -> Facts {
        Facts {
            nmi_watchdog: Some(1),
            soft_watchdog: Some(1),
            watchdog: Some(1),
            thresh_s: Some(10),
            buddy: false,
            log: log.into(),
            cmdline: "console=ttyS0 nokaslr".into(),
        }
    }

    #[test]
    fn a_perf_detector_that_gave_up_is_not_armed() {
        let logs = [
            "<6>[    0.284019] NMI watchdog: disabled (cpu0): hardware events not enabled\n\
             <6>[    0.284020] NMI watchdog: Shutting down hard lockup detector on all cpus\n",
            "<6>[    0.301275] NMI watchdog: Perf NMI watchdog permanently disabled\n",
        ];
        for log in logs {
            let (armed, how) = hard_lockup_state(&facts(log));
            assert!(!armed && how.contains("NMI watchdog"), "{how}");
        }
    }

    #[test]
    fn a_perf_detector_is_armed_only_when_it_says_so() {
        let log = "<6>[    0.14] NMI watchdog: enabled on all CPUs, permanently consumes one hw-PMU counter.\n";
        assert!(hard_lockup_state(&facts(log)).0);
        let log = "<6>[    0.14] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.\n";
        assert!(hard_lockup_state(&facts(log)).0);
        assert!(!hard_lockup_state(&facts("")).0);
    }

    #[test]
    fn the_buddy_needs_no_log_line_but_its_switches() {
        let mut facts = facts("");
        facts.buddy = true;
        assert_eq!(
            hard_lockup_state(&facts),
            (true, "buddy, watchdog_thresh=10".into())
        );
        facts.thresh_s = Some(0);
        assert!(!hard_lockup_state(&facts).0);
        facts.thresh_s = Some(10);
        facts.cmdline = "nowatchdog".into();
        assert!(!hard_lockup_state(&facts).0);
    }

    #[test]
    fn old_kernels_have_one_switch_for_the_soft_detector() {
        let mut facts = facts("");
        facts.soft_watchdog = None;
        assert_eq!(
            soft_lockup_state(&facts),
            (true, "watchdog=1, watchdog_thresh=10".into())
        );
        facts.watchdog = Some(0);
        assert!(!soft_lockup_state(&facts).0);
        facts.watchdog = None;
        assert!(!soft_lockup_state(&facts).0);
    }
}
