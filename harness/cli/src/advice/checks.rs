//! What building and running say of a set.

use std::path::Path;

use anyhow::Result;
use kverdict_core::advice::conclusion::{Build, Verification as Verified};
use kverdict_core::campaign::{Campaign, Role};

use super::target::Target;
use crate::build::cache::Cache;
use crate::build::{BuildFailure, BuildRequest, Builder, BuiltKernel};
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::executor::ExecutorArgs;
use crate::progress::Progress;
use crate::verification::Verification;

/// How sets are built and run.
#[derive(Debug)]
pub struct Checks<'a> {
    /// Kernels and patches.
    pub catalogue: &'a Catalogue,
    /// Built kernels.
    pub cache: &'a Cache,
    /// Where to say what happens.
    pub progress: &'a Progress,
    /// The tree.
    pub target: &'a Target,
    /// Patches that go in first.
    pub series: &'a [String],
    /// Name of a toolchain; none: the kernel's own.
    pub toolchain: Option<&'a str>,
    /// Parallel compile jobs; none: one per processor.
    pub jobs: Option<usize>,
}

impl Checks<'_> {
    /// Builds the tree with a set. If that fails the tree is built without it too: a tree that does not
    /// build says nothing of a set.
    ///
    /// # Errors
    /// When the request is wrong, or the machine is in trouble.
    pub fn build(&self, set: &[String]) -> Result<Build> {
        let broken = match self.kernel(set) {
            Ok(built) => {
                return Ok(Build::Builds {
                    release: built.record.release.clone(),
                    key: built.record.key.to_string(),
                });
            }
            Err(BuildFailure::Compile(error)) if !error.killed => error,
            Err(failure) => return cannot_tell(failure),
        };
        self.progress
            .line("it does not build with the set; building it without");
        match self.kernel(&[]) {
            Ok(_) => Ok(Build::Breaks {
                said: broken.to_string(),
            }),
            Err(BuildFailure::Compile(error)) => Ok(Build::CannotTell {
                why: format!("the tree does not build without the set either: {error}"),
            }),
            Err(failure) => cannot_tell(failure),
        }
    }

    fn kernel(&self, set: &[String]) -> Result<BuiltKernel, BuildFailure> {
        let request = BuildRequest {
            kernel: self.target.name.clone(),
            tree: self.target.tree.clone(),
            apply: [self.series, set].concat(),
            toolchain: self.toolchain.map(str::to_owned),
            jobs: self.jobs,
            ..BuildRequest::default()
        };
        Builder::new(self.catalogue, self.cache, self.progress).build(&request)
    }

    /// Runs a campaign with the tree as control, and the tree with the set as subject.
    ///
    /// # Errors
    /// When the campaign is wrong, a kernel cannot be built, the host fails, or the user interrupts.
    pub fn verify(&self, name: &str, set: &[String], results: &Path) -> Result<Verified> {
        let mut campaign = campaigns::load(name)?;
        self.put_into(&mut campaign, set);
        campaigns::check_names(name, &campaign, self.catalogue)?;
        let mut verification = Verification::begin(campaign, self.catalogue, results)?;
        let report = verification.go_on(
            self.catalogue,
            self.cache,
            self.progress,
            self.jobs,
            &ExecutorArgs::default(),
        )?;
        Ok(Verified {
            run: verification.root().display().to_string(),
            conclusion: report.verdict.conclusion,
            reasons: report.verdict.reasons,
        })
    }

    /// Both arms are the tree, and keep what the campaign puts into both, such as an amplifier.
    fn put_into(&self, campaign: &mut Campaign, set: &[String]) {
        let mut common: Option<Vec<String>> = None;
        for arm in campaign.arms.values() {
            common = Some(match common {
                None => arm.apply.clone(),
                Some(so_far) => so_far
                    .into_iter()
                    .filter(|one| arm.apply.contains(one))
                    .collect(),
            });
        }
        let common = common.unwrap_or_default();
        for arm in campaign.arms.values_mut() {
            let own = match arm.role {
                Role::Control => &[][..],
                Role::Subject => set,
            };
            arm.kernel.clone_from(&self.target.name);
            arm.tree = self
                .target
                .tree
                .as_ref()
                .map(|tree| tree.display().to_string());
            arm.toolchain = self.toolchain.map(str::to_owned);
            arm.revert.clear();
            arm.apply = [self.series, own, &common].concat();
        }
    }
}

fn cannot_tell(failure: BuildFailure) -> Result<Build> {
    match failure {
        BuildFailure::Patch(_) | BuildFailure::Config(_) | BuildFailure::Compile(_) => {
            Ok(Build::CannotTell {
                why: failure.to_string(),
            })
        }
        BuildFailure::Request(_)
        | BuildFailure::Source(_)
        | BuildFailure::Tools(_)
        | BuildFailure::Host(_)
        | BuildFailure::Interrupted => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn both_arms_are_the_tree_and_only_the_subject_has_the_set() {
        let catalogue = Catalogue::open(&[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checks = Checks {
            catalogue: &catalogue,
            cache: &Cache::at(folder.path()).unwrap(),
            progress: &Progress::detect(),
            target: &Target {
                name: "el7-514".to_owned(),
                about: String::new(),
                root: PathBuf::from("/tree"),
                tree: Some(PathBuf::from("/tree")),
                is_known: true,
            },
            series: &["mine.patch".to_owned()],
            toolchain: None,
            jobs: None,
        };
        let mut campaign = campaigns::load(campaigns::DEFAULT).unwrap();
        checks.put_into(&mut campaign, &["fix.patch".to_owned()]);
        for arm in campaign.arms.values() {
            assert_eq!(arm.kernel, "el7-514");
            assert_eq!(arm.tree.as_deref(), Some("/tree"));
            // The campaign's control puts the defect back; this tree has its own.
            let apply = match arm.role {
                Role::Control => &["mine.patch", "amplify"][..],
                Role::Subject => &["mine.patch", "fix.patch", "amplify"],
            };
            assert_eq!(arm.apply, apply);
        }
    }
}
