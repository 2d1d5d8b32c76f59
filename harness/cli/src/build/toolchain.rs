//! Choosing a toolchain: of those that fit a kernel, the first that this machine has or can make.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use kverdict_core::catalogue::toolchain::{Place, Prefix};

use super::BuildFailure;
use super::cache::Cache;
use super::chroot;
use super::compiler::Compiler;
use super::enclosure::Enclosure;
use super::file::{Wanted, resolve};
use super::inventory::Kind;
use super::tools::is_on_path;
use super::unpack;
use crate::catalogue::{Catalogue, FoundToolchain};
use crate::process::Interrupted;
use crate::progress::Progress;

/// What runs containers, best first: podman needs no root rights.
const ENGINES: [&str; 2] = ["podman", "docker"];

/// A toolchain that is ready to compile.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// Where it runs.
    pub enclosure: Enclosure,
    /// What it is.
    pub compiler: Compiler,
}

/// The toolchain of that name, or of `fitting` the first that can be had.
///
/// # Errors
/// When none can be had: says of each why.
pub fn choose(
    wanted: Option<&str>,
    fitting: &[String],
    catalogue: &Catalogue,
    cache: &Cache,
    progress: &Progress,
) -> Result<Toolchain> {
    let names: Vec<&str> = match wanted {
        Some(name) => vec![name],
        None => fitting.iter().map(String::as_str).collect(),
    };
    let mut obstacles = Vec::new();
    for name in names {
        let found = catalogue.toolchain(name).map_err(BuildFailure::Request)?;
        match obstacle(&found, cache) {
            Some(why) => obstacles.push(format!("`{name}` ({}): {why}", found.spec.location())),
            None => match get_ready(&found, cache, progress) {
                Ok(toolchain) => return Ok(toolchain),
                Err(error) if error.chain().any(|cause| cause.is::<Interrupted>()) => {
                    return Err(error);
                }
                Err(error) => {
                    let why = format!("`{name}` ({}): {error:#}", found.spec.location());
                    progress.line(format!("toolchain {why}"));
                    obstacles.push(why);
                }
            },
        }
    }
    let text = format!(
        "no toolchain that fits this kernel can be had here:\n{}",
        obstacles.join("\n")
    );
    Err(BuildFailure::Tools(anyhow!(text)).into())
}

/// Why a toolchain cannot be had on this machine, as far as can be told at once.
fn obstacle(found: &FoundToolchain, cache: &Cache) -> Option<String> {
    let compiler = &found.spec.compiler;
    match &found.spec.place {
        Place::Host => (!is_on_path(compiler)).then(|| {
            format!("the compiler `{compiler}` is not installed: install the package {compiler} (`apt-get install {compiler}`)")
        }),
        Place::Chroot(chroot) => chroot::obstacle(chroot, cache),
        Place::Container(_) => engine().is_none().then(|| {
            format!("there is no container engine: install one of {}", ENGINES.join(", "))
        }),
        Place::Prefix(Prefix { folder, .. }) => {
            let folder = resolve(folder.as_deref()?, found.folder.as_deref()).ok()?;
            (!folder.is_dir()).then(|| format!("there is no folder {}", folder.display()))
        }
    }
}

fn engine() -> Option<&'static str> {
    ENGINES.into_iter().find(|engine| is_on_path(engine))
}

fn get_ready(found: &FoundToolchain, cache: &Cache, progress: &Progress) -> Result<Toolchain> {
    let (enclosure, prefix) = match &found.spec.place {
        Place::Host => (Enclosure::host(None), None),
        Place::Chroot(chroot) => (
            Enclosure::Chroot(chroot::obtain(chroot, cache, progress)?),
            None,
        ),
        Place::Container(container) => (
            Enclosure::Container {
                engine: engine().context("there is no container engine")?,
                image: container.image.clone(),
            },
            None,
        ),
        Place::Prefix(prefix) => {
            let folder = prefix_folder(prefix, found, cache, progress)?;
            let tools = folder.join(&prefix.tools).display().to_string();
            (Enclosure::host(Some(folder)), Some(tools))
        }
    };
    let compiler = Compiler::find(&found.spec, prefix.as_deref(), &enclosure)?;
    Ok(Toolchain {
        enclosure,
        compiler,
    })
}

fn prefix_folder(
    prefix: &Prefix,
    found: &FoundToolchain,
    cache: &Cache,
    progress: &Progress,
) -> Result<PathBuf> {
    let folder = found.folder.as_deref();
    if let Some(path) = &prefix.folder {
        let path = resolve(path, folder)?;
        // Make runs in another folder.
        return std::fs::canonicalize(&path)
            .with_context(|| format!("there is no folder {}", path.display()));
    }
    let tarball = prefix.tarball.as_ref();
    let wanted = Wanted::new(
        tarball.context("a prefix has a folder or a tarball")?,
        folder,
        cache,
        progress,
    )?;
    cache.keep(Kind::Toolchain, &wanted.sha256, &wanted.about)?;
    let root = cache.toolchain(&wanted.sha256);
    let _lock = cache.lock(
        &format!("toolchain-{}", wanted.sha256),
        "unpacks the same toolchain",
        progress,
    )?;
    if !root.is_dir() {
        let scratch = cache.scratch()?;
        let tree = scratch.path().join("tree");
        let file = wanted.fetch(cache, progress)?;
        unpack::extract(&file, &tree, 0, cache, progress)?;
        std::fs::rename(&tree, &root).with_context(|| format!("cannot keep {}", root.display()))?;
        wanted.discard(cache)?;
    }
    Ok(root)
}
