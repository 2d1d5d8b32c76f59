//! One run-time amplifier of the catalogue: settings of a running guest that make the race likely.

use serde::{Deserialize, Serialize};

use super::Problems;
use super::problem::{check_name, parse_checked};
use crate::campaign::{SpareCpus, Tuning};

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

    /// Everything that it sets, as `NAME=VALUE`.
    pub fn settings(&self) -> Vec<String> {
        let tuning = &self.tuning;
        let pairs = [&tuning.sysctls, &tuning.files, &tuning.hold];
        let mut settings: Vec<String> = pairs
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        settings.extend(tuning.sched_features.iter().cloned());
        settings.extend(tuning.spare_cpus.map(|spare| match spare {
            SpareCpus::Offline => "spare CPUs offline".to_owned(),
            SpareCpus::Apart => "spare CPUs outside the load's cpuset".to_owned(),
        }));
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: a\nreason: r\napplies_to: all\n\
                        tuning: {sysctls: {kernel.x: 1}, sched_features: [NO_Y], files: {/proc/z: \"|=2\"}}\n";

    #[test]
    fn it_lists_what_it_sets() {
        let spec = AmplifierSpec::parse("amplifiers/a.yaml", TEXT).unwrap();
        assert_eq!(spec.settings(), ["kernel.x=1", "/proc/z=|=2", "NO_Y"]);
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
