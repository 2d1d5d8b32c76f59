//! One kernel of the catalogue: where its source is, how it is configured and compiled, and what is
//! known about the fix in it.

use serde::{Deserialize, Serialize};

use super::Problems;
use super::problem::{check_inner_path, check_name, parse_checked};

/// A kernel as its YAML file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSpec {
    /// Name on the command line and in campaigns; also the file's name.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// Version line it belongs to, such as `6.12`.
    pub era: String,
    /// Where the source comes from.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub source: SourceSpec,
    /// What compiles it.
    #[serde(default, with = "serde_yaml::with::singleton_map")]
    pub toolchain: Toolchain,
    /// Names of config fragments, merged in this order; later ones win.
    pub fragments: Vec<String>,
    /// Scheduler features to switch in every arm of a campaign that has this kernel, because the
    /// race is out of reach without, such as `NO_TTWU_QUEUE`.
    #[serde(
        default,
        rename = "sched-features",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub sched_features: Vec<String>,
    /// What is known about the fix in it.
    pub fix: FixKnowledge,
}

/// Where a kernel's source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceSpec {
    /// A Debian package that carries a source tarball.
    DebianSource(DebianSource),
    /// A directory on this machine, which is only read.
    Tree(TreeSource),
    /// A tarball, local or downloaded.
    Tarball(TarballSource),
}

/// A Debian package that carries a source tarball.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSource {
    /// Binary package name, such as `linux-source-6.12`.
    pub package: String,
    /// The tarball inside the package, such as `usr/src/linux-source-6.12.tar.xz`.
    pub tarball: String,
    /// Exact package version; absent: the one that apt would install.
    #[serde(default)]
    pub version: Option<String>,
}

/// A directory on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeSource {
    /// The directory; a relative one is taken from the YAML file's folder.
    pub path: String,
}

/// A tarball with its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TarballSource {
    /// A local file; a relative one is taken from the YAML file's folder.
    #[serde(default)]
    pub path: Option<String>,
    /// Where to download it from.
    #[serde(default)]
    pub url: Option<String>,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// What compiles a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Toolchain {
    /// A compiler installed on this machine.
    Host(HostToolchain),
}

impl Default for Toolchain {
    fn default() -> Self {
        Self::Host(HostToolchain {
            compiler: "gcc".to_owned(),
            make_arguments: Vec::new(),
        })
    }
}

/// A compiler installed on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostToolchain {
    /// Program name: `gcc`, `gcc-11`, `clang`.
    pub compiler: String,
    /// More variables for make, such as `KCFLAGS=-fcommon`.
    #[serde(default, rename = "make-arguments")]
    pub make_arguments: Vec<String>,
}

/// What is known about the fix in a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixKnowledge {
    /// The state of the fix.
    pub state: FixState,
    /// Where that is known from, so that it can be checked again.
    pub from: String,
}

/// The state of the fix in a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FixState {
    /// The race is there and the fix is not.
    Affected,
    /// The fix is there.
    Fixed,
    /// The code that races is not there.
    CannotHaveIt,
    /// Nobody has looked yet.
    Unknown,
}

impl FixState {
    /// The word used in files and tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Affected => "affected",
            Self::Fixed => "fixed",
            Self::CannotHaveIt => "cannot-have-it",
            Self::Unknown => "unknown",
        }
    }
}

impl KernelSpec {
    /// Reads one kernel file.
    ///
    /// # Errors
    /// Every problem of the file; YAML of the wrong shape stops at the first one.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        parse_checked(file, text, |spec: &Self| spec.complaints(file))
    }

    fn complaints(&self, file: &str) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(check_name(&self.name).err());
        let stem = file
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".yaml"));
        if stem.is_some_and(|stem| stem != self.name) {
            found.push(format!(
                "name: `{}` is not the file's name: rename one of them, so that a kernel is found by its file",
                self.name
            ));
        }
        for (field, value) in [
            ("about", &self.about),
            ("era", &self.era),
            ("fix.from", &self.fix.from),
        ] {
            if value.trim().is_empty() {
                found.push(format!("{field}: is empty: say it in a line"));
            }
        }
        if self.fragments.is_empty() {
            found.push("fragments: is empty: name at least one, such as `base`".to_owned());
        }
        found.extend(self.source.complaints());
        let Toolchain::Host(host) = &self.toolchain;
        for argument in &host.make_arguments {
            if !argument.contains('=') {
                found.push(format!(
                    "toolchain.host.make-arguments: `{argument}` is not VARIABLE=value"
                ));
            }
        }
        found
    }
}

impl SourceSpec {
    fn complaints(&self) -> Vec<String> {
        match self {
            Self::DebianSource(debian) => check_inner_path(&debian.tarball)
                .err()
                .map(|message| format!("source.debian-source.tarball: {message}"))
                .into_iter()
                .collect(),
            Self::Tree(tree) if tree.path.is_empty() => {
                vec!["source.tree.path: is empty: name the directory".to_owned()]
            }
            Self::Tree(_) => Vec::new(),
            Self::Tarball(tarball) => tarball.complaints(),
        }
    }
}

impl TarballSource {
    fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.path.is_some() == self.url.is_some() {
            found.push("source.tarball: give either `path` or `url`".to_owned());
        }
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if self.sha256.len() != 64 || !self.sha256.chars().all(hex) {
            found.push(format!(
                "source.tarball.sha256: `{}` is not 64 lower-case hex digits: copy it from `sha256sum FILE`",
                self.sha256
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name: k
about: a kernel
era: "6.12"
source:
  debian-source: {package: linux-source-6.12, tarball: usr/src/linux-source-6.12.tar.xz}
fragments: [base]
fix: {state: fixed, from: read}
"#;

    #[test]
    fn a_whole_file_is_read_and_the_toolchain_has_a_default() {
        let spec = KernelSpec::parse("k.yaml", GOOD).unwrap();
        assert_eq!(spec.fix.state, FixState::Fixed);
        assert_eq!(spec.toolchain, Toolchain::default());
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line_and_the_known_ones() {
        let text = GOOD.replace("about: a", "abuot: a");
        let error = KernelSpec::parse("k.yaml", &text).unwrap_err().to_string();
        assert!(error.starts_with("k.yaml:3:"), "{error}");
        assert!(
            error.contains("`abuot`") && error.contains("`about`"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_source_kind_names_the_known_ones() {
        let text = GOOD.replace("debian-source:", "git:");
        let error = KernelSpec::parse("k.yaml", &text).unwrap_err().to_string();
        assert!(
            error.contains("`git`") && error.contains("`tarball`"),
            "{error}"
        );
    }

    #[test]
    fn an_unquoted_era_keeps_its_zero() {
        let text = GOOD.replace("\"6.12\"", "6.10");
        assert_eq!(KernelSpec::parse("k.yaml", &text).unwrap().era, "6.10");
    }

    #[test]
    fn all_complaints_come_together() {
        let text = r#"
name: other
about: ""
era: "6.12"
source:
  tarball: {sha256: abc}
fragments: []
fix: {state: unknown, from: nobody looked}
"#;
        let problems = KernelSpec::parse("k.yaml", text).unwrap_err();
        let text = problems.to_string();
        assert_eq!(problems.0.len(), 5, "{text}");
        assert!(
            text.contains("sha256sum") && text.contains("`path` or `url`"),
            "{text}"
        );
    }
}
