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

/// Time that each online CPU was idle since boot, with the CPU's number, in hundredths of a
/// second: `idle` + `iowait` of `/proc/stat`.
pub fn idle_times(stat: &str) -> Vec<(u32, u64)> {
    stat.lines().filter_map(idle_time).collect()
}

fn idle_time(line: &str) -> Option<(u32, u64)> {
    let (cpu, ticks) = line.strip_prefix("cpu")?.split_once(' ')?;
    let mut idle_and_iowait = ticks
        .split(' ')
        .skip(3)
        .take(2)
        .map(|word| word.parse::<u64>());
    let idle = idle_and_iowait.next()?.ok()? + idle_and_iowait.next()?.ok()?;
    Some((cpu.parse().ok()?, idle))
}

/// Busy percent of each node's CPUs between two readings, `elapsed_ms` apart.
///
/// Busy is what is not idle. The busy columns of `/proc/stat` are counted in timer ticks, of which
/// an emulated CPU loses many while its host thread waits; idle time is taken from the clock.
pub fn node_busy_percent(
    before: &[(u32, u64)],
    after: &[(u32, u64)],
    elapsed_ms: u64,
    nodes: &[Vec<u32>],
) -> Vec<u8> {
    let find = |times: &[(u32, u64)], cpu: u32| {
        times
            .iter()
            .find(|(number, _)| *number == cpu)
            .map(|(_, idle)| *idle)
    };
    let percent = |cpus: &Vec<u32>| {
        let idle_ms = |&cpu: &u32| {
            // The difference may be off by the clocks' granularity, and idle time may step back.
            let idle = find(after, cpu)?.saturating_sub(find(before, cpu)?) * 10;
            Some(idle.min(elapsed_ms))
        };
        let idle: Vec<u64> = cpus.iter().filter_map(idle_ms).collect();
        let whole = elapsed_ms * idle.len() as u64;
        let busy = whole - idle.iter().sum::<u64>();
        (busy * 100).checked_div(whole).unwrap_or(0) as u8
    };
    nodes.iter().map(percent).collect()
}
