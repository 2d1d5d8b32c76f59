//! Patches that old trees need to be built by newer tools: which ones a tree needs, and what they
//! tell make.

use std::fs;
use std::path::Path;

use kverdict_core::catalogue::condition::Surroundings;
use kverdict_core::catalogue::patch::Step;

use super::compiler::Compiler;
use crate::catalogue::Patch;

struct Tree<'a> {
    root: &'a Path,
    compiler: &'a Compiler,
}

impl Surroundings for Tree<'_> {
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(path)).ok()
    }

    fn compiler(&self) -> Option<(&str, u32)> {
        self.compiler.family()
    }
}

/// Those of `patches` whose conditions all hold.
pub fn needed(patches: Vec<Patch>, root: &Path, compiler: &Compiler) -> Vec<Patch> {
    let tree = Tree { root, compiler };
    patches
        .into_iter()
        .filter(|patch| patch.when.iter().all(|condition| condition.holds(&tree)))
        .collect()
}

/// Adds the words of all `make` steps to the `VARIABLE=value` list.
pub fn add_to_variables(variables: &mut Vec<String>, patches: &[Patch]) {
    for (step, _) in patches.iter().flat_map(|patch| &patch.steps) {
        let Step::Make { variable, add } = step else {
            continue;
        };
        let start = format!("{variable}=");
        match variables.iter_mut().find(|line| line.starts_with(&start)) {
            Some(line) => *line += &format!(" {add}"),
            None => variables.push(format!("{variable}={add}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_added_to_a_variable_that_is_there_and_make_one_that_is_not() {
        let step = |variable: &str, add: &str| {
            let step = Step::Make {
                variable: variable.to_owned(),
                add: add.to_owned(),
            };
            (step, Vec::new())
        };
        let patch = Patch {
            name: "p".to_owned(),
            kind: None,
            reason: String::new(),
            when: Vec::new(),
            steps: vec![
                step("HOSTCC", "-fcommon"),
                step("KCFLAGS", "-fno-pie"),
                step("KCFLAGS", "-w"),
            ],
            digest: String::new(),
        };
        let mut variables = vec!["CC=gcc".to_owned(), "HOSTCC=gcc".to_owned()];
        add_to_variables(&mut variables, &[patch]);
        assert_eq!(
            variables,
            ["CC=gcc", "HOSTCC=gcc -fcommon", "KCFLAGS=-fno-pie -w"]
        );
    }
}
