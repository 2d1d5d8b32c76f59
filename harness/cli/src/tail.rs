//! Following a file that another process appends to.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Read at once; QEMU's serial port writes far slower.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file that is read as it grows. It need not exist yet.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<File>,
    read_bytes: u64,
}

impl Tail {
    /// Follows `path` from its start.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
            read_bytes: 0,
        }
    }

    /// Hands what has come since the last call to `sink`, in pieces.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn follow(&mut self, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let Some(file) = open(&mut self.file, &self.path)? else {
            return Ok(());
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file
                .read(&mut chunk)
                .with_context(|| format!("cannot read {}", self.path.display()))?;
            if count == 0 {
                return Ok(());
            }
            self.read_bytes += count as u64;
            sink(&chunk[..count]);
        }
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }
}

fn open<'a>(file: &'a mut Option<File>, path: &Path) -> Result<Option<&'a mut File>> {
    if file.is_none() {
        *file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", path.display()));
            }
        };
    }
    Ok(file.as_mut())
}
