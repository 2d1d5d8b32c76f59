//! Three nights in a row over one folder of results, in which a regression, a recovery, a flake and trouble of the
//! host come together, and are told apart.

mod made_up;
mod nights;
mod support;

use nights::{Bench, NIGHT, change, text};
use serde_json::Value;

/// `breaks` is worse in the third night and `mends` is better, `flaky` is as flaky in all of them, and in the third
/// one nothing is learnt of `blind`.
const TWO_NIGHTS: [(&str, &str); 4] = [
    ("breaks", "passes"),
    ("mends", "lockup"),
    ("flaky", "passes soft passes passes"),
    ("blind", "passes"),
];
const THIRD_NIGHT: [(&str, &str); 3] =
    [("breaks", "lockup"), ("mends", "passes"), ("blind", "host")];

/// Everything that three nights said.
struct Told {
    bench: Bench,
    /// Names of the runs.
    runs: Vec<String>,
    reports: Vec<Value>,
    codes: Vec<Option<i32>>,
}

fn three_nights() -> Told {
    let kernels = TWO_NIGHTS.map(|(kernel, _)| format!("  {kernel}: {{kernel: tiny}}\n"));
    let night = NIGHT
        .replace("  fixed: {kernel: tiny}\n", &kernels.concat())
        .replace("{min: 1, max: 8}", "{min: 12, max: 12}");
    let bench = Bench::of(&night);
    let (mut reports, mut codes) = (Vec::new(), Vec::new());
    for number in 1..=3 {
        bench.do_now(if number < 3 {
            &TWO_NIGHTS
        } else {
            &THIRD_NIGHT
        });
        let (code, report, errors) = bench.night();
        assert!(report.is_object(), "{errors}");
        reports.push(report);
        codes.push(code);
    }
    let runs = bench.runs().into_iter();
    let runs = runs.map(|run| run.file_name().unwrap().to_str().unwrap().to_owned());
    Told {
        runs: runs.collect(),
        bench,
        reports,
        codes,
    }
}

impl Told {
    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.bench.place.kverdict(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self
            .bench
            .place
            .kverdict(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut list = list.as_array().unwrap().iter();
    let found = list.find(|one| one[key].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_regression_a_recovery_a_flake_and_trouble_of_the_host_are_told_apart() {
    let told = three_nights();
    the_nights_themselves(&told);
    the_history(&told);
    the_difference_of_two(&told);
    what_fails_sometimes(&told);
}

fn the_nights_themselves(told: &Told) {
    // A made-up guest proves no detector: without a regression nothing can be told.
    assert_eq!(told.codes, [Some(125), Some(125), Some(1)]);
    let changes = ["breaks", "mends", "flaky", "blind"].map(|kernel| {
        let of = |report| change(report, kernel).to_owned();
        told.reports.iter().map(of).collect::<Vec<_>>()
    });
    assert_eq!(changes[0], ["new", "unchanged", "regression"]);
    assert_eq!(changes[1], ["new", "still-failing", "recovery"]);
    assert_eq!(changes[2], ["new", "flake", "flake"]);
    assert_eq!(changes[3], ["new", "unchanged", "infrastructure"]);

    let third = &told.reports[2];
    assert_eq!(third["conclusion"], "regression");
    let reasons: Vec<&str> = third["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason.as_str().unwrap())
        .collect();
    assert!(
        reasons[0].starts_with("breaks/migrate-swap/base/base: target lockup: more often"),
        "{reasons:#?}"
    );
    let said = |words: &str| reasons.iter().any(|reason| reason.contains(words));
    assert!(said(
        "mends/migrate-swap/base/base: recovery: target lockup: less often"
    ));
    assert!(said(
        "blind/migrate-swap/base/base: infrastructure, which says nothing about its kernel"
    ));
    assert!(!said("flaky/"), "{reasons:#?}");
    let blind = third["cells"].as_array().unwrap().last().unwrap();
    assert_eq!(blind["cell"]["kernel"], "blind");
    assert_eq!(blind["exposed_minutes"], 0.0, "{blind:#}");
    assert_eq!(blind["failures"].as_array().unwrap().len(), 0);
    assert_eq!(
        blind["judged"]["tonight"],
        Value::Null,
        "no rate of nothing"
    );

    let junit = told.says(
        1,
        &[
            "report",
            &format!("results/{}", told.runs[2]),
            "--format",
            "junit",
        ],
    );
    let case = |name: &str| {
        let begin = junit.find(&format!("<testcase name=\"{name}/")).unwrap();
        let end = junit[begin..]
            .find("</testcase>")
            .unwrap_or(junit.len() - begin);
        &junit[begin..begin + end]
    };
    assert!(case("breaks").contains("<failure"), "{junit}");
    assert!(case("blind").contains("<error"), "{junit}");
}

fn the_history(told: &Told) {
    let history = told.json(&["history"]);
    for (night, report) in told.reports.iter().enumerate() {
        let run = named(&history["runs"], "run", &told.runs[night]);
        for kernel in ["breaks", "mends", "flaky", "blind"] {
            let cell = named(&run["cells"], "cell", kernel);
            assert_eq!(cell["judged"]["change"], change(report, kernel), "{cell:#}");
        }
    }
    let blind = named(&history["runs"], "run", &told.runs[2]);
    let blind = named(&blind["cells"], "cell", "blind");
    assert_eq!(
        (&blind["failed"], &blind["rate"]),
        (&0.into(), &Value::Null)
    );
}

fn the_difference_of_two(told: &Told) {
    let diff = told.json(&["diff", &told.runs[1], &told.runs[2], "--alpha", "0.1"]);
    assert_eq!(diff["conclusion"], "some-worse", "{diff:#}");
    for (kernel, judgement) in [
        ("breaks", "worse"),
        ("mends", "better"),
        ("blind", "could-not-tell"),
    ] {
        let cell = named(&diff["cells"], "cell", kernel);
        assert_eq!(cell["judgement"], judgement, "{cell:#}");
    }
    let flaky = named(&diff["cells"], "cell", "flaky");
    assert_ne!(flaky["judgement"], "worse", "{flaky:#}");
    assert_ne!(flaky["judgement"], "better", "{flaky:#}");
    let text = told.says(1, &["diff", &told.runs[1], &told.runs[2], "--alpha", "0.1"]);
    assert!(text.starts_with("WORSE: "), "{text}");
}

fn what_fails_sometimes(told: &Told) {
    let flakes = told.json(&["flakes"]);
    let flakes = flakes["flakes"].as_array().unwrap();
    assert_eq!(flakes.len(), 1, "{flakes:#?}");
    assert_eq!(flakes[0]["cell"], "flaky/migrate-swap/base/base");
    assert_eq!(flakes[0]["nights_failed"], 3);
    let failed = flakes[0]["failed"].as_f64().unwrap() / flakes[0]["trials"].as_f64().unwrap();
    assert!((0.2..0.35).contains(&failed), "one in four: {failed}");
}
