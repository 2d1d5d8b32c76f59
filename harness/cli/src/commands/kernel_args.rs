//! Arguments that say which kernels a campaign's arms are made of, other than the campaign does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use kverdict_core::campaign::Campaign;

use crate::commands::Usage;

/// Another kernel, source or compiler. A run that is gone on with has its own already.
#[derive(Debug, Args)]
pub struct KernelArgs {
    /// Use this kernel of the catalogue in every arm
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    kernel: Option<String>,
    /// Build this kernel from a source tree here instead of its public location; the tree is only
    /// read. May be given for several kernels
    #[arg(long, value_name = "KERNEL=DIR", value_parser = kernel_and_tree, conflicts_with = "resume")]
    tree: Vec<(String, PathBuf)>,
    /// Toolchain of the catalogue for every arm [default: the first of each kernel's own that this
    /// machine has or can make]
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    toolchain: Option<String>,
}

impl KernelArgs {
    /// Puts them into the campaign.
    ///
    /// # Errors
    /// A tree that is not there, or one of a kernel that no arm has.
    pub fn put_into(&self, campaign: &mut Campaign) -> Result<()> {
        for arm in campaign.arms.values_mut() {
            if let Some(kernel) = &self.kernel {
                arm.kernel.clone_from(kernel);
            }
            if let Some(toolchain) = &self.toolchain {
                arm.toolchain = Some(toolchain.clone());
            }
        }
        for (kernel, tree) in &self.tree {
            put_tree(campaign, kernel, tree)?;
        }
        Ok(())
    }
}

/// Reads `KERNEL=DIR`.
///
/// # Errors
/// When there is no `=` in it.
pub fn kernel_and_tree(text: &str) -> Result<(String, PathBuf), String> {
    let (kernel, tree) = text
        .split_once('=')
        .ok_or("write the kernel's name, `=`, and the folder of its source")?;
    Ok((kernel.to_owned(), PathBuf::from(tree)))
}

/// Points the arms of a kernel at a tree on this machine. The path is kept whole, so that a run can
/// be gone on with from another folder.
fn put_tree(campaign: &mut Campaign, kernel: &str, tree: &Path) -> Result<()> {
    let tree = fs::canonicalize(tree)
        .map_err(|error| Usage(format!("--tree: {}: {error}", tree.display())))?;
    let arms = campaign.arms.values_mut();
    let mut of_kernel = arms.filter(|arm| arm.kernel == *kernel).peekable();
    if of_kernel.peek().is_none() {
        let text = format!("--tree: no arm of the campaign has the kernel `{kernel}`");
        return Err(Usage(text).into());
    }
    of_kernel.for_each(|arm| arm.tree = Some(tree.display().to_string()));
    Ok(())
}
