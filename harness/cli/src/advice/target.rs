//! The source tree that advice is asked for.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kverdict_core::catalogue::kernel::Origin;

use crate::build::cache::Cache;
use crate::build::{BuildFailure, source};
use crate::catalogue::Catalogue;
use crate::commands::Usage;
use crate::progress::Progress;

/// A source tree and how it is built.
#[derive(Debug)]
pub struct Target {
    /// As it was named.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Its top folder; only read.
    pub root: PathBuf,
    /// A tree in place of the kernel's own source.
    pub tree: Option<PathBuf>,
    /// Whether the catalogue says how to build it.
    pub is_known: bool,
}

impl Target {
    /// Finds the source of a kernel of the catalogue, or takes a folder for it.
    ///
    /// # Errors
    /// When there is none, or it cannot be had.
    pub fn find(
        name: &str,
        tree: Option<&(String, PathBuf)>,
        catalogue: &Catalogue,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Self> {
        if Path::new(name).is_dir() && tree.is_none() {
            let root = std::fs::canonicalize(name)?;
            return Ok(Self {
                name: name.to_owned(),
                about: "source tree".to_owned(),
                root,
                tree: None,
                is_known: false,
            });
        }
        let usage = |error: anyhow::Error| Usage(format!("{error:#}"));
        let kernel = catalogue.kernel(name).map_err(usage)?;
        let recipe = match &kernel.spec.origin {
            Origin::Source(recipe) => recipe,
            Origin::Binary(_) => {
                let text = format!(
                    "`{name}` is a binary kernel: commits go into source; name a kernel with source"
                );
                return Err(Usage(text).into());
            }
        };
        let (about, root, tree) = match tree {
            Some((kernel, tree)) => {
                let root = own_tree(name, kernel, tree)?;
                (format!("tree {}", root.display()), root.clone(), Some(root))
            }
            None => {
                let folder = kernel.folder.as_deref();
                let source = source::obtain(&recipe.source, folder, cache, progress)
                    .map_err(BuildFailure::Source)?;
                (
                    format!("source, {}", source.identity.about),
                    source.root,
                    None,
                )
            }
        };
        Ok(Self {
            name: name.to_owned(),
            about,
            root,
            tree,
            is_known: true,
        })
    }
}

fn own_tree(name: &str, kernel: &str, tree: &Path) -> Result<PathBuf> {
    if kernel != name {
        let text =
            format!("--tree: is for `{kernel}`, and advice is asked for `{name}`: name one kernel");
        return Err(Usage(text).into());
    }
    let whole = std::fs::canonicalize(tree);
    Ok(whole.map_err(|error| Usage(format!("--tree: {}: {error}", tree.display())))?)
}
