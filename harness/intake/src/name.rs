//! Names of an archive's members.

use std::io::Read;

use anyhow::{Result, anyhow, bail};

/// Longest name, in bytes: the longest path that Linux takes.
pub const NAME_BYTES_MAX: u64 = 4096;

/// A name without its leading `./`.
///
/// # Errors
/// When it leads out of its folder, or is nothing that a package's file is called.
pub fn inner(name: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(name).map_err(|_| anyhow!("a file name in it is not UTF-8"))?;
    // It may be meant for the terminal that the error is shown on.
    let shown = text.escape_debug();
    if name.len() as u64 > NAME_BYTES_MAX {
        bail!("a file name in it is longer than {NAME_BYTES_MAX} bytes");
    }
    if text.contains(char::is_control) {
        bail!("the name `{shown}` in it has control characters: this is no package to trust");
    }
    let inner = text.strip_prefix("./").unwrap_or(text);
    if inner.starts_with('/') || inner.split('/').any(|part| part == "..") {
        bail!("the name `{shown}` in it leads out of its folder: this is no package to trust");
    }
    Ok(inner.trim_end_matches('/').to_owned())
}

/// Reads a long name that an archive has as a member of its own.
pub fn read_short(reader: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(NAME_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > NAME_BYTES_MAX {
        bail!("a file name in it is longer than {NAME_BYTES_MAX} bytes");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_or_damn_the_package() {
        for (name, expected) in [
            ("./boot/x", "boot/x"),
            ("boot/x", "boot/x"),
            ("./", ""),
            (".", "."),
            (".hidden/a..b", ".hidden/a..b"),
            ("lib/", "lib"),
        ] {
            assert_eq!(inner(name.as_bytes()).unwrap(), expected, "{name}");
        }
        for name in ["/etc/passwd", "../x", "./a/../../x", ".//etc/x", "a/.."] {
            assert!(inner(name.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let error = inner(b"boot/\x1b[2Jx\n").unwrap_err().to_string();
        assert!(error.contains(r"\u{1b}[2Jx\n"), "{error}");
        assert!(!error.contains(char::is_control), "{error}");
    }
}
