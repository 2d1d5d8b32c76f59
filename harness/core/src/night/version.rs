//! Which of several packages is the newest, by their file names, as their own package managers sort versions.
//!
//! A Debian package is `name_version_arch.deb`; deb-version(7) says how versions sort. An rpm is
//! `name-version-release.arch.rpm`; rpm-version(7) says how these do. The two differ: to rpm `957.27` is newer than
//! `957.el7`, to dpkg it is older.

use std::cmp::Ordering;

/// Compares two packages' file names by the versions in them.
pub fn compare(one: &str, other: &str) -> Ordering {
    match (rpm_parts(one), rpm_parts(other)) {
        (Some(one), Some(other)) => rpm(one.0, other.0).then_with(|| rpm(one.1, other.1)),
        (_, _) => {
            let (one, other) = (deb_parts(one), deb_parts(other));
            deb(one.0, other.0).then_with(|| deb(one.1, other.1))
        }
    }
}

/// Version and release of an rpm; none: the file is none, or not named like one.
fn rpm_parts(file: &str) -> Option<(&str, &str)> {
    let (rest, _arch) = file.strip_suffix(".rpm")?.rsplit_once('.')?;
    let (rest, release) = rest.rsplit_once('-')?;
    let (_name, version) = rest.rsplit_once('-')?;
    Some((version, release))
}

/// Upstream's version and Debian's revision; of a file that is not named like a package, its whole name.
fn deb_parts(file: &str) -> (&str, &str) {
    let version = file.split('_').nth(1).unwrap_or(file);
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// What stands before the first character that is otherwise, and the rest.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Numbers of any length.
fn numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

fn deb<'a>(mut one: &'a str, mut other: &'a str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let not_digit = |c: char| !c.is_ascii_digit();
        let (words, rests) = both(one, other, not_digit);
        let order = deb_words(words.0, words.1);
        if order != Ordering::Equal {
            return order;
        }
        let (digits, rests) = both(rests.0, rests.1, |c| c.is_ascii_digit());
        let order = numbers(digits.0, digits.1);
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = rests;
    }
    Ordering::Equal
}

/// The beginnings of two texts, and their rests.
fn both<'a>(
    one: &'a str,
    other: &'a str,
    belongs: impl Fn(char) -> bool,
) -> ((&'a str, &'a str), (&'a str, &'a str)) {
    let (one, one_rest) = split(one, &belongs);
    let (other, other_rest) = split(other, &belongs);
    ((one, other), (one_rest, other_rest))
}

/// Tildes before the end, the end before letters, letters before everything else.
fn deb_words(one: &str, other: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => c as i64,
        Some(c) => 0x1_0000_0000 + i64::from(u32::from(c)),
    };
    let length = one.chars().count().max(other.chars().count());
    let (mut one, mut other) = (one.chars(), other.chars());
    for _ in 0..length {
        let order = weight(one.next()).cmp(&weight(other.next()));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Tildes before the end, the end before carets, carets before everything else; numbers after letters.
fn rpm<'a>(mut one: &'a str, mut other: &'a str) -> Ordering {
    let mark = |text: &str| match text.chars().next() {
        Some('~') => -2,
        None => -1,
        Some('^') => 0,
        Some(_) => 1,
    };
    let separates = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
    loop {
        one = one.trim_start_matches(separates);
        other = other.trim_start_matches(separates);
        let (first, second) = (mark(one), mark(other));
        if first != second {
            return first.cmp(&second);
        }
        match first {
            -1 => return Ordering::Equal,
            1 => {}
            _ => {
                (one, other) = (&one[1..], &other[1..]);
                continue;
            }
        }
        let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let (first, second) = (digit(one), digit(other));
        if first != second {
            return first.cmp(&second);
        }
        let (parts, rests) = both(one, other, |c| {
            c.is_ascii_alphanumeric() && c.is_ascii_digit() == first
        });
        let order = if first {
            numbers(parts.0, parts.1)
        } else {
            parts.0.cmp(parts.1)
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = rests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each one is newer than the one before.
    fn in_order(files: &[&str]) {
        for pair in files.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        for file in files {
            assert_eq!(compare(file, file), Ordering::Equal);
        }
    }

    #[test]
    fn rpms_sort_by_version_and_release() {
        in_order(&[
            "kernel-3.10-999.el7.x86_64.rpm",
            "kernel-3.10.0-514.el7.x86_64.rpm",
            "kernel-3.10.0-957.el7.x86_64.rpm",
            "kernel-3.10.0-957.27.2.el7.x86_64.rpm",
            "kernel-3.10.0-1160.el7.x86_64.rpm",
            "kernel-4.18.0~rc1-1.el8.x86_64.rpm",
            "kernel-4.18.0-1.el8.x86_64.rpm",
            "kernel-4.18.0^git1-1.el8.x86_64.rpm",
            "kernel-4.18.1-1.el8.x86_64.rpm",
        ]);
    }

    #[test]
    fn debs_sort_by_version_and_revision() {
        in_order(&[
            "linux-image-6.1.0-9-amd64_6.1.27~rc1-1_amd64.deb",
            "linux-image-6.1.0-9-amd64_6.1.27-1_amd64.deb",
            "linux-image-6.1.0-9-amd64_6.1.27-1+b1_amd64.deb",
            "linux-image-6.1.0-10-amd64_6.1.27-2_amd64.deb",
            "linux-image-6.1.0-18-amd64_6.1.76-1_amd64.deb",
            "linux-image-6.12.0-1-amd64_6.12.6-1~bpo12+1_amd64.deb",
            "linux-image-6.12.0-1-amd64_6.12.6-1_amd64.deb",
        ]);
    }

    #[test]
    fn images_sort_by_the_numbers_in_their_names() {
        in_order(&["vmlinuz-6.1.9", "vmlinuz-6.1.10", "vmlinuz-6.12.1"]);
    }
}
