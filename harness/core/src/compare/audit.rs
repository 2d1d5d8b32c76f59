//! What can be said about the sides without booting them: whether they have the fix, and where their
//! configurations and makings differ in what the campaigns are about.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::catalogue::config::Config;
use crate::inspect::finding::Finding;

/// What is known of a side's kernel besides its trials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What `uname -r` says; absent: there is no kernel.
    pub release: Option<String>,
    /// What it was taken or built from.
    pub source: Option<String>,
    /// The compiler; absent: somebody else built it, or there is no kernel.
    pub compiler: Option<String>,
    /// Patches put in (`+`) and taken out (`-`).
    pub patches: Vec<String>,
    /// Whether the fixes that are known are there.
    pub fixes: Vec<FixLine>,
}

/// Whether one fix is there, as source or code has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixLine {
    /// The commit.
    pub commit: String,
    /// `fixed`, `partial`, `affected`, `cannot have it`, or `unknown`.
    pub state: String,
    /// Why, in one sentence.
    pub why: String,
}

impl FixLine {
    /// The short of a finding.
    pub fn of(finding: &Finding) -> Self {
        Self {
            commit: finding.commit.id.clone(),
            state: finding.state.word().to_owned(),
            why: finding.why.clone(),
        }
    }
}

/// What the sides do not have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What differs, such as `CONFIG_PREEMPT` or `release`.
    pub what: String,
    /// Why that matters.
    pub about: String,
    /// What each side has; absent: not known.
    pub values: Vec<Option<String>>,
}

/// Detectors: what is silent on one side may only be unseen there.
const DETECTORS: &str = "detectors";
/// NUMA balancing, one side of the race.
const NUMA: &str = "NUMA balancing";
/// The scheduler, the other side of it.
const SCHEDULER: &str = "scheduler";

/// What a symbol (without `CONFIG_`) is about; `None`: nothing that matters here.
fn concern(symbol: &str) -> Option<&'static str> {
    let is = |words: &[&str]| words.contains(&symbol);
    let begins = |words: &[&str]| words.iter().any(|word| symbol.starts_with(word));
    let has = |words: &[&str]| words.iter().any(|word| symbol.contains(word));
    if has(&["LOCKUP", "DETECT_HUNG", "WATCHDOG"]) || (has(&["RCU"]) && has(&["STALL"])) {
        Some(DETECTORS)
    } else if begins(&["NUMA"]) {
        Some(NUMA)
    } else if begins(&["SCHED_", "PREEMPT", "NO_HZ", "HZ_", "FAIR_GROUP"])
        || is(&["HZ", "SMP", "NR_CPUS", "CPUSETS"])
    {
        Some(SCHEDULER)
    } else {
        None
    }
}

/// Symbols that matter and that the sides do not have in common. A side whose configuration nobody knows
/// has no value.
pub fn config_differences(configs: &[Option<Config>]) -> Vec<Difference> {
    let known = || configs.iter().flatten();
    let symbols: BTreeSet<&str> = known().flat_map(Config::symbols).collect();
    let mut found = Vec::new();
    for symbol in symbols {
        let Some(about) = concern(symbol) else {
            continue;
        };
        let values: BTreeSet<&str> = known().map(|config| config.value(symbol)).collect();
        if values.len() < 2 {
            continue;
        }
        let value = |config: &Config| config.value(symbol).to_owned();
        found.push(Difference {
            what: format!("CONFIG_{symbol}"),
            about: about.to_owned(),
            values: configs.iter().map(|one| one.as_ref().map(value)).collect(),
        });
    }
    found
}

/// Release, source, compiler and patches, as far as the sides do not have them in common.
pub fn making_differences(sides: &[Facts]) -> Vec<Difference> {
    let patches = |side: &Facts| {
        let none = || "none".to_owned();
        let list = Some(side.patches.join(" ")).filter(|list| !list.is_empty());
        side.release.as_ref().map(|_| list.unwrap_or_else(none))
    };
    type Part<'a> = (&'a str, &'a dyn Fn(&Facts) -> Option<String>);
    let parts: [Part<'_>; 4] = [
        ("release", &|side| side.release.clone()),
        ("source", &|side| side.source.clone()),
        ("compiler", &|side| side.compiler.clone()),
        ("patches", &patches),
    ];
    let mut found = Vec::new();
    for (what, part) in parts {
        let values: Vec<Option<String>> = sides.iter().map(part).collect();
        if values.windows(2).any(|two| two[0] != two[1]) {
            found.push(Difference {
                what: what.to_owned(),
                about: "what the kernels are made of".to_owned(),
                values,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_and_differs_is_told() {
        let one = Config::parse(
            "CONFIG_HZ=250\nCONFIG_SMP=y\nCONFIG_HARDLOCKUP_DETECTOR=y\nCONFIG_EXT4_FS=y\nCONFIG_NUMA=y\n",
        );
        let other = Config::parse("CONFIG_HZ=1000\nCONFIG_SMP=y\nCONFIG_NUMA=y\n");
        let found = config_differences(&[Some(one), Some(other), None]);
        let names: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(names, ["CONFIG_HARDLOCKUP_DETECTOR", "CONFIG_HZ"]);
        assert_eq!(found[0].about, DETECTORS);
        let values = [Some("250".to_owned()), Some("1000".to_owned()), None];
        assert_eq!(found[1].values, values);
        assert_eq!(config_differences(&[None, None]), []);
    }

    #[test]
    fn every_group_has_its_symbols() {
        for (symbol, expected) in [
            ("SOFTLOCKUP_DETECTOR", Some(DETECTORS)),
            ("DETECT_HUNG_TASK", Some(DETECTORS)),
            ("RCU_CPU_STALL_TIMEOUT", Some(DETECTORS)),
            ("WQ_WATCHDOG", Some(DETECTORS)),
            ("NUMA_BALANCING", Some(NUMA)),
            ("SCHED_MC", Some(SCHEDULER)),
            ("PREEMPT_VOLUNTARY", Some(SCHEDULER)),
            ("NO_HZ_FULL", Some(SCHEDULER)),
            ("HZ", Some(SCHEDULER)),
            ("FAIR_GROUP_SCHED", Some(SCHEDULER)),
            ("HZ3", None),
            ("RCU_NOCB_CPU", None),
            ("SMP_PARKING", None),
            ("EXT4_FS", None),
        ] {
            assert_eq!(concern(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn makings_are_held_against_each_other() {
        let one = Facts {
            release: Some("6.12".into()),
            source: Some("a tree".into()),
            ..Facts::default()
        };
        assert_eq!(making_differences(&[one.clone(), one.clone()]), []);
        let other = Facts {
            patches: vec!["+ defect".into()],
            ..one.clone()
        };
        let found = making_differences(&[one, other]);
        assert_eq!(found.len(), 1, "{found:?}");
        let values = [Some("none".to_owned()), Some("+ defect".to_owned())];
        assert_eq!(found[0].values, values);
    }
}
