//! What a cell's trials run under, as a digest: nights are held against each other only where it is the same.
//!
//! A load that is changed under the name that it has would read as a change of the kernel. What only says when to
//! stop, such as the budget, the number of trials and deadlines, is no part of it; how long a trial is, and what
//! counts as exposure, are: reports that end no trial are counted per trial, and rates per exposed minute.

use serde::Serialize;

use crate::campaign::{Campaign, Guest, MinExposure, Tuning};
use crate::catalogue::key::BuildKey;
use crate::holder::HolderSpec;
use crate::load::LoadSpec;

/// Everything that goes into the digest.
#[derive(Serialize)]
struct Conditions<'a> {
    signature: &'a str,
    guest: &'a Guest,
    /// With what run-time amplifiers set.
    tuning: &'a Tuning,
    holder: &'a Option<HolderSpec>,
    load: &'a LoadSpec,
    load_seconds: u32,
    min_exposure: &'a MinExposure,
    /// Digests of the amplifiers that are compiled into the kernel, in the order in which they are put in.
    amplifiers: Vec<String>,
}

/// Digest of what the trials of a campaign with one arm run under; `amplifier` gives the digest of a patch if it
/// is one.
pub(super) fn digest(campaign: &Campaign, amplifier: impl Fn(&str) -> Option<String>) -> String {
    let patches = campaign.arms.values().flat_map(|arm| &arm.apply);
    let conditions = Conditions {
        signature: &campaign.signature,
        guest: &campaign.guest,
        tuning: &campaign.tuning,
        holder: &campaign.holder,
        load: &campaign.load,
        load_seconds: campaign.policy.load_seconds,
        min_exposure: &campaign.policy.min_exposure,
        amplifiers: patches.filter_map(|patch| amplifier(patch)).collect(),
    };
    // Structs of numbers and texts are always JSON.
    let text = serde_json::to_string(&conditions).unwrap_or_default();
    BuildKey::of([("conditions", text.as_str())]).to_string()
}
