//! Unified diffs: which files they touch, and what `patch` said about them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::problem::check_inner_path;

/// The files that a `-p1` diff reads or writes.
///
/// # Errors
/// When a path leaves the tree, the text holds no diff at all, or what [`refuse_scripts`] refuses.
pub fn touched_files(diff: &str) -> Result<BTreeSet<String>, String> {
    refuse_scripts(diff)?;
    let mut files = BTreeSet::new();
    let mut lines = diff.lines().peekable();
    while let Some(line) = lines.next() {
        let header = line.strip_prefix("--- ").filter(|_| {
            // A removed line that starts with `-- ` looks the same; only headers come in pairs.
            lines.peek().is_some_and(|next| next.starts_with("+++ "))
        });
        if let Some(old) = header {
            let new = lines.next().and_then(|next| next.strip_prefix("+++ "));
            files.extend(path_of(old)?);
            files.extend(path_of(new.unwrap_or_default())?);
        } else if let Some(name) = ["rename from ", "rename to ", "copy from ", "copy to "]
            .iter()
            .find_map(|word| line.strip_prefix(word))
        {
            check_inner_path(name)?;
            files.insert(name.to_owned());
        }
    }
    if files.is_empty() {
        return Err(
            "holds no unified diff: expected `--- a/FILE` and `+++ b/FILE` lines".to_owned(),
        );
    }
    Ok(files)
}

/// Makes sure that `patch` finds no script for ed in a diff, or in the words before it: it would have ed
/// run it, and some versions of it would let that start programs.
///
/// # Errors
/// The first line that is a command of ed.
pub fn refuse_scripts(diff: &str) -> Result<(), String> {
    match outside_hunks(diff).find(|(_, line)| is_ed_command(line)) {
        Some((number, line)) => Err(format!(
            "has `{}` in line {number}, a command for ed: make the diff with `git diff` or `diff -u a/… b/…`",
            line.trim()
        )),
        None => Ok(()),
    }
}

/// Lines that belong to no hunk, with their numbers from 1.
fn outside_hunks(diff: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut old, mut new) = (0_u64, 0_u64);
    (1..).zip(diff.lines()).filter(move |(_, line)| {
        if old == 0 && new == 0 {
            (old, new) = hunk_lengths(line).unwrap_or((0, 0));
            return true;
        }
        match line.bytes().next() {
            Some(b'-') => old = old.saturating_sub(1),
            Some(b'+') => new = new.saturating_sub(1),
            Some(b' ' | b'\t') | None => {
                (old, new) = (old.saturating_sub(1), new.saturating_sub(1));
            }
            Some(b'\\') => {}
            Some(_) => {
                // `patch` goes by its own count, too, and gives up here.
                (old, new) = (0, 0);
                return true;
            }
        }
        false
    })
}

/// How many lines of the old and of the new file a `@@ -1,2 +1,3 @@` announces.
fn hunk_lengths(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_prefix("@@ ")?.split(' ');
    let mut length = |sign: char| match words.next()?.strip_prefix(sign)?.split_once(',') {
        Some((_, length)) => length.parse().ok(),
        None => Some(1),
    };
    Some((length('-')?, length('+')?))
}

/// As `get_ed_command_letter()` of GNU patch sees it, behind what it takes for indentation.
fn is_ed_command(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t', 'X']).trim_end();
    let command = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
    line.starts_with(|c: char| c.is_ascii_digit())
        && matches!(command, "a" | "c" | "d" | "i" | "s/.//")
}

fn path_of(header: &str) -> Result<Option<String>, String> {
    let name = header.split('\t').next().unwrap_or_default().trim_end();
    if name == "/dev/null" {
        return Ok(None);
    }
    let Some((_, inner)) = name.split_once('/') else {
        return Err(format!(
            "names the file `{name}`, which has no leading folder to strip: make the diff with `git diff` or `diff -u a/… b/…`"
        ));
    };
    check_inner_path(inner)?;
    Ok(Some(inner.to_owned()))
}

/// One hunk, or one file, that `patch` refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The source file.
    pub file: String,
    /// Which hunk, from 1, and the line where it was expected; absent when the file as a whole.
    pub hunk: Option<(usize, usize)>,
    /// What `patch` said about the file as a whole.
    pub why: Option<String>,
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.hunk, &self.why) {
            (Some((hunk, line)), _) => {
                write!(f, "{}: hunk {hunk} does not fit at line {line}", self.file)
            }
            (None, Some(why)) => write!(f, "{}: {why}", self.file),
            (None, None) => write!(f, "{}: does not fit", self.file),
        }
    }
}

/// A hunk that fitted, though not as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landing {
    /// The source file.
    pub file: String,
    /// Which hunk, from 1.
    pub hunk: usize,
    /// The line where it fitted.
    pub line: usize,
    /// How many lines further down than it is written for.
    pub offset: i64,
    /// Lines of its context, at either end, that had to be left out.
    pub fuzz: u32,
}

static LANDED_HUNK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^Hunk #(\d+) succeeded at (\d+)(?: with fuzz (\d+))?(?: \(offset (-?\d+) lines?\))?\.?$",
    )
});
static FAILED_HUNK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^Hunk #(\d+) FAILED at (\d+)"));
static MOVED_HUNK: LazyLock<Regex> = LazyLock::new(|| pattern(r"^Hunk #\d+ succeeded at \d+ .*"));

fn pattern(text: &str) -> Regex {
    // The patterns are constants; a wrong one fails every test of this module.
    #[allow(clippy::expect_used)]
    Regex::new(text).expect("a constant pattern")
}

/// What `patch` refused, from its output.
pub fn rejects(output: &str) -> Vec<Reject> {
    let mut found = Vec::new();
    let mut file = String::new();
    for line in output.lines() {
        if let Some(name) = file_being_patched(line) {
            name.clone_into(&mut file);
        } else if let Some(caught) = FAILED_HUNK.captures(line) {
            found.push(Reject {
                file: file.clone(),
                hunk: caught[1].parse().ok().zip(caught[2].parse().ok()),
                why: None,
            });
        } else if let Some(why) = whole_file_trouble(line) {
            found.push(Reject {
                file: file.clone(),
                hunk: None,
                why: Some(why.to_owned()),
            });
        }
    }
    found
}

/// Hunks that fitted at another line, as `patch` words it, with their file.
pub fn moved_hunks(output: &str) -> Vec<String> {
    let mut file = String::new();
    let mut found = Vec::new();
    for line in output.lines() {
        if let Some(name) = file_being_patched(line) {
            name.clone_into(&mut file);
        } else if MOVED_HUNK.is_match(line) {
            found.push(format!("{file}: {}", line.trim_end_matches('.')));
        }
    }
    found
}

/// Hunks that did not fit as they are written, from the output of `patch`.
pub fn landings(output: &str) -> Vec<Landing> {
    let mut file = String::new();
    let mut found = Vec::new();
    for line in output.lines() {
        if let Some(name) = file_being_patched(line) {
            name.clone_into(&mut file);
        } else if let Some(caught) = LANDED_HUNK.captures(line) {
            let number = |group: usize| caught.get(group).map_or("0", |found| found.as_str());
            found.push(Landing {
                file: file.clone(),
                hunk: number(1).parse().unwrap_or_default(),
                line: number(2).parse().unwrap_or_default(),
                fuzz: number(3).parse().unwrap_or_default(),
                offset: number(4).parse().unwrap_or_default(),
            });
        }
    }
    found
}

fn file_being_patched(line: &str) -> Option<&str> {
    let name = ["patching file ", "checking file "]
        .iter()
        .find_map(|word| line.strip_prefix(word))?;
    let name = name.split(" (").next().unwrap_or(name);
    Some(name.trim_matches('\''))
}

fn whole_file_trouble(line: &str) -> Option<&'static str> {
    let known = [
        (
            "Reversed (or previously applied) patch detected",
            "has this change already",
        ),
        (
            "Unreversed patch detected",
            "does not have this change, so it cannot be reverted",
        ),
        ("can't find file to patch", "is not in this source tree"),
        (
            "The next patch would create the file",
            "is there already, and the patch wants to create it",
        ),
        (
            "The next patch would delete the file",
            "is not there, and the patch wants to delete it",
        ),
    ];
    known
        .iter()
        .find(|(start, _)| line.starts_with(start))
        .map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_with_a_script_for_ed_is_refused_wherever_it_hides() {
        let diff =
            "--- a/f\n+++ b/f\n@@ -1,3 +1,2 @@\n 1d\n-2,3c\n \n\\ No newline at end of file\n";
        assert_eq!(refuse_scripts(diff), Ok(()));
        assert_eq!(refuse_scripts("1 c\nc\n1c1\n< x\n10 apples\n"), Ok(()));
        for script in ["1c\nx\n.\n", "  X12,13d\n", "3a\r\n", "1s/.//\n", "0i\n"] {
            for text in [
                script.to_owned(),
                format!("{script}{diff}"),
                format!("{diff}{script}"),
            ] {
                let error = refuse_scripts(&text).unwrap_err();
                assert!(error.contains("a command for ed"), "{text}: {error}");
            }
            assert!(touched_files(&format!("{diff}{script}")).is_err());
        }
        // A hunk that is shorter than it says hides nothing either.
        let short = "@@ -1,90 +1,90 @@\n x\n1c\n!id\n.\n";
        assert!(refuse_scripts(short).unwrap_err().contains("line 3"));
    }

    #[test]
    fn touched_files_are_taken_from_headers_only() {
        let diff = "\
--- a/kernel/x.c\t2024-01-01
+++ b/kernel/x.c
@@ -1,2 +1,1 @@
 keep
--- not a header
--- /dev/null
+++ b/kernel/new.h
@@ -0,0 +1 @@
+x
";
        let files: Vec<_> = touched_files(diff).unwrap().into_iter().collect();
        assert_eq!(files, ["kernel/new.h", "kernel/x.c"]);
    }

    #[test]
    fn a_diff_that_leaves_the_tree_is_refused() {
        let error = touched_files("--- a/../x\n+++ b/../x\n").unwrap_err();
        assert!(error.contains("not a path inside"), "{error}");
        assert!(
            touched_files("hello\n")
                .unwrap_err()
                .contains("no unified diff")
        );
        assert!(
            touched_files("--- x.c\n+++ x.c\n")
                .unwrap_err()
                .contains("leading folder")
        );
    }

    #[test]
    fn refused_hunks_are_named_with_file_number_and_line() {
        let output = "\
patching file kernel/a.c
Hunk #1 succeeded at 14 (offset 4 lines).
Hunk #2 FAILED at 120.
1 out of 2 hunks FAILED
patching file 'kernel/b c.c'
Reversed (or previously applied) patch detected!  Skipping patch.
1 out of 1 hunk ignored
";
        let lines: Vec<String> = rejects(output).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "kernel/a.c: hunk 2 does not fit at line 120",
                "kernel/b c.c: has this change already"
            ]
        );
        assert_eq!(
            moved_hunks(output),
            ["kernel/a.c: Hunk #1 succeeded at 14 (offset 4 lines)"]
        );
    }

    #[test]
    fn where_hunks_landed_is_read_with_fuzz_and_offset() {
        let output = "\
checking file kernel/a.c
Hunk #2 succeeded at 14 (offset -4 lines).
Hunk #3 succeeded at 30 with fuzz 2.
checking file kernel/b.c
Hunk #1 succeeded at 5 with fuzz 1 (offset 1 line).
Hunk #2 FAILED at 9.
";
        let found: Vec<_> = landings(output)
            .into_iter()
            .map(|one| (one.file, one.hunk, one.line, one.offset, one.fuzz))
            .collect();
        let at = |file: &str, hunk, line, offset, fuzz| (file.to_owned(), hunk, line, offset, fuzz);
        assert_eq!(
            found,
            [
                at("kernel/a.c", 2, 14, -4, 0),
                at("kernel/a.c", 3, 30, 0, 2),
                at("kernel/b.c", 1, 5, 1, 1),
            ]
        );
    }
}
