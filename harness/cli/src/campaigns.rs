//! Finding campaigns: files, or the ones that come with the program.

use std::fs;
use std::path::Path;

use anyhow::Result;
use include_dir::{Dir, include_dir};
use kverdict_core::campaign::{Campaign, Tuning};
use kverdict_core::catalogue::AmplifierSpec;

use crate::catalogue::Catalogue;
use crate::commands::Usage;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../configs");

/// The campaign that `verify` runs when none is named.
pub const DEFAULT: &str = "migrate-swap";

/// Loads a campaign by path (anything with a `/` or ending in `.yaml`), or by the name of one that
/// comes with the program.
///
/// # Errors
/// A missing file, or everything that is wrong in it.
pub fn load(name: &str) -> Result<Campaign> {
    let is_path = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml");
    if is_path {
        let text = fs::read_to_string(Path::new(name))
            .map_err(|error| Usage(format!("cannot read the campaign {name}: {error}")))?;
        let mut campaign = Campaign::parse(name, &text)?;
        let folder = Path::new(name).parent().unwrap_or(Path::new("."));
        for tree in campaign
            .arms
            .values_mut()
            .filter_map(|arm| arm.tree.as_mut())
        {
            let path = folder.join(&tree);
            // Whole, so that a run can be gone on with from another folder.
            let whole = fs::canonicalize(&path).map_err(|error| {
                Usage(format!("{name}: arms: tree: {}: {error}", path.display()))
            })?;
            *tree = whole.display().to_string();
        }
        return Ok(campaign);
    }
    let file = format!("{name}.yaml");
    let Some(text) = EMBEDDED
        .get_file(&file)
        .and_then(|file| file.contents_utf8())
    else {
        let known = names().join(", ");
        let text = format!(
            "no campaign `{name}` comes with kverdict; there are: {known}. A file is named by its path"
        );
        return Err(Usage(text).into());
    };
    Ok(Campaign::parse(&format!("configs/{file}"), text)?)
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

/// Names of the campaigns that come with the program.
pub fn names() -> Vec<String> {
    let stem = |file: &include_dir::File<'_>| Some(file.path().file_stem()?.to_str()?.to_owned());
    EMBEDDED.files().filter_map(stem).collect()
}
