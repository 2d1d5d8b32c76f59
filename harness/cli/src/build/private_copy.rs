//! A private copy of the files of a source that are to be changed; nothing of the source is written to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::overlay::{Content, Overlay, put};

/// The copy: only files that were asked for are in it.
#[derive(Debug)]
pub struct PrivateCopy<'a> {
    root: &'a Path,
    base: Overlay,
    dir: PathBuf,
    brought: BTreeSet<String>,
}

impl<'a> PrivateCopy<'a> {
    /// An empty copy in `dir` of the source in `root`; of what `base` has, it is the base's.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn new(root: &'a Path, base: Overlay, dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self {
            root,
            base,
            dir,
            brought: BTreeSet::new(),
        })
    }

    /// The folder to work in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a file of it is, to be read or written once it was brought.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Copies a file, unless it is here.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn bring(&mut self, file: &str) -> Result<()> {
        if self.brought.contains(file) {
            return Ok(());
        }
        let content = match self.base.get(file) {
            Some(content) => content.clone(),
            None => Content::at(&self.root.join(file))?,
        };
        put(&self.path(file), &content)?;
        self.brought.insert(file.to_owned());
        Ok(())
    }

    /// What differs from the source. A file that was changed and changed back does not.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn changed(&self) -> Result<Overlay> {
        let mut overlay = self.base.clone();
        for file in &self.brought {
            let content = Content::at(&self.path(file))?;
            if content == Content::at(&self.root.join(file))? {
                overlay.remove(file);
            } else {
                overlay.insert(file.clone(), content);
            }
        }
        Ok(overlay)
    }
}
