//! A kernel's source: C, read just far enough to follow locks and calls through functions.
//!
//! No preprocessor runs, because no configuration is known: of `#if` and `#else` the first part is
//! taken, unless it is `#if 0`. Macros are calls by their names.

mod flow;
mod function;
mod statement;
mod token;

use std::collections::BTreeMap;

use super::fix::{Fix, Function};
use super::flow::Flow;
use super::judge::Kernel;
use function::functions;

/// The files of a source tree that fixes ask for.
#[derive(Debug, Default)]
pub struct Source {
    files: BTreeMap<String, BTreeMap<String, function::Function>>,
}

impl Source {
    /// Reads a file of the tree; `path` is relative to it.
    pub fn add(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), functions(text));
    }
}

/// Files of a tree that a fix asks for.
pub fn files_of(fix: &Fix) -> Vec<&str> {
    let needs = fix.needs.iter().map(|need| need.what.file.as_str());
    let related = fix.related.iter().map(|related| related.with.file.as_str());
    let mut files: Vec<&str> = needs.chain(related).chain([fix.file.as_str()]).collect();
    files.sort_unstable();
    files.dedup();
    files
}

impl Kernel for Source {
    fn has(&self, wanted: &Function) -> Result<bool, String> {
        let file = self.files.get(&wanted.file);
        file.map(|functions| functions.contains_key(&wanted.function))
            .ok_or_else(|| format!("the tree has no {}", wanted.file))
    }

    fn flow(&self, entry: &str, fix: &Fix) -> Result<Option<Flow>, String> {
        let Some(functions) = self.files.get(&fix.file) else {
            return Ok(None);
        };
        flow::flow(functions, entry, fix)
    }

    fn hides_preemption(&self) -> Option<String> {
        None
    }
}
