//! Licences of the libraries that are linked into the program: whoever gets it has to get them too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::metadata::{Metadata, Package, TARGET};

/// How files with a licence begin, in capitals.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
/// What cargo does not know of.
const HEAD: &str = "\
kverdict is linked with the GNU C library (LGPL-2.1-or-later), Rust's standard library (MIT OR Apache-2.0), SQLite
(in the public domain), and:

";
const RULE: &str = "\n----------------------------------------------------------------\n\n";

/// All of them as one text; what several packages share is in it once.
///
/// # Errors
/// When cargo fails, or a package does not state its licence.
pub fn collect(sh: &Shell, metadata: &Metadata) -> Result<String> {
    let linked = linked(sh)?;
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut out = HEAD.to_owned();
    for package in &metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        // Those without a source are of this workspace.
        if package.source.is_none() || !linked.contains(&name) {
            continue;
        }
        let licence = package.license.as_ref();
        out += &format!(
            "{name}: {}\n",
            licence.with_context(|| format!("{name} states no licence"))?
        );
        for text in texts(sh, package)? {
            sections.entry(text).or_default().push(name.clone());
        }
    }
    ensure!(
        !sections.is_empty(),
        "no library has a licence, which cannot be"
    );
    for (text, names) in sections {
        out += &format!("{RULE}{}:\n\n{text}", names.join(", "));
    }
    Ok(out)
}

/// Name and version of everything that is linked into the program, and not only used to build it.
fn linked(sh: &Shell) -> Result<BTreeSet<String>> {
    let format = "{p}";
    let tree = cmd!(
        sh,
        "cargo tree --locked --package kverdict --edges normal,no-proc-macro --target {TARGET} --prefix none --format {format}"
    )
    .quiet()
    .read()?;
    // `name v1.2.3`, `name v1.2.3 (*)`
    let words = tree.lines().map(|line| line.split(' '));
    Ok(words
        .filter_map(|mut words| {
            Some(format!(
                "{} {}",
                words.next()?,
                words.next()?.strip_prefix('v')?
            ))
        })
        .collect())
}

fn texts(sh: &Shell, package: &Package) -> Result<Vec<String>> {
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest is in a folder")?;
    let mut texts = Vec::new();
    for path in sh.read_dir(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        if path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
            texts.push(String::from_utf8_lossy(&sh.read_binary_file(&path)?).into_owned());
        }
    }
    Ok(texts)
}
