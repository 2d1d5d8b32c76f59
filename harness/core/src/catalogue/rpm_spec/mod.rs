//! What a source rpm's spec does in `%prep`: which tarball it unpacks and which patches it applies.
//!
//! Nothing is run. Macros and conditions are worked out as far as kernel specs need; where one that
//! decides about a patch is not understood, that is a [`Problem`] with its line, and never a guess.

mod condition;
mod macros;
mod prep;
mod shell;

use std::collections::BTreeMap;

use self::condition::{Branches, holds};
use self::macros::Macros;
use super::{Problem, Problems};

/// Sections before `%prep` hold nothing of interest, and the ones after it nothing at all.
const SECTIONS: [&str; 3] = ["%description", "%package", "%prep"];

/// What `%prep` makes of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prep {
    /// The tarball that is unpacked; its file name in the source rpm.
    pub tarball: String,
    /// The patches, in the order in which they are applied.
    pub patches: Vec<SpecPatch>,
    /// First words of commands that are not run, because they apply no patch.
    pub not_run: Vec<String>,
}

/// One patch that `%prep` applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecPatch {
    /// Its file name in the source rpm.
    pub file: String,
    /// Folders to strip off the names in it; none: as `patch` guesses without `-p`.
    pub strip: Option<u32>,
    /// Lines of context that may differ.
    pub fuzz: u32,
    /// Whether it is taken out.
    pub reverse: bool,
    /// Whether it is left out when it is empty, as `ApplyOptionalPatch` does.
    pub optional: bool,
    /// Line of the spec that applies it.
    pub line: usize,
}

/// A line of `%prep`.
#[derive(Debug)]
struct PrepLine {
    number: usize,
    text: String,
    /// The condition above it that was not understood.
    undecided: Option<String>,
}

/// A `Source` or `Patch` file, or why its name is not known.
type FileName = Result<String, String>;

/// A spec, read up to the end of `%prep`.
#[derive(Debug, Default)]
struct Spec {
    macros: Macros,
    sources: BTreeMap<u32, FileName>,
    patches: BTreeMap<u32, FileName>,
    prep: Vec<PrepLine>,
}

/// Reads a spec. `release` is the package's release, such as `514.el7`, which tells the
/// distribution's own macros.
///
/// # Errors
/// What it does with patches and cannot be followed, with the line.
pub fn parse(file: &str, text: &str, release: &str) -> Result<Prep, Problems> {
    Spec::read(text, release)
        .and_then(|spec| prep::follow(&spec))
        .map_err(|(line, message)| Problem::at_line(file, line, message).into())
}

/// A line, and what is wrong in it.
type Trouble = (usize, String);

impl Spec {
    fn read(text: &str, release: &str) -> Result<Self, Trouble> {
        let mut spec = Self {
            macros: Macros::of_release(release),
            ..Self::default()
        };
        let mut branches = Branches::default();
        let mut section = "";
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            let mut line = line.to_owned();
            while line.ends_with('\\') || (is_definition(&line) && macros::has_open_brace(&line)) {
                let Some((_, more)) = lines.next() else { break };
                // To the shell and to rpm a continued line is one line.
                line = format!("{} {more}", line.trim_end_matches('\\'));
            }
            let word = line.split_whitespace().next().unwrap_or_default();
            if branches.take(word, &line, |expression| holds(expression, &spec.macros)) {
                continue;
            }
            if !branches.may_be_active() {
                continue;
            }
            if let Some(name) = is_section(word) {
                if section == "%prep" {
                    break;
                }
                section = name;
            } else if is_definition(&line) {
                spec.macros.define(&line, branches.undecided().is_some());
            } else if section == "%prep" {
                spec.prep.push(PrepLine {
                    number,
                    text: line,
                    undecided: branches.undecided(),
                });
            } else if section.is_empty() {
                spec.tag(&line, branches.undecided());
            }
        }
        Ok(spec)
    }

    /// `Name: value`
    fn tag(&mut self, line: &str, undecided: Option<String>) {
        let Some((tag, value)) = line.split_once(':') else {
            return;
        };
        let (tag, value) = (tag.trim().to_lowercase(), value.trim());
        if matches!(tag.as_str(), "name" | "version" | "release") {
            self.macros.set(&tag, value);
            return;
        }
        for (kind, files) in [("source", &mut self.sources), ("patch", &mut self.patches)] {
            let Some(digits) = tag.strip_prefix(kind) else {
                continue;
            };
            let next = files.last_key_value().map_or(0, |(last, _)| last + 1);
            let Ok(number) = (if digits.is_empty() {
                Ok(next)
            } else {
                digits.parse::<u32>()
            }) else {
                continue;
            };
            let name = match &undecided {
                Some(condition) => Err(format!("`{condition}` decides about it")),
                None => self.macros.expand(value).map(|value| base_name(&value)),
            };
            if let Ok(name) = &name {
                let macro_name = format!("{}{number}", kind.to_uppercase());
                self.macros.set(&macro_name, name);
            }
            files.insert(number, name);
        }
    }
}

fn is_section(word: &str) -> Option<&'static str> {
    if let Some(known) = SECTIONS.iter().find(|name| **name == word) {
        return Some(known);
    }
    const LATER: [&str; 5] = ["%build", "%install", "%check", "%files", "%changelog"];
    LATER.contains(&word).then_some("later")
}

fn is_definition(line: &str) -> bool {
    [
        "%define",
        "%global",
        "%undefine",
        "%bcond_with",
        "%bcond_without",
        "%bcond",
    ]
    .contains(&line.split_whitespace().next().unwrap_or_default())
}

/// The file name at the end of a URL; `#/name` renames it.
fn base_name(url: &str) -> String {
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EL7: &str = include_str!("../../../tests/specs/el7.spec");

    fn names(prep: &Prep) -> Vec<&str> {
        prep.patches
            .iter()
            .map(|patch| patch.file.as_str())
            .collect()
    }

    #[test]
    fn a_spec_of_el7s_shape_is_followed() {
        let prep = parse("kernel.spec", EL7, "514.el7").unwrap();
        assert_eq!(prep.tarball, "linux-3.10.0-514.el7.tar.xz");
        assert_eq!(
            names(&prep),
            [
                "debrand-single-cpu.patch",
                "debrand-rh_taint.patch",
                "linux-kernel-test.patch"
            ]
        );
        assert!(prep.patches.iter().all(|patch| patch.strip == Some(1)));
        assert_eq!(prep.patches[0].fuzz, 1);
        assert!(prep.patches[2].optional && !prep.patches[1].optional);
    }

    fn small(preamble: &str, prep: &str) -> Result<Prep, Problems> {
        let text = format!(
            "Name: kernel\nVersion: 6.1\nSource0: https://h/linux-%{{version}}.tar.xz\nPatch1: a.patch\nPatch2: b.patch\nPatch: c.patch\n{preamble}\n%description\nx\n%prep\n{prep}\n%build\npatch -p1 < never.patch\n"
        );
        parse("k.spec", &text, "1.el8")
    }

    #[test]
    fn every_way_to_name_a_patch_is_understood() {
        for (prep, expected) in [
            (
                "%setup -q\n%patch1 -p1 -b .old\n%patch -P2\n%patch 3 -p2 -R",
                "a1 b0 c2R",
            ),
            ("%autosetup -p1", "a1 b1 c1"),
            ("%autosetup -N -n x\n%autopatch -p1 -M 2", "a1 b1"),
            (
                "%setup -q -n x -c\n%{?nope:%patch1}\n%if 0%{?rhel} >= 8\n%patch3 -p1\n%else\n%patch1\n%endif",
                "c1",
            ),
            ("%setup\ngit init\ngit am %{patches}", "a1 b1 c1"),
            ("%setup\n# %patch1\nApplyPatch b.patch -R", "b1R"),
            ("%setup\nApplyPatch %{PATCH2}", "b1"),
            (
                "%setup\n%patch1 -p1 \\\n -R\n%ifarch ppc64\n%patch2 -p1\n%endif",
                "a1R",
            ),
        ] {
            let prep_text = prep;
            let prep = small("", prep).unwrap_or_else(|error| panic!("{prep_text}: {error}"));
            let found: Vec<String> = prep
                .patches
                .iter()
                .map(|patch| {
                    let strip = patch.strip.map_or(String::new(), |strip| strip.to_string());
                    let sign = if patch.reverse { "R" } else { "" };
                    format!("{}{strip}{sign}", patch.file.trim_end_matches(".patch"))
                })
                .collect();
            assert_eq!(found.join(" "), expected, "{prep_text}");
            assert_eq!(prep.tarball, "linux-6.1.tar.xz");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (prep, line, word) in [
            ("%setup\nxzcat x.patch.xz | patch -p1", 12, "patch"),
            (
                "%setup\nfor i in %{patches}; do\n  ApplyPatch $i\ndone",
                13,
                "shell",
            ),
            (
                "%setup\n%if %(uname -r | grep -c el)\n%patch1\n%endif",
                13,
                "%(uname",
            ),
            ("%setup\n%patch7 -p1", 12, "7"),
            ("%setup\n%patch1 --nope", 12, "--nope"),
            ("%setup\n./apply-patches series.conf", 12, "apply-patches"),
            ("%setup -T", 11, "unpacks no"),
            ("%setup\nquilt push -a", 12, "quilt"),
            ("%setup\ngit apply x", 12, "git apply"),
        ] {
            let problems = small("", prep).unwrap_err();
            let text = problems.to_string();
            assert!(
                text.starts_with(&format!("k.spec:{line}: ")),
                "{prep}: {text}"
            );
            assert!(text.contains(word), "{prep}: {text}");
        }
    }

    #[test]
    fn conditions_that_decide_about_no_patch_may_be_unknown() {
        let prep = small(
            "%if %(id -u)\nBuildRequires: x\n%endif\n%global f(x) 1",
            "%setup\n%if %{lua: print(1)}\ncp a b\n%endif\n%patch1 -p1\nsed -i s/a/b/ x.config",
        )
        .unwrap();
        assert_eq!(names(&prep), ["a.patch"]);
        assert_eq!(prep.not_run, ["cp", "sed"]);
    }
}
