//! Archives of people who mean harm: each is refused with its reason, and nothing is written but the
//! files that were asked for, to where they were asked for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use cpio::newc;
use kverdict_intake::Format;
use tar::EntryType;

/// What is asked for.
const WANTED: &str = "boot/vmlinuz";
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// A member of a tar archive: its name, what it is, what it leads to, and what it holds.
type Member<'a> = (&'a str, EntryType, &'a str, &'a [u8]);

fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, target, content) in members {
        let mut header = tar::Header::new_gnu();
        // The crate's own setter refuses what is tried here.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A cpio archive of names, modes with the file's type, numbers of links, and contents.
fn cpio_of(members: &[(&str, u32, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, links, content) in members {
        let member = newc::Builder::new(name).mode(*mode).nlink(*links);
        let mut writer = member.write(&mut archive, content.len() as u32);
        writer.write_all(content).unwrap();
        writer.finish().unwrap();
    }
    newc::trailer(archive).unwrap()
}

/// Takes [`WANTED`] out of an archive; what it holds, or why not. Checks that nothing else was written.
fn taken(format: Format, archive: impl Read + Seek) -> Result<Vec<u8>, String> {
    let root = tempfile::tempdir().unwrap();
    let inside = root.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let target = inside.join("kernel");
    let wanted = BTreeMap::from([(WANTED.to_owned(), target.clone())]);
    let result = format.take(archive, &wanted);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    assert!(fs::read_dir(&inside).unwrap().count() <= 1);
    if let Ok(data) = fs::symlink_metadata(&target) {
        assert!(data.is_file());
        assert_eq!(
            data.permissions().mode() & 0o7111,
            0,
            "rights of the archive"
        );
    }
    match result {
        Ok(()) => Ok(fs::read(&target).unwrap()),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn refusal(format: Format, archive: Vec<u8>) -> String {
    taken(format, Cursor::new(archive)).expect_err("must be refused")
}

#[test]
fn a_file_is_taken_without_its_rights() {
    let tar = tar_of(&[("./boot/vmlinuz", EntryType::Regular, "", b"kernel")]);
    assert_eq!(taken(Format::Deb, Cursor::new(tar)).unwrap(), b"kernel");
    let cpio = cpio_of(&[("./boot/vmlinuz", REGULAR | 0o6755, 1, b"kernel")]);
    assert_eq!(taken(Format::Rpm, Cursor::new(cpio)).unwrap(), b"kernel");
}

#[test]
fn what_is_said_of_a_broken_archive_has_no_control_characters_of_it() {
    let mut block = b"!<arch>\n\x1b[31mname".to_vec();
    block.resize(1024, b'\n');
    let said = refusal(Format::Deb, block);
    assert!(said.contains("its archive is broken"), "{said}");
    assert!(said.contains("\\u{1b}[31m"), "{said}");
    assert!(!said.contains(char::is_control), "{said}");
}

#[test]
fn hostile_tar_archives_are_refused() {
    use EntryType::{Block, Char, Directory, GNUSparse, Link, Regular, Symlink};
    let wanted = (WANTED, Regular, "", &b"x"[..]);
    for (members, expected) in [
        (
            &[("../../etc/passwd", Regular, "", &b""[..])][..],
            "leads out",
        ),
        (&[("/etc/passwd", Regular, "", b"")], "leads out"),
        (&[("a/../../b", Directory, "", b"")], "leads out"),
        (&[(WANTED, Symlink, "/etc/passwd", b"")], "is a link"),
        (&[(WANTED, Link, "../x", b"")], "is a link"),
        (&[(WANTED, Char, "", b"")], "is no file"),
        (&[(WANTED, Block, "", b"")], "is no file"),
        (&[(WANTED, Directory, "", b"")], "is no file"),
        (&[(WANTED, GNUSparse, "", b"")], "is no file"),
        (
            &[("boot", Symlink, "/etc", b""), wanted],
            "through the link boot",
        ),
        (
            &[("./boot/", Link, "etc", b""), wanted],
            "through the link boot",
        ),
        (&[wanted, (WANTED, Regular, "", b"y")], "twice"),
        (&[wanted, (WANTED, Symlink, "/etc", b"")], "is a link"),
        (&[("./", Regular, "", b"")], "no name"),
        (
            &[("x\u{1b}[2J", Regular, "", b""), wanted],
            "control characters",
        ),
        (&[("other", Regular, "", b"")], "no file boot/vmlinuz"),
    ] {
        let text = refusal(Format::Deb, tar_of(members));
        assert!(text.contains(expected), "{members:?}: {text}");
    }
}

#[test]
fn hostile_cpio_archives_are_refused() {
    let wanted = (WANTED, REGULAR, 1, &b"x"[..]);
    for (members, expected) in [
        (&[("../x", REGULAR, 1, &b""[..])][..], "leads out"),
        (&[("/etc/passwd", REGULAR, 1, b"")], "leads out"),
        (&[(WANTED, SYMLINK, 1, b"/etc/passwd")], "is a link"),
        // The other names of a file come without what it holds.
        (
            &[(WANTED, REGULAR, 2, b""), ("x", REGULAR, 2, b"x")],
            "is a link",
        ),
        (&[(WANTED, 0o020_000, 1, b"")], "is no file"),
        (&[(WANTED, 0o060_000, 1, b"")], "is no file"),
        (
            &[("boot", SYMLINK, 1, b"/etc"), wanted],
            "through the link boot",
        ),
        (&[wanted, wanted], "twice"),
    ] {
        let text = refusal(Format::Rpm, cpio_of(members));
        assert!(text.contains(expected), "{members:?}: {text}");
    }
}

#[test]
fn names_without_end_are_not_read() {
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let long = vec![b'a'; 1 << 20];
        let text = refusal(Format::Deb, tar_of(&[("long", kind, "", &long)]));
        assert!(text.contains("longer than 4096 bytes"), "{text}");
    }
    let mut cpio = cpio_of(&[(WANTED, REGULAR, 1, b"x")]);
    // Its name is said to be 4 GiB long.
    cpio[94..102].copy_from_slice(b"ffffffff");
    let text = refusal(Format::Rpm, cpio);
    assert!(text.contains("4294967295 bytes long"), "{text}");
}

#[test]
fn sizes_that_are_not_there_are_a_cut() {
    let mut cpio = cpio_of(&[(WANTED, REGULAR, 1, b"x")]);
    cpio[54..62].copy_from_slice(b"fffffff0");
    refusal(Format::Rpm, cpio);
    let mut tar = tar_of(&[(WANTED, EntryType::Regular, "", b"x")]);
    tar.truncate(512);
    refusal(Format::Deb, tar);
    let ar = format!("!<arch>\n{:<48}{:<10}`\n", "data.tar", 9_999_999_999_u64);
    let cut = Format::Deb.contents(Cursor::new(ar), &mut Vec::new());
    let text = cut.unwrap_err().to_string();
    assert!(text.contains("has 0 of 9999999999 bytes"), "{text}");
}

/// The same member again and again, for ever.
struct Endless {
    member: Vec<u8>,
    at: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = (self.at % self.member.len() as u64) as usize;
        let length = buffer.len().min(self.member.len() - from);
        buffer[..length].copy_from_slice(&self.member[from..from + length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(self.at)
    }
}

#[test]
fn an_archive_that_never_ends_is_given_up() {
    let header = |name: &str| {
        let member = newc::Builder::new(name).mode(REGULAR);
        let mut bytes = Vec::new();
        member.write(&mut bytes, 0).finish().unwrap();
        bytes
    };
    for name in ["a", &"long/".repeat(800)] {
        let archive = Endless {
            member: header(name),
            at: 0,
        };
        let error = Format::Rpm.files(archive).unwrap_err().to_string();
        assert!(error.contains("it has more than"), "{error}");
    }
}
