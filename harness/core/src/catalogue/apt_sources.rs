//! apt's own lists of package sources, rewritten for another release of the same mirrors.

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageKind {
    /// Packages to install.
    Binary,
    /// Source packages.
    Source,
}

impl PackageKind {
    /// apt's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Binary => "deb",
            Self::Source => "deb-src",
        }
    }
}

/// One mirror with the suites that it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mirror {
    uris: String,
    suites: Vec<String>,
    components: String,
    /// The keys that sign it: a line, or the lines of a key block.
    signed_by: Option<String>,
}

/// The mirrors of a machine of release `codename`, asked for `suite` instead, in the deb822 form.
/// Mirrors that have no suite of that release are left out: they are not Debian's.
///
/// `files` are the texts of `sources.list` and of the files beside it, by name.
pub fn for_suite(
    files: &[(String, String)],
    codename: &str,
    suite: &str,
    kind: PackageKind,
) -> String {
    let mirrors = files.iter().flat_map(|(name, text)| {
        if name.ends_with(".sources") {
            stanzas(text)
        } else {
            lines(text)
        }
    });
    let mut out = String::new();
    for mirror in mirrors {
        let suites: Vec<String> = mirror
            .suites
            .iter()
            .filter_map(|name| in_suite(name, codename, suite))
            .collect();
        if suites.is_empty() {
            continue;
        }
        out += &format!(
            "Types: {}\nURIs: {}\nSuites: {}\nComponents: {}\n",
            kind.word(),
            mirror.uris,
            suites.join(" "),
            mirror.components
        );
        if let Some(keys) = mirror.signed_by {
            out += &format!("Signed-By:{keys}\n");
        }
        out.push('\n');
    }
    out
}

/// `bookworm-security` of bookworm is `bullseye-security` of bullseye.
fn in_suite(name: &str, codename: &str, suite: &str) -> Option<String> {
    let rest = name
        .strip_prefix(codename)
        .or_else(|| name.strip_prefix("stable"))?;
    // Backports of releases past their end are taken off the mirrors, and hold nothing that is asked for.
    let is_kept = rest.is_empty() || rest.starts_with('-') && !rest.contains("-backports");
    is_kept.then(|| format!("{suite}{rest}"))
}

/// The deb822 form: `Field: value`, stanzas apart by empty lines.
fn stanzas(text: &str) -> Vec<Mirror> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    uncommented
        .split(|line| line.trim().is_empty())
        .filter_map(stanza)
        .collect()
}

fn stanza(lines: &[&str]) -> Option<Mirror> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            *value += &format!("\n{line}");
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.trim().to_lowercase(), value.to_owned()));
        }
    }
    let field = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    };
    let is_for_packages = field("types")?.split_whitespace().any(|word| word == "deb");
    let is_on = field("enabled").is_none_or(|value| value.trim() != "no");
    (is_for_packages && is_on).then_some(())?;
    Some(Mirror {
        uris: field("uris")?.trim().to_owned(),
        suites: field("suites")?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        components: field("components")?.trim().to_owned(),
        signed_by: field("signed-by").cloned(),
    })
}

/// The old form: `deb [option=value] URI suite component...`.
fn lines(text: &str) -> Vec<Mirror> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mirror> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    Some(Mirror {
        uris: words.next()?.to_owned(),
        suites: vec![words.next()?.to_owned()],
        components: words.collect::<Vec<_>>().join(" "),
        signed_by: signed_by.map(|key| format!(" {key}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(name: &str, text: &str) -> String {
        let files = [(name.to_owned(), text.to_owned())];
        for_suite(&files, "bookworm", "bullseye", PackageKind::Binary)
    }

    #[test]
    fn stanzas_keep_mirror_and_keys_and_change_the_suite() {
        let text = "# ours\nTypes: deb deb-src\nURIs: http://m/debian\nSuites: bookworm bookworm-updates bookworm-backports stable-backports-sloppy\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n\nTypes: deb\nURIs: http://other/\nSuites: nodistro\nComponents: main\n\nEnabled: no\nTypes: deb\nURIs: http://off/\nSuites: bookworm\nComponents: main\n";
        assert_eq!(
            rewritten("debian.sources", text),
            "Types: deb\nURIs: http://m/debian\nSuites: bullseye bullseye-updates\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n\n"
        );
    }

    #[test]
    fn old_lines_are_read_too() {
        let text = "deb [arch=amd64 signed-by=/k.gpg] http://m/security bookworm-security main contrib # all\n#deb http://m bookworm main\ndeb-src http://m bookworm main\ndeb http://cloud cloud-bookworm main\n";
        assert_eq!(
            rewritten("sources.list", text),
            "Types: deb\nURIs: http://m/security\nSuites: bullseye-security\nComponents: main contrib\nSigned-By: /k.gpg\n\n"
        );
    }
}
