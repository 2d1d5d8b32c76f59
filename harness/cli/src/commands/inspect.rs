//! `kverdict inspect`: whether a kernel has a fix, without booting it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kverdict_core::catalogue::kernel::Origin;
use kverdict_core::inspect::finding::{Evidence, Finding, Presence, State};
use kverdict_core::inspect::fix::{Commit, Fix};
use kverdict_core::inspect::judge::{Kernel, judge};
use serde::Serialize;

use super::Usage;
use crate::build::cache::Cache;
use crate::build::overlay::{Overlay, work_out};
use crate::build::{BuildFailure, BuildRequest, Builder, source};
use crate::catalogue::{Catalogue, Patch};
use crate::inspected;
use crate::progress::Progress;

const EXIT_FOUND: u8 = 1;
const EXIT_CANNOT_TELL: u8 = 125;

/// Say whether a kernel has the fix, from its source or its code, without booting it
///
/// Source is read by its structure and code by its instructions: what happens between taking and
/// dropping a lock decides, not how it is written. That the fix is there does not prove that it works;
/// `kverdict verify` does. Exit code: 0 the fix is there or the kernel cannot have the bug, 1 it is not
/// there or lacks follow-ups, 125 cannot tell, 129 the input is no kernel.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kverdict inspect linux-6.12
  kverdict inspect /boot/vmlinuz-6.1.0-18-amd64
  kverdict inspect kernel-3.10.0-957.el7.x86_64.rpm --json
  kverdict inspect debian-6.12 --apply reintroduce-0b26351b910f")]
pub struct InspectArgs {
    /// Source tree, vmlinux, bzImage, .deb, .rpm, or a kernel of the catalogue
    what: String,
    /// Fix to look for [default: all that are known]
    #[arg(long, value_name = "NAME")]
    fix: Vec<String>,
    /// Patch to put into the source first, in a private copy
    #[arg(long, value_name = "PATCH")]
    apply: Vec<String>,
    /// Patch to take out of the source before any is put in
    #[arg(long, value_name = "PATCH")]
    revert: Vec<String>,
    /// Symbols of a binary: System.map or vmlinux [default: its own]
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// Folder with more kernels, patches and fixes; wins over what is embedded
    #[arg(long, value_name = "DIR")]
    catalogue: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was inspected and what was found.
#[derive(Debug, Serialize)]
struct Inspection {
    /// As it was named.
    kernel: String,
    /// What kind of thing that is.
    kind: String,
    /// What `uname -r` says, when the file does.
    release: Option<String>,
    /// Patches that were put in or taken out first.
    patches: Vec<String>,
    /// One for each fix.
    findings: Vec<Finding>,
}

/// Runs the command.
///
/// # Errors
/// When what is named is no kernel, or cannot be read.
pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let catalogue = Catalogue::open(&args.catalogue)?;
    let fixes = catalogue
        .fixes(&args.fix)
        .map_err(|error| Usage(format!("{error:#}")))?;
    let inspector = Inspector {
        args,
        catalogue,
        cache: Cache::from_environment()?,
        progress: Progress::detect(),
        fixes,
    };
    let inspection = inspector.inspect()?;
    let text = if args.json {
        serde_json::to_string_pretty(&inspection)? + "\n"
    } else {
        describe(&inspection)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads this has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::from(exit_code(&inspection.findings))),
    }
}

/// What was found counts for more than what could not be told.
fn exit_code(findings: &[Finding]) -> u8 {
    let any = |state: State| findings.iter().any(|finding| finding.state == state);
    if any(State::Affected) || any(State::Partial) {
        EXIT_FOUND
    } else if any(State::Unknown) {
        EXIT_CANNOT_TELL
    } else {
        0
    }
}

struct Inspector<'a> {
    args: &'a InspectArgs,
    catalogue: Catalogue,
    cache: Cache,
    progress: Progress,
    fixes: Vec<Fix>,
}

impl Inspector<'_> {
    fn inspect(&self) -> Result<Inspection> {
        let path = Path::new(&self.args.what);
        if path.is_dir() {
            self.tree("source tree".to_owned(), path)
        } else if path.exists() {
            self.binary(path, None)
        } else {
            self.known_kernel()
        }
    }

    fn known_kernel(&self) -> Result<Inspection> {
        let name = &self.args.what;
        let known = self.catalogue.kernel_names()?;
        if !known.contains(name) {
            return Err(Usage(format!(
                "there is no file, folder or kernel `{name}`: expected a source tree, a vmlinux, a bzImage, a .deb, \
                 a .rpm, or one of {}",
                known.join(", ")
            ))
            .into());
        }
        let kernel = self.catalogue.kernel(name)?;
        match &kernel.spec.origin {
            Origin::Source(recipe) => {
                let folder = kernel.folder.as_deref();
                let source = source::obtain(&recipe.source, folder, &self.cache, &self.progress)
                    .map_err(BuildFailure::Source)?;
                self.tree(format!("source, {}", source.identity.about), &source.root)
            }
            Origin::Binary(_) => {
                let request = BuildRequest {
                    kernel: name.clone(),
                    ..BuildRequest::default()
                };
                let built =
                    Builder::new(&self.catalogue, &self.cache, &self.progress).build(&request)?;
                self.binary(&built.bzimage, built.system_map.as_deref())
            }
        }
    }

    fn tree(&self, kind: String, root: &Path) -> Result<Inspection> {
        if self.args.symbols.is_some() {
            return Err(Usage("--symbols is for binaries: source needs none".to_owned()).into());
        }
        let overlay = self.overlay(root)?;
        let source = inspected::tree(root, &overlay, &self.fixes)?;
        let put_in = self.args.apply.iter().map(|name| format!("with {name}"));
        let taken_out = self.args.revert.iter();
        let patches = taken_out.map(|name| format!("without {name}"));
        Ok(Inspection {
            patches: patches.chain(put_in).collect(),
            ..self.inspection(kind, None, &source)
        })
    }

    fn overlay(&self, root: &Path) -> Result<Overlay> {
        let patches = |names: &[String]| -> Result<Vec<Patch>> {
            let all = names.iter().map(|name| self.catalogue.patch(name));
            all.collect::<Result<_>>()
                .map_err(|error| Usage(format!("{error:#}")).into())
        };
        let (revert, apply) = (patches(&self.args.revert)?, patches(&self.args.apply)?);
        if revert.is_empty() && apply.is_empty() {
            return Ok(Overlay::new());
        }
        let scratch = self.cache.scratch()?;
        let memo = self.cache.rule_results();
        let _task = self.progress.task("patching", 0);
        Ok(work_out(root, scratch.path(), &memo, &revert, &apply)?.0)
    }

    fn binary(&self, path: &Path, map: Option<&Path>) -> Result<Inspection> {
        if let Some(patch) = self.args.apply.iter().chain(&self.args.revert).next() {
            return Err(Usage(format!(
                "{} is a binary: the patch {patch} cannot go into it; name a source tree or a kernel with source",
                self.args.what
            ))
            .into());
        }
        let symbols = self.args.symbols.as_deref().or(map);
        let scratch = self.cache.scratch()?;
        let found = inspected::binary(path, symbols, scratch.path(), &self.progress)?;
        Ok(self.inspection(found.kind.to_owned(), found.release, &found.image))
    }

    fn inspection(&self, kind: String, release: Option<String>, kernel: &dyn Kernel) -> Inspection {
        Inspection {
            kernel: self.args.what.clone(),
            kind,
            release,
            patches: Vec::new(),
            findings: self.fixes.iter().map(|fix| judge(fix, kernel)).collect(),
        }
    }
}

/// Text for people.
fn describe(inspection: &Inspection) -> String {
    let mut about = vec![inspection.kind.clone()];
    about.extend(inspection.release.clone());
    about.extend(inspection.patches.clone());
    let mut text = format!("{}: {}\n", inspection.kernel, about.join(", "));
    for finding in &inspection.findings {
        text += &describe_finding(finding);
    }
    text
}

fn describe_finding(finding: &Finding) -> String {
    let mut text = format!(
        "\n{}: {}\n  {}\n",
        cite(&finding.commit),
        finding.state.word(),
        finding.why
    );
    for form in &finding.forms {
        text += &format!("  form: {} ({})\n", form.about, form.commit.id);
    }
    text += &describe_evidence(&finding.evidence);
    if !finding.follow_ups.is_empty() {
        text += "  follow-ups:\n";
    }
    for found in &finding.follow_ups {
        let state = match found.state {
            Presence::Present => "present",
            Presence::Missing => "missing",
            Presence::CannotTell => "cannot tell",
            Presence::NoEffect => "mends none",
        };
        text += &format!("    {state:<12} {}\n", cite(&found.commit));
    }
    if !finding.missing.is_empty() {
        text += "  you MAY be missing kernel fixes:\n";
    }
    for commit in &finding.missing {
        text += &format!("    {} ({})\n", cite(commit), commit.since);
    }
    for related in &finding.related {
        text += &format!(
            "  another bug MAY be open: {}\n    {} ({})\n",
            related.about,
            cite(&related.commit),
            related.commit.since
        );
    }
    text
}

fn describe_evidence(evidence: &[Evidence]) -> String {
    let mut text = String::new();
    if !evidence.is_empty() {
        text += "  evidence:\n";
    }
    for one in evidence {
        // Writing to a String cannot fail.
        writeln!(text, "    {}: {}, {}", one.place, one.code, one.about).unwrap_or_default();
    }
    text
}

fn cite(commit: &Commit) -> String {
    format!("{} (\"{}\")", commit.id, commit.title)
}

#[cfg(test)]
mod tests {
    use kverdict_core::inspect::source::Source;

    use super::*;

    const FIX: &str = include_str!("../../../../kernels/fixes/migrate-swap.yaml");

    /// A kernel in little whose one way to queue does this.
    fn finding(steps: &str) -> Finding {
        let mut source = Source::default();
        source.add(
            "kernel/sched/core.c",
            "int migrate_swap_stop(void) { return 0; }",
        );
        let entry = |name: &str| format!("void {name}(struct box *b) {{ {steps} }}\n");
        let text = ["stop_two_cpus", "stop_one_cpu", "stop_one_cpu_nowait"].map(entry);
        source.add("kernel/stop_machine.c", &text.concat());
        judge(&Fix::parse("fix", FIX).unwrap(), &source)
    }

    const EARLY: &str =
        "spin_lock(&b->lock); list_add_tail(b, b); wake_up_process(b); spin_unlock(&b->lock);";
    const LATE: &str =
        "spin_lock(&b->lock); list_add_tail(b, b); spin_unlock(&b->lock); wake_up_process(b);";

    #[test]
    fn exit_codes() {
        let whole = format!("preempt_disable(); {LATE} preempt_enable();");
        for (findings, expected) in [
            (vec![finding(EARLY)], 1),
            (vec![finding(LATE)], 1),
            (vec![finding(&whole)], 0),
            (vec![finding("")], 125),
            (vec![finding(&whole), finding("")], 125),
            (vec![finding(""), finding(EARLY)], 1),
            (vec![], 0),
        ] {
            assert_eq!(exit_code(&findings), expected, "{findings:#?}");
        }
    }

    #[test]
    fn what_may_be_missing_is_listed_with_its_evidence() {
        let text = describe_finding(&finding(EARLY));
        for words in [
            "deadlock\"): affected\n",
            "kernel/stop_machine.c:1: stop_two_cpus() calls wake_up_process(b), with the lock held\n",
            "you MAY be missing kernel fixes:\n    0b26351b910f (\"stop_machine, sched: Fix migrate_swap()",
            "cfd355145c32 (\"stop_machine: Atomically queue and wake stopper threads\") (v4.19)\n",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let text = describe_finding(&finding(LATE));
        for words in [
            "): partial\n",
            "missing      2610e8894663",
            "preemption on\n",
            "(009836b4fa52)",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
