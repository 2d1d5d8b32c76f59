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

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on 6.12.117 after some seconds of load, 8 CPUs in 2 nodes.
    const SCHEDSTAT: &str = include_str!("../testdata/schedstat-16-6.12.117.txt");
    const STAT: &str = include_str!("../testdata/stat-6.12.117.txt");
    const VMSTAT: &str = include_str!("../testdata/vmstat-6.12.117.txt");

    #[test]
    fn recorded_active_balances_are_the_sum_over_cpus_and_domains() {
        // By hand: 1 on CPU 0, 1 on CPU 1, 4 on CPU 2, 2 + 2 on CPU 4.
        assert_eq!(active_balances(SCHEDSTAT), Some(10));
    }

    #[test]
    fn version_15_only_orders_the_idle_types_otherwise() {
        let old = SCHEDSTAT.replace("version 16", "version 15");
        assert_eq!(active_balances(&old), Some(10));
    }

    #[test]
    fn version_17_has_a_name_and_eleven_columns_per_idle_type() {
        let before: Vec<String> = (100..133).map(|column| column.to_string()).collect();
        let line = |alb: u32| {
            format!(
                "domain0 MC ff {} {alb} 3 4 0 0 0 0 0 0 7 8 9\n",
                before.join(" ")
            )
        };
        let text = format!(
            "version 17\ntimestamp 4294690101\ncpu0 0 0 5\n{}{}",
            line(7),
            line(5)
        );
        assert_eq!(active_balances(&text), Some(12));
    }

    #[test]
    fn an_unknown_version_tells_nothing() {
        assert_eq!(
            active_balances(&SCHEDSTAT.replace("version 16", "version 18")),
            None
        );
        assert_eq!(
            active_balances("version 15\ntimestamp 4294690101\ncpu0 0 0 5\n"),
            None
        );
        assert_eq!(active_balances(""), None);
    }

    #[test]
    fn vmstat_fields_are_whole_names() {
        assert_eq!(vmstat(VMSTAT, "numa_hint_faults"), Some(33_825));
        assert_eq!(vmstat(VMSTAT, "numa_hint_faults_local"), Some(30_765));
        assert_eq!(vmstat(VMSTAT, "numa_pages_migrated"), Some(2_903));
        assert_eq!(vmstat(VMSTAT, "numa_hint"), None);
    }

    #[test]
    fn slices_are_the_third_field() {
        assert_eq!(slices("1325816465 56965743 168\n"), Some(168));
        assert_eq!(slices(""), None);
    }

    #[test]
    fn idle_time_is_read_per_cpu() {
        let idle = idle_times(STAT);
        assert_eq!(idle.len(), 8);
        assert_eq!((idle[0], idle[7]), ((0, 540), (7, 455)));
    }

    #[test]
    fn busy_is_what_is_not_idle() {
        let before = [(0, 100), (1, 100), (4, 100)];
        let after = [(0, 150), (1, 100), (4, 201)];
        let nodes = [vec![0, 1], vec![4], vec![9]];
        assert_eq!(node_busy_percent(&before, &after, 1000, &nodes), [75, 0, 0]);
        assert_eq!(node_busy_percent(&[], &after, 1000, &nodes), [0, 0, 0]);
    }
}
