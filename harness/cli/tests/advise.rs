//! `kverdict advise` on a made-up kernel, from a made-up repository: what fits how, what is needed, and
//! that nothing is written to but what is asked for.

mod backports;
mod made_up;

use std::fs;

use backports::{Backports, Tidy, Upstream};
use made_up::shell;
use serde_json::Value;

/// One field of each attempt, in upstream's order.
fn each<'a>(advice: &'a Value, path: &str) -> Vec<&'a str> {
    let attempts = advice["attempts"].as_array().unwrap();
    let field = |one: &'a Value| one.pointer(path).and_then(Value::as_str).unwrap_or("-");
    attempts.iter().map(field).collect()
}

fn fits(advice: &Value) -> Vec<&str> {
    each(advice, "/fit/is")
}

#[test]
fn what_applies_is_judged_after_each_and_the_smallest_whole_set_is_named() {
    let backports = Backports::new();
    let advice = backports.advised(0, &[]);
    assert_eq!(fits(&advice), ["clean", "clean", "clean", "clean"]);
    assert_eq!(
        each(&advice, "/after/state"),
        ["partial", "partial", "fixed", "fixed"]
    );
    // Far from the others, the tidy is not needed, and without it the follow-up fits at another line.
    let ids = &backports.ids;
    assert_eq!(advice["set"], serde_json::json!([ids.fix, ids.follow_up]));
    assert_eq!(
        advice["needs"],
        serde_json::json!(["needed", "not-needed", "needed", "comes-later"])
    );
    assert_eq!(advice["lean"], true);
}

#[test]
fn a_tidy_that_makes_room_for_a_follow_up_stays() {
    let backports = Backports::with(Tidy::InTheWay);
    let advice = backports.advised(0, &[]);
    let ids = &backports.ids;
    assert_eq!(
        advice["set"],
        serde_json::json!([ids.fix, ids.tidy, ids.follow_up])
    );
    assert_eq!(advice["needs"][1], "makes-room");
}

#[test]
fn other_lines_and_fuzz_are_told_from_a_clean_fit() {
    let backports = Backports::new();
    let text = Upstream::default().text();
    backports.tree(&format!("/* one */\n/* two */\n{text}"));
    let advice = backports.advised(0, &[]);
    assert_eq!(fits(&advice), ["moved", "moved", "moved", "moved"]);
    let hunk = &advice["attempts"][0]["fit"]["hunks"][0];
    assert_eq!(
        (&hunk["file"], &hunk["offset"]),
        (&"kernel/a.c".into(), &2.into())
    );

    for (from, to, fuzz) in [
        ("\tnote(done);", "\tnote(done + 1);", 1),
        ("\tdone = 1;", "\tdone = 2;", 2),
    ] {
        backports.tree(&text.replace(from, to));
        // By guess is not good enough, unless it is said to be.
        let advice = backports.advised(1, &[]);
        assert_eq!(fits(&advice)[0], "fuzzy");
        assert_eq!(advice["attempts"][0]["fit"]["fuzz"], fuzz);
        assert_eq!(advice["needs"][0], "left-out");
        let words = format!("applies with fuzz {fuzz} only");
        assert!(
            advice["sentence"].as_str().unwrap().contains(&words),
            "{advice:#}"
        );
        backports.advised(1, &["--fuzz", &(fuzz - 1).to_string()]);
        let advice = backports.advised(0, &["--fuzz", &fuzz.to_string(), "--build"]);
        assert_eq!(advice["build"]["is"], "builds", "{advice:#}");
    }
}

#[test]
fn a_conflict_is_named_with_file_line_and_hunk() {
    let backports = Backports::new();
    let text = Upstream::default().text();
    backports.tree(&text.replace("wake_up_process(b->thread);", "wake_up_process(b->jobs);"));
    let advice = backports.advised(1, &["--output", "out.patch"]);
    assert_eq!(fits(&advice)[..2], ["conflict", "clean"]);
    let rejects = advice["attempts"][0]["fit"]["rejects"].as_array().unwrap();
    assert_eq!(rejects.len(), 1);
    assert_eq!(rejects[0]["file"], "kernel/a.c");
    let line = rejects[0]["hunk"][1].as_u64().unwrap();
    let near = text.lines().nth(line as usize - 1).unwrap();
    assert_eq!(near, "\tcheck(b);");
    let sentence = advice["sentence"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("conflicts at kernel/a.c:{line} (hunk 1)")),
        "{sentence}"
    );
    assert!(!backports.place.path("out.patch").exists());
}

#[test]
fn what_is_there_is_not_put_in_again() {
    let backports = Backports::new();
    let fixed = Upstream {
        fix: true,
        ..Upstream::default()
    };
    backports.tree(&fixed.text());
    let advice = backports.advised(0, &[]);
    assert_eq!(advice["before"]["state"], "partial");
    assert_eq!(fits(&advice), ["already-there", "clean", "clean", "clean"]);
    assert_eq!(advice["set"], serde_json::json!([backports.ids.follow_up]));

    backports.tree(
        &Upstream {
            follow_up: true,
            ..fixed
        }
        .text(),
    );
    let advice = backports.advised(125, &[]);
    assert_eq!(advice["sentence"], "nothing to advise: tiny has the fix");
    assert_eq!(fits(&advice), [""; 0]);
}

#[test]
fn a_commit_that_is_nowhere_is_a_value() {
    let backports = Backports::new();
    let mut ids = backports.ids.clone();
    ids.follow_up = "00000000beef".to_owned();
    backports.catalogue(&ids, "");
    let advice = backports.advised(125, &[]);
    assert_eq!(fits(&advice)[..3], ["clean", "clean", "lacking"]);
    let words = "00000000beef: the repository does not have it";
    assert!(
        advice["sentence"].as_str().unwrap().ends_with(words),
        "{advice:#}"
    );
}

#[test]
fn settings_of_the_repository_change_nothing() {
    let backports = Backports::new();
    let plain = backports.advised(0, &[]);
    shell(
        &backports.place.path("upstream"),
        "git config diff.noprefix true; git config diff.context 0; git config diff.external false; \
         git config color.ui always; echo '*.c -diff' > .git/info/attributes",
    );
    assert_eq!(backports.advised(0, &[]), plain);
}

#[test]
fn patches_are_known_by_their_from_line_or_their_name() {
    let backports = Backports::new();
    backports.patches();
    let set = backports.advised(0, &[])["set"].clone();
    let (code, advice, errors) = backports.advise(&["--patches", "patches"]);
    assert_eq!((code, &advice["set"]), (Some(0), &set), "{errors}");

    // One by its name alone, one that is no diff.
    let folder = backports.place.path("patches");
    let id = &backports.ids.fix;
    shell(
        &folder,
        &format!("sed 1d 0002-* > {id}.patch; rm 0002-*; sed -i 4q 0005-*"),
    );
    let (code, advice, errors) = backports.advise(&["--patches", "patches"]);
    assert_eq!((code, &advice["set"]), (Some(0), &set), "{errors}");
    assert_eq!(fits(&advice)[3], "lacking");
    shell(&folder, &format!("cp {id}.patch again-{id}.patch"));
    let (code, _, errors) = backports.advise(&["--patches", "patches"]);
    assert_eq!(code, Some(129), "{errors}");
    assert!(errors.contains(&format!("has {id} twice")), "{errors}");
}

#[test]
fn the_output_is_one_diff_that_makes_the_tree_whole() {
    let backports = Backports::new();
    let mine = "--- a/kernel/b.c\n+++ b/kernel/b.c\n@@ -1,4 +1,5 @@\n int swap_stop(void)\n {\n+\t/* mine */\n \treturn 2;\n }\n";
    backports.place.write("mine.patch", mine);
    let advice = backports.advised(0, &["--apply", "mine.patch", "--output", "out.patch"]);
    assert_eq!(advice["series"][0], "mine.patch");
    let diff = fs::read_to_string(backports.place.path("out.patch")).unwrap();
    // Against the tree with the series in, which is not repeated.
    assert!(!diff.contains("mine"), "{diff}");
    shell(
        &backports.place.path("tree"),
        "patch -p1 --fuzz=0 < ../mine.patch; patch -p1 --fuzz=0 < ../out.patch",
    );
    let whole = Upstream {
        fix: true,
        follow_up: true,
        ..Upstream::default()
    };
    let text = fs::read_to_string(backports.place.path("tree/kernel/a.c")).unwrap();
    assert_eq!(text, whole.text());
}

#[test]
fn a_set_that_does_not_build_is_none_and_a_tree_that_does_not_proves_nothing() {
    let backports = Backports::new();
    let advice = backports.advised(0, &["--build"]);
    assert_eq!(advice["build"]["release"], "6.99.0-made-up");

    backports.patches();
    let broken = "sed -i 's/^+.wake_up_process(b->thread)/+\\twake_up_process(b->nothing)/' 0002-*";
    shell(&backports.place.path("patches"), broken);
    let from = ["--patches", "patches", "--build", "--fuzz", "2"];
    let (code, advice, errors) = backports.advise(&from);
    // The follow-up has the line in its context, so the fix is all that is in.
    assert_eq!(code, Some(1), "{advice:#}\n{errors}");

    shell(
        &backports.place.path("patches"),
        "sed -i 's/^ .wake_up_process(b->thread)/ \\twake_up_process(b->nothing)/' 000[34]-*",
    );
    let (code, advice, errors) = backports.advise(&from);
    assert_eq!(code, Some(1), "{advice:#}\n{errors}");
    let said = advice["build"]["said"].as_str().unwrap();
    assert!(
        said.contains("\n  kernel/a.c:") && said.contains("nothing"),
        "{said}"
    );
    let sentence = advice["sentence"].as_str().unwrap();
    assert!(
        sentence.ends_with("but does not build any more"),
        "{sentence}"
    );

    backports.place.write(
        "tree/kernel/b.c",
        "int swap_stop(void)\n{\n\treturn oops;\n}\n",
    );
    let advice = backports.advised(125, &["--build"]);
    let why = advice["build"]["why"].as_str().unwrap();
    assert!(
        why.starts_with("the tree does not build without the set either"),
        "{why}"
    );
}

#[test]
fn the_own_patch_is_offered_where_the_commits_conflict() {
    let backports = Backports::new();
    let text = Upstream::default().text();
    let other = text.replace("wake_up_process(b->thread);", "wake_up_process(b->jobs);");
    backports.tree(&other);
    let place = &backports.place;
    place.write(
        "kernels/patches/own/patch.yaml",
        "name: own\nkind: fix\nreason: test\nsteps:\n  - {replace: '\\twake_up_process\\(b->jobs\\);\\n(.*\\n)', by: \"${1}\\twake_up_process(b->jobs);\\n\\tpreempt_enable();\\n\", in: kernel/a.c}\n  - {replace: '\\tspin_lock\\(', by: \"\\tpreempt_disable();\\n\\tspin_lock(\", in: kernel/a.c}\n",
    );
    backports.catalogue(&backports.ids, "semantic-patch: own\n");
    let advice = backports.advised(0, &["--build", "--output", "out.patch"]);
    assert_eq!(advice["own"]["outcome"]["is"], "applies", "{advice:#}");
    assert_eq!(advice["set"], serde_json::json!(["own"]));
    assert_eq!(advice["build"]["is"], "builds");
    let diff = fs::read_to_string(place.path("out.patch")).unwrap();
    assert!(diff.contains("+\tpreempt_disable();\n"), "{diff}");
    // Nor is it needed where the commits apply, nor any good where it matches nothing.
    backports.tree(&text);
    assert_eq!(backports.advised(0, &[])["own"], Value::Null);
    backports.tree(&other.replace("b->jobs)", "b->lock)"));
    let advice = backports.advised(1, &[]);
    assert_eq!(advice["own"]["outcome"]["is"], "does-not", "{advice:#}");
}

#[test]
fn what_is_asked_for_wrongly_is_said() {
    let backports = Backports::new();
    for (arguments, words) in [
        (&["tiny"][..], "--upstream <REPO>"),
        (&["tiny", "--upstream", "tree"], "tree is no git repository"),
        (&["tiny", "--patches", "nowhere"], "--patches: nowhere"),
        (
            &["nope", "--upstream", "upstream"],
            "there is no kernel `nope`",
        ),
        (
            &["kernels", "--upstream", "upstream"],
            "kernels has no file kernel/",
        ),
        (
            &["tree", "--upstream", "upstream", "--build"],
            "tree is a folder, and nothing says how",
        ),
        (
            &["tiny", "--upstream", "upstream", "--apply", "nope"],
            "there is no patch `nope`",
        ),
        (
            &["tiny", "--upstream", "upstream", "--tree", "other=tree"],
            "is for `other`",
        ),
        (
            &["tiny", "--upstream", "upstream", "--fix", "nope"],
            "there is no fix `nope`",
        ),
    ] {
        let output = backports.place.kverdict(&[&["advise"], arguments].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
    // A folder does where nothing is built; for people the advice comes first.
    let output = backports
        .place
        .kverdict(&["advise", "tree", "--upstream", "upstream"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let ids = &backports.ids;
    let first = format!(
        "put in {} and {}, in this order: tree then has the fix, whole\n",
        ids.fix, ids.follow_up
    );
    assert!(text.starts_with(&first), "{text}");
}
