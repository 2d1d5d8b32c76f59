//! What a kernel build's log says: how far it is and what went wrong.

use std::sync::LazyLock;

use regex::Regex;

/// One error in a build log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// `file:line` in the source, when the tool named one.
    pub place: Option<String>,
    /// What was said.
    pub message: String,
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

static COMPILER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([^\s:]+:\d+)(?::\d+)?: (?:fatal )?(?:error|Error): (.*)$"));
static LINKER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(undefined reference to .*|multiple definition of .*|^ld: .*error.*|^ERROR: .*|No space left on device)",
    )
});
static MAKE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^make(?:\[\d+\])?: \*\*\* (.*)$"));

fn pattern(text: &str) -> Regex {
    // The patterns are constants; a wrong one fails every test of this module.
    #[allow(clippy::expect_used)]
    Regex::new(text).expect("a constant pattern")
}

/// Whether a line says that one more file is compiled or assembled.
pub fn is_compile_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    line.starts_with("  ") && matches!(words.next(), Some("CC" | "AS")) && words.next().is_some()
}

/// The first errors of a log: those with a place first, else the linker's, else make's own.
pub fn first_errors(log: &str, limit: usize) -> Vec<BuildError> {
    let compiler = log.lines().filter_map(|line| {
        let caught = COMPILER.captures(line)?;
        Some(BuildError {
            place: Some(caught[1].to_owned()),
            message: caught[2].to_owned(),
        })
    });
    let found = distinct(compiler, limit);
    if !found.is_empty() {
        return found;
    }
    for pattern in [&LINKER, &MAKE] {
        let lines = log.lines().filter_map(|line| {
            let caught = pattern.captures(line)?;
            Some(BuildError {
                place: None,
                message: caught[1].to_owned(),
            })
        });
        let found = distinct(lines, limit);
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Whether the build failed because the disk was full.
pub fn says_disk_full(log: &str) -> bool {
    log.contains("No space left on device")
}

/// What gcc, its driver, binutils, clang and make say when there is no memory, or when the kernel has killed one of
/// them for it.
const NO_MEMORY: [&str; 8] = [
    "out of memory allocating",
    "memory exhausted",
    "Cannot allocate memory",
    "LLVM ERROR: out of memory",
    "Killed signal terminated program",
    "terminated with signal 9",
    "] Error 137",
    "] Killed",
];

/// Whether the build failed for want of memory: that says nothing of the code.
pub fn says_no_memory(log: &str) -> bool {
    NO_MEMORY.iter().any(|words| log.contains(words))
}

fn distinct(errors: impl Iterator<Item = BuildError>, limit: usize) -> Vec<BuildError> {
    let mut found = Vec::new();
    for error in errors {
        if !found.contains(&error) && found.len() < limit {
            found.push(error);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_told_from_wrong_code() {
        for line in [
            "cc1: out of memory allocating 65536 bytes after a total of 24649728 bytes",
            "gcc: fatal error: Killed signal terminated program cc1",
            "collect2: fatal error: ld terminated with signal 9 [Killed]",
            "make[3]: *** [scripts/Makefile.build:229: mm/slub.o] Error 137",
            "make[1]: *** [Makefile:1166: vmlinux] Killed",
        ] {
            assert!(says_no_memory(line), "{line}");
        }
        for line in [
            "mm/oom_kill.c:12:1: error: unknown type name 'Killed'",
            "make[3]: *** [scripts/Makefile.build:229: mm/slub.o] Error 1",
            "  CC      mm/oom_kill.o",
        ] {
            assert!(!says_no_memory(line), "{line}");
        }
    }

    #[test]
    fn compile_lines_are_counted_and_others_not() {
        assert!(is_compile_line("  CC      kernel/sched/fair.o"));
        assert!(is_compile_line("  AS      arch/x86/entry/entry_64.o"));
        assert!(!is_compile_line("  AR      kernel/built-in.a"));
        assert!(!is_compile_line("CC is a compiler"));
    }

    #[test]
    fn compiler_errors_come_before_makes_own() {
        let log = "\
/s/kernel/a.c: In function 'f':
/s/kernel/a.c:12:3: error: 'x' undeclared
/s/kernel/a.c:12:3: error: 'x' undeclared
/s/kernel/b.c:1:10: fatal error: no.h: No such file or directory
make[3]: *** [scripts/Makefile.build:229: kernel/a.o] Error 1
";
        let lines: Vec<String> = first_errors(log, 3)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "/s/kernel/a.c:12: 'x' undeclared",
                "/s/kernel/b.c:1: no.h: No such file or directory"
            ]
        );
    }

    #[test]
    fn assembler_linker_and_make_errors_are_found_too() {
        assert_eq!(
            first_errors("a.S:3: Error: no such instruction\n", 3).len(),
            1
        );
        let link = "ld: kernel/a.o: in function `f':\na.c:(.text+0x1): undefined reference to `g'\nmake: *** [x] Error 1\n";
        assert_eq!(
            first_errors(link, 3)[0].message,
            "undefined reference to `g'"
        );
        let make = "make: *** No rule to make target 'bzImage'.  Stop.\n";
        assert!(first_errors(make, 3)[0].message.contains("bzImage"));
        assert!(first_errors("all is well\n", 3).is_empty());
    }
}
