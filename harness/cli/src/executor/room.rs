//! How many guests this host has room for beside each other.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use kverdict_core::campaign::Guest;

use super::Jobs;
use crate::host::{self, Cpus, Lease};
use crate::process::{self, Interrupted};
use crate::progress::Progress;

/// What QEMU takes besides a guest's memory, in MiB: TCG's translations are the most of it.
const OVERHEAD_MIB: u64 = 128;
/// Between two tries to get CPUs that others have.
const PATIENCE: Duration = Duration::from_millis(200);

/// CPUs and memory of this host, for guests of this process.
#[derive(Debug)]
pub struct Room {
    jobs: Jobs,
    cpus: Cpus,
    memory_mib: u64,
    /// For the guest to come.
    lease: Option<Lease>,
}

impl Room {
    /// The room that there is now.
    ///
    /// # Errors
    /// When the host does not tell what it has.
    pub fn of_this_host(jobs: Jobs) -> Result<Self> {
        Ok(Self::of(jobs, Cpus::of_this_host()?, free_memory_mib()?))
    }

    fn of(jobs: Jobs, cpus: Cpus, memory_mib: u64) -> Self {
        Self {
            jobs,
            cpus,
            memory_mib,
            lease: None,
        }
    }

    /// Whether there is room for another guest beside those under way. The first one always has it, if need be
    /// after others have given up the CPUs that it is to have.
    ///
    /// # Errors
    /// When CPUs cannot be kept for it, or the host does not tell what is free; or an interrupt.
    pub fn has_room(
        &mut self,
        guest: &Guest,
        under_way: &[&Guest],
        progress: &Progress,
    ) -> Result<bool> {
        let first = under_way.is_empty();
        if !first && !self.allows(guest, under_way, free_memory_mib()?) {
            return Ok(false);
        }
        if first && self.jobs == Jobs::Auto && self.cpus.suffice_for(guest.cpus()) {
            self.wait_for_cpus(guest, progress)?;
        } else if self.cpus.are_awaited()? {
            self.release();
        } else {
            self.keep_cpus(guest)?;
        }
        Ok(first || self.lease.is_some() || matches!(self.jobs, Jobs::AtMost(_)))
    }

    /// Whether jobs, CPU time and memory do, of which `free_mib` are left now: what the guests under way have not touched yet
    /// is not gone from it, and what others have taken since is not in the memory that there was.
    fn allows(&self, guest: &Guest, under_way: &[&Guest], free_mib: u64) -> bool {
        let needed = |guest: &Guest| guest.memory_mib() + OVERHEAD_MIB;
        let all: u64 = under_way.iter().map(|one| needed(one)).sum();
        let vcpus: u32 = under_way.iter().map(|one| one.cpus()).sum();
        let is_allowed = match self.jobs {
            Jobs::Auto => vcpus + guest.cpus() <= self.cpus.quota(),
            Jobs::AtMost(jobs) => under_way.len() < jobs,
        };
        is_allowed && all + needed(guest) <= self.memory_mib && needed(guest) <= free_mib
    }

    /// Keeps CPUs for a guest, if so many are free.
    fn keep_cpus(&mut self, guest: &Guest) -> Result<()> {
        // Those that were kept for a smaller guest are no use.
        let fits = |lease: &Lease| lease.cpus().len() == guest.cpus() as usize;
        if !self.lease.as_ref().is_some_and(fits) {
            self.lease = None;
            self.lease = self.cpus.lease(guest.cpus())?;
        }
        Ok(())
    }

    /// After those who have waited longer, and before those who have some already.
    fn wait_for_cpus(&mut self, guest: &Guest, progress: &Progress) -> Result<()> {
        let (mut turn, mut is_told) = (None, false);
        loop {
            if turn.is_none() {
                turn = self.cpus.turn()?;
            }
            if turn.is_some() {
                self.keep_cpus(guest)?;
            }
            if self.lease.is_some() {
                return Ok(());
            }
            if process::interrupted() {
                return Err(Interrupted.into());
            }
            if !is_told {
                progress.line("waiting for CPUs that other campaigns have");
                is_told = true;
            }
            thread::sleep(PATIENCE);
        }
    }

    /// The CPUs for a guest that there is room for, if it has any of its own.
    pub fn take(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    /// Lets whoever else is on this host have what was kept for the guest to come.
    pub fn release(&mut self) {
        self.lease = None;
    }
}

/// CPUs for a guest that has none of its own command's beside it; absent: this host has too few.
///
/// # Errors
/// As [`Room::has_room`].
pub fn for_one(guest: &Guest, progress: &Progress) -> Result<Option<Lease>> {
    let mut room = Room::of_this_host(Jobs::Auto)?;
    room.has_room(guest, &[], progress)?;
    Ok(room.take())
}

fn free_memory_mib() -> Result<u64> {
    host::available_memory_mib().context("cannot read how much memory is free")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kverdict_core::campaign::Campaign;

    use super::*;
    use crate::host::tests::cpus;

    /// Two nodes of two vCPUs and 512 MiB each.
    fn guest() -> Guest {
        let text = include_str!("../../../../configs/migrate-swap.yaml");
        let campaign = Campaign::parse("migrate-swap.yaml", text).unwrap();
        let mut guest = campaign.guest;
        guest.nodes.iter_mut().for_each(|node| node.cpus = 2);
        assert_eq!((guest.cpus(), guest.memory_mib()), (4, 1024));
        guest
    }

    /// Two nodes of four CPUs.
    fn room(jobs: Jobs, dir: &Path, memory_mib: u64) -> Room {
        Room::of(jobs, cpus(dir), memory_mib)
    }

    #[test]
    fn guests_have_memory_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let one = guest();
        let room = room(Jobs::Auto, dir.path(), 3000);
        let plenty = 1 << 20;
        assert!(room.allows(&one, &[&one], plenty));
        assert!(!room.allows(&one, &[&one, &one], plenty));
        assert!(!room.allows(&one, &[&one], 1100), "others have taken it");
    }

    /// As in a container that may use half of the host's time, on any CPU.
    #[test]
    fn guests_have_cpu_time_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let one = guest();
        let room = |jobs| Room::of(jobs, cpus(dir.path()).at_a_time(6), 1 << 20);
        assert!(room(Jobs::Auto).allows(&one, &[], 1 << 20));
        assert!(!room(Jobs::Auto).allows(&one, &[&one], 1 << 20));
        assert!(room(Jobs::AtMost(2)).allows(&one, &[&one], 1 << 20));
        let (progress, mut small) = (Progress::detect(), cpus(dir.path()).at_a_time(3));
        assert!(small.lease(4).unwrap().is_none(), "it would not have them");
        small = small.at_a_time(8);
        assert_eq!(small.quota(), 3, "it never becomes more");
        assert!(room(Jobs::Auto).has_room(&one, &[], &progress).unwrap());
    }

    #[test]
    fn so_many_jobs_are_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let one = guest();
        let room = room(Jobs::AtMost(2), dir.path(), 1 << 20);
        assert!(room.allows(&one, &[&one], 1 << 20));
        assert!(!room.allows(&one, &[&one, &one], 1 << 20));
    }

    #[test]
    fn beside_others_a_guest_has_a_cpu_for_each_vcpu() {
        let dir = tempfile::tempdir().unwrap();
        let (one, progress) = (guest(), Progress::detect());
        let mut auto = room(Jobs::Auto, dir.path(), 1 << 20);
        let mut leases = Vec::new();
        for _ in 0..2 {
            let under_way = vec![&one; leases.len()];
            assert!(auto.has_room(&one, &under_way, &progress).unwrap());
            leases.push(auto.take().unwrap());
        }
        assert!(leases[0].cpus().is_disjoint(leases[1].cpus()));
        assert!(!auto.has_room(&one, &[&one, &one], &progress).unwrap());
        // Somebody who says how many may have more, without CPUs of their own.
        let mut forced = room(Jobs::AtMost(9), dir.path(), 1 << 20);
        assert!(forced.has_room(&one, &[&one, &one], &progress).unwrap());
        assert!(forced.take().is_none());
    }

    #[test]
    fn the_first_guest_waits_for_cpus_of_other_campaigns() {
        let dir = tempfile::tempdir().unwrap();
        let one = guest();
        let others = cpus(dir.path()).lease(8).unwrap().unwrap();
        let mut mine = room(Jobs::Auto, dir.path(), 1 << 20);
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                mine.has_room(&one, &[], &Progress::detect()).unwrap();
                mine.take().unwrap().cpus().len()
            });
            let theirs = cpus(dir.path());
            while !theirs.are_awaited().unwrap() {
                thread::sleep(PATIENCE / 10);
            }
            assert!(!waits.is_finished(), "all CPUs are taken");
            // Who has some lets others go first.
            let mut theirs = Room::of(Jobs::Auto, theirs, 1 << 20);
            assert!(!theirs.has_room(&one, &[&one], &Progress::detect()).unwrap());
            drop(others);
            assert_eq!(waits.join().unwrap(), 4);
        });
    }
}
