//! Guest memory, read through QEMU's monitor.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use kverdict_core::outside::memory::Memory;
use kverdict_core::outside::monitor::fill;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::qmp::Monitor;

/// Bytes asked for in one command: its answer is almost four times that. libvirt forwards answers of
/// up to 4 MiB, and takes some 0.1 s for each, however short.
const READ_BYTES: usize = 256 << 10;

/// Guest memory as one vCPU's page table shows it.
pub struct GuestMemory<'a> {
    monitor: RefCell<&'a mut Monitor>,
    vcpu: u32,
    /// A file for QEMU to write to.
    file: Option<NamedTempFile>,
    /// It wrote there once, or it was not tried yet.
    writes_files: Cell<bool>,
}

impl<'a> GuestMemory<'a> {
    /// Memory as seen by `vcpu`.
    pub fn new(monitor: &'a mut Monitor, vcpu: u32) -> Self {
        Self {
            monitor: RefCell::new(monitor),
            vcpu,
            file: None,
            writes_files: Cell::new(true),
        }
    }

    /// The same for reads of many pages: QEMU writes them to a file, which is ten times as fast as
    /// text. A QEMU that may not write there, such as libvirt's, is read by text after all.
    pub fn in_bulk(monitor: &'a mut Monitor, vcpu: u32) -> Self {
        Self {
            file: NamedTempFile::new().ok(),
            ..Self::new(monitor, vcpu)
        }
    }

    fn read_by_file(&self, at: u64, buffer: &mut [u8]) -> Option<()> {
        let file = self.file.as_ref().filter(|_| self.writes_files.get())?;
        let path = file.path();
        // Not the crate's command: QEMU up to 9 takes addresses of the kernel's half as negative
        // numbers only, newer ones take them as well.
        let request = json!({"execute": "memsave", "arguments": {
            "val": at as i64, "size": buffer.len(), "filename": path, "cpu-index": self.vcpu,
        }});
        let mut monitor = self.monitor.borrow_mut();
        if let Err(error) = monitor.answer(&request.to_string()) {
            // Another user's QEMU cannot write to any file of ours: do not ask again.
            self.writes_files.set(!is_about_file(&error, path));
            return None;
        }
        let read = File::open(path).ok()?.read_exact(buffer).ok();
        // QEMU may run in another mount namespace, where it writes another file of that name.
        self.writes_files.set(read.is_some());
        read
    }
}

/// Whether QEMU complains about the file that it is asked to write, rather than about the memory.
fn is_about_file(error: &anyhow::Error, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    error.to_string().contains(&*name.to_string_lossy())
}

impl Memory for GuestMemory<'_> {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        if self.read_by_file(at, buffer).is_some() {
            return true;
        }
        let mut monitor = self.monitor.borrow_mut();
        let chunks = buffer.chunks_mut(READ_BYTES).enumerate();
        for (number, chunk) in chunks {
            let Some(at) = at.checked_add((number * READ_BYTES) as u64) else {
                return false;
            };
            let (size, letter) = if chunk.len().is_multiple_of(8) {
                (8, 'g')
            } else {
                (1, 'b')
            };
            let line = format!("x /{}x{letter} {at:#x}", chunk.len() / size);
            let Ok(text) = monitor.human(&line, Some(self.vcpu)) else {
                return false;
            };
            if !fill(chunk, size, &text) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::tests::{CPUS, GREETING, OK, fake};

    #[test]
    fn a_qemu_that_cannot_write_our_file_is_asked_once() {
        let (_dir, path) = fake(&[
            GREETING,
            OK,
            CPUS,
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid addr 0x0000000000000000/size 1 specified\"}}\r\n",
            "{\"return\": \"Cannot access memory at address 0x0\\r\\n\"}\r\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Could not open '/x/kverdict-test': Permission denied\"}}\r\n",
            "{\"return\": \"ffffffff81000000: 0x48\\r\\n\"}\r\n",
            "{\"return\": \"ffffffff81000000: 0x49\\r\\n\"}\r\n",
        ]);
        let mut monitor = Monitor::connect(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = tempfile::Builder::new()
            .prefix("kverdict-test")
            .rand_bytes(0)
            .tempfile_in(&folder);
        let memory = GuestMemory {
            file: Some(file.unwrap()),
            ..GuestMemory::new(&mut monitor, 0)
        };
        let mut byte = [0];
        assert!(!memory.read(0, &mut byte), "not mapped");
        for expected in [0x48, 0x49] {
            assert!(memory.read(0xffff_ffff_8100_0000, &mut byte));
            assert_eq!(byte, [expected]);
        }
    }
}
