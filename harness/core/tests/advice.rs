//! Advice from values: what fits how, which commits are needed, and what follows from that.

use kverdict_core::advice::conclusion::{Build, Outcome, Own, Verification};
use kverdict_core::advice::needed::{Need, idle, same_and_whole, smallest_whole};
use kverdict_core::advice::{Advice, Attempt, Conclusion, Facts, Fit, Standing};
use kverdict_core::catalogue::diff::{landings, rejects};
use kverdict_core::inspect::finding::State;
use kverdict_core::inspect::fix::{Commit, Part};
use kverdict_core::verdict;

fn commit(id: &str) -> Commit {
    Commit {
        id: id.to_owned(),
        title: format!("title of {id}"),
        since: "v1".to_owned(),
    }
}

/// Affected, partial with commits missing, or fixed.
fn standing(state: State, missing: &[&str]) -> Standing {
    Standing {
        state,
        why: "so it is".to_owned(),
        missing: missing.iter().map(|&id| id.to_owned()).collect(),
    }
}

fn affected() -> Standing {
    standing(State::Affected, &["a", "b"])
}

fn partial() -> Standing {
    standing(State::Partial, &["b"])
}

fn fixed() -> Standing {
    standing(State::Fixed, &[])
}

fn attempt(id: &str, fit: Fit, after: Option<Standing>) -> Attempt {
    Attempt {
        commit: commit(id),
        part: Part::FollowUp,
        fit,
        after,
    }
}

fn applied(id: &str, after: Standing) -> Attempt {
    attempt(id, Fit::Clean, Some(after))
}

fn conflict() -> Fit {
    let output = "checking file k/a.c\nHunk #1 FAILED at 12.\nHunk #3 FAILED at 90.\n";
    Fit::Conflict {
        rejects: rejects(output),
    }
}

fn fuzzy() -> Fit {
    Fit::landed(landings(
        "checking file k/a.c\nHunk #2 succeeded at 7 with fuzz 1 (offset 2 lines).\n",
    ))
}

fn lacking() -> Fit {
    Fit::Lacking {
        why: "the repository does not have it".to_owned(),
    }
}

fn facts(attempts: Vec<Attempt>) -> Facts {
    Facts {
        kernel: "tiny".to_owned(),
        source: "source tree".to_owned(),
        series: Vec::new(),
        commit: commit("a"),
        commits_from: "the repository linux".to_owned(),
        fuzz: 0,
        before: affected(),
        attempts,
        lean: None,
        own: None,
        build: None,
        verification: None,
    }
}

fn own(outcome: Outcome) -> Option<Own> {
    let name = "fix-a".to_owned();
    Some(Own { name, outcome })
}

/// Two commits that make the tree whole.
fn whole() -> Facts {
    facts(vec![applied("a", partial()), applied("b", fixed())])
}

#[test]
fn a_fit_is_as_bad_as_its_worst_hunk() {
    let of = |output: &str| Fit::landed(landings(output));
    assert_eq!(of("checking file k/a.c\n"), Fit::Clean);
    let moved = of("checking file k/a.c\nHunk #2 succeeded at 9 (offset -3 lines).\n");
    assert_eq!(moved.places(), ["k/a.c:9 (hunk 2, -3 lines)"]);
    assert!(matches!(moved, Fit::Moved { .. }) && moved.is_used(0));
    let fit = of(
        "checking file k/a.c\nHunk #1 succeeded at 4 with fuzz 1.\nHunk #2 succeeded at 9 with fuzz 2.\n",
    );
    assert_eq!(fit.words(), "applies with fuzz 2");
    assert!(!fit.is_used(0) && !fit.is_used(1) && fit.is_used(2));
    assert_eq!(
        conflict().places(),
        ["k/a.c:12 (hunk 1)", "k/a.c:90 (hunk 3)"]
    );
    for fit in [conflict(), lacking(), Fit::AlreadyThere] {
        assert!(!fit.is_used(2), "{fit:?}");
    }
}

#[test]
fn the_smallest_whole_prefix_ends_with_the_first_whole_tree() {
    let attempts = [
        applied("a", partial()),
        attempt("x", conflict(), None),
        applied("b", fixed()),
        applied("c", fixed()),
    ];
    assert_eq!(smallest_whole(&attempts), Some(3));
    assert_eq!(smallest_whole(&attempts[..2]), None);
    let needs = facts(attempts.to_vec()).needs();
    assert_eq!(
        needs,
        [Need::Needed, Need::LeftOut, Need::Needed, Need::ComesLater]
    );
}

#[test]
fn what_changes_nothing_is_needed_only_for_those_after_it() {
    let attempts = vec![
        applied("a", partial()),
        applied("tidy", partial()),
        attempt("there", Fit::AlreadyThere, None),
        applied("b", fixed()),
    ];
    assert_eq!(idle(&affected(), &attempts), [1]);
    let others = [0, 2, 3];
    let again: Vec<Attempt> = others
        .iter()
        .map(|&index| attempts[index].clone())
        .collect();
    assert!(same_and_whole(&attempts, &others, &again));
    let refused = [
        again[0].clone(),
        again[1].clone(),
        attempt("b", conflict(), None),
    ];
    assert!(!same_and_whole(&attempts, &others, &refused));

    for (lean, need, set) in [
        (true, Need::NotNeeded, &["a", "b"][..]),
        (false, Need::MakesRoom, &["a", "tidy", "b"]),
    ] {
        let mut facts = facts(attempts.clone());
        facts.lean = Some(lean);
        let advice = Advice::of(facts);
        assert_eq!(
            advice.needs,
            [Need::Needed, need, Need::IsThere, Need::Needed]
        );
        assert_eq!(advice.set, set);
        assert_eq!(advice.conclusion, Conclusion::Applies);
    }
}

#[test]
fn nothing_is_advised_for_trees_that_need_nothing_or_are_not_understood() {
    for (state, words) in [
        (State::Fixed, "nothing to advise: tiny has the fix"),
        (
            State::CannotHaveIt,
            "nothing to advise: tiny cannot have the bug",
        ),
        (
            State::Unknown,
            "could not tell whether tiny has the fix: so it is",
        ),
    ] {
        let mut facts = facts(Vec::new());
        facts.before = standing(state, &[]);
        let advice = Advice::of(facts);
        assert_eq!(advice.conclusion.exit_code(), 125);
        assert!(advice.sentence.starts_with(words), "{}", advice.sentence);
    }
}

#[test]
fn what_stands_in_the_way_first_decides() {
    let open = |id: &str| applied(id, partial());
    for (attempts, code, words) in [
        (
            vec![
                open("a"),
                attempt("b", conflict(), None),
                attempt("c", lacking(), None),
            ],
            1,
            "b conflicts at k/a.c:12 (hunk 1); port it by hand",
        ),
        (
            vec![
                attempt("a", lacking(), None),
                attempt("b", conflict(), None),
            ],
            125,
            "a: the repository does not have it",
        ),
        (
            vec![open("a"), attempt("b", fuzzy(), None)],
            1,
            "without guessing: b applies with fuzz 1 only",
        ),
        (
            vec![open("a")],
            1,
            "with all that apply it is partial: lacks b",
        ),
    ] {
        let advice = Advice::of(facts(attempts));
        assert_eq!(advice.conclusion.exit_code(), code, "{}", advice.sentence);
        assert!(advice.sentence.contains(words), "{}", advice.sentence);
        assert_eq!(advice.set, [""; 0]);
    }
    // With the fuzz that it needs, the same commit is put in like any other.
    let with_fuzz = facts(vec![open("a"), attempt("b", fuzzy(), Some(fixed()))]);
    assert_eq!(Advice::of(with_fuzz).set, ["a", "b"]);
}

#[test]
fn the_own_patch_is_the_set_only_where_it_makes_the_tree_whole() {
    let blocked = || facts(vec![attempt("a", conflict(), None)]);
    for (outcome, code) in [
        (Outcome::Applies { after: fixed() }, 0),
        (Outcome::Applies { after: partial() }, 1),
        (
            Outcome::DoesNot {
                why: "matches nothing".to_owned(),
            },
            1,
        ),
    ] {
        let mut facts = blocked();
        facts.own = own(outcome);
        let advice = Advice::of(facts);
        assert_eq!(advice.conclusion.exit_code(), code, "{}", advice.sentence);
        assert_eq!(advice.set.is_empty(), code == 1);
    }
    // Where the commits do it, they are what is advised.
    let mut facts = whole();
    facts.own = own(Outcome::Applies { after: fixed() });
    assert!(!facts.is_own());
    assert_eq!(Advice::of(facts).set, ["a", "b"]);
}

#[test]
fn building_and_running_only_take_something_back() {
    let builds = || {
        Some(Build::Builds {
            release: "1.0".to_owned(),
            key: "k".to_owned(),
        })
    };
    let breaks = Some(Build::Breaks {
        said: "k/a.c:9: error".to_owned(),
    });
    let cannot = Some(Build::CannotTell {
        why: "no net".to_owned(),
    });
    for (build, trials, code) in [
        (None, None, 0),
        (builds(), None, 0),
        (breaks, None, 1),
        (cannot, None, 125),
        (builds(), Some(verdict::Conclusion::Verified), 0),
        (builds(), Some(verdict::Conclusion::Refuted), 1),
        (builds(), Some(verdict::Conclusion::Inconclusive), 125),
    ] {
        let mut facts = whole();
        facts.build = build;
        facts.verification = trials.map(|conclusion| Verification {
            run: "results/x".to_owned(),
            conclusion,
            reasons: vec!["because".to_owned()],
        });
        let advice = Advice::of(facts);
        assert_eq!(advice.conclusion.exit_code(), code, "{}", advice.sentence);
    }
    // Neither makes a set of what is none.
    let mut facts = facts(vec![attempt("a", conflict(), None)]);
    facts.build = builds();
    assert_eq!(Advice::of(facts).conclusion, Conclusion::DoesNot);
}

#[test]
fn the_text_begins_with_the_advice_and_ends_with_how_it_is_known() {
    let mut attempts = whole().attempts;
    attempts.push(attempt("c", conflict(), None));
    let text = Advice::of(facts(attempts)).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "put in a and b, in this order: tiny then has the fix, whole"
    );
    for words in [
        "  commit  is         on this tree",
        "  a       follow-up  applies cleanly        partial: lacks b  needed",
        "  c       follow-up  conflicts in 2 places  -                 left out",
        "how it is known:\n  tree: tiny, source tree\n",
        "    k/a.c:90 (hunk 3)\n",
        "nothing was built",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn json_says_the_same() {
    let mut facts = whole();
    facts.attempts.push(attempt("c", fuzzy(), None));
    facts.own = own(Outcome::DoesNot {
        why: "no".to_owned(),
    });
    let advice = Advice::of(facts);
    let json = serde_json::to_value(&advice).unwrap();
    assert_eq!(json["conclusion"], "applies");
    assert_eq!(json["attempts"][2]["fit"]["hunks"][0]["fuzz"], 1);
    assert_eq!(serde_json::from_value::<Advice>(json).unwrap(), advice);
}
