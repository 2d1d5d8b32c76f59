//! Building kernels: source, patches, configuration and compiler go in, a finished build comes out
//! of the cache, made by whoever needs it first. Kernels that somebody else built come out of it in
//! the same form.

mod apt;
mod binary;
pub mod cache;
pub mod ccache;
pub mod checkout;
mod chroot;
mod compat;
pub mod compile;
pub mod compiler;
pub mod config;
mod debian;
pub mod difference;
mod download;
mod dsc;
pub mod enclosure;
pub mod failure;
mod file;
pub mod git;
pub mod inventory;
mod keys;
pub mod limit;
pub mod listing;
pub mod lock;
pub mod newest;
pub mod overlay;
pub mod package;
mod patching;
pub mod private_copy;
pub mod pruning;
pub mod record;
pub mod repository;
pub mod source;
mod source_rpm;
pub mod toolchain;
pub mod tools;
pub mod unpack;
pub mod workplace;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use kverdict_core::catalogue::kernel::{Origin, Recipe};
use kverdict_core::catalogue::{BuildKey, Fragment};

use crate::catalogue::{Catalogue, Kernel, Patch};
use crate::process::Interrupted;
use crate::progress::Progress;
use cache::{Cache, full_disk_text, is_full_disk, write_whole};
use compile::{CompileError, Make, USUAL_OBJECTS, made_from};
pub use failure::{BuildFailure, is_interrupt};
use inventory::Kind;
use overlay::{AppliedPatch, Overlay, work_out};
pub use record::{BuildRecord, BuiltKernel};
use source::Source;
use toolchain::Toolchain;
use workplace::WorkPlace;

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Name of a kernel of the catalogue.
    pub kernel: String,
    /// A source tree to use instead of the kernel's own source.
    pub tree: Option<PathBuf>,
    /// Patches to take out, in this order, before any is put in.
    pub revert: Vec<String>,
    /// Patches to put in, in this order.
    pub apply: Vec<String>,
    /// Config fragments on top of the kernel's own.
    pub fragments: Vec<String>,
    /// Config lines on top of all fragments: `CONFIG_X=y`.
    pub options: Vec<String>,
    /// Name of a toolchain; none: the first of the kernel's own that can be had.
    pub toolchain: Option<String>,
    /// Parallel compile jobs; none: as many as there are processors.
    pub jobs: Option<usize>,
}

/// Builds kernels, or finds them built.
#[derive(Debug, Clone, Copy)]
pub struct Builder<'a> {
    catalogue: &'a Catalogue,
    cache: &'a Cache,
    progress: &'a Progress,
}

/// A request with everything that it names looked up.
struct Resolved {
    kernel: Kernel,
    recipe: Recipe,
    revert: Vec<Patch>,
    /// Those that were asked for, after those that the tree needs to be built at all.
    apply: Vec<Patch>,
    wishes: Fragment,
    toolchain: Toolchain,
    /// `VARIABLE=value` for make.
    variables: Vec<String>,
    source: Source,
    key: BuildKey,
    command: String,
}

impl<'a> Builder<'a> {
    /// A builder over a catalogue and a cache.
    pub fn new(catalogue: &'a Catalogue, cache: &'a Cache, progress: &'a Progress) -> Self {
        Self {
            catalogue,
            cache,
            progress,
        }
    }

    /// Builds a kernel unless the cache has it.
    ///
    /// # Errors
    /// [`BuildFailure`] says whether the request, the patch, the configuration, the code or the
    /// machine is to blame.
    pub fn build(&self, request: &BuildRequest) -> Result<BuiltKernel, BuildFailure> {
        let built = self
            .build_or_find(request)
            .map_err(|error| self.sort(error))?;
        if !built.from_cache
            && let Err(error) = pruning::keep_to_limit(self.cache, self.progress)
        {
            // The kernel is there all the same.
            self.progress
                .line(format!("the cache is not kept to its limit: {error:#}"));
        }
        Ok(built)
    }

    fn sort(&self, error: anyhow::Error) -> BuildFailure {
        if is_full_disk(&error) {
            return BuildFailure::Host(error.context(full_disk_text(self.cache.root())));
        }
        BuildFailure::of(error)
    }

    fn build_or_find(&self, request: &BuildRequest) -> Result<BuiltKernel> {
        let started = Instant::now();
        let kernel = self
            .catalogue
            .kernel(&request.kernel)
            .map_err(BuildFailure::Request)?;
        let recipe = match &kernel.spec.origin {
            Origin::Source(recipe) => recipe.clone(),
            Origin::Binary(binary) => {
                refuse_changes(&kernel, request).map_err(BuildFailure::Request)?;
                return Ok(binary::obtain(&kernel, binary, self.cache, self.progress)
                    .map_err(BuildFailure::Source)?);
            }
        };
        let resolved = self.resolve(request, kernel, recipe)?;
        let about = format!("asked for by `{}`", resolved.command);
        self.cache
            .keep(Kind::Build, resolved.key.as_str(), &about)?;
        if let Some(built) = self.find(&resolved, started)? {
            return Ok(built);
        }
        // Trees with the same contents have places of their own, and yet the same kernels.
        let lock = format!("build-{}", resolved.key);
        let _lock = self
            .cache
            .lock(&lock, "builds the same kernel", self.progress)?;
        if let Some(built) = self.find(&resolved, started)? {
            return Ok(built);
        }
        // One work place serves one build at a time.
        let name = keys::of_work_place(
            &resolved.source,
            &resolved.wishes,
            &keys::compiling(&resolved.toolchain, &resolved.recipe),
        );
        let mut place = WorkPlace::open(&name, &resolved.source, self.cache, self.progress)?;
        let record = self.make(&resolved, &mut place, request.jobs, started)?;
        drop(place);
        let dir = self.cache.build(&resolved.key);
        Ok(BuiltKernel::new(record, dir, started.elapsed(), false))
    }

    fn resolve(&self, request: &BuildRequest, kernel: Kernel, recipe: Recipe) -> Result<Resolved> {
        let patches = |words: &[String]| -> Result<Vec<Patch>> {
            words
                .iter()
                .map(|word| Ok(self.catalogue.patch(word).map_err(BuildFailure::Request)?))
                .collect()
        };
        let (revert, mut apply) = (patches(&request.revert)?, patches(&request.apply)?);
        let wishes = self
            .wishes(&recipe, request)
            .map_err(BuildFailure::Request)?;
        let missing = tools::missing(&tools::needed_by(&revert, &apply));
        if !missing.is_empty() {
            return Err(BuildFailure::Tools(anyhow!(tools::missing_text(&missing))).into());
        }
        let ccache = ccache::is_wanted().map_err(BuildFailure::Request)?;
        let mut toolchain = toolchain::choose(
            request.toolchain.as_deref(),
            &recipe.toolchains,
            self.catalogue,
            self.cache,
            self.progress,
        )?;
        toolchain.compiler.ccache &= ccache;
        let source = match &request.tree {
            Some(tree) => source::local_tree(tree, self.cache, self.progress),
            None => source::obtain(
                &recipe.source,
                kernel.folder.as_deref(),
                self.cache,
                self.progress,
            ),
        }
        .map_err(BuildFailure::Source)?;
        let compat = self.catalogue.compatibility_patches();
        let compat = compat.map_err(BuildFailure::Request)?;
        apply.splice(
            0..0,
            compat::needed(compat, &source.root, &toolchain.compiler),
        );
        let mut variables = toolchain.compiler.make_variables();
        variables.extend(recipe.make_arguments.iter().cloned());
        compat::add_to_variables(&mut variables, &apply);
        let key = keys::of_build(
            &source,
            &revert,
            &apply,
            &wishes,
            &keys::compiling(&toolchain, &recipe),
        );
        Ok(Resolved {
            command: command_line(request),
            kernel,
            revert,
            apply,
            wishes,
            toolchain,
            variables,
            recipe,
            source,
            key,
        })
    }

    fn wishes(&self, recipe: &Recipe, request: &BuildRequest) -> Result<Fragment> {
        let mut wishes = Fragment::default();
        for name in recipe.fragments.iter().chain(&request.fragments) {
            wishes.merge(self.catalogue.fragment(name)?);
        }
        wishes.merge(Fragment::parse("--option", &request.options.join("\n"))?);
        Ok(wishes)
    }

    /// A finished build whose configuration holds what is wished now; whether a wish is optional
    /// is not part of the key.
    fn find(&self, resolved: &Resolved, started: Instant) -> Result<Option<BuiltKernel>> {
        let dir = self.cache.build(&resolved.key);
        let Some(record) = BuildRecord::find(&dir, self.progress)? else {
            return Ok(None);
        };
        let built = BuiltKernel::new(record, dir, started.elapsed(), true);
        let Some(config) = &built.config else {
            return Ok(None);
        };
        let unheld = config::read(config)?.unheld(&resolved.wishes);
        if unheld.iter().any(|wish| !wish.optional) {
            return Ok(None);
        }
        Ok(Some(built))
    }

    fn make(
        &self,
        resolved: &Resolved,
        place: &mut WorkPlace,
        jobs: Option<usize>,
        started: Instant,
    ) -> Result<BuildRecord> {
        let (overlay, patches) = self.patch(resolved)?;
        let dir = self.cache.build(&resolved.key);
        let log = fresh_log(&dir, &resolved.command)?;
        place.put_on(&resolved.source, &overlay)?;
        let began = place.begin()?;
        let _ccache = self.cache.hold(Kind::Ccache, "ccache", "")?;
        place.forget_ccache_log()?;
        let made = self.run_make(resolved, place, &overlay, jobs, &log);
        if !made.as_ref().is_err_and(may_have_left_half_a_file) {
            place.end()?;
        }
        let notes = made?;
        let objects = place.finish(began)?;
        let record = BuildRecord {
            schema: 1,
            key: resolved.key.clone(),
            kernel: resolved.kernel.spec.name.clone(),
            release: release(&place.out())?,
            source: resolved.source.identity.clone(),
            compiler: Some(resolved.toolchain.compiler.clone()),
            enclosure: resolved.toolchain.enclosure.description(),
            patches,
            config_notes: notes,
            objects: objects.all,
            objects_compiled: objects.all - objects.reused,
            objects_reused: objects.reused,
            ccache: place.said_by_ccache().as_deref().map(ccache::hits_in),
            build_seconds: started.elapsed().as_secs_f64(),
            files: BTreeMap::new(),
        };
        record.store_built(&place.out(), &dir)
    }

    fn patch(&self, resolved: &Resolved) -> Result<(Overlay, Vec<AppliedPatch>)> {
        if resolved.revert.is_empty() && resolved.apply.is_empty() {
            return Ok((Overlay::new(), Vec::new()));
        }
        let scratch = self.cache.scratch()?;
        let task = self.progress.task("patching", 0);
        let done = work_out(
            &resolved.source.root,
            scratch.path(),
            &self.cache.rule_results(),
            &resolved.revert,
            &resolved.apply,
        )?;
        drop(task);
        Ok(done)
    }

    fn run_make(
        &self,
        resolved: &Resolved,
        place: &mut WorkPlace,
        overlay: &Overlay,
        jobs: Option<usize>,
        log: &Path,
    ) -> Result<Vec<String>> {
        let wishes = resolved.wishes.allconfig();
        let from = made_from(
            &wishes,
            &resolved.source.identity.digest,
            &kconfig_changes(overlay),
        );
        if place.configured() != Some(&from) {
            place.set_configured(None)?;
            self.maker(resolved, place, jobs, log)?
                .configure(&wishes, self.progress)?;
            place.set_configured(Some(from))?;
        }
        let config = config::read(&place.out().join(".config"))?;
        let notes = config::check(&config, &resolved.wishes, &place.tree())?;
        let usual = record::last_object_count(&self.cache.builds(), &resolved.kernel.spec.name)
            .unwrap_or(USUAL_OBJECTS);
        self.maker(resolved, place, jobs, log)?.compile(
            &resolved.kernel.spec.name,
            usual,
            self.progress,
        )?;
        Ok(notes)
    }

    fn maker<'b>(
        &'b self,
        resolved: &'b Resolved,
        place: &'b WorkPlace,
        jobs: Option<usize>,
        log: &'b Path,
    ) -> Result<Make<'b>> {
        let jobs = match jobs {
            Some(jobs) => jobs,
            None => std::thread::available_parallelism()?.get(),
        };
        Ok(Make {
            place,
            toolchain: &resolved.toolchain,
            variables: &resolved.variables,
            cache: self.cache,
            key: &resolved.key,
            jobs,
            log,
        })
    }
}

/// A binary kernel boots as it is; what would change it is refused before anything is fetched.
fn refuse_changes(kernel: &Kernel, request: &BuildRequest) -> Result<()> {
    let tree: Vec<String> = request
        .tree
        .iter()
        .map(|tree| tree.display().to_string())
        .collect();
    let toolchain: Vec<String> = request.toolchain.iter().cloned().collect();
    for (field, given) in [
        ("tree", &tree),
        ("toolchain", &toolchain),
        ("revert", &request.revert),
        ("apply", &request.apply),
        ("fragment", &request.fragments),
        ("option", &request.options),
    ] {
        if let Some(why) = kernel.refusal(given) {
            bail!("{field}: {why}");
        }
    }
    Ok(())
}

fn kconfig_changes(overlay: &Overlay) -> Vec<(String, String)> {
    overlay
        .iter()
        .filter(|(path, _)| {
            Path::new(path)
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("Kconfig"))
        })
        .map(|(path, content)| (path.clone(), content.digest()))
        .collect()
}

fn fresh_log(dir: &Path, command: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let log = dir.join("build.log");
    write_whole(&log, format!("# {command}\n").as_bytes())?;
    Ok(log)
}

/// The command that asks for the same build, for the log.
fn command_line(request: &BuildRequest) -> String {
    let mut words = vec![
        "kverdict".to_owned(),
        "build".to_owned(),
        request.kernel.clone(),
    ];
    let tree = request.tree.iter().map(|tree| tree.display().to_string());
    words.extend(tree.flat_map(|tree| ["--tree".to_owned(), tree]));
    let toolchain = request.toolchain.iter().cloned();
    words.extend(toolchain.flat_map(|name| ["--toolchain".to_owned(), name]));
    for (option, values) in [
        ("--revert", &request.revert),
        ("--apply", &request.apply),
        ("--fragment", &request.fragments),
        ("--option", &request.options),
    ] {
        for value in values {
            words.extend([option.to_owned(), value.clone()]);
        }
    }
    words.join(" ")
}

/// Make that was killed, by the user or for its time, may have been writing.
fn may_have_left_half_a_file(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>()
        || error
            .downcast_ref::<CompileError>()
            .is_some_and(|e| e.killed)
}

fn release(out: &Path) -> Result<String> {
    let path = out.join("include/config/kernel.release");
    let text =
        fs::read_to_string(&path).with_context(|| format!("make left no {}", path.display()))?;
    Ok(text.trim().to_owned())
}
