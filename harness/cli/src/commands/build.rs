//! `kverdict build`: builds one kernel, or finds it built.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::build::cache::Cache;
use crate::build::{BuildFailure, BuildRequest, Builder, BuiltKernel};
use crate::catalogue::Catalogue;
use crate::progress::Progress;

/// Builds a kernel of the catalogue, or finds it in the cache.
///
/// Where ccache is installed, compilations are looked up there first, and stored in kverdict's own
/// cache; KVERDICT_CCACHE=off turns that off. The kernel is the same either way. `kverdict cache`
/// shows what the cache holds; KVERDICT_CACHE says where it is, KVERDICT_CACHE_LIMIT how large it
/// may become (a size such as 20GiB, or `none`).
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Kernel of the catalogue (`kverdict kernels` lists them).
    kernel: String,
    /// Patch to put in: a name of the catalogue, a .patch file, or a folder with patch.yaml; may be
    /// given several times and is run in this order.
    #[arg(long, value_name = "PATCH")]
    apply: Vec<String>,
    /// Patch to take out before any is put in; only unified diffs can be.
    #[arg(long, value_name = "PATCH")]
    revert: Vec<String>,
    /// Source tree to use instead of the kernel's own source; it is only read.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Config fragment on top of the kernel's own.
    #[arg(long, value_name = "NAME")]
    fragment: Vec<String>,
    /// Config line on top of all fragments, such as `CONFIG_X=y`.
    #[arg(long, value_name = "LINE")]
    option: Vec<String>,
    /// Toolchain of the catalogue that compiles [default: the first of the kernel's own that this
    /// machine has or can make].
    #[arg(long, value_name = "NAME")]
    toolchain: Option<String>,
    /// Parallel compile jobs [default: number of processors].
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Folder with more kernels, fragments and patches; wins over what is embedded.
    #[arg(long, value_name = "DIR")]
    catalogue: Vec<PathBuf>,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the catalogue or the cache cannot be opened. A kernel that does not build is printed, and
/// is an exit code.
pub fn run(args: &BuildArgs, progress: &Progress) -> Result<ExitCode> {
    let catalogue = Catalogue::open(&args.catalogue)?;
    let cache = Cache::from_environment()?;
    let request = BuildRequest {
        kernel: args.kernel.clone(),
        tree: args.tree.clone(),
        revert: args.revert.clone(),
        apply: args.apply.clone(),
        fragments: args.fragment.clone(),
        options: args.option.clone(),
        toolchain: args.toolchain.clone(),
        jobs: args.jobs,
    };
    match Builder::new(&catalogue, &cache, progress).build(&request) {
        Ok(built) if args.json => println!("{}", serde_json::to_string_pretty(&built)?),
        Ok(built) => print(&built),
        Err(failure) => {
            if args.json {
                println!("{}", failure_json(&failure));
            }
            progress.line(format!("error: {failure}"));
            return Ok(ExitCode::from(failure.exit_code()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn failure_json(failure: &BuildFailure) -> serde_json::Value {
    serde_json::json!({"failure": failure.kind(), "message": failure.to_string()})
}

fn print(built: &BuiltKernel) {
    let record = &built.record;
    println!("key         {}", record.key);
    println!("release     {}", record.release);
    println!("source      {}", record.source.about);
    if let Some(compiler) = &record.compiler {
        println!("compiler    {} ({})", compiler.version, compiler.place);
    }
    for patch in &record.patches {
        let files: Vec<&str> = patch.files.keys().map(String::as_str).collect();
        println!("patch       {} ({})", patch.name, files.join(", "));
        for note in &patch.notes {
            println!("            {note}");
        }
    }
    for note in &record.config_notes {
        println!("config      {note} (optional)");
    }
    if let Some(ccache) = &record.ccache {
        let (hits, misses) = (ccache.hits, ccache.misses);
        println!("ccache      {hits} compilations found, {misses} made");
    }
    println!("bzImage     {}", built.bzimage.display());
    for (name, path) in [("System.map", &built.system_map), ("config", &built.config)] {
        let path = path.as_ref().map(|path| path.display().to_string());
        println!("{name:<12}{}", path.as_deref().unwrap_or("none"));
    }
    println!("log         {}", built.log.display());
    let how = if built.from_cache {
        "from the cache".to_owned()
    } else if record.compiler.is_none() {
        "taken as it is, not built".to_owned()
    } else {
        format!(
            "{} objects compiled, {} reused",
            record.objects_compiled, record.objects_reused
        )
    };
    println!("time        {:.1} s ({how})", built.seconds);
}
