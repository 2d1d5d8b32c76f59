//! What belongs to a kernel in a package, and what an image says about itself.

/// Below this many lines a System.map is none: Debian's packages carry a stub of one line.
const MIN_MAP_LINES: usize = 100;
/// Where a bzImage says that it is one, and where its version is; Documentation/arch/x86/boot.rst.
const BOOT_MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
const VERSION_POINTER: usize = 0x20e;
const VERSION_BASE: usize = 0x200;

/// The files of a package that booting and reading need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The bzImage.
    pub kernel: String,
    /// Addresses of symbols.
    pub system_map: Option<String>,
    /// The configuration.
    pub config: Option<String>,
}

impl BootFiles {
    /// Looks for a kernel among the files of a package: `/boot/vmlinuz-RELEASE`, or
    /// `/lib/modules/RELEASE/vmlinuz`, where newer rpms have it.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn among(names: &[String]) -> Result<Self, String> {
        let find = |what: &str| {
            let found = |pattern: fn(&str, &str) -> bool| {
                names
                    .iter()
                    .filter(|name| pattern(name.strip_prefix("usr/").unwrap_or(name), what))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            let in_boot = found(is_in_boot);
            if in_boot.is_empty() {
                found(is_beside_modules)
            } else {
                in_boot
            }
        };
        let kernels = find("vmlinuz");
        match kernels.as_slice() {
            [kernel] => Ok(Self {
                kernel: kernel.clone(),
                system_map: find("System.map").into_iter().next(),
                config: find("config").into_iter().next(),
            }),
            [] => Err(
                "holds no kernel: there is no boot/vmlinuz-* and no lib/modules/*/vmlinuz in it; it may be a metapackage, or have modules or headers only (of Fedora and el8 and later the kernel is in kernel-core)"
                    .to_owned(),
            ),
            several => Err(format!("holds several kernels: {}", several.join(", "))),
        }
    }
}

fn is_in_boot(name: &str, what: &str) -> bool {
    name.strip_prefix("boot/")
        .and_then(|name| name.strip_prefix(what))
        .is_some_and(|rest| rest.starts_with('-') && !rest.contains('/'))
}

fn is_beside_modules(name: &str, what: &str) -> bool {
    name.strip_prefix("lib/modules/")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(_, file)| file == what)
}

/// Whether a System.map is the stub that Debian's packages have.
pub fn is_stub_map(text: &str) -> bool {
    text.lines().take(MIN_MAP_LINES).count() < MIN_MAP_LINES
}

/// The release that a bzImage names, as `uname -r` will say it.
///
/// # Errors
/// When it is no bzImage.
pub fn image_release(image: &[u8]) -> Result<String, String> {
    if image.starts_with(b"\x7fELF") {
        return Err(
            "is an ELF file, a vmlinux or something else: give the bzImage (vmlinuz), which QEMU can boot"
                .to_owned(),
        );
    }
    let (at, magic) = BOOT_MAGIC;
    if image.get(at..at + magic.len()) != Some(magic) {
        return Err(
            "is no bzImage for x86: it lacks the boot header `HdrS`; is it damaged, or for another architecture?"
                .to_owned(),
        );
    }
    let version = image
        .get(VERSION_POINTER..VERSION_POINTER + 2)
        .map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
        .and_then(|pointer| image.get(VERSION_BASE + pointer..))
        .and_then(|rest| rest.split(|byte| *byte == 0).next())
        .map(String::from_utf8_lossy);
    match version
        .as_deref()
        .and_then(|text| text.split_whitespace().next())
    {
        Some(release) => Ok(release.to_owned()),
        None => Err("names no version in its boot header: is it damaged?".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(names: &[&str]) -> Result<BootFiles, String> {
        BootFiles::among(
            &names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn kernels_are_found_where_distributions_put_them() {
        let debian = among(&[
            "boot/System.map-6.1.0-56-amd64",
            "boot/config-6.1.0-56-amd64",
            "boot/vmlinuz-6.1.0-56-amd64",
            "lib/modules/6.1.0-56-amd64/kernel/fs/ext4/ext4.ko",
            "usr/share/doc/linux-image-6.1.0-56-amd64/vmlinuz",
        ]);
        let debian = debian.unwrap();
        assert_eq!(debian.kernel, "boot/vmlinuz-6.1.0-56-amd64");
        assert_eq!(debian.config.as_deref(), Some("boot/config-6.1.0-56-amd64"));
        let fedora = among(&[
            "usr/lib/modules/6.9.5/vmlinuz",
            "usr/lib/modules/6.9.5/.vmlinuz.hmac",
            "usr/lib/modules/6.9.5/System.map",
        ]);
        assert_eq!(
            fedora.unwrap(),
            BootFiles {
                kernel: "usr/lib/modules/6.9.5/vmlinuz".to_owned(),
                system_map: Some("usr/lib/modules/6.9.5/System.map".to_owned()),
                config: None,
            }
        );
        assert!(
            among(&["boot/vmlinux-4.4.gz"])
                .unwrap_err()
                .contains("no kernel")
        );
        let two = among(&["boot/vmlinuz-1", "boot/vmlinuz-2"]);
        assert!(two.unwrap_err().contains("several"));
    }

    #[test]
    fn an_image_names_its_release() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x30c].copy_from_slice(b"6.1.0-56 (x)");
        assert_eq!(image_release(&image).as_deref(), Ok("6.1.0-56"));
        for broken in [&image[..0x204], &image[..0x300], b"\x7fELF", b""] {
            assert!(image_release(broken).is_err());
        }
    }

    #[test]
    fn debians_stub_is_no_map() {
        assert!(is_stub_map(
            "ffffffffffffffff B The real System.map is elsewhere\n"
        ));
        assert!(!is_stub_map(&"ffffffff81000000 T _text\n".repeat(200)));
    }
}
