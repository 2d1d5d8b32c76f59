//! Tries the commits, and puts together what came of it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kverdict_core::advice::conclusion::{Outcome, Own};
use kverdict_core::advice::{Attempt, Facts, Fit, Standing, needed};
use kverdict_core::catalogue::key::sha256_hex;
use kverdict_core::inspect::fix::{Fix, Listed};
use kverdict_core::inspect::judge::judge;

use super::commits::Origin;
use super::fitting::Bench;
use super::target::Target;
use crate::build::cache::{Cache, write_whole};
use crate::build::git::CommitDiff;
use crate::build::overlay::{Misfit, Overlay, work_out};
use crate::build::{BuildFailure, tools};
use crate::catalogue::{Catalogue, Patch};
use crate::inspected;
use crate::progress::Progress;

/// What is tried on what.
#[derive(Debug)]
pub struct Adviser<'a> {
    /// Patches.
    pub catalogue: &'a Catalogue,
    /// Where private copies are made.
    pub cache: &'a Cache,
    /// Where to say what happens.
    pub progress: &'a Progress,
    /// The tree.
    pub target: &'a Target,
    /// Patches that go in first.
    pub series: &'a [String],
    /// The fix.
    pub fix: &'a Fix,
    /// Its commits.
    pub origin: &'a Origin,
    /// Fuzz that is allowed.
    pub fuzz: u32,
}

/// What came of it, and the set as files.
#[derive(Debug)]
pub struct Tried {
    /// For the conclusion.
    pub facts: Facts,
    /// Patches that make the set, as a build names them; empty: there is no set.
    pub patches: Vec<String>,
    /// The tree before.
    pub before: Overlay,
    /// The tree with the set.
    pub after: Overlay,
}

/// The commits tried one after the other.
#[derive(Debug, Default)]
struct Sequence {
    attempts: Vec<Attempt>,
    /// Of each attempt that was put in: a diff that fits without fuzz, and the tree after it.
    results: Vec<Option<(Vec<u8>, Overlay)>>,
}

impl Adviser<'_> {
    /// Tries everything that costs no build.
    ///
    /// # Errors
    /// When the tree is none, a patch of the series does not fit, or the host fails.
    pub fn run(&self) -> Result<Tried> {
        let before = self.series_overlay()?;
        let standing = self.standing(&before)?;
        let mut tried = Tried {
            facts: self.facts(standing),
            patches: Vec::new(),
            after: before.clone(),
            before,
        };
        if !tried.facts.before.is_open() {
            return Ok(tried);
        }
        let task = self.progress.task("trying the commits", 0);
        let diffs = self.diffs()?;
        let all: Vec<usize> = (0..diffs.len()).collect();
        let sequence = self.sequence(&diffs, &all, &tried.before)?;
        tried.facts.attempts.clone_from(&sequence.attempts);
        if needed::smallest_whole(&sequence.attempts).is_none() {
            drop(task);
            self.offer_own(&mut tried)?;
            return Ok(tried);
        }
        let set = match self.lean(&diffs, &sequence, &mut tried)? {
            Some(lean) => lean,
            None => sequence,
        };
        let prefix = needed::smallest_whole(&set.attempts).unwrap_or_default();
        for (attempt, result) in set.attempts.iter().zip(set.results).take(prefix) {
            if let Some((diff, after)) = result {
                tried.patches.push(self.keep(&attempt.commit.id, &diff)?);
                tried.after = after;
            }
        }
        Ok(tried)
    }

    /// The smallest whole prefix without its commits that change nothing, if it has such, the others fit
    /// without them, and make the tree whole.
    fn lean(
        &self,
        diffs: &[(Listed, CommitDiff)],
        sequence: &Sequence,
        tried: &mut Tried,
    ) -> Result<Option<Sequence>> {
        let attempts = &sequence.attempts;
        let idle = needed::idle(&tried.facts.before, attempts);
        if idle.is_empty() {
            return Ok(None);
        }
        let prefix = needed::smallest_whole(attempts).unwrap_or_default();
        let others: Vec<usize> = (0..prefix).filter(|one| !idle.contains(one)).collect();
        let lean = self.sequence(diffs, &others, &tried.before)?;
        let same = needed::same_and_whole(attempts, &others, &lean.attempts);
        tried.facts.lean = Some(same);
        Ok(same.then_some(lean))
    }

    fn facts(&self, before: Standing) -> Facts {
        Facts {
            kernel: self.target.name.clone(),
            source: self.target.about.clone(),
            series: self.series.to_vec(),
            commit: self.fix.commit.clone(),
            commits_from: self.origin.about(),
            fuzz: self.fuzz,
            before,
            attempts: Vec::new(),
            lean: None,
            own: None,
            build: None,
            verification: None,
        }
    }

    fn diffs(&self) -> Result<Vec<(Listed, CommitDiff)>> {
        let listed = self.fix.upstream().into_iter();
        listed
            .map(|one| {
                let diff = self.origin.diff(&one.commit.id)?;
                Ok((one, diff))
            })
            .collect()
    }

    /// Tries some of the commits, each after those before it that were put in.
    fn sequence(
        &self,
        diffs: &[(Listed, CommitDiff)],
        which: &[usize],
        before: &Overlay,
    ) -> Result<Sequence> {
        let scratch = self.cache.scratch()?;
        let mut bench = Bench::new(&self.target.root, before.clone(), scratch.path())?;
        let mut sequence = Sequence::default();
        for (listed, diff) in which.iter().map(|index| &diffs[*index]) {
            let (fit, diff) = match diff {
                CommitDiff::Diff(diff) => (bench.fit(diff)?, diff.as_slice()),
                CommitDiff::Lacking(why) => (Fit::Lacking { why: why.clone() }, &[][..]),
            };
            let mut result = None;
            let mut after = None;
            if fit.is_used(self.fuzz) {
                let diff = bench.put_in(diff, &fit)?;
                let overlay = bench.changed()?;
                after = Some(self.standing(&overlay)?);
                result = Some((diff, overlay));
            }
            sequence.attempts.push(Attempt {
                commit: listed.commit.clone(),
                part: listed.part,
                fit,
                after,
            });
            sequence.results.push(result);
        }
        Ok(sequence)
    }

    fn standing(&self, overlay: &Overlay) -> Result<Standing> {
        let fixes = std::slice::from_ref(self.fix);
        let source = inspected::tree(&self.target.root, overlay, fixes)?;
        Ok(Standing::of(&judge(self.fix, &source)))
    }

    fn patches_of_series(&self) -> Result<Vec<Patch>> {
        let patches = self.series.iter().map(|name| self.catalogue.patch(name));
        Ok(patches
            .collect::<Result<_>>()
            .map_err(BuildFailure::Request)?)
    }

    fn series_overlay(&self) -> Result<Overlay> {
        let patches = self.patches_of_series()?;
        match self.work_out(&patches)? {
            Ok(overlay) => Ok(overlay),
            Err(misfit) => Err(BuildFailure::Patch(misfit).into()),
        }
    }

    fn work_out(&self, patches: &[Patch]) -> Result<Result<Overlay, Misfit>> {
        if patches.is_empty() {
            return Ok(Ok(Overlay::new()));
        }
        let scratch = self.cache.scratch()?;
        let memo = self.cache.rule_results();
        let root = &self.target.root;
        let _task = self.progress.task("patching", 0);
        match work_out(root, scratch.path(), &memo, &[], patches) {
            Ok((overlay, _)) => Ok(Ok(overlay)),
            Err(error) => Ok(Err(error.downcast::<Misfit>()?)),
        }
    }

    /// The catalogue's own patch, where the commits do not make the tree whole.
    fn offer_own(&self, tried: &mut Tried) -> Result<()> {
        let Some(name) = &self.fix.semantic_patch else {
            return Ok(());
        };
        let own = |outcome| {
            let name = name.clone();
            Some(Own { name, outcome })
        };
        if let Some(tool) = tools::lacking("spatch") {
            let why = format!("not tried: {}", tools::missing_text(&[tool]));
            tried.facts.own = own(Outcome::DoesNot { why });
            return Ok(());
        }
        let mut patches = self.patches_of_series()?;
        patches.push(
            self.catalogue
                .patch(name)
                .context("the fix names a patch")?,
        );
        match self.work_out(&patches)? {
            Err(misfit) => {
                let why = format!("does not apply: {}", misfit.reason);
                tried.facts.own = own(Outcome::DoesNot { why });
            }
            Ok(overlay) => {
                let standing = self.standing(&overlay)?;
                if standing.is_whole() {
                    tried.patches = vec![name.clone()];
                    tried.after = overlay;
                }
                tried.facts.own = own(Outcome::Applies { after: standing });
            }
        }
        Ok(())
    }

    /// Keeps a diff under a name that stays, for builds and runs that are made with it.
    fn keep(&self, id: &str, diff: &[u8]) -> Result<String> {
        let folder = self.cache.advised(&sha256_hex(diff)[..16]);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let path: PathBuf = folder.join(format!("{id}.patch"));
        write_whole(&path, diff)?;
        Ok(path.display().to_string())
    }
}
