//! CPUs and memory of this host, as several guests share them, and several kverdicts.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use kverdict_core::host::{Host, cpu_list};
use rustix::thread::{CpuSet, sched_getaffinity};

/// Where every program keeps its locks (FHS 3.0, 5.9); where not everybody may, the folder for temporary files.
const LOCKS: &str = "/run/lock";

/// CPUs that are kept for one guest, until this is dropped or the process ends.
#[derive(Debug)]
pub struct Lease {
    cpus: BTreeSet<u32>,
    _locks: Vec<File>,
}

impl Lease {
    /// The CPUs.
    pub fn cpus(&self) -> &BTreeSet<u32> {
        &self.cpus
    }
}

/// The host's CPUs, which all kverdicts on it lease from: each is a file that is locked.
#[derive(Debug)]
pub struct Cpus {
    host: Host,
    /// So many of them at a time.
    quota: u32,
    locks: PathBuf,
}

impl Cpus {
    /// The CPUs that this process may run on.
    ///
    /// # Errors
    /// When the kernel does not tell, or there is no place for locks.
    pub fn of_this_host() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read which CPUs may be used")?;
        let allowed = |cpu: &u32| allowed.is_set(*cpu as usize);
        let mut nodes: Vec<BTreeSet<u32>> = nodes(Path::new("/sys/devices/system/node"));
        if nodes.is_empty() {
            nodes.push((0..CpuSet::MAX_CPU as u32).collect());
        }
        for node in &mut nodes {
            node.retain(allowed);
        }
        let host = Host::new(nodes);
        let cpus = Self::of(host.clone(), Path::new(LOCKS).join("kverdict"))
            .or_else(|_| Self::of(host, std::env::temp_dir().join("kverdict-locks")))?;
        // It knows what a control group may use (`cpu.max`), such as a container's.
        let quota =
            thread::available_parallelism().context("cannot read how many CPUs there are")?;
        Ok(cpus.at_a_time(quota.get() as u32))
    }

    /// A host whose leases are locks in a folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn of(host: Host, locks: PathBuf) -> Result<Self> {
        fs::create_dir_all(&locks)
            .with_context(|| format!("cannot create {} for locks", locks.display()))?;
        // For other users' kverdicts too; only its owner may change that, and need not.
        let _ = fs::set_permissions(&locks, fs::Permissions::from_mode(0o1777));
        let quota = host.cpus().len() as u32;
        Ok(Self { host, quota, locks })
    }

    /// The same, of which this process gets the time of so many only. Others in its control group are not seen.
    pub fn at_a_time(self, quota: u32) -> Self {
        let quota = self.quota.min(quota);
        Self { quota, ..self }
    }

    /// How many of this process's threads can run at a time, whichever CPUs they run on.
    pub fn quota(&self) -> u32 {
        self.quota
    }

    /// The turn of whoever waits for CPUs, until this is dropped; `None`: somebody else has it.
    ///
    /// # Errors
    /// When the locks cannot be written.
    pub fn turn(&self) -> Result<Option<File>> {
        let file = self.open("waiting")?;
        Ok(file.try_lock().is_ok().then_some(file))
    }

    /// Whether somebody waits for CPUs: who has some does not begin more guests then, or that one would never get
    /// them.
    ///
    /// # Errors
    /// When the locks cannot be written.
    pub fn are_awaited(&self) -> Result<bool> {
        Ok(self.open("waiting")?.try_lock_shared().is_err())
    }

    /// Whether so many vCPUs could have one each, were nobody else here.
    pub fn suffice_for(&self, vcpus: u32) -> bool {
        self.quota >= vcpus
    }

    /// CPUs for a guest of so many vCPUs, one each; `None`: so many are not free.
    ///
    /// # Errors
    /// When the locks cannot be written.
    pub fn lease(&self, vcpus: u32) -> Result<Option<Lease>> {
        if !self.suffice_for(vcpus) {
            return Ok(None);
        }
        // One at a time, because free CPUs are found by locking them.
        let gate = self.open("choosing")?;
        gate.lock().context("cannot lock the list of CPUs")?;
        let mut free = Vec::new();
        for cpu in self.host.cpus() {
            let file = self.open(&format!("cpu{cpu}"))?;
            if file.try_lock().is_ok() {
                free.push((cpu, file));
            }
        }
        let names = free.iter().map(|(cpu, _)| *cpu).collect();
        let place = self.host.place(&names, vcpus);
        Ok(place.map(|cpus| {
            free.retain(|(cpu, _)| cpus.contains(cpu));
            Lease {
                cpus,
                _locks: free.into_iter().map(|(_, file)| file).collect(),
            }
        }))
    }

    fn open(&self, name: &str) -> Result<File> {
        let path = self.locks.join(name);
        // Another user's file cannot be opened for writing in a sticky folder, and a lock needs no more.
        let file = File::open(&path).or_else(|_| {
            let made = OpenOptions::new()
                .create(true)
                .append(true)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            // Whatever the umask says; another user's cannot be changed, and need not.
            let _ = made.set_permissions(fs::Permissions::from_mode(0o644));
            Ok::<_, io::Error>(made)
        });
        file.with_context(|| format!("cannot open {}", path.display()))
    }
}

fn nodes(folder: &Path) -> Vec<BTreeSet<u32>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let lists = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cpulist")).ok());
    let mut nodes: Vec<BTreeSet<u32>> = lists.filter_map(|text| cpu_list(&text)).collect();
    nodes.sort();
    nodes
}

/// MiB that new programs can have without swapping, of this machine (`MemAvailable`, proc_meminfo(5)) and of the
/// control group that this process is in, such as a container's; `None`: the kernel does not tell.
pub fn available_memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = number_after(&text, "MemAvailable:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let left = group.and_then(|group| memory_left(Path::new("/sys/fs/cgroup"), group));
    Some(left.map_or(kib * 1024, |left| left.min(kib * 1024)) >> 20)
}

/// Bytes that a control group and those around it leave, the file cache that is not in use counted as free; see
/// Documentation/admin-guide/cgroup-v2.rst. `None`: they have no limit.
fn memory_left(root: &Path, group: &str) -> Option<u64> {
    let of = |folder: &Path| {
        let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let most: u64 = read("memory.max")?.trim().parse().ok()?;
        let used: u64 = read("memory.current")?.trim().parse().ok()?;
        let cache = read("memory.stat").and_then(|stat| number_after(&stat, "inactive_file "));
        Some(most.saturating_sub(used.saturating_sub(cache.unwrap_or_default())))
    };
    let folder = root.join(group);
    let around = folder.ancestors();
    let inside = around.take_while(|folder| folder.starts_with(root));
    inside.filter_map(of).min()
}

/// The number in the line that begins so.
fn number_after(text: &str, start: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(start))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cpus(dir: &Path) -> Cpus {
        let nodes = ["0-3", "4-7"].map(|list| cpu_list(list).unwrap());
        Cpus::of(Host::new(nodes), dir.join("locks")).unwrap()
    }

    #[test]
    fn leases_do_not_overlap_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, theirs) = (cpus(dir.path()), cpus(dir.path()));
        let one = mine.lease(4).unwrap().unwrap();
        let two = theirs.lease(4).unwrap().unwrap();
        assert!(one.cpus().is_disjoint(two.cpus()), "{one:?} {two:?}");
        assert!(mine.lease(1).unwrap().is_none());
        drop(one);
        assert_eq!(theirs.lease(4).unwrap().unwrap().cpus().len(), 4);
        assert!(mine.lease(9).unwrap().is_none(), "more than there are");
    }

    #[test]
    fn one_at_a_time_waits_for_cpus() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, theirs) = (cpus(dir.path()), cpus(dir.path()));
        assert!(!mine.are_awaited().unwrap());
        let turn = theirs.turn().unwrap().unwrap();
        assert!(mine.are_awaited().unwrap());
        assert!(mine.turn().unwrap().is_none());
        drop(turn);
        assert!(!mine.are_awaited().unwrap());
        assert!(mine.turn().unwrap().is_some());
    }

    #[test]
    fn a_control_group_leaves_what_those_around_it_leave() {
        let dir = tempfile::tempdir().unwrap();
        let group = |path: &str, files: &[(&str, &str)]| {
            let folder = dir.path().join("cgroup").join(path);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
        };
        let left = |path: &str| memory_left(&dir.path().join("cgroup"), path);
        let limit = |most, used| [("memory.max", most), ("memory.current", used)];
        group("free", &limit("max\n", "77\n"));
        assert_eq!((left("free"), left("nowhere")), (None, None));
        group("job", &limit("1000\n", "900\n"));
        group("job", &[("memory.stat", "anon 300\ninactive_file 600\n")]);
        group("job/step", &limit("max\n", "5\n"));
        assert_eq!((left("job"), left("job/step")), (Some(700), Some(700)));
        group("job/step", &limit("100\n", "5\n"));
        assert_eq!((left("job"), left("job/step")), (Some(700), Some(95)));
        group("job/step", &limit("100\n", "500\n"));
        assert_eq!(left("job/step"), Some(0), "a limit that was lowered");
        // What is beside the hierarchy is none of its.
        fs::write(dir.path().join("memory.max"), "1\n").unwrap();
        fs::write(dir.path().join("memory.current"), "1\n").unwrap();
        assert_eq!(left("job"), Some(700));
    }

    #[test]
    fn this_host_has_cpus_and_memory() {
        let allowed = sched_getaffinity(None).unwrap();
        let host = Cpus::of_this_host().unwrap().host;
        assert_eq!(host.cpus().len(), allowed.count() as usize);
        assert!(available_memory_mib().unwrap() > 0);
    }
}
