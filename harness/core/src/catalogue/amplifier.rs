//! One run-time amplifier of the catalogue: settings of a running guest that make the race likely.

use serde::{Deserialize, Serialize};

use super::Problems;
use super::problem::{check_name, parse_checked};
use crate::campaign::Tuning;

/// Settings with a name and a reason, as its YAML file describes them. They are made by the agent, in
/// every arm alike, and never taken back: the guest ends with its trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmplifierSpec {
    /// Name; also the file's.
    pub name: String,
    /// What it is good for, in a line.
    pub reason: String,
    /// How it works.
    #[serde(default)]
    pub about: String,
    /// Which kernels have what it sets.
    pub applies_to: String,
    /// The settings.
    pub tuning: Tuning,
}

impl AmplifierSpec {
    /// Reads one amplifier file.
    ///
    /// # Errors
    /// Every problem of the file; YAML of the wrong shape stops at the first one.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        parse_checked(file, text, |spec: &Self| spec.complaints(file))
    }

    fn complaints(&self, file: &str) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(check_name(&self.name).err());
        if !file.ends_with(&format!("{}.yaml", self.name)) {
            found.push(format!(
                "name: `{}` is not the file's name: rename one of them",
                self.name
            ));
        }
        for (field, text) in [("reason", &self.reason), ("applies_to", &self.applies_to)] {
            if text.trim().is_empty() {
                found.push(format!("{field}: is empty: say it in a line"));
            }
        }
        if self.tuning == Tuning::default() {
            found.push("tuning: sets nothing: name at least one setting".to_owned());
        }
        found
    }

    /// What it sets, as `NAME=VALUE`: the settings that are among those `made`, and those in whose place
    /// something else was.
    pub fn settings_among(&self, made: &Tuning) -> (Vec<String>, Vec<String>) {
        let made = made.settings();
        let mine = self.tuning.settings().into_iter();
        mine.partition(|setting| made.contains(setting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Setting;

    const TEXT: &str = "name: a\nreason: r\napplies_to: all\n\
                        tuning: {sysctls: {kernel.x: 1}, sched_features: [NO_Y], files: {/proc/z: \"|=2\"}}\n";

    #[test]
    fn what_it_sets_is_told_from_what_a_campaign_sets_instead() {
        let spec = AmplifierSpec::parse("amplifiers/a.yaml", TEXT).unwrap();
        let mut campaign = Tuning::default();
        campaign.add(&spec.tuning);
        let all = ["kernel.x=1", "/proc/z=|=2", "NO_Y"].map(str::to_owned);
        assert_eq!(spec.settings_among(&campaign), (all.to_vec(), Vec::new()));
        let mut own = Tuning::default();
        own.sysctls
            .insert("kernel.x".to_owned(), Setting::Number(7));
        own.add(&spec.tuning);
        let (made, other) = spec.settings_among(&own);
        assert_eq!(made, all[1..]);
        assert_eq!(other, all[..1]);
    }

    #[test]
    fn an_amplifier_that_sets_nothing_is_none() {
        let idle = "name: b\nreason: r\napplies_to: ''\ntuning: {}\n";
        let problems = AmplifierSpec::parse("amplifiers/a.yaml", idle).unwrap_err();
        let text = problems.to_string();
        for word in ["not the file's name", "applies_to", "sets nothing"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
