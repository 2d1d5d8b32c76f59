//! `kverdict advise`: which commits a tree needs to have a fix, and whether they go into it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use kverdict_core::advice::{Advice, Conclusion};
use kverdict_core::inspect::fix::Fix;

use super::kernel_args::kernel_and_tree;
use super::{TrialArgs, Usage};
use crate::advice::adviser::{Adviser, Tried};
use crate::advice::checks::Checks;
use crate::advice::commits::Origin;
use crate::advice::target::Target;
use crate::build::cache::Cache;
use crate::build::difference;
use crate::build::overlay::{Content, put};
use crate::build::tools;
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::dependencies;
use crate::progress::Progress;

const HELP: &str = "\
`inspect` says that a source tree lacks a fix. `advise` says what to do about it: the fix, its follow-ups and its \
later forms are tried on a private copy of the tree, one after the other as upstream has them, and after each \
the source is judged again. What comes out is the smallest set of them that makes the fix whole.

The commits come from a git repository of yours, which is only read, or from a folder with one patch for each, \
named by its id or with a `From ID` line as `git format-patch` writes it:

  kverdict advise el7-514 --tree el7-514=linux-3.10.0-514.el7 --upstream ~/linux
  kverdict advise linux-4.14 --patches fixes/ --output backport.patch
  kverdict advise debian-6.12 --apply mine.patch --upstream ~/linux --build

Each commit applies cleanly, at another line, with fuzz, conflicts, or is there already. A hunk that needs fuzz \
lands by guess, so it is left out unless --fuzz says otherwise. Where the commits do not make the tree whole, \
kverdict's own semantic patch is tried in their place.

--build compiles the tree with the set. --verify also runs the campaign: the tree has to lock up, the tree \
with the set has to survive.

Exit status:
  0    a set makes the fix whole (and builds, and is verified, if that was asked for)
  1    none does, or it does not build or hold
  125  could not tell: the tree is not affected or not understood, or commits were not found";

/// Arguments of `kverdict advise`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct AdviseArgs {
    /// Kernel of the catalogue, or the folder of a source tree
    kernel: String,
    /// Use a source tree here instead of the kernel's public source; it is only read
    #[arg(long, value_name = "KERNEL=DIR", value_parser = kernel_and_tree)]
    tree: Option<(String, PathBuf)>,
    /// Git repository here that has the commits; it is only read
    #[arg(
        long,
        value_name = "REPO",
        required_unless_present = "patches",
        conflicts_with = "patches"
    )]
    upstream: Option<PathBuf>,
    /// Folder with one .patch per commit
    #[arg(long, value_name = "DIR")]
    patches: Option<PathBuf>,
    /// Patch that goes in first, such as a series of your own; may be given several times
    #[arg(long, value_name = "PATCH")]
    apply: Vec<String>,
    /// Fix to look for [default: the one that is known]
    #[arg(long, value_name = "NAME")]
    fix: Option<String>,
    /// Lines of context that may differ in commits that are put in
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2))]
    fuzz: u32,
    /// Build the tree with the set
    #[arg(long)]
    build: bool,
    /// Run the campaign with the tree as control and the tree with the set as subject; builds too
    #[arg(long)]
    verify: bool,
    /// Campaign for --verify: a path or a name
    #[arg(long, value_name = "CAMPAIGN", default_value = campaigns::DEFAULT, requires = "verify")]
    campaign: String,
    /// Toolchain of the catalogue [default: the first of the kernel's own that can be had]
    #[arg(long, value_name = "NAME")]
    toolchain: Option<String>,
    /// Write the set as one diff against the tree (with what --apply put in)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    common: TrialArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong input, trouble of the host, or an interrupt.
pub fn run(args: &AdviseArgs) -> Result<ExitCode> {
    let progress = Progress::detect();
    if args.common.install_deps {
        dependencies::install_missing(&progress)?;
    }
    let missing = ["patch", "git"].into_iter().filter_map(tools::lacking);
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        bail!("{}", tools::missing_text(&missing));
    }
    let catalogue = Catalogue::open(&args.common.catalogue)?;
    let cache = Cache::from_environment()?;
    let fix = the_fix(args, &catalogue)?;
    let origin = origin(args)?;
    let target = Target::find(
        &args.kernel,
        args.tree.as_ref(),
        &catalogue,
        &cache,
        &progress,
    )?;
    if (args.build || args.verify) && !target.is_known {
        return Err(Usage(format!(
            "{0} is a folder, and nothing says how it is built: name a kernel of the catalogue, with --tree KERNEL={0}",
            target.name
        ))
        .into());
    }
    let adviser = Adviser {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        target: &target,
        series: &args.apply,
        fix: &fix,
        origin: &origin,
        fuzz: args.fuzz,
    };
    let mut tried = adviser.run()?;
    let checks = Checks {
        catalogue: &catalogue,
        cache: &cache,
        progress: &progress,
        target: &target,
        series: &args.apply,
        toolchain: args.toolchain.as_deref(),
        jobs: args.common.compile_jobs,
    };
    check(args, &checks, &mut tried)?;
    let advice = Advice::of(tried.facts.clone());
    write(args, &advice, &tried, &target, &cache, &progress)?;
    print(args, &advice)?;
    Ok(ExitCode::from(advice.conclusion.exit_code()))
}

fn the_fix(args: &AdviseArgs, catalogue: &Catalogue) -> Result<Fix> {
    let names: Vec<String> = args.fix.iter().cloned().collect();
    let fixes = catalogue
        .fixes(&names)
        .map_err(|error| Usage(format!("{error:#}")))?;
    let known: Vec<String> = fixes.iter().map(|fix| fix.name.clone()).collect();
    let mut fixes = fixes.into_iter();
    match (fixes.next(), fixes.next()) {
        (Some(fix), None) => Ok(fix),
        (Some(_), Some(_)) | (None, _) => Err(Usage(format!(
            "name one fix by --fix; known: {}",
            known.join(", ")
        ))
        .into()),
    }
}

fn origin(args: &AdviseArgs) -> Result<Origin> {
    match (&args.upstream, &args.patches) {
        (Some(repository), _) => Origin::repository(repository),
        (None, Some(folder)) => Origin::folder(folder),
        (None, None) => Err(Usage("give --upstream or --patches".to_owned()).into()),
    }
}

/// Builds and runs the set as far as that was asked for, and as there is one.
fn check(args: &AdviseArgs, checks: &Checks<'_>, tried: &mut Tried) -> Result<()> {
    if tried.patches.is_empty() || !(args.build || args.verify) {
        return Ok(());
    }
    tried.facts.build = Some(checks.build(&tried.patches)?);
    let so_far = Advice::of(tried.facts.clone());
    if args.verify && so_far.conclusion == Conclusion::Applies {
        let verified = checks.verify(&args.campaign, &tried.patches, &args.common.results)?;
        tried.facts.verification = Some(verified);
    }
    Ok(())
}

/// The set as one diff: all of it, or no file.
fn write(
    args: &AdviseArgs,
    advice: &Advice,
    tried: &Tried,
    target: &Target,
    cache: &Cache,
    progress: &Progress,
) -> Result<()> {
    let Some(output) = &args.output else {
        return Ok(());
    };
    if advice.conclusion != Conclusion::Applies {
        progress.line(format!("{} was not written", output.display()));
        return Ok(());
    }
    let scratch = cache.scratch()?;
    let bytes = difference::unified(&target.root, &tried.before, &tried.after, scratch.path())?;
    let executable = false;
    put(output, &Content::File { bytes, executable })?;
    progress.line(format!("written: {}", output.display()));
    Ok(())
}

fn print(args: &AdviseArgs, advice: &Advice) -> Result<()> {
    let text = if args.common.json {
        serde_json::to_string_pretty(advice)? + "\n"
    } else {
        advice.to_string()
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads this has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
