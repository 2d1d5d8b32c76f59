//! Finding what a tune has to do, and the campaign that it starts from.

use anyhow::Result;
use kverdict_core::campaign::Campaign;
use kverdict_core::tune::space::Space;
use kverdict_core::tune::spec::TuneSpec;

use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::kernel_args::KernelArgs;
use crate::configs::{self, Kind};

/// A tune and its campaign, both without mistakes.
#[derive(Debug)]
pub struct Tune {
    /// What to do.
    pub spec: TuneSpec,
    /// The campaign to start from.
    pub campaign: Campaign,
    /// The campaigns among which to search.
    pub space: Space,
}

/// Loads a tune by path, or by the name of one that comes with the program. `kernels` is what its
/// campaign's arms are made of instead.
///
/// # Errors
/// A missing file, or everything that is wrong in it or in its campaign.
pub fn load(name: &str, kernels: &KernelArgs, catalogue: &Catalogue) -> Result<Tune> {
    let config = configs::find(Kind::Tune, name)?;
    let spec = TuneSpec::parse(&config.file, &config.text)?;
    let folder = config.folder.filter(|_| configs::is_path(&spec.campaign));
    let word = folder.map_or(spec.campaign.clone(), |folder| {
        folder.join(&spec.campaign).display().to_string()
    });
    let mut campaign = campaigns::load(&word)?;
    kernels.put_into(&mut campaign)?;
    campaigns::check_names(&word, &campaign, catalogue)?;
    let space = Space::new(&config.file, &spec, &campaign)?;
    // Values may be names, such as those of amplifiers.
    for point in space.beside() {
        if let Ok(campaign) = space.campaign(&point) {
            campaigns::check_names(&config.file, &campaign, catalogue)?;
        }
    }
    Ok(Tune {
        spec,
        campaign,
        space,
    })
}
