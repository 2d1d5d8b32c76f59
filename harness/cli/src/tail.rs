//! Following a file that another process appends to.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Read in a call: whoever writes faster than this is read must not keep the reader from looking elsewhere.
const CALL_BYTES: usize = 4 << 20;

/// A file that is read as it grows. It need not exist yet.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<File>,
}

impl Tail {
    /// Follows `path` from its start.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
        }
    }

    /// Hands what has come since the last call to `sink`, in pieces. Gives whether that was all: of a flood, a
    /// call takes the first part.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn follow(&mut self, mut sink: impl FnMut(&[u8])) -> Result<bool> {
        let Some(file) = open(&mut self.file, &self.path)? else {
            return Ok(true);
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        for _ in 0..CALL_BYTES / CHUNK_BYTES {
            let count = file
                .read(&mut chunk)
                .with_context(|| format!("cannot read {}", self.path.display()))?;
            if count == 0 {
                return Ok(true);
            }
            sink(&chunk[..count]);
        }
        Ok(false)
    }

    /// Bytes in the file, read or not; 0 where there is none.
    pub fn size_bytes(&self) -> u64 {
        let meta = self.file.as_ref().and_then(|file| file.metadata().ok());
        meta.map_or(0, |meta| meta.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_taken_in_parts_and_nothing_of_it_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut tail = Tail::new(&path);
        let mut count = 0;
        assert!(tail.follow(|_| unreachable!()).unwrap(), "no file yet");
        assert_eq!(tail.size_bytes(), 0);
        std::fs::write(&path, vec![b'x'; CALL_BYTES + 5]).unwrap();
        assert!(!tail.follow(|bytes| count += bytes.len()).unwrap());
        assert_eq!(count, CALL_BYTES);
        assert!(tail.follow(|bytes| count += bytes.len()).unwrap());
        assert_eq!(count, CALL_BYTES + 5);
        assert_eq!(tail.size_bytes(), count as u64);
    }
}
