//! Debian source packages: the `.dsc` file and its patch series.

use super::file::is_sha256;

/// What a `.dsc` describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsc {
    /// Source package and version.
    pub about: String,
    /// The upstream tarball.
    pub orig: DscFile,
    /// The tarball with Debian's folder.
    pub debian: DscFile,
}

/// A file that belongs to a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DscFile {
    /// Its name; it lies beside the `.dsc`.
    pub name: String,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// Reads a `.dsc`, signed or not.
///
/// # Errors
/// When it is none, or of a format that is not understood.
pub fn parse(text: &str) -> Result<Dsc, String> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| format!("has no field `{name}`: it is no Debian source package"))
    };
    let format = field("Format")?;
    if format != "3.0 (quilt)" {
        return Err(format!(
            "has the format `{format}`: only `3.0 (quilt)` is understood; unpack it with `dpkg-source -x` and give the tree"
        ));
    }
    let files = checksums(text)?;
    let tarball = |what: &str| {
        let wanted = |file: &&DscFile| file.name.contains(what) && !file.name.ends_with(".asc");
        let mut found = files.iter().filter(wanted);
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(file.clone()),
            (None, _) => Err(format!("names no tarball `*{what}*`")),
            (Some(_), Some(_)) => Err(format!("names several tarballs `*{what}*`")),
        }
    };
    if let Some(file) = files.iter().find(|file| file.name.contains(".orig-")) {
        return Err(format!(
            "has the component tarball {}: only one upstream tarball is understood",
            file.name
        ));
    }
    Ok(Dsc {
        about: format!("{} {}", field("Source")?, field("Version")?),
        orig: tarball(".orig.tar.")?,
        debian: tarball(".debian.tar.")?,
    })
}

/// Lines ` DIGEST SIZE NAME` under `Checksums-Sha256:`.
fn checksums(text: &str) -> Result<Vec<DscFile>, String> {
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("Checksums-Sha256:"))
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [digest, _, name] if is_sha256(digest) && is_plain(name) => Ok(DscFile {
                    name: (*name).to_owned(),
                    sha256: (*digest).to_owned(),
                }),
                _ => Err(format!(
                    "has the line `{line}`, which is not `DIGEST SIZE NAME`"
                )),
            }
        })
        .collect()
}

fn is_plain(name: &str) -> bool {
    !name.starts_with(['.', '-']) && !name.contains('/')
}

/// The patches of a `debian/patches/series`, with how many folders to strip off their names.
///
/// # Errors
/// A line that is not understood.
pub fn series(text: &str) -> Result<Vec<(String, u32)>, String> {
    text.lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            super::problem::check_inner_path(name)?;
            let strip = match words.next() {
                None => Some(1),
                Some(option) => option.strip_prefix("-p").and_then(|n| n.parse().ok()),
            };
            match (strip, words.next()) {
                (Some(strip), None) => Ok((name.to_owned(), strip)),
                (None | Some(_), _) => Err(format!("the line `{line}` is not understood")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dsc(extra: &str) -> String {
        let digest = "a".repeat(64);
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\n\nFormat: 3.0 (quilt)\nSource: linux\nVersion: 5.10.1-1\nChecksums-Sha1:\n x 1 linux_5.10.1.orig.tar.xz\nChecksums-Sha256:\n {digest} 1 linux_5.10.1.orig.tar.xz\n {digest} 2 linux_5.10.1-1.debian.tar.xz\n{extra}Files:\n x 1 y\n"
        )
    }

    #[test]
    fn the_tarballs_are_found_with_their_digests() {
        let found = parse(&dsc("")).unwrap();
        assert_eq!(found.about, "linux 5.10.1-1");
        assert_eq!(found.orig.name, "linux_5.10.1.orig.tar.xz");
        assert_eq!(found.debian.name, "linux_5.10.1-1.debian.tar.xz");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let digest = "a".repeat(64);
        for (text, word) in [
            (dsc("").replace("3.0 (quilt)", "1.0"), "`1.0`"),
            (dsc(&format!(" {digest} 1 ../x.orig.tar.gz\n")), "../x"),
            (
                dsc(&format!(" {digest} 1 l_1.orig-rt.tar.gz\n")),
                "component",
            ),
            ("hello".to_owned(), "no Debian source package"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_series_keeps_its_order_and_strips() {
        let text = "# all\nbugfix/a.patch\n\nb.patch -p0 # why\n";
        let expected = [("bugfix/a.patch".to_owned(), 1), ("b.patch".to_owned(), 0)];
        assert_eq!(series(text).unwrap(), expected);
        assert!(series("../x\n").is_err());
        assert!(series("a --fuzz=3\n").is_err());
    }
}
