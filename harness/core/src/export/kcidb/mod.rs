//! Reports for KCIDB, the database of kernel tests: its I/O schema, version 5.3.
//!
//! There, a status is about the kernel and not about what was expected of it: a control that locks up fails.
//! That it has the bug on purpose is said by an incident of an issue that is made for that, so that nobody
//! takes it for news.

mod object;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::case::{Answer, Case, CaseTrial, Results};
use crate::record::Standing;
use object::{Build, Checkout, Incident, Issue, Status, Test};

/// Characters that an excerpt of a log may have.
const EXCERPT: usize = 16_384;
/// Version of the issues that are reported: what is said of them never changes.
const ISSUE_VERSION: u32 = 1;

/// Name of the system that submits, which all ids begin with: lower-case letters, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if text.is_empty() || !text.chars().all(fits) {
            return Err(
                "an origin has lower-case letters, digits and `_` only, such as `kverdict`"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a kernel is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Where its source is from, with its patches, for people.
    pub source: String,
    /// Full id of the commit that its patches were put on; absent: it is of no git repository.
    pub commit: Option<String>,
    /// The compiler; absent: somebody else built it.
    pub compiler: Option<String>,
}

/// Kernels of a run, each by what [`Case::about`] says.
pub type Kernels = BTreeMap<String, Kernel>;

/// Writes results for KCIDB.
pub fn kcidb(results: &Results, origin: &Origin, kernels: &Kernels) -> Value {
    let mut submission = Submission {
        results,
        origin,
        checkouts: BTreeMap::new(),
        builds: BTreeMap::new(),
        tests: Vec::new(),
        issues: BTreeMap::new(),
        incidents: Vec::new(),
    };
    for case in &results.cases {
        submission.add_kernel(&case.about, kernels.get(&case.about));
        submission.add_case(case);
    }
    json!({
        "version": {"major": 5, "minor": 3},
        "checkouts": submission.checkouts.into_values().collect::<Vec<_>>(),
        "builds": submission.builds.into_values().collect::<Vec<_>>(),
        "tests": submission.tests,
        "issues": submission.issues.into_values().collect::<Vec<_>>(),
        "incidents": submission.incidents,
    })
}

/// A submission in the making; what several cases share is in it once.
struct Submission<'a> {
    results: &'a Results,
    origin: &'a Origin,
    checkouts: BTreeMap<String, Checkout>,
    builds: BTreeMap<String, Build>,
    tests: Vec<Test>,
    issues: BTreeMap<String, Issue>,
    incidents: Vec<Incident>,
}

impl Submission<'_> {
    fn id(&self, rest: &str) -> String {
        format!("{}:{}", self.origin, clean(rest))
    }

    fn add_kernel(&mut self, about: &str, known: Option<&Kernel>) {
        let id = self.id(about);
        let source = known.map_or(about, |kernel| kernel.source.as_str());
        let checkout = Checkout {
            id: id.clone(),
            origin: self.origin.to_string(),
            git_commit_hash: known.and_then(|kernel| kernel.commit.clone()),
            comment: clean(source),
            valid: true,
        };
        let build = Build {
            id: id.clone(),
            checkout_id: id.clone(),
            origin: self.origin.to_string(),
            comment: clean(about),
            architecture: "x86_64",
            compiler: known
                .and_then(|kernel| kernel.compiler.as_deref())
                .map(clean),
            status: Status::Pass,
        };
        self.checkouts.insert(id.clone(), checkout);
        self.builds.insert(id, build);
    }

    fn add_case(&mut self, case: &Case) {
        let path = format!(
            "kverdict.{}.{}",
            path_part(&self.results.campaign),
            path_part(&case.name)
        );
        for trial in &case.trials {
            self.add_trial(case, &path, trial);
        }
        let id = self.id(&format!("{}/{}", self.results.run, case.name));
        let status = status_of_case(case);
        let mut failures = failures(case);
        if status == Status::Fail {
            let expected = failures.all(|trial| trial.answer == Answer::Passed);
            self.add_incident(case, &id, expected);
        }
        let started = case.trials.first().map(|trial| trial.started.as_str());
        self.tests.push(Test {
            id,
            build_id: self.id(&case.about),
            origin: self.origin.to_string(),
            environment: self.environment(),
            path,
            comment: clean(&case.why()),
            log_excerpt: None,
            status,
            start_time: started.unwrap_or(&self.results.started).to_owned(),
            duration: case.trials.iter().map(|one| one.total_seconds).sum(),
            misc: json!({"kverdict": {"expected": case.expected, "answer": case.answer}}),
        });
    }

    fn add_trial(&mut self, case: &Case, path: &str, trial: &CaseTrial) {
        let line = &trial.line;
        let id = self.id(&format!("{}-{}", self.results.run, line.id));
        let status = status_of_trial(line.standing);
        if status == Status::Fail {
            self.add_incident(case, &id, trial.answer == Answer::Passed);
        }
        let excerpt = |text: &String| clean(text).chars().take(EXCERPT).collect();
        self.tests.push(Test {
            id,
            build_id: self.id(&case.about),
            origin: self.origin.to_string(),
            environment: self.environment(),
            path: format!("{path}.trial"),
            comment: clean(&trial.what()),
            log_excerpt: trial.evidence.as_ref().map(excerpt),
            status,
            start_time: trial.started.clone(),
            duration: trial.total_seconds,
            misc: json!({"kverdict": {
                "standing": line.standing,
                "outcome": line.outcome,
                "load_seconds": line.load_seconds,
            }}),
        });
    }

    /// Links a failure of a kernel with the issue that it is: a known one, or one that was expected.
    fn add_incident(&mut self, case: &Case, test: &str, expected: bool) {
        let issue = match (&case.known, expected) {
            (Some(link), _) => self.known_issue(link),
            (None, true) => self.expected_issue(),
            (None, false) => return,
        };
        self.incidents.push(Incident {
            id: format!("{test}/{}", issue.id),
            origin: self.origin.to_string(),
            issue_id: issue.id.clone(),
            issue_version: issue.version,
            test_id: test.to_owned(),
            present: true,
        });
        self.issues.insert(issue.id.clone(), issue);
    }

    fn known_issue(&self, link: &str) -> Issue {
        Issue {
            id: self.id(link),
            version: ISSUE_VERSION,
            origin: self.origin.to_string(),
            report_url: is_url(link).then(|| link.to_owned()),
            report_subject: clean(link),
            culprit: json!({"code": true}),
            comment: "A failure that somebody has filed".to_owned(),
        }
    }

    fn expected_issue(&self) -> Issue {
        let campaign = &self.results.campaign;
        Issue {
            id: self.id(&format!("expected-{campaign}")),
            version: ISSUE_VERSION,
            origin: self.origin.to_string(),
            report_url: None,
            report_subject: clean(&format!("{campaign}: the bug of the control")),
            culprit: json!({"code": true}),
            comment: "The kernel has this bug on purpose, which shows that the load provokes it"
                .to_owned(),
        }
    }

    fn environment(&self) -> Value {
        let made = |label| self.results.made_with(label).unwrap_or("unknown");
        json!({
            "comment": clean(&format!("{}, {}", made("QEMU"), made("accelerator"))),
            "misc": {"host": made("host"), "kverdict": self.results.kverdict},
        })
    }
}

/// What a trial says about its kernel, whatever was expected of it.
fn status_of_trial(standing: Standing) -> Status {
    match standing {
        Standing::TargetLockup | Standing::Suspect | Standing::OtherFailure => Status::Fail,
        Standing::Survived => Status::Pass,
        Standing::NotExposed => Status::Done,
        Standing::Infrastructure => Status::Miss,
    }
}

/// The trials of a case in which its kernel failed.
fn failures(case: &Case) -> impl Iterator<Item = &CaseTrial> {
    let trials = case.trials.iter();
    trials.filter(|trial| status_of_trial(trial.line.standing) == Status::Fail)
}

/// A case that passed although its kernel failed, as it should or as it did before, is a failure of that
/// kernel.
fn status_of_case(case: &Case) -> Status {
    match case.answer {
        Answer::Passed if failures(case).next().is_some() => Status::Fail,
        Answer::Passed => Status::Pass,
        Answer::Failed => Status::Fail,
        Answer::CouldNotTell if case.trials.is_empty() => Status::Miss,
        Answer::CouldNotTell => Status::Done,
    }
}

/// Whether a link says where it leads, in the characters that URLs have.
fn is_url(link: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:/?@!$&'()*+,;=%#".contains(c);
    let schemes = ["https://", "http://"];
    schemes.iter().any(|scheme| link.starts_with(scheme)) && link.chars().all(fits)
}

/// Text without NUL, the one character that the schema does not allow.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

/// A part of a test's path: letters, digits, `_` and `-`, at least one.
fn path_part(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let part: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect();
    if part.is_empty() {
        "_".to_owned()
    } else {
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::made_up::{HOSTILE, results};

    fn written(results: &Results) -> Value {
        let origin = "lab_1".parse().unwrap();
        let kernel = Kernel {
            source: "git tree (abc)".to_owned(),
            commit: Some("a".repeat(40)),
            compiler: Some("gcc 12".to_owned()),
        };
        kcidb(
            results,
            &origin,
            &Kernels::from([("6.12.117 b2".to_owned(), kernel)]),
        )
    }

    fn ids<'a>(value: &'a Value, list: &str) -> Vec<&'a str> {
        let list = value[list].as_array().unwrap();
        list.iter().map(|one| one["id"].as_str().unwrap()).collect()
    }

    fn statuses(value: &Value) -> Vec<&str> {
        let tests = value["tests"].as_array().unwrap();
        tests
            .iter()
            .map(|one| one["status"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_status_is_about_the_kernel() {
        let value = written(&results());
        assert_eq!(
            statuses(&value),
            ["FAIL", "PASS", "FAIL", "PASS", "FAIL", "MISS", "FAIL"]
        );
        assert_eq!(value["builds"][1]["compiler"], "gcc 12");
        assert_eq!(value["checkouts"][1]["git_commit_hash"], "a".repeat(40));
        assert_eq!(value["checkouts"][0].get("git_commit_hash"), None);
    }

    #[test]
    fn ids_are_unique_and_stable_and_lead_to_each_other() {
        let value = written(&results());
        assert_eq!(value, written(&results()));
        let mut tests = ids(&value, "tests");
        assert_eq!(tests[0], "lab_1:20260101T000000Z-race-1-0001-unfixed");
        tests.sort_unstable();
        tests.dedup();
        assert_eq!(tests.len(), 7);
        let builds = ids(&value, "builds");
        for test in value["tests"].as_array().unwrap() {
            assert!(
                builds.contains(&test["build_id"].as_str().unwrap()),
                "{test}"
            );
        }
        for incident in value["incidents"].as_array().unwrap() {
            assert!(ids(&value, "issues").contains(&incident["issue_id"].as_str().unwrap()));
            assert!(tests.contains(&incident["test_id"].as_str().unwrap()));
        }
    }

    #[test]
    fn only_failures_that_are_known_or_were_wanted_have_an_issue() {
        let mut results = results();
        assert_eq!(
            ids(&written(&results), "issues"),
            ["lab_1:https://bugs.example/1"]
        );
        results.cases[0].known = None;
        let value = written(&results);
        assert_eq!(ids(&value, "issues"), ["lab_1:expected-race"]);
        // The control's lockup and the control: not its survival, and nothing of the subject.
        assert_eq!(value["incidents"].as_array().unwrap().len(), 2);
        // A kernel that fails as it did before.
        results.cases[1].answer = Answer::Passed;
        assert_eq!(statuses(&written(&results))[6], "FAIL");
        assert_eq!(written(&results)["incidents"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn hostile_text_fits_the_schema() {
        let mut results = results();
        results.cases[1].name = HOSTILE.to_owned();
        results.cases[1].trials[1].line.title = HOSTILE.to_owned();
        results.cases[1].trials[1].evidence = Some("\u{e9}\0".repeat(20_000));
        results.cases[1].known = Some("BZ 1 <x>".to_owned());
        let value = written(&results);
        let excerpt = value["tests"][4]["log_excerpt"].as_str().unwrap();
        assert_eq!(excerpt.chars().count(), EXCERPT);
        assert!(!value["tests"].to_string().contains("\\u0000"));
        assert!(
            value["issues"].as_array().unwrap().iter().any(|one| {
                one["report_subject"] == "BZ 1 <x>" && one.get("report_url").is_none()
            })
        );
        let path = value["tests"][6]["path"].as_str().unwrap();
        assert!(path.starts_with("kverdict.race."), "{path}");
        assert_eq!(path.matches('.').count(), 2, "{path}");
        for bad in ["", "Lab", "a:b", "a b"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
