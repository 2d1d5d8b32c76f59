//! Paths with `*`, for files that exist once per CPU or scheduling domain.

use std::path::{Path, PathBuf};

/// Every existing path that the pattern matches, sorted; `*` stands for any part of one name.
pub fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = found
            .iter()
            .flat_map(|directory| step(directory, part))
            .collect();
    }
    found
}

fn step(directory: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains('*') {
        let path = directory.join(part);
        return if path.exists() { vec![path] } else { vec![] };
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| matches(part, &entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(before) else {
        return false;
    };
    (0..=rest.len())
        .filter(|&at| rest.is_char_boundary(at))
        .any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_part_of_one_name() {
        assert!(matches("cpu*", "cpu12"));
        assert!(matches("cpu*", "cpu"));
        assert!(matches("*_ns", "latency_ns"));
        assert!(matches("d*n*1", "domain1"));
        assert!(!matches("cpu*", "domain0"));
        assert!(!matches("flags", "flag"));
    }

    #[test]
    fn patterns_expand_over_several_directories() {
        let root = std::env::temp_dir().join(format!("kverdict-globs-{}", std::process::id()));
        for (cpu, domain) in [(0, 0), (0, 1), (10, 0)] {
            let directory = root.join(format!("cpu{cpu}/domain{domain}"));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("flags"), "1").unwrap();
        }
        let pattern = format!("{}/cpu*/domain*/flags", root.display());
        let found = expand(&pattern);
        assert_eq!(found.len(), 3);
        assert!(found[1].ends_with("cpu0/domain1/flags"));
        assert!(expand(&format!("{}/cpu*/none", root.display())).is_empty());
        std::fs::remove_dir_all(root).unwrap();
    }
}
