//! Parsers of the kernel's statistics; no file is opened here.

/// A field of `/proc/vmstat`, such as `numa_hint_faults`.
pub fn vmstat(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().filter_map(|line| line.split_once(' '));
    fields.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// Active balances that a stopper carried out, over all CPUs and domains: `alb_count` of
/// `/proc/schedstat`, which is `alb_failed` + `alb_pushed`. One in which the stopper found nothing
/// left to do is not counted by the kernel. `None` for a version whose columns are not known here
/// or a kernel without scheduling domains.
pub fn active_balances(schedstat: &str) -> Option<u64> {
    let version: u32 = schedstat
        .lines()
        .next()?
        .strip_prefix("version ")?
        .trim()
        .parse()
        .ok()?;
    // Columns of the load balance, per idle type, before alb_count. A domain line starts with
    // its name and its CPU mask; since 17 the domain's name is between.
    let (words_before, columns) = match version {
        15 | 16 => (2, 3 * 8),
        17 => (3, 3 * 11),
        _ => return None,
    };
    let domains = schedstat.lines().filter(|line| line.starts_with("domain"));
    let counts: Option<Vec<u64>> = domains
        .map(|line| line.split(' ').nth(words_before + columns)?.parse().ok())
        .collect();
    counts
        .filter(|counts| !counts.is_empty())
        .map(|counts| counts.iter().sum())
}

/// Time slices that a task ran, out of `/proc/PID/schedstat`.
pub fn slices(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().nth(2)?.parse().ok()
}

/// Time of one CPU out of `/proc/stat`, in ticks since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Everything but idle and waiting for I/O.
    pub busy: u64,
    /// Everything.
    pub total: u64,
}

/// The times of all online CPUs, with their numbers.
pub fn cpu_times(stat: &str) -> Vec<(u32, CpuTime)> {
    stat.lines().filter_map(cpu_time).collect()
}

fn cpu_time(line: &str) -> Option<(u32, CpuTime)> {
    let mut words = line.strip_prefix("cpu")?.split(' ');
    let cpu = words.next()?.parse().ok()?;
    // user nice system idle iowait irq softirq steal; guest time is within user.
    let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
    let total = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((
        cpu,
        CpuTime {
            busy: total - idle,
            total,
        },
    ))
}

/// Busy percent of each node's CPUs between two readings.
pub fn node_busy_percent(
    before: &[(u32, CpuTime)],
    after: &[(u32, CpuTime)],
    nodes: &[Vec<u32>],
) -> Vec<u8> {
    let time = |times: &[(u32, CpuTime)], cpu: u32| {
        times
            .iter()
            .find(|(number, _)| *number == cpu)
            .map(|(_, time)| *time)
            .unwrap_or_default()
    };
    let percent = |cpus: &Vec<u32>| {
        let (mut busy, mut total) = (0, 0);
        for &cpu in cpus {
            let (old, new) = (time(before, cpu), time(after, cpu));
            // Idle time may step back a little on some kernels.
            busy += new.busy.saturating_sub(old.busy);
            total += new.total.saturating_sub(old.total);
        }
        (busy * 100).checked_div(total).unwrap_or(0).min(100) as u8
    };
    nodes.iter().map(percent).collect()
}
