//! A shuffling process: rewrites the roamers' CPU affinity, which makes migration threads run.
//!
//! The kernel needs the stopper of a CPU only to move a task away that is running there, so each
//! change has to exclude the CPU that the roamer is on at that moment. Every change is followed
//! by the full mask, so a roamer is free again at once and never stays pinned.

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use rustix::thread::CpuSet;

use crate::affinity;
use crate::assignment::{Assignment, Role};
use crate::seed::Random;

/// A roamer as the shuffler sees it.
struct Target {
    pid: Pid,
    /// `/proc/PID/stat`, kept open: an open costs more than the read.
    stat: File,
}

/// Says that it is ready and shuffles for ever.
pub fn run(assignment: &Assignment, index: u32) -> Result<Infallible> {
    let spec = assignment
        .spec
        .shuffler
        .as_ref()
        .context("the load has no shuffler")?;
    let pause = Duration::from_micros(spec.interval_us.into());
    let cpus = assignment.cpus();
    ensure!(cpus.len() > 1, "shuffling needs two CPUs");
    let everywhere = affinity::mask(&cpus);
    let targets = assignment
        .roamers
        .iter()
        .map(|&pid| target(pid))
        .collect::<Result<Vec<_>>>()?;
    ensure!(!targets.is_empty(), "there is nobody to shuffle");
    let mut random = Random::of(Role::Shuffler { index });
    crate::ready_and_go(assignment)?;
    for turn in 0usize.. {
        let target = &targets[random.below(targets.len())];
        let current = current_cpu(&target.stat)?;
        let elsewhere = if turn.is_multiple_of(2) {
            all_but(&cpus, current)
        } else {
            one_but(&cpus, current, &mut random)
        };
        affinity::confine_other(target.pid, &elsewhere)
            .and_then(|()| affinity::confine_other(target.pid, &everywhere))
            .with_context(|| format!("affinity of roamer {:?}", target.pid))?;
        std::thread::sleep(pause);
    }
    unreachable!("the turns do not end")
}

fn target(pid: i32) -> Result<Target> {
    let path = format!("/proc/{pid}/stat");
    let stat = File::open(&path).with_context(|| format!("open {path}"))?;
    Ok(Target {
        pid: Pid::from_raw(pid).context("process id 0")?,
        stat,
    })
}

fn all_but(cpus: &[u32], current: u32) -> CpuSet {
    let others: Vec<u32> = cpus.iter().copied().filter(|&cpu| cpu != current).collect();
    affinity::mask(&others)
}

fn one_but(cpus: &[u32], current: u32, random: &mut Random) -> CpuSet {
    let others: Vec<u32> = cpus.iter().copied().filter(|&cpu| cpu != current).collect();
    affinity::mask(&[others[random.below(others.len())]])
}

fn current_cpu(stat: &File) -> Result<u32> {
    let mut bytes = [0; 1024];
    let length = stat
        .read_at(&mut bytes, 0)
        .context("read a roamer's stat")?;
    processor(&String::from_utf8_lossy(&bytes[..length])).context("a stat line without processor")
}

/// Field 39 of `/proc/PID/stat`. The name in field 2 may hold spaces, so count from its end.
fn processor(stat: &str) -> Option<u32> {
    let after_name = stat.rsplit_once(") ")?.1;
    after_name.split(' ').nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_field_39_even_behind_an_odd_name() {
        let stat = "71 (kv roamer) 3) R 1 1 1 0 -1 4194304 1077 0 0 0 812 3 0 0 20 0 1 0 93 5242880 \
                    1100 18446744073709551615 4194304 6291456 140737488347136 0 0 0 0 4096 0 0 0 0 17 6 \
                    0 0 0 0 0 0 0 0 0 0 0 0 0";
        assert_eq!(processor(stat), Some(6));
        assert_eq!(processor("71 (short) R 1"), None);
    }

    #[test]
    fn a_change_never_allows_the_current_cpu() {
        let cpus = [0, 1, 2, 3];
        let mut random = Random::of(Role::Shuffler { index: 0 });
        for current in cpus {
            assert!(!all_but(&cpus, current).is_set(current as usize));
            assert_eq!(all_but(&cpus, current).count(), 3);
            let one = one_but(&cpus, current, &mut random);
            assert!(!one.is_set(current as usize));
            assert_eq!(one.count(), 1);
        }
    }
}
