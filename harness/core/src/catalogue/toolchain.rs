//! One toolchain of the catalogue: which compiler, and where it runs.

use serde::{Deserialize, Serialize};

use super::Problems;
use super::file::FileSource;
use super::problem::{check_inner_path, check_name, parse_checked};
use super::source::is_debian_word;

/// What compiles a kernel, as its YAML file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolchainSpec {
    /// Name; also the file's.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// Program that compiles: `gcc`, `gcc-9`.
    pub compiler: String,
    /// Where it runs.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub place: Place,
}

/// Where a compiler runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On this machine.
    Host,
    /// In a root folder of a Debian release, which the cache keeps.
    Chroot(Chroot),
    /// In a container; podman or docker runs it.
    Container(Container),
    /// On this machine, as a cross compiler: a folder whose tools have a common prefix.
    Prefix(Prefix),
}

/// A root folder of a Debian release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chroot {
    /// The release, such as `bullseye`.
    pub suite: String,
    /// What is installed in it beside the essential packages.
    pub packages: Vec<String>,
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// As the engine names it, such as `my/gcc-9:latest`.
    pub image: String,
}

/// Cross tools: a folder, or a tarball that is unpacked into the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// A folder on this machine; a relative one is taken from the YAML file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// A tarball with that folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tarball: Option<FileSource>,
    /// What stands before the names of the tools, such as `bin/x86_64-linux-`.
    pub tools: String,
}

impl ToolchainSpec {
    /// Reads one toolchain file.
    ///
    /// # Errors
    /// Every problem of the file; YAML of the wrong shape stops at the first one.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        parse_checked(file, text, |spec: &Self| spec.complaints(file))
    }

    /// Where it runs, in a line.
    pub fn location(&self) -> String {
        match &self.place {
            Place::Host => "this machine".to_owned(),
            Place::Chroot(chroot) => format!("chroot of Debian's {}", chroot.suite),
            Place::Container(container) => format!("container {}", container.image),
            Place::Prefix(prefix) => match (&prefix.folder, &prefix.tarball) {
                (Some(folder), _) => format!("{folder}/{}", prefix.tools),
                (None, Some(tarball)) => format!("{} of {}", prefix.tools, tarball.location()),
                (None, None) => prefix.tools.clone(),
            },
        }
    }

    fn complaints(&self, file: &str) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(check_name(&self.name).err());
        if !file.ends_with(&format!("{}.yaml", self.name)) {
            found.push(format!(
                "name: `{}` is not the file's name: rename one of them",
                self.name
            ));
        }
        if self.about.trim().is_empty() {
            found.push("about: is empty: say it in a line".to_owned());
        }
        if !is_debian_word(&self.compiler) {
            found.push(format!(
                "compiler: `{}` is not the name of a program",
                self.compiler
            ));
        }
        found.extend(match &self.place {
            Place::Host => Vec::new(),
            Place::Chroot(chroot) => chroot.complaints(),
            Place::Container(container) => container.complaints(),
            Place::Prefix(prefix) => prefix.complaints(),
        });
        found
    }
}

impl Chroot {
    fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !is_debian_word(&self.suite) {
            found.push(format!(
                "place.chroot.suite: `{}` is not the name of a Debian release",
                self.suite
            ));
        }
        if self.packages.is_empty() {
            found.push("place.chroot.packages: is empty: name at least the compiler".to_owned());
        }
        let odd = self.packages.iter().filter(|name| !is_debian_word(name));
        found.extend(odd.map(|name| {
            format!("place.chroot.packages: `{name}` is not the name of a Debian package")
        }));
        found
    }
}

impl Container {
    /// A leading `-` would be an option to the engine.
    fn complaints(&self) -> Vec<String> {
        let image = &self.image;
        if image.is_empty() || image.starts_with('-') || image.contains(char::is_whitespace) {
            return vec![format!(
                "place.container.image: `{image}` is not the name of an image"
            )];
        }
        Vec::new()
    }
}

impl Prefix {
    fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.folder.is_some() == self.tarball.is_some() {
            found.push("place.prefix: give either `folder` or `tarball`".to_owned());
        }
        if let Some(tarball) = &self.tarball {
            found.extend(tarball.complaints("place.prefix.tarball"));
        }
        if let Err(message) = check_inner_path(&self.tools) {
            found.push(format!("place.prefix.tools: {message}"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(place: &str) -> Result<ToolchainSpec, Problems> {
        let text = format!("name: t\nabout: a\ncompiler: gcc-9\nplace: {place}\n");
        ToolchainSpec::parse("toolchains/t.yaml", &text)
    }

    #[test]
    fn all_places_are_read() {
        for (place, location) in [
            ("host", "this machine"),
            (
                "{chroot: {suite: bullseye, packages: [gcc-9]}}",
                "chroot of Debian's bullseye",
            ),
            ("{container: {image: gcc:9}}", "container gcc:9"),
            (
                "{prefix: {folder: /opt/x, tools: bin/x86_64-linux-}}",
                "/opt/x/bin/x86_64-linux-",
            ),
        ] {
            assert_eq!(parse(place).unwrap().location(), location);
        }
    }

    #[test]
    fn what_would_be_an_option_of_a_tool_is_refused() {
        for place in [
            "{chroot: {suite: -x, packages: [gcc-9]}}",
            "{chroot: {suite: bullseye, packages: [--include]}}",
            "{chroot: {suite: bullseye, packages: []}}",
            "{container: {image: --privileged}}",
            "{prefix: {folder: /opt/x, tools: ../x-}}",
            "{prefix: {tools: bin/x-}}",
        ] {
            let problems = parse(place).unwrap_err();
            assert_eq!(problems.0.len(), 1, "{problems}");
            assert!(problems.to_string().contains("place."), "{problems}");
        }
    }

    #[test]
    fn an_unknown_place_names_the_known_ones() {
        let error = parse("{vm: {}}").unwrap_err().to_string();
        assert!(
            error.contains("`vm`") && error.contains("chroot"),
            "{error}"
        );
    }
}
