//! The semantic patch that brings the fix, on each form that kernels have had before it. The code is made up:
//! only what it locks, queues and wakes, and what it is called, is as in kernels.

mod made_up;

use std::fs;

use made_up::Place;
use serde_json::Value;

const CORE: &str = "int migrate_swap_stop(void)\n{\n\treturn 0;\n}\n";

/// How a kernel queues for one stopper and for two.
struct Form {
    one: &'static str,
    two: &'static str,
}

/// It asks the stopper and forgets the answer; a lock of its own goes around both.
const FORGETFUL: Form = Form {
    one: "static void cpu_stop_queue_work(unsigned int cpu, struct cpu_stop_work *work)
{
	struct cpu_stopper *box = stopper_of(cpu);
	unsigned long flags;

	spin_lock_irqsave(&box->lock, flags);
	if (box->enabled)
		__cpu_stop_queue_work(box, work);
	else
		refuse(work);
	spin_unlock_irqrestore(&box->lock, flags);
}",
    two: "	outer_lock(a, b);
	spin_lock_irq(&one->lock);
	spin_lock_nested(&two->lock, 1);
	err = -1;
	if (!one->enabled || !two->enabled)
		goto out;
	err = 0;
	__cpu_stop_queue_work(one, first);
	__cpu_stop_queue_work(two, second);
out:
	spin_unlock(&two->lock);
	spin_unlock_irq(&one->lock);
	outer_unlock(a, b);
	return err;",
};

/// It remembers the answer, and tries again while somebody else queues.
const REMEMBERING: Form = Form {
    one: "static bool cpu_stop_queue_work(unsigned int cpu, struct cpu_stop_work *work)
{
	struct cpu_stopper *box = stopper_of(cpu);
	unsigned long flags;
	bool on;

	raw_spin_lock_irqsave(&box->lock, flags);
	on = box->enabled;
	if (on)
		__cpu_stop_queue_work(box, work);
	else if (work->done)
		refuse(work);
	raw_spin_unlock_irqrestore(&box->lock, flags);

	return on;
}",
    two: "again:
	raw_spin_lock_irq(&one->lock);
	raw_spin_lock_nested(&two->lock, 1);
	err = -1;
	if (!one->enabled || !two->enabled)
		goto out;
	err = -2;
	if (unlikely(busy))
		goto out;
	err = 0;
	__cpu_stop_queue_work(one, first);
	__cpu_stop_queue_work(two, second);
out:
	raw_spin_unlock(&two->lock);
	raw_spin_unlock_irq(&one->lock);

	if (unlikely(err == -2)) {
		while (busy)
			cpu_relax();
		goto again;
	}
	return err;",
};

/// The same with preemption off already.
fn held() -> (String, String) {
    let one = REMEMBERING
        .one
        .replace(
            "\traw_spin_lock_irqsave",
            "\tpreempt_disable();\n\traw_spin_lock_irqsave",
        )
        .replace("\n\treturn on", "\tpreempt_enable();\n\n\treturn on");
    let two = REMEMBERING
        .two
        .replace(
            "\traw_spin_lock_irq(",
            "\tpreempt_disable();\n\traw_spin_lock_irq(",
        )
        .replace("\t\twhile", "\t\tpreempt_enable();\n\t\twhile")
        .replace("\treturn err", "\tpreempt_enable();\n\treturn err");
    (one, two)
}

fn file(one: &str, two: &str) -> String {
    format!(
        "static void __cpu_stop_queue_work(struct cpu_stopper *box, struct cpu_stop_work *work)
{{
	list_add_tail(&work->list, &box->works);
	wake_up_process(box->thread);
}}

{one}

static int cpu_stop_queue_two_works(int a, struct cpu_stop_work *first, int b, struct cpu_stop_work *second)
{{
	struct cpu_stopper *one = stopper_of(a);
	struct cpu_stopper *two = stopper_of(b);
	int err;

{two}
}}

int stop_two_cpus(unsigned int a, unsigned int b)
{{
	if (cpu_stop_queue_two_works(a, first(), b, second()))
		return -1;
	wait();
	return 0;
}}

int stop_one_cpu(unsigned int cpu)
{{
	cpu_stop_queue_work(cpu, first());
	return wait();
}}

void stop_one_cpu_nowait(unsigned int cpu)
{{
	cpu_stop_queue_work(cpu, first());
}}
"
    )
}

/// A kernel with this file, and no patches to try.
fn place(stop_machine: &str) -> Place {
    let place = Place::new();
    place.write("linux/kernel/sched/core.c", CORE);
    place.write("linux/kernel/stop_machine.c", stop_machine);
    fs::create_dir(place.path("none")).unwrap();
    place
}

const ADVISE: [&str; 7] = [
    "advise",
    "linux",
    "--patches",
    "none",
    "--json",
    "--output",
    "out.patch",
];

fn advise(place: &Place) -> (Option<i32>, Value) {
    let output = place.kverdict(&ADVISE);
    let errors = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        json.unwrap_or_else(|_| panic!("{errors}")),
    )
}

#[test]
fn it_mends_every_form_whole() {
    let (one, two) = held();
    for (one, two) in [
        (FORGETFUL.one, FORGETFUL.two),
        (REMEMBERING.one, REMEMBERING.two),
        (&one, &two),
    ] {
        let place = place(&file(one, two));
        let (code, advice) = advise(&place);
        assert_eq!(code, Some(0), "{advice:#}\n{one}");
        assert_eq!(advice["before"]["state"], "affected");
        assert_eq!(advice["set"][0], "fix-0b26351b910f");
        let after = &advice["own"]["outcome"]["after"];
        assert_eq!(after["state"], "fixed", "{advice:#}");
        assert_eq!(after["missing"], serde_json::json!([]));
        // One wake-up for one stopper, and one each for two.
        let diff = fs::read_to_string(place.path("out.patch")).unwrap();
        let added = |word: &str| {
            diff.lines()
                .filter(|line| line.starts_with('+') && line.contains(word))
                .count()
        };
        assert_eq!(added("wake_up_process("), 3, "{diff}");
        let again = place.kverdict(&["inspect", "linux", "--apply", "out.patch", "--json"]);
        assert_eq!(again.status.code(), Some(0), "{diff}");
    }
}

/// spatch dies without a home, which services of systemd do not have.
#[test]
fn it_needs_no_home() {
    let place = place(&file(FORGETFUL.one, FORGETFUL.two));
    let output = place.start_by("unset HOME; exec \"$@\"", &ADVISE);
    let output = output.wait_with_output().unwrap();
    let advice: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(advice["own"]["outcome"]["is"], "applies", "{advice:#}");
}

#[test]
fn it_leaves_alone_what_it_does_not_know() {
    // It queues in another way: whom to wake is not for a patch to guess.
    let strange = FORGETFUL
        .one
        .replace("__cpu_stop_queue_work(box, work);", "add(box, work);");
    let (code, advice) = advise(&place(&file(&strange, FORGETFUL.two)));
    assert_eq!(advice["own"]["outcome"]["is"], "does-not", "{advice:#}");
    assert_eq!(code, Some(125), "{advice:#}");
    let why = advice["own"]["outcome"]["why"].as_str().unwrap();
    assert!(why.contains("one-stopper"), "{why}");
}
