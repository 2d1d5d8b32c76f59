//! The proof that detectors work: a lockup made on purpose, once for each arm's kernel.

use serde::{Deserialize, Serialize};

/// What a lockup made on purpose showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arming {
    /// Name of the arm.
    pub arm: String,
    /// Key of the kernel that was booted.
    pub build: String,
    /// How the lockup was made.
    pub how: String,
    /// Detectors that noticed it, in the order in which they did.
    pub fired: Vec<Fired>,
    /// Detectors that were waited for and stayed silent.
    pub silent: Vec<String>,
    /// Host milliseconds from the lockup to the end of the wait.
    pub waited_ms: u64,
    /// Why the lockup could not be made, if so.
    pub trouble: Option<String>,
}

/// A detector that noticed the lockup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// `outside` or `console`.
    pub detector: String,
    /// Host milliseconds from the lockup to its word.
    pub after_ms: u64,
    /// What it said.
    pub what: String,
}

impl Arming {
    /// Why this arm's survival would prove nothing; `None`: a detector works on it.
    pub fn doubt(&self) -> Option<String> {
        if !self.fired.is_empty() {
            return None;
        }
        Some(match &self.trouble {
            Some(trouble) => format!(
                "`{}`: no lockup could be made on purpose, so that no detector is proven to work: {trouble}",
                self.arm
            ),
            None => format!(
                "`{}`: no detector noticed a lockup made on purpose within {:.0} s: what survives on it proves nothing",
                self.arm,
                self.waited_ms as f64 / 1000.0
            ),
        })
    }
}

/// So often a lockup is tried to be made on purpose: what failed may have been the host.
pub const TRIES: usize = 3;

/// Whether it is still open if detectors work on an arm's kernel: nobody has tried, or the last try came to no
/// lockup, and may be made again.
pub fn is_open(armings: &[Arming], arm: &str) -> bool {
    let mine = || armings.iter().filter(|arming| arming.arm == arm);
    let came_to_nothing = |arming: &Arming| arming.fired.is_empty() && arming.trouble.is_some();
    mine().all(came_to_nothing) && mine().count() < TRIES
}

/// Whether detectors of some arm are in doubt, by the last try of each.
pub fn is_any_in_doubt(armings: &[Arming]) -> bool {
    armings.iter().enumerate().any(|(index, arming)| {
        let is_last = armings[index + 1..].iter().all(|one| one.arm != arming.arm);
        is_last && arming.doubt().is_some()
    })
}

impl std::fmt::Display for Arming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.arm, self.how)?;
        if let Some(trouble) = &self.trouble {
            return write!(f, ": {trouble}");
        }
        for fired in &self.fired {
            let seconds = fired.after_ms as f64 / 1000.0;
            write!(
                f,
                "; {} after {seconds:.1} s ({})",
                fired.detector, fired.what
            )?;
        }
        if !self.silent.is_empty() {
            write!(
                f,
                "; silent for {:.0} s: {}",
                self.waited_ms as f64 / 1000.0,
                self.silent.join(", ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arming(arm: &str, fired: bool, trouble: bool) -> Arming {
        Arming {
            arm: arm.to_owned(),
            build: "k".to_owned(),
            how: "so".to_owned(),
            fired: fired
                .then(|| Fired {
                    detector: "outside".to_owned(),
                    after_ms: 9,
                    what: "x".to_owned(),
                })
                .into_iter()
                .collect(),
            silent: Vec::new(),
            waited_ms: 9,
            trouble: trouble.then(|| "the agent was not ready in time".to_owned()),
        }
    }

    #[test]
    fn a_lockup_that_could_not_be_made_is_tried_again_and_silence_is_an_answer() {
        let troubles = vec![arming("a", false, true); TRIES];
        assert!(is_open(&[], "a"));
        for tries in 1..TRIES {
            assert!(is_open(&troubles[..tries], "a"), "{tries}");
        }
        assert!(!is_open(&troubles, "a"));
        assert!(is_open(&troubles, "b"), "another arm's");
        assert!(!is_open(&[arming("a", false, false)], "a"), "silent");
        let at_last = [arming("a", false, true), arming("a", true, false)];
        assert!(!is_open(&at_last, "a"), "it works");
    }
}
