//! When a compatibility patch is needed: what the tree has or lacks, and what compiles it.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::problem::check_inner_path;

/// One condition; a patch that has several is needed when all of them hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a condition is {has: FILE}, {lacks: FILE}, {file: FILE, contains: REGEX}, {file: FILE, without: REGEX} or {compiler: gcc, from: MAJOR}"
)]
pub enum Condition {
    /// The tree has this file.
    Has {
        /// Path in the tree.
        has: String,
    },
    /// The tree does not have this file.
    Lacks {
        /// Path in the tree.
        lacks: String,
    },
    /// A file of the tree has a place that the expression matches.
    Contains {
        /// Path in the tree; a file that is not there matches nothing.
        file: String,
        /// Regular expression over its lines.
        contains: String,
    },
    /// A file of the tree has no place that the expression matches.
    Without {
        /// Path in the tree; when it is not there, the condition does not hold.
        file: String,
        /// Regular expression over its lines.
        without: String,
    },
    /// What compiles is of a family, and not older than a version.
    Compiler {
        /// `gcc` or `clang`.
        compiler: String,
        /// Lowest major version.
        from: u32,
    },
}

/// The tree and the compiler that conditions are about.
pub trait Surroundings {
    /// A file of the tree; none when it has no such file.
    fn file(&self, path: &str) -> Option<Vec<u8>>;
    /// Family and major version of the compiler, such as `gcc` and 12.
    fn compiler(&self) -> Option<(&str, u32)>;
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Has { has } => write!(f, "{has} is there"),
            Self::Lacks { lacks } => write!(f, "{lacks} is not there"),
            Self::Contains { file, contains } => write!(f, "{file} has `{contains}`"),
            Self::Without { file, without } => write!(f, "{file} has no `{without}`"),
            Self::Compiler { compiler, from } => write!(f, "{compiler} is {from} or newer"),
        }
    }
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, around: &impl Surroundings) -> bool {
        // Expressions were checked when the patch was read.
        let found = |file: &str, pattern: &str| {
            let text = around.file(file)?;
            Some(expression(pattern).ok()?.is_match(&text))
        };
        match self {
            Self::Has { has } => around.file(has).is_some(),
            Self::Lacks { lacks } => around.file(lacks).is_none(),
            Self::Contains { file, contains } => found(file, contains) == Some(true),
            Self::Without { file, without } => found(file, without) == Some(false),
            Self::Compiler { compiler, from } => around
                .compiler()
                .is_some_and(|(family, major)| family == compiler && major >= *from),
        }
    }

    pub(super) fn complaint(&self) -> Option<String> {
        let problem = match self {
            Self::Has { has: path } | Self::Lacks { lacks: path } => check_inner_path(path).err(),
            Self::Contains {
                file,
                contains: pattern,
            }
            | Self::Without {
                file,
                without: pattern,
            } => check_inner_path(file)
                .err()
                .or_else(|| expression(pattern).err()),
            Self::Compiler { .. } => None,
        };
        Some(format!("when: {}", problem?))
    }
}

/// An expression over the lines of a file, which need not be UTF-8: `^` and `$` are the ends of a line.
///
/// # Errors
/// What is wrong with it.
pub fn expression(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .build()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree;

    impl Surroundings for Tree {
        fn file(&self, path: &str) -> Option<Vec<u8>> {
            (path == "Makefile").then(|| b"all:\n\tjmp there\n".to_vec())
        }
        fn compiler(&self) -> Option<(&str, u32)> {
            Some(("gcc", 9))
        }
    }

    fn parse(text: &str) -> Result<Condition, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }

    #[test]
    fn each_holds_where_it_should_and_only_there() {
        for (text, holds) in [
            ("{has: Makefile}", true),
            ("{has: Kbuild}", false),
            ("{lacks: Kbuild}", true),
            ("{lacks: Makefile}", false),
            ("{file: Makefile, contains: '^\\s+jmp there$'}", true),
            ("{file: Makefile, contains: call}", false),
            ("{file: Makefile, without: call}", true),
            ("{file: Makefile, without: jmp}", false),
            ("{file: Kbuild, without: jmp}", false),
            ("{compiler: gcc, from: 9}", true),
            ("{compiler: gcc, from: 10}", false),
            ("{compiler: clang, from: 1}", false),
        ] {
            assert_eq!(parse(text).unwrap().holds(&Tree), holds, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_forms() {
        for text in [
            "{has: a, lacks: b}",
            "{file: a}",
            "{file: a, contains: b, without: c}",
            "{compiler: gcc}",
            "{from: 3}",
            "{}",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("{lacks: FILE}"), "{error}");
        }
        for text in ["{file: a, contains: '('}", "{has: ../a}"] {
            let complaint = parse(text).unwrap().complaint();
            assert!(complaint.is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for text in [
            "{has: a}",
            "{lacks: a}",
            "{file: a, contains: b}",
            "{file: a, without: b}",
            "{compiler: gcc, from: 6}",
        ] {
            let condition = parse(text).unwrap();
            let printed = serde_yaml::to_string(&condition).unwrap();
            assert_eq!(parse(&printed).unwrap(), condition);
        }
    }
}
