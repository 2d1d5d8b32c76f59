//! Memory with a place: mappings bound to a node, in huge pages if asked, and shared mappings.

use std::fs::OpenOptions;
use std::marker::PhantomData;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use anyhow::{Context, Result, ensure};
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, mmap_anonymous};

/// Size of the huge pages used, in bytes.
pub const HUGEPAGE_BYTES: usize = 2 << 20;
/// Size of ordinary pages, in bytes.
pub const PAGE_BYTES: usize = 4096;
/// Everything carved out of a mapping starts on a cache line of its own, in bytes.
const LINE_BYTES: usize = 64;
/// From `linux/mempolicy.h`, not in every libc.
const MPOL_DEFAULT: usize = 0;
const MPOL_BIND: usize = 2;
const MPOL_INTERLEAVE: usize = 3;
/// Nodes that the mask given to mbind(2) can name.
const MASK_NODES: usize = 64;

/// Interleaves the calling thread's future memory over `nodes`, and that of threads and processes
/// that it starts. NUMA balancing leaves such memory alone.
///
/// # Errors
/// When there is no such node or the kernel has no NUMA support.
pub fn interleave(nodes: &[u32]) -> Result<()> {
    let in_mask = nodes.iter().filter(|&&node| (node as usize) < MASK_NODES);
    set_policy(
        MPOL_INTERLEAVE,
        in_mask.fold(0, |mask, node| mask | 1 << node),
    )
}

/// Takes back what [`interleave`] did, for future memory.
///
/// # Errors
/// When the kernel has no NUMA support.
pub fn default_policy() -> Result<()> {
    set_policy(MPOL_DEFAULT, 0)
}

fn set_policy(policy: usize, mask: u64) -> Result<()> {
    // SAFETY: the mask outlives the call; the kernel takes one bit less than it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_set_mempolicy,
            policy,
            &mask as *const u64,
            MASK_NODES + 1,
        )
    };
    ensure!(
        result == 0,
        "set_mempolicy: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// Types that are valid when all their bytes are zero.
///
/// # Safety
/// An all-zero bit pattern has to be a valid value, and the type must not need dropping.
pub unsafe trait Zeroed {}

// SAFETY: integers and atomics of integers are valid at 0.
unsafe impl Zeroed for u8 {}
// SAFETY: as above.
unsafe impl Zeroed for u64 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicU64 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicUsize {}
// SAFETY: an array is valid when its elements are.
unsafe impl<T: Zeroed, const N: usize> Zeroed for [T; N] {}

/// A private or shared mapping, handed out piece by piece and never unmapped: load processes live
/// until the guest ends.
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
    used: usize,
    owner: PhantomData<*mut u8>,
}

impl Region {
    /// Zeroed private memory without a policy, not yet touched.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn anonymous(bytes: usize) -> Result<Self> {
        map_anonymous(bytes.next_multiple_of(PAGE_BYTES), MapFlags::PRIVATE)
            .with_context(|| format!("mmap of {bytes} bytes"))
    }

    /// Zeroed private memory bound to `node`, resident and, if the limits allow, locked.
    ///
    /// # Errors
    /// When the mapping, the binding or (huge pages only) the reservation fails.
    pub fn on_node(bytes: usize, node: u32, hugepages: bool) -> Result<Self> {
        let (unit, flags) = if hugepages {
            (HUGEPAGE_BYTES, MapFlags::PRIVATE | MapFlags::HUGETLB)
        } else {
            (PAGE_BYTES, MapFlags::PRIVATE)
        };
        let bytes = bytes.next_multiple_of(unit);
        let mut region = map_anonymous(bytes, flags)
            .with_context(|| format!("mmap of {bytes} bytes, huge pages: {hugepages}"))?;
        region.bind(node)?;
        region.touch();
        // Best effort: without the right to lock, resident is what it stays in practice.
        // SAFETY: the range is this mapping.
        let _ = unsafe { mlock(region.start.as_ptr().cast(), region.bytes) };
        Ok(region)
    }

    /// The file at `path` as shared memory, made at least `bytes` long.
    ///
    /// # Errors
    /// When the file cannot be opened, grown or mapped.
    pub fn shared(path: &Path, bytes: usize) -> Result<Self> {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        if file.metadata()?.len() < bytes as u64 {
            file.set_len(bytes as u64)
                .with_context(|| format!("grow {}", path.display()))?;
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address the kernel chooses.
        let start = unsafe { mmap(ptr::null_mut(), bytes, prot, MapFlags::SHARED, &file, 0) };
        Self::new(
            start.with_context(|| format!("mmap {}", path.display()))?,
            bytes,
        )
    }

    fn new(start: *mut std::ffi::c_void, bytes: usize) -> Result<Self> {
        let start = NonNull::new(start.cast()).context("a mapping at address 0")?;
        Ok(Region {
            start,
            bytes,
            used: 0,
            owner: PhantomData,
        })
    }

    fn bind(&self, node: u32) -> Result<()> {
        ensure!(
            (node as usize) < MASK_NODES,
            "node {node} is beyond {MASK_NODES}"
        );
        let mask: u64 = 1 << node;
        // SAFETY: the range is this mapping and the mask outlives the call; the kernel takes one
        // bit less than it is told, hence + 1.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.bytes,
                MPOL_BIND,
                &mask as *const u64,
                MASK_NODES + 1,
                0,
            )
        };
        ensure!(
            result == 0,
            "mbind to node {node}: {}",
            std::io::Error::last_os_error()
        );
        Ok(())
    }

    /// Writes to every page, which makes it resident by the current policy.
    pub fn touch(&mut self) {
        for offset in (0..self.bytes).step_by(PAGE_BYTES) {
            // SAFETY: inside the mapping, of which nothing has been handed out while `self` is
            // borrowed mutably before the first `carve`; volatile, as nobody reads it.
            unsafe { self.start.as_ptr().add(offset).write_volatile(0) };
        }
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the pages, which have to be resident, where they are: a pipe that holds a reference to each
    /// makes every attempt to migrate them fail, while their hinting faults are counted as ever.
    ///
    /// # Errors
    /// When the pipe cannot hold them.
    pub fn keep_from_migrating(&self) -> Result<()> {
        let (reader, writer) = rustix::pipe::pipe().context("pipe")?;
        let size = rustix::pipe::fcntl_setpipe_size(&writer, self.bytes)
            .with_context(|| format!("a pipe of {} bytes", self.bytes))?;
        ensure!(
            size >= self.bytes,
            "the pipe holds {size} of {} bytes",
            self.bytes
        );
        let mut done = 0;
        while done < self.bytes {
            // SAFETY: inside the mapping, which is never unmapped.
            let slice = unsafe {
                std::slice::from_raw_parts_mut(self.start.as_ptr().add(done), self.bytes - done)
            };
            let slices = [rustix::pipe::IoSliceRaw::from_slice_mut(slice)];
            // SAFETY: nobody reads from the pipe, so nobody sees the pages change.
            let spliced = unsafe {
                rustix::pipe::vmsplice(&writer, &slices, rustix::pipe::SpliceFlags::empty())
            };
            done += spliced.context("vmsplice")?;
        }
        // For as long as the process lives.
        std::mem::forget((reader, writer));
        Ok(())
    }

    /// Takes the next `count` values out of the mapping.
    ///
    /// # Panics
    /// When they do not fit: the caller computed the size with [`bytes_of`].
    pub fn carve<T: Zeroed>(&mut self, count: usize) -> &'static mut [T] {
        const { assert!(align_of::<T>() <= LINE_BYTES) };
        let bytes = bytes_of::<T>(count);
        assert!(self.used + bytes <= self.bytes, "the mapping is too small");
        // SAFETY: inside the mapping, which is never unmapped; aligned, as both the mapping and
        // `used` are multiples of a line; zero is a valid T; and `used` moves on, so that no two
        // slices overlap.
        let slice = unsafe {
            let start = self.start.as_ptr().add(self.used).cast::<T>();
            std::slice::from_raw_parts_mut(start, count)
        };
        self.used += bytes;
        slice
    }
}

/// What [`Region::carve`] takes for `count` values, in bytes.
pub fn bytes_of<T>(count: usize) -> usize {
    (size_of::<T>() * count).next_multiple_of(LINE_BYTES)
}

fn map_anonymous(bytes: usize, flags: MapFlags) -> Result<Region> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address the kernel chooses.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, prot, flags) }?;
    Region::new(start, bytes)
}
