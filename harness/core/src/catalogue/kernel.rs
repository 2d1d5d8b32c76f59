//! One kernel of the catalogue: where it comes from, how it is configured and compiled, and what is
//! known about the fix in it.

use serde::{Deserialize, Serialize};

use super::binary::BinarySpec;
use super::problem::{check_name, parse_checked};
use super::source::SourceSpec;
use super::{Problem, Problems};

/// What is wrong with a file that says where its kernel comes from twice, or not at all.
const EITHER: &str =
    "source, binary: give one of them: `source` for a kernel to build, `binary` for a built one";

/// A kernel of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "KernelFile")]
pub struct KernelSpec {
    /// Name on the command line and in campaigns; also the file's name.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// Version line it belongs to, such as `6.12`.
    pub era: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Scheduler features to switch in every arm of a campaign that has this kernel, because the
    /// race is out of reach without, such as `NO_TTWU_QUEUE`.
    pub sched_features: Vec<String>,
    /// What is known about the fix in it.
    pub fix: FixKnowledge,
}

/// Where a kernel comes from: it is built, or it is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Source, and how to build it.
    Source(Recipe),
    /// A kernel that somebody else built.
    Binary(BinarySpec),
}

/// Source and how to build it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Where the source comes from.
    pub source: SourceSpec,
    /// Names of toolchains that can compile it, best first; `host` when the file names none.
    pub toolchains: Vec<String>,
    /// More variables for make, such as `KCFLAGS=-fcommon`.
    pub make_arguments: Vec<String>,
    /// Names of config fragments, merged in this order; later ones win.
    pub fragments: Vec<String>,
}

/// A kernel as its YAML file has it: either `source` with what building needs, or `binary`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelFile {
    name: String,
    about: String,
    era: String,
    #[serde(
        default,
        with = "serde_yaml::with::singleton_map",
        skip_serializing_if = "Option::is_none"
    )]
    source: Option<SourceSpec>,
    #[serde(
        default,
        with = "serde_yaml::with::singleton_map",
        skip_serializing_if = "Option::is_none"
    )]
    binary: Option<BinarySpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    toolchains: Vec<String>,
    #[serde(
        default,
        rename = "make-arguments",
        skip_serializing_if = "Vec::is_empty"
    )]
    make_arguments: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fragments: Vec<String>,
    #[serde(
        default,
        rename = "sched-features",
        skip_serializing_if = "Vec::is_empty"
    )]
    sched_features: Vec<String>,
    fix: FixKnowledge,
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

impl Origin {
    /// The word used in files and tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Source(recipe) => recipe.source.kind(),
            Self::Binary(binary) => binary.kind(),
        }
    }

    /// Where it is, in a line.
    pub fn location(&self) -> String {
        match self {
            Self::Source(recipe) => recipe.source.location(),
            Self::Binary(binary) => binary.location(),
        }
    }
}

impl KernelSpec {
    /// Reads one kernel file.
    ///
    /// # Errors
    /// Every problem of the file; YAML of the wrong shape stops at the first one.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let raw = parse_checked(file, text, |raw: &KernelFile| raw.complaints(file))?;
        let origin = match (raw.source, raw.binary) {
            (Some(source), None) => Origin::Source(Recipe {
                source,
                toolchains: or_host(raw.toolchains),
                make_arguments: raw.make_arguments,
                fragments: raw.fragments,
            }),
            (None, Some(binary)) => Origin::Binary(binary),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Problem::in_file(file, EITHER).into());
            }
        };
        Ok(Self {
            name: raw.name,
            about: raw.about,
            era: raw.era,
            origin,
            sched_features: raw.sched_features,
            fix: raw.fix,
        })
    }
}

/// Most kernels compile with the compiler that is there.
fn or_host(toolchains: Vec<String>) -> Vec<String> {
    if toolchains.is_empty() {
        return vec!["host".to_owned()];
    }
    toolchains
}

impl From<KernelSpec> for KernelFile {
    fn from(spec: KernelSpec) -> Self {
        let (recipe, binary) = match spec.origin {
            Origin::Source(recipe) => (Some(recipe), None),
            Origin::Binary(binary) => (None, Some(binary)),
        };
        let (source, toolchains, make_arguments, fragments) = match recipe {
            Some(recipe) => (
                Some(recipe.source),
                recipe.toolchains,
                recipe.make_arguments,
                recipe.fragments,
            ),
            None => (None, Vec::new(), Vec::new(), Vec::new()),
        };
        Self {
            name: spec.name,
            about: spec.about,
            era: spec.era,
            source,
            binary,
            toolchains,
            make_arguments,
            fragments,
            sched_features: spec.sched_features,
            fix: spec.fix,
        }
    }
}

impl KernelFile {
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
        match (&self.source, &self.binary) {
            (Some(source), None) => found.extend(self.source_complaints(source)),
            (None, Some(binary)) => found.extend(self.binary_complaints(binary)),
            (Some(_), Some(_)) | (None, None) => found.push(EITHER.to_owned()),
        }
        found
    }

    fn source_complaints(&self, source: &SourceSpec) -> Vec<String> {
        let mut found = Vec::new();
        if self.fragments.is_empty() {
            found.push("fragments: is empty: name at least one, such as `base`".to_owned());
        }
        found.extend(source.complaints());
        for argument in &self.make_arguments {
            if !argument.contains('=') {
                found.push(format!(
                    "make-arguments: `{argument}` is not VARIABLE=value"
                ));
            }
        }
        found
    }

    fn binary_complaints(&self, binary: &BinarySpec) -> Vec<String> {
        let mut found = binary.complaints();
        for (field, given) in [
            ("toolchains", !self.toolchains.is_empty()),
            ("make-arguments", !self.make_arguments.is_empty()),
            ("fragments", !self.fragments.is_empty()),
        ] {
            if given {
                found.push(format!(
                    "{field}: has no meaning for a binary kernel, which is not built: leave it out"
                ));
            }
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
        let Origin::Source(recipe) = spec.origin else {
            panic!("it has a source");
        };
        assert_eq!(recipe.toolchains, ["host"]);
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
    fn what_is_no_yaml_or_no_mapping_is_called_that() {
        let error = |text: &str| KernelSpec::parse("k.yaml", text).unwrap_err().to_string();
        assert_eq!(error("# nothing yet\n"), "k.yaml: the file is empty");
        assert_eq!(
            error("just words"),
            "k.yaml: the file is not a mapping (key: value)"
        );
        assert_eq!(
            error("!kernel\nname: x\n"),
            "k.yaml: the file is tagged !kernel: leave the tag out"
        );
        // Whatever it begins with.
        let broken = error("just words\nera: [\n");
        assert!(broken.starts_with("k.yaml:2:"), "{broken}");
    }

    #[test]
    fn an_unknown_source_kind_names_the_known_ones() {
        let text = GOOD.replace("debian-source:", "svn:");
        let error = KernelSpec::parse("k.yaml", &text).unwrap_err().to_string();
        assert!(
            error.contains("`svn`") && error.contains("`tarball`"),
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

    #[test]
    fn a_binary_kernel_has_no_recipe() {
        let binary = "binary:\n  debian-image: {package: linux-image-amd64, suite: bookworm}\n";
        let (head, rest) = GOOD.split_once("source:\n").unwrap();
        let (_, tail) = rest.split_once("fragments: [base]\n").unwrap();
        let text = format!("{head}{binary}{tail}");
        let spec = KernelSpec::parse("k.yaml", &text).unwrap();
        assert_eq!(spec.origin.kind(), "debian-image");
        // What is printed is what can be read.
        let printed = serde_yaml::to_string(&spec).unwrap();
        assert_eq!(KernelSpec::parse("k.yaml", &printed).unwrap(), spec);

        for (more, complaint) in [
            ("fragments: [base]\n", "fragments: has no meaning"),
            ("source: {tree: {path: t}}\n", "give one of them"),
        ] {
            let error = KernelSpec::parse("k.yaml", &format!("{text}{more}")).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }

    #[test]
    fn what_would_be_an_option_of_a_tool_is_refused() {
        for source in [
            "debian-dsc: {package: --help}",
            "debian-dsc: {package: linux, suite: ../x}",
            "git: {url: --upload-pack=x, ref: v1}",
            "git: {path: r, ref: --output=x}",
            "dsc: {url: 'http://h/x.dsc'}",
        ] {
            let text = format!(
                "name: k\nabout: a\nera: '6'\nsource:\n  {source}\nfragments: [base]\nfix: {{state: fixed, from: read}}\n"
            );
            let problems = KernelSpec::parse("k.yaml", &text).unwrap_err();
            assert_eq!(problems.0.len(), 1, "{problems}");
        }
    }
}
