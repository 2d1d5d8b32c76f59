//! A run of the real program whose results are exported: a script in QEMU's place plays the guests, and a control
//! locks up as a real kernel did.

// Every test program uses another part of it.
#![allow(dead_code)]

#[path = "../made_up/mod.rs"]
mod made_up;

use std::fs;
use std::path::PathBuf;

use made_up::Place;
use serde_json::{Value, json};

const GUEST: &str = r#"
begin
case "$PWD" in *-unfixed*) lock_up ;; esac
survive 600 600
"#;

const NIGHT: &str = "
schema: 1
name: made-up
campaign: campaign.yaml
kernels:
  unfixed: {kernel: tiny, apply: [fix.patch], control: true}
  fixed: {kernel: tiny}
budget_minutes: 30
trials: {min: 1, max: 2}
";

/// What a guest may print.
pub const HOSTILE: &str = "a\0b\u{1b}[31m]]>&<b>\u{b}|x|\r\nnot ok 9 x\n1..3\nKTAP version 1\n# Subtest: y # SKIP \u{fffd}\u{fffe}";

/// A made-up kernel, a campaign of it, and its guest.
fn place() -> Place {
    let place = Place::new();
    // A real one would lock up on purpose for a minute; here nothing can.
    let campaign = made_up::campaign()
        .replace("policy:\n", "policy:\n  prove_detectors: false\n")
        .replace("max_trials_per_arm: 30", "max_trials_per_arm: 3");
    place.write("campaign.yaml", &campaign);
    place.guest(GUEST);
    place
}

/// A finished run.
pub struct Exported {
    place: Place,
    dir: PathBuf,
}

impl Exported {
    /// A control that locked up three times, and a subject that survived as often.
    pub fn verified() -> Self {
        let place = place();
        let (code, report, errors) = place.run(&["verify", "campaign.yaml", "--json"]);
        assert_eq!(code, Some(125), "{report:#}{errors}");
        let dir = place.run_dir();
        let arming = |arm: &str| {
            let line = json!({
                "arm": arm, "build": "k", "how": "made to spin", "waited_ms": 3000, "silent": [], "trouble": null,
                "fired": [{"detector": "outside", "after_ms": 3000, "what": "hard lockup"}],
            });
            line.to_string() + "\n"
        };
        let armings = arming("unfixed") + &arming("fixed");
        fs::write(dir.join("armings.jsonl"), armings).unwrap();
        Self { place, dir }
    }

    /// The same with a last trial of the subject that locked up, with a title that is trouble.
    pub fn refuted() -> Self {
        let run = Self::verified();
        let path = run.dir.join("trials.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let mut trials: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let last = trials.last_mut().unwrap();
        assert_eq!(last["arm"], "fixed");
        last["outcome"] = json!("hard-lockup");
        last["signature"] = json!("target");
        last["title"] = json!(HOSTILE);
        let lines: Vec<String> = trials.iter().map(|one| one.to_string() + "\n").collect();
        fs::write(&path, lines.concat()).unwrap();
        run
    }

    /// A night with two cells, of which the control locked up.
    pub fn night() -> Self {
        let place = place();
        place.write("night.yaml", NIGHT);
        let (code, report, errors) = place.run(&["nightly", "night.yaml", "--json"]);
        // No detector was proven to work.
        assert_eq!(code, Some(125), "{report:#}{errors}");
        let dir = place.run_dir();
        Self { place, dir }
    }

    /// Runs `kverdict report` on it: exit status, what it printed, and what it said beside it.
    pub fn report(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let dir = self.dir.to_str().unwrap();
        let output = self.place.kverdict(&[&["report", dir], arguments].concat());
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Writes it into a file, in one of its forms.
    pub fn file(&self, format: &str) -> PathBuf {
        let path = self.place.path(format);
        let arguments = ["--format", format, "--output", path.to_str().unwrap()];
        let (_, printed, errors) = self.report(&arguments);
        assert_eq!((printed.as_str(), errors.as_str()), ("", ""));
        path
    }
}
