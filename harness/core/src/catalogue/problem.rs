//! What is wrong with a catalogue file.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::yaml::{self, Mistake};

/// One thing that is wrong in one place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the user would find it.
    pub file: String,
    /// Line in it, from 1, when it is known.
    pub line: Option<usize>,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem of a file as a whole, or of a field that `message` names.
    pub fn in_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            message: message.into(),
        }
    }

    /// A problem in a line.
    pub fn at_line(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::in_file(file, message)
        }
    }

    fn of_yaml(file: &str, mistake: Mistake) -> Self {
        Self {
            line: mistake.line,
            ..Self::in_file(file, mistake.message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Everything that is wrong with a set of files, so that one look is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// Reads one file and holds it against the rules of its kind.
///
/// # Errors
/// Every complaint; YAML of the wrong shape stops at the first one.
pub(crate) fn parse_checked<T: DeserializeOwned>(
    file: &str,
    text: &str,
    complaints: impl FnOnce(&T) -> Vec<String>,
) -> Result<T, Problems> {
    let refuse = |mistake| Problems::from(Problem::of_yaml(file, mistake));
    // What is no YAML is told before what is not expected in it.
    yaml::mapping(text).map_err(refuse)?;
    let spec: T = serde_yaml::from_str(text).map_err(|error| refuse(Mistake::of(text, error)))?;
    let problems: Vec<Problem> = complaints(&spec)
        .into_iter()
        .map(|message| Problem::in_file(file, message))
        .collect();
    if problems.is_empty() {
        Ok(spec)
    } else {
        Err(Problems(problems))
    }
}

/// Names are also directory names and command-line words.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(format!(
        "name: `{name}` does not do as a name: use letters, digits and `-_.+`, starting with a letter or a digit"
    ))
}

/// Paths inside a source tree or a patch must stay inside it.
pub(crate) fn check_inner_path(path: &str) -> Result<(), String> {
    let inside = !path.is_empty()
        && !path.starts_with('/')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != ".." && part != ".");
    if inside {
        return Ok(());
    }
    Err(format!(
        "`{path}` is not a path inside the tree: write it relative, without `.` and `..`"
    ))
}
