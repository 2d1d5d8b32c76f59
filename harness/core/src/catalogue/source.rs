//! The kinds of source that a kernel can be built from.

use serde::{Deserialize, Serialize};

use super::file::FileSource;
use super::problem::check_inner_path;

/// Where a kernel's source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceSpec {
    /// A Debian package that carries a source tarball.
    DebianSource(DebianSource),
    /// A Debian source package, fetched by apt's mirror.
    DebianDsc(AptPackage),
    /// A Debian source package by its `.dsc` file; the files that it names lie beside it.
    Dsc(FileSource),
    /// A source rpm: its kernel tarball, with the patches that its spec applies.
    SourceRpm(FileSource),
    /// A commit of a git repository.
    Git(GitSource),
    /// A tarball, local or downloaded.
    Tarball(FileSource),
    /// A directory on this machine, which is only read.
    Tree(TreeSource),
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Release that has it, such as `bullseye`; absent: this machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
}

/// A package of apt's mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AptPackage {
    /// Its name.
    pub package: String,
    /// Exact version; absent: the one that apt would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Release that has it, such as `bullseye`; absent: this machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
}

/// A commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// A repository on this machine, which is only read; a relative one is taken from the YAML
    /// file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where to fetch it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Tag, branch or commit.
    #[serde(rename = "ref")]
    pub reference: String,
}

/// A directory on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeSource {
    /// The directory; a relative one is taken from the YAML file's folder.
    pub path: String,
}

impl SourceSpec {
    /// The word used in files and tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DebianSource(_) => "debian-source",
            Self::DebianDsc(_) => "debian-dsc",
            Self::Dsc(_) => "dsc",
            Self::SourceRpm(_) => "source-rpm",
            Self::Git(_) => "git",
            Self::Tarball(_) => "tarball",
            Self::Tree(_) => "tree",
        }
    }

    /// Where it is, in a line.
    pub fn location(&self) -> String {
        match self {
            Self::DebianSource(debian) => {
                format!("{} in {}", debian.tarball, debian.as_package().location())
            }
            Self::DebianDsc(package) => format!("source {}", package.location()),
            Self::Dsc(file) | Self::SourceRpm(file) | Self::Tarball(file) => file.location(),
            Self::Git(git) => git.location(),
            Self::Tree(tree) => tree.path.clone(),
        }
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        let field = format!("source.{}", self.kind());
        match self {
            Self::DebianSource(debian) => check_inner_path(&debian.tarball)
                .err()
                .map(|message| format!("{field}.tarball: {message}"))
                .into_iter()
                .chain(debian.as_package().complaints(&field))
                .collect(),
            Self::DebianDsc(package) => package.complaints(&field),
            Self::Dsc(file) | Self::SourceRpm(file) | Self::Tarball(file) => {
                file.complaints(&field)
            }
            Self::Git(git) => git.complaints(&field),
            Self::Tree(tree) if tree.path.is_empty() => {
                vec![format!("{field}.path: is empty: name the directory")]
            }
            Self::Tree(_) => Vec::new(),
        }
    }
}

impl DebianSource {
    /// The package without what is inside it.
    pub fn as_package(&self) -> AptPackage {
        AptPackage {
            package: self.package.clone(),
            version: self.version.clone(),
            suite: self.suite.clone(),
        }
    }
}

impl AptPackage {
    /// What it is, in a line.
    pub fn location(&self) -> String {
        let version = self
            .version
            .as_ref()
            .map_or(String::new(), |version| format!(" {version}"));
        let suite = match &self.suite {
            Some(suite) => format!("Debian's {suite}"),
            None => "this machine's release".to_owned(),
        };
        format!("package {}{version} of {suite}", self.package)
    }

    /// A leading `-` would be an option to apt, and a suite becomes a file name.
    pub(super) fn complaints(&self, field: &str) -> Vec<String> {
        let values = [
            ("package", Some(&self.package)),
            ("version", self.version.as_ref()),
            ("suite", self.suite.as_ref()),
        ];
        values
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .filter(|(_, value)| !is_debian_word(value))
            .map(|(name, value)| {
                format!("{field}.{name}: `{value}` is not a {name} as Debian writes them")
            })
            .collect()
    }
}

/// Whether a word is one that Debian could use for a package, a version or a release.
pub(super) fn is_debian_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+~:".contains(c))
}

impl GitSource {
    fn location(&self) -> String {
        let place = self.url.as_ref().or(self.path.as_ref());
        format!("{} at {}", place.map_or("", String::as_str), self.reference)
    }

    /// A leading `-` would be an option to git.
    fn complaints(&self, field: &str) -> Vec<String> {
        let mut found = Vec::new();
        if self.path.is_some() == self.url.is_some() {
            found.push(format!("{field}: give either `path` or `url`"));
        }
        if self.url.as_ref().is_some_and(|url| url.starts_with('-')) {
            found.push(format!("{field}.url: is not a URL"));
        }
        let reference = &self.reference;
        if reference.is_empty()
            || reference.starts_with('-')
            || reference.contains([' ', ':', '*', '\\'])
        {
            found.push(format!(
                "{field}.ref: `{reference}` is not a tag, branch or commit"
            ));
        }
        found
    }
}
