//! How large the cache may become.

use std::path::Path;

use anyhow::{Context, Result};
use bytesize::ByteSize;

use crate::commands::Usage;

/// Says how large.
pub const VARIABLE: &str = "KVERDICT_CACHE_LIMIT";
/// Some ten kernels with their sources and objects, and many more without.
const DEFAULT: ByteSize = ByteSize::gib(40);

/// How large the cache may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// 40 GiB, but no more than half of the disk.
    Default,
    /// So large.
    Bytes(u64),
    /// As large as the disk.
    None,
}

impl Limit {
    /// What the environment says: a size, or `none`.
    ///
    /// # Errors
    /// [`Usage`] when it is neither.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok("") => Ok(Self::Default),
            Ok("none") => Ok(Self::None),
            Ok(size) => match parse_size(size) {
                Ok(bytes) => Ok(Self::Bytes(bytes)),
                Err(why) => Err(Usage(format!("{VARIABLE}: {why}, or `none`")).into()),
            },
        }
    }

    /// In bytes, of a cache at `root`.
    ///
    /// # Errors
    /// When the disk's size cannot be read.
    pub fn bytes(self, root: &Path) -> Result<Option<u64>> {
        match self {
            Self::Default => {
                // The folder itself is made when something is put in it.
                let there = root.ancestors().find(|folder| folder.is_dir());
                let disk = rustix::fs::statvfs(there.unwrap_or(Path::new("/")))
                    .with_context(|| format!("cannot look at {}", root.display()))?;
                let half = disk.f_blocks * disk.f_frsize / 2;
                Ok(Some(DEFAULT.as_u64().min(half)))
            }
            Self::Bytes(bytes) => Ok(Some(bytes)),
            Self::None => Ok(None),
        }
    }
}

/// Bytes of a size as people write it: `20GiB`, `500MB`.
///
/// # Errors
/// Says what is expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("`{text}` is not a size such as 20GiB or 500MB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("20GiB"), Ok(20 << 30));
        assert_eq!(parse_size("1.5 MB"), Ok(1_500_000));
        assert_eq!(parse_size("0"), Ok(0));
        for wrong in ["", "much", "-1", "3 parsecs"] {
            assert!(parse_size(wrong).unwrap_err().contains("20GiB"), "{wrong}");
        }
    }

    #[test]
    fn by_default_half_of_the_disk_stays_free_for_others() {
        let disk = rustix::fs::statvfs("/").unwrap();
        let bytes = Limit::Default.bytes(Path::new("/")).unwrap().unwrap();
        assert!(bytes <= 40 << 30);
        assert!(bytes <= disk.f_blocks * disk.f_frsize / 2);
        assert_eq!(Limit::None.bytes(Path::new("/")).unwrap(), None);
    }
}
