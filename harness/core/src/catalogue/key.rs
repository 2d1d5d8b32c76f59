//! The name of a build: a digest of everything that goes into it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Digest of everything that goes into a build, in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildKey(String);

/// Hex digits that are kept; 80 bits leave no room for accidents and fit `LINUX_COMPILE_HOST`.
const KEY_DIGITS: usize = 20;

impl BuildKey {
    /// Digests named inputs; the names keep neighbours apart.
    pub fn of<'a>(inputs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut hasher = Sha256::new();
        for (name, value) in inputs {
            for text in [name, value] {
                // The length keeps ("ab", "c") apart from ("a", "bc").
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
        }
        let mut key = hex(&hasher.finalize());
        key.truncate(KEY_DIGITS);
        Self(key)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of bytes, in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_and_its_place_counts() {
        let base = BuildKey::of([("source", "a"), ("config", "b")]);
        assert_eq!(base, BuildKey::of([("source", "a"), ("config", "b")]));
        assert_ne!(base, BuildKey::of([("source", "ab"), ("config", "")]));
        assert_ne!(base, BuildKey::of([("config", "b"), ("source", "a")]));
        assert_eq!(base.as_str().len(), KEY_DIGITS);
    }

    #[test]
    fn digests_are_the_usual_ones() {
        assert!(sha256_hex(b"abc").starts_with("ba7816bf8f01cfea"));
    }
}
