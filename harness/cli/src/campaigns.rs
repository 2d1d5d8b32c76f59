//! Loading campaigns, and holding them against the catalogue.

use std::fs;

use anyhow::Result;
use kverdict_core::campaign::{Arm, Campaign, Tuning};
use kverdict_core::catalogue::AmplifierSpec;
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::yaml::{Problem, Problems};

use crate::catalogue::Catalogue;
use crate::commands::Usage;
use crate::configs::{self, Kind};

/// The campaign that `verify` runs when none is named.
pub const DEFAULT: &str = "migrate-swap";

/// Loads a campaign by path (anything with a `/` or ending in `.yaml`), or by the name of one that
/// comes with the program.
///
/// # Errors
/// A missing file, or everything that is wrong in it.
pub fn load(name: &str) -> Result<Campaign> {
    let config = configs::find(Kind::Campaign, name)?;
    let mut campaign = Campaign::parse(&config.file, &config.text)?;
    let Some(folder) = config.folder else {
        return Ok(campaign);
    };
    let arms = campaign.arms.values_mut();
    for tree in arms.filter_map(|arm| arm.tree.as_mut()) {
        let path = folder.join(&tree);
        // Whole, so that a run can be gone on with from another folder.
        let whole = fs::canonicalize(&path)
            .map_err(|error| Usage(format!("{name}: arms: tree: {}: {error}", path.display())))?;
        *tree = whole.display().to_string();
    }
    Ok(campaign)
}

/// Puts into the tuning what the campaign's amplifiers set, and the scheduler features that any arm's
/// kernel needs: arms have to differ in the fix alone. Gives the amplifiers, for the report.
///
/// # Errors
/// A name that the catalogue does not have, or a file of it that is wrong.
pub fn resolve(campaign: &mut Campaign, catalogue: &Catalogue) -> Result<Vec<AmplifierSpec>> {
    let amplifiers = campaign.amplifiers.iter();
    let amplifiers: Vec<AmplifierSpec> = amplifiers
        .map(|name| catalogue.amplifier(name))
        .collect::<Result<_>>()?;
    for amplifier in &amplifiers {
        campaign.tuning.add(&amplifier.tuning);
    }
    for arm in campaign.arms.values() {
        let needed = Tuning {
            sched_features: catalogue.kernel(&arm.kernel)?.spec.sched_features,
            ..Tuning::default()
        };
        campaign.tuning.add(&needed);
    }
    Ok(amplifiers)
}

/// Whether the catalogue has every name of the campaign, before a run is started.
///
/// # Errors
/// All that it does not have, together.
pub fn check_names(file: &str, campaign: &Campaign, catalogue: &Catalogue) -> Result<()> {
    let mut problems = Vec::new();
    for (index, name) in campaign.amplifiers.iter().enumerate() {
        if let Err(error) = catalogue.amplifier(name) {
            let field = format!("amplifiers[{index}]");
            problems.push(Problem::new(field, format!("{error:#}")));
        }
    }
    for (name, arm) in &campaign.arms {
        let found = arm_problems(arm, catalogue);
        problems.extend(found.into_iter().map(|problem| {
            Problem::new(format!("arms.{name}.{}", problem.field), problem.message)
        }));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Problems {
        file: file.to_owned(),
        problems,
    }
    .into())
}

/// What the catalogue does not have, or cannot do, of what an arm names.
pub fn arm_problems(arm: &Arm, catalogue: &Catalogue) -> Vec<Problem> {
    let mut problems = kernel_problems(arm, catalogue);
    problems.extend(patch_problems(arm, catalogue));
    problems
}

/// What is wrong with an arm's kernel, with what is asked of it, and with its toolchain.
fn kernel_problems(arm: &Arm, catalogue: &Catalogue) -> Vec<Problem> {
    let mut problems = Vec::new();
    match catalogue.kernel(&arm.kernel) {
        Err(error) => problems.push(Problem::new("kernel", format!("{error:#}"))),
        Ok(kernel) => {
            let tree: Vec<String> = arm.tree.iter().cloned().collect();
            for (list, asked) in [
                ("tree", &tree),
                ("apply", &arm.apply),
                ("revert", &arm.revert),
            ] {
                problems.extend(kernel.refusal(asked).map(|why| Problem::new(list, why)));
            }
        }
    }
    if let Some(Err(error)) = arm.toolchain.as_ref().map(|name| catalogue.toolchain(name)) {
        problems.push(Problem::new("toolchain", format!("{error:#}")));
    }
    problems
}

fn patch_problems(arm: &Arm, catalogue: &Catalogue) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (list, patches) in [("apply", &arm.apply), ("revert", &arm.revert)] {
        for patch in patches {
            let text = match catalogue.patch(patch) {
                Err(error) => format!("{error:#}"),
                Ok(found) if found.kind == Some(PatchKind::Provoke) => format!(
                    "`{patch}` makes CPUs get stuck on purpose: it proves detectors, and no arm may carry it"
                ),
                Ok(_) => continue,
            };
            problems.push(Problem::new(list, text));
        }
    }
    problems
}
