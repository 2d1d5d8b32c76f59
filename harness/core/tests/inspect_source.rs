//! Every form that the fix has had in source, in functions of our own: only what they lock, queue, wake
//! and when they may be preempted is as in kernels.

use kverdict_core::inspect::finding::{Finding, Presence, State};
use kverdict_core::inspect::fix::Fix;
use kverdict_core::inspect::judge::judge;
use kverdict_core::inspect::source::{Source, files_of};

fn fix() -> Fix {
    let text = include_str!("../../../kernels/fixes/migrate-swap.yaml");
    Fix::parse("migrate-swap.yaml", text).unwrap()
}

const CORE: &str =
    "int migrate_swap_stop(struct task *a, struct task *b)\n{\n\treturn stop_two_cpus(1, 2);\n}\n";

/// What a tree with this kernel/stop_machine.c is.
fn inspect(stop_machine: &str) -> Finding {
    let mut source = Source::default();
    source.add("kernel/sched/core.c", CORE);
    source.add("kernel/stop_machine.c", stop_machine);
    judge(&fix(), &source)
}

/// The three entries over one way to queue for one CPU and one to queue for two.
fn file(one: &str, two: &str) -> String {
    format!(
        "static bool queue_for_one(struct box *b, struct job *j)\n{{\n{one}\n}}\n\
         static int queue_for_two(struct box *x, struct box *y)\n{{\n{two}\n}}\n\
         int stop_two_cpus(int a, int b)\n{{\n\tif (queue_for_two(box_of(a), box_of(b)))\n\t\treturn -1;\n\
         \twait_for(a);\n\treturn 0;\n}}\n\
         int stop_one_cpu(int a) {{ return queue_for_one(box_of(a), job()); }}\n\
         bool stop_one_cpu_nowait(int a) {{ return queue_for_one(box_of(a), job()); }}\n"
    )
}

/// Which follow-ups are missing, by their first four digits.
fn missing(finding: &Finding) -> Vec<&str> {
    let missing = finding
        .follow_ups
        .iter()
        .filter(|found| found.state == Presence::Missing);
    missing.map(|found| &found.commit.id[..4]).collect()
}

#[test]
fn a_tree_in_which_nothing_is_found_is_not_taken_for_one_that_cannot_have_it() {
    let mut without = Source::default();
    without.add(
        "kernel/sched/core.c",
        "int schedule(void)\n{\n\treturn 0;\n}\n",
    );
    without.add("kernel/stop_machine.c", &file(ONE_EARLY, TWO_WAKE_Q));
    assert_eq!(judge(&fix(), &without).state, State::CannotHaveIt);

    let mut empty = Source::default();
    empty.add("kernel/sched/core.c", "");
    empty.add("kernel/stop_machine.c", "");
    assert_eq!(judge(&fix(), &empty).state, State::Unknown);
}

const ONE_EARLY: &str = "
	spin_lock_irqsave(&b->lock, flags);
	if (b->on) {
		list_add_tail(&j->list, &b->jobs);
		wake_up_process(b->thread);
	} else
		finish(j);
	spin_unlock_irqrestore(&b->lock, flags);
	return true;";
const ONE_WAKE_Q: &str = "
	DEFINE_WAKE_Q(q);
	raw_spin_lock_irqsave(&b->lock, flags);
	on = b->on;
	if (on) { list_add_tail(&j->list, &b->jobs); wake_q_add(&q, b->thread); }
	raw_spin_unlock_irqrestore(&b->lock, flags);
	wake_up_q(&q);
	return on;";
const TWO_WAKE_Q: &str = "
	int err = -1;
	raw_spin_lock_irq(&x->lock);
	raw_spin_lock_nested(&y->lock, SINGLE_DEPTH_NESTING);
	if (!x->on || !y->on)
		goto out;
	err = 0;
	list_add_tail(&j->list, &x->jobs); wake_q_add(&q, x->thread);
	list_add_tail(&k->list, &y->jobs); wake_q_add(&q, y->thread);
out:
	raw_spin_unlock(&y->lock);
	raw_spin_unlock_irq(&x->lock);
	if (!err)
		wake_up_q(&q);
	return err;";

/// The same with something in front of a statement.
fn before(text: &str, statement: &str, what: &str) -> String {
    assert_eq!(text.matches(statement).count(), 1, "{statement}");
    text.replace(statement, &format!("{what}{statement}"))
}

fn one_whole() -> String {
    let held = before(ONE_WAKE_Q, "raw_spin_lock_irqsave", "preempt_disable(); ");
    before(&held, "return on", "preempt_enable(); ")
}

/// 2610e8894663: preemption goes off while the locks are held.
fn two_whole() -> String {
    let held = before(TWO_WAKE_Q, "out:", "preempt_disable();\n");
    held.replace("\twake_up_q(&q);", "{ wake_up_q(&q); preempt_enable(); }")
}

#[test]
fn waking_in_the_lock_is_the_bug() {
    let direct = file(ONE_EARLY, TWO_WAKE_Q);
    // Through a helper, under a plain spinlock or a raw one, in a loop, behind a macro.
    let helper = format!(
        "static void add(struct box *b) {{ list_add_tail(&j->list, &b->jobs); wake_up_process(b->thread); }}\n{}",
        file(
            "raw_spin_lock(&b->lock); add(b); raw_spin_unlock(&b->lock);",
            "spin_lock(&x->lock); for_each_cpu(cpu, mask) add(x); spin_unlock(&x->lock);"
        )
    );
    let queue_in_lock = file(&one_whole(), TWO_WAKE_Q)
        .replace("if (!err)\n\t\twake_up_q(&q);", "")
        .replace("raw_spin_unlock(&y", "wake_up_q(&q); raw_spin_unlock(&y");
    for (text, place) in [
        (direct, "kernel/stop_machine.c:7"),
        (helper, "kernel/stop_machine.c:1"),
        (queue_in_lock, "kernel/stop_machine.c:"),
    ] {
        let found = inspect(&text);
        assert_eq!(found.state, State::Affected, "{found:#?}\n{text}");
        assert!(found.evidence[0].place.starts_with(place), "{found:#?}");
        let ids: Vec<&str> = found.missing.iter().map(|commit| &commit.id[..4]).collect();
        assert_eq!(ids, ["0b26", "9fb8", "2610", "cfd3"]);
    }
}

#[test]
fn half_of_the_fix_is_not_the_fix() {
    let found = inspect(&file(ONE_EARLY, &two_whole()));
    assert_eq!(found.state, State::Affected, "{found:#?}");
    let words =
        "held: in stop_one_cpu(), stop_one_cpu_nowait(), though no longer in stop_two_cpus()";
    assert!(found.why.contains(words), "{}", found.why);
}

#[test]
fn the_first_commit_alone_is_partial() {
    let found = inspect(&file(ONE_WAKE_Q, TWO_WAKE_Q));
    assert_eq!(found.state, State::Partial, "{found:#?}");
    assert_eq!(missing(&found), ["9fb8", "2610", "cfd3"]);
    assert_eq!(found.missing.len(), 3);
    assert_eq!(found.forms[0].commit.id, "0b26351b910f");
}

#[test]
fn each_follow_up_is_told_from_the_others() {
    let two_at_wake_up = TWO_WAKE_Q.replace(
        "\twake_up_q(&q);",
        "{ preempt_disable(); wake_up_q(&q); preempt_enable(); }",
    );
    for (one, two, expected) in [
        (ONE_WAKE_Q, two_at_wake_up.as_str(), &["2610", "cfd3"][..]),
        (ONE_WAKE_Q, &two_whole(), &["cfd3"]),
        (&one_whole(), &two_at_wake_up, &["2610"]),
        (&one_whole(), TWO_WAKE_Q, &["9fb8", "2610"]),
    ] {
        let found = inspect(&file(one, two));
        assert_eq!(missing(&found), expected, "{found:#?}");
        assert_eq!(found.state, State::Partial);
    }
    let whole = inspect(&file(&one_whole(), &two_whole()));
    assert_eq!(whole.state, State::Fixed, "{whole:#?}");
    assert_eq!(whole.missing, []);
}

#[test]
fn who_calls_with_preemption_off_needs_no_follow_up() {
    let text = file(&one_whole(), TWO_WAKE_Q)
        .replace(
            "\tif (queue_for_two",
            "\tpreempt_disable();\n\tif (queue_for_two",
        )
        .replace("\twait_for(a)", "\tpreempt_enable();\n\twait_for(a)");
    let found = inspect(&text);
    assert_eq!(found.state, State::Fixed, "{found:#?}");
}

#[test]
fn the_reflowed_form_with_its_retry_is_whole() {
    let two = "
again:
	preempt_disable();
	raw_spin_lock_irq(&x->lock);
	raw_spin_lock_nested(&y->lock, SINGLE_DEPTH_NESTING);
	if (!x->on) { err = -1; goto out; }
	if (unlikely(busy)) { err = -2; goto out; }
	err = 0;
	wake_q_add(&q, x->thread);
	wake_q_add(&q, y->thread);
out:
	raw_spin_unlock(&y->lock);
	raw_spin_unlock_irq(&x->lock);
	if (unlikely(err == -2)) {
		preempt_enable();
		while (busy)
			cpu_relax();
		goto again;
	}
	wake_up_q(&q);
	preempt_enable();
	return err;";
    let found = inspect(&file(&one_whole(), two));
    assert_eq!(found.state, State::Fixed, "{found:#?}");
    // The later form: woken one by one.
    let by_name = two.replace(
        "wake_up_q(&q);",
        "if (!err) { wake_up_process(x->thread); wake_up_process(y->thread); }",
    );
    let one_by_name = one_whole()
        .replace("wake_q_add(&q, b->thread);", "")
        .replace("wake_up_q(&q);", "if (on) wake_up_process(b->thread);");
    let by_name = by_name
        .replace("wake_q_add(&q, x->thread)", "list_add_tail(j, &x->jobs)")
        .replace("wake_q_add(&q, y->thread)", "list_add_tail(k, &y->jobs)");
    let found = inspect(&file(&one_by_name, &by_name));
    assert_eq!(found.state, State::Fixed, "{found:#?}");
    assert_eq!(found.forms[0].commit.id, "009836b4fa52");
    assert_eq!(found.forms.len(), 1);
    assert_eq!(found.evidence.len(), 3);
}

#[test]
fn a_kernel_without_migrate_swap_cannot_have_it() {
    let mut source = Source::default();
    source.add(
        "kernel/sched/core.c",
        "int other(void) { return migrate_swap_stop(); }\n",
    );
    source.add("kernel/stop_machine.c", &file(ONE_EARLY, ONE_EARLY));
    let found = judge(&fix(), &source);
    assert_eq!(found.state, State::CannotHaveIt);
    assert!(found.why.contains("v3.13"), "{}", found.why);
}

#[test]
fn what_is_not_understood_is_unknown_and_says_why() {
    let whole = file(&one_whole(), &two_whole());
    for (text, why) in [
        (String::new(), "not where it has always been"),
        ("((((((((((((".to_owned(), "not where it has always been"),
        (
            whole.replace("stop_one_cpu_nowait", "stop_someday"),
            "stop_one_cpu_nowait()",
        ),
        (
            whole.replace("raw_spin", "frob_spin"),
            "takes no lock that is known",
        ),
        (
            whole.replace("raw_spin_unlock", "frob_unlock"),
            "in a way that is not known",
        ),
        (whole.replace("wake_up_q", "frob_q"), "wakes nobody"),
        (whole.replace("&b->lock", "&b->other"), "takes no lock"),
    ] {
        let found = inspect(&text);
        assert_eq!(found.state, State::Unknown, "{found:#?}\n{text}");
        assert!(found.why.contains(why), "{}", found.why);
    }
    let mut half = Source::default();
    half.add("kernel/stop_machine.c", &whole);
    let found = judge(&fix(), &half);
    assert_eq!(found.state, State::Unknown);
    assert!(found.why.contains("kernel/sched/core.c"), "{}", found.why);
}

#[test]
fn functions_that_call_each_other_end() {
    let text = format!(
        "void a(void) {{ b(); }}\nvoid b(void) {{ a(); b(); }}\n{}",
        file(&before(&one_whole(), "on = ", "a(); "), &two_whole())
    );
    assert_eq!(inspect(&text).state, State::Fixed);
}

#[test]
fn comments_and_quotations_wake_nobody() {
    let text = file(&one_whole(), &two_whole()).replace(
        "on = b->on;",
        "/* wake_up_process(b->thread); */ on = b->on; // wake_up_process(x);\n pr(\"wake_up_process(y)\");",
    );
    assert_eq!(inspect(&text).state, State::Fixed);
    let unused = format!("#if 0\n{}\n#endif\n", file(ONE_EARLY, ONE_EARLY));
    let text = unused + &file(&one_whole(), &two_whole());
    assert_eq!(inspect(&text).state, State::Fixed);
}

#[test]
fn the_files_to_read_are_named_once() {
    assert_eq!(
        files_of(&fix()),
        ["kernel/sched/core.c", "kernel/stop_machine.c"]
    );
}
