//! Where in a file a hunk that does not fit belongs most likely: the line that a diff names is upstream's,
//! and in an old tree that is another function.

use std::collections::{BTreeMap, BTreeSet};

/// Lines that a file may have in between.
const SLACK: usize = 3;

/// Lines that a hunk of a `-p1` diff wants to find in a file; `hunk` counts from 1. Empty: there is no such
/// hunk.
pub fn wanted<'a>(diff: &'a str, file: &str, hunk: usize) -> Vec<&'a str> {
    let mut is_file = false;
    let mut number = 0;
    let mut wanted = Vec::new();
    for line in diff.lines() {
        if let Some(name) = line.strip_prefix("+++ ") {
            let name = name.split('\t').next().unwrap_or_default();
            is_file = name.split_once('/').is_some_and(|(_, inner)| inner == file);
            number = 0;
        } else if line.starts_with("@@ ") {
            number += 1;
        } else if is_file && number == hunk && !line.starts_with("--- ") {
            wanted.extend(line.strip_prefix([' ', '-']));
        }
    }
    wanted
}

/// The line of `text`, from 1, at which most of the wanted lines begin; rare ones count for more. `None`:
/// not even half of them are in one place, or only one is.
pub fn closest(wanted: &[&str], text: &str, expected: usize) -> Option<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // Braces are everywhere.
    let says_something = |line: &&str| line.contains(char::is_alphanumeric);
    let telling: BTreeSet<&str> = wanted
        .iter()
        .map(|line| line.trim())
        .filter(says_something)
        .collect();
    let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
    for line in &telling {
        let count = lines.iter().filter(|one| *one == line).count();
        if count > 0 {
            weights.insert(line, 1.0 / count as f64);
        }
    }
    let score = |start: usize| {
        let end = lines.len().min(start + wanted.len() + SLACK);
        let here = &lines[start..end];
        let found: Vec<f64> = weights
            .iter()
            .filter(|(line, _)| here.contains(line))
            .map(|(_, weight)| *weight)
            .collect();
        let enough = found.len() > 1 && found.len() * 2 >= telling.len();
        enough.then(|| found.iter().sum::<f64>())
    };
    let starts = (0..lines.len()).filter(|start| weights.contains_key(lines[*start]));
    let scored = starts.filter_map(|start| Some((score(start)?, start + 1)));
    let best = scored.max_by(|(one, here), (other, there)| {
        let near = |line: &usize| line.abs_diff(expected);
        one.total_cmp(other)
            .then_with(|| near(there).cmp(&near(here)))
    });
    best.map(|(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "\
--- a/k/other.c
+++ b/k/other.c
@@ -1,2 +1,2 @@
-other
+another
 }
--- a/k/a.c
+++ b/k/a.c
@@ -80,3 +80,3 @@ first
 	return 0;
-	stop();
+	go();
 }
@@ -90,4 +90,4 @@ second
 	take(lock);
-	wake(all);
+	wait(all);
 	drop(lock);
 }
";

    #[test]
    fn a_hunk_is_found_by_file_and_number() {
        assert_eq!(wanted(DIFF, "k/a.c", 1), ["\treturn 0;", "\tstop();", "}"]);
        assert_eq!(wanted(DIFF, "k/a.c", 2)[1], "\twake(all);");
        assert_eq!(wanted(DIFF, "k/a.c", 3), [""; 0]);
        assert_eq!(wanted(DIFF, "k/b.c", 1), [""; 0]);
    }

    #[test]
    fn rare_lines_say_where_it_belongs() {
        let text = "int a(void)\n{\n\treturn 0;\n}\nint b(void)\n{\n\ttake(lock);\n\twake(one);\n\tdrop(lock);\n}\n";
        assert_eq!(closest(&wanted(DIFF, "k/a.c", 2), text, 90), Some(7));
        // Of two places that are as good, the one nearer to where it was expected.
        let twice = format!("{text}{text}");
        assert_eq!(closest(&wanted(DIFF, "k/a.c", 2), &twice, 90), Some(17));
        assert_eq!(closest(&wanted(DIFF, "k/a.c", 2), &twice, 1), Some(7));
    }

    #[test]
    fn a_few_lines_of_many_say_nothing() {
        assert_eq!(closest(&["x();", "y();"], "a();\nx();\nb();\n", 2), None);
        assert_eq!(closest(&[], "a();\n", 1), None);
        let text = "{\nx();\n}\ny();\n";
        let three = ["{", "x();", "}", "y();", "z();"];
        assert_eq!(closest(&three, text, 9), Some(2));
        let five = ["{", "x();", "}", "y();", "p();", "q();", "r();"];
        assert_eq!(closest(&five, text, 9), None);
    }
}
