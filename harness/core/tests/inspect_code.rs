//! Every form that the fix has had in code, in functions that are put together here, instruction by
//! instruction.

use std::collections::BTreeMap;

use kverdict_core::inspect::code::{BadImage, Image};
use kverdict_core::inspect::finding::{Finding, Presence, State};
use kverdict_core::inspect::fix::Fix;
use kverdict_core::inspect::judge::judge;
use kverdict_core::outside::symbols::Symbols;

const BASE: u64 = 0xffff_ffff_8100_0000;
/// Where a table of pointers to functions lies.
const TABLE: u64 = BASE + 0x10_0000;

fn fix() -> Fix {
    let text = include_str!("../../../kernels/fixes/migrate-swap.yaml");
    Fix::parse("migrate-swap.yaml", text).unwrap()
}

/// An instruction, or something like one.
#[derive(Clone, Copy)]
enum I<'a> {
    Call(&'a str),
    /// `jmp` to a function.
    Jump(&'a str),
    /// `je` to a label.
    If(&'a str),
    /// `jmp` to a label.
    Goto(&'a str),
    Label(&'a str),
    /// `call *TABLE`, which points to a function.
    Pointer,
    Bytes(&'a [u8]),
}

use I::{Bytes, Call, Goto, If, Jump, Label, Pointer};

const RET: I<'static> = Bytes(&[0xc3]);
/// `lea 0x8(%rbx),%r14; mov %r14,%rdi`
const LOCK_AT_8: I<'static> = Bytes(&[0x4c, 0x8d, 0x73, 0x08, 0x4c, 0x89, 0xf7]);
/// `movb $0x0,0x8(%rbx)`
const DROP: I<'static> = Bytes(&[0xc6, 0x43, 0x08, 0x00]);
/// `movb $0x0,(%r14)`
const DROP_BY_POINTER: I<'static> = Bytes(&[0x41, 0xc6, 0x06, 0x00]);
/// `movb $0x0,0x20(%rbx)`: another member.
const STORE: I<'static> = Bytes(&[0xc6, 0x43, 0x20, 0x00]);
/// `addw $0x2,0x8(%rbx)`: a ticket lock with slow paths.
const DROP_TICKET: I<'static> = Bytes(&[0x66, 0x83, 0x43, 0x08, 0x02]);
/// `incl %gs:0x1234`, `decl %gs:0x1234`
const PREEMPT_OFF: I<'static> = Bytes(&[0x65, 0xff, 0x04, 0x25, 0x34, 0x12, 0, 0]);
const PREEMPT_ON: I<'static> = Bytes(&[0x65, 0xff, 0x0c, 0x25, 0x34, 0x12, 0, 0]);

const LOCK: I<'static> = Call("_raw_spin_lock_irqsave");
const UNLOCK: I<'static> = Call("_raw_spin_unlock_irqrestore");
const WAKE: I<'static> = Call("wake_up_process");

/// A kernel made of functions.
struct Made<'a>(Vec<(&'a str, Vec<I<'a>>)>);

impl<'a> Made<'a> {
    /// One in which this code queues for one CPU and for two.
    fn queueing(code: &[I<'a>]) -> Self {
        let mut made = Self(Vec::new());
        for name in ["cpu_stop_queue_work", "stop_two_cpus"] {
            made = made.with(name, code);
        }
        made.with("stop_one_cpu", &[Call("cpu_stop_queue_work"), RET])
            .with("stop_one_cpu_nowait", &[Jump("cpu_stop_queue_work")])
            .with("migrate_swap_stop", &[RET])
            .with("_raw_spin_lock_irqsave", &[PREEMPT_OFF, RET])
            .with("_raw_spin_unlock_irqrestore", &[PREEMPT_ON, RET])
            .with("pv_queued_spin_unlock", &[RET])
            .with("wake_up_process", &[RET])
            .with("wake_q_add", &[RET])
            .with("wake_up_q", &[RET])
            .with("complete", &[RET])
            .with("__x86_return_thunk", &[RET])
    }

    /// The same kernel without a count of preemption.
    fn uncounted(code: &[I<'a>]) -> Self {
        Self::queueing(code).with("_raw_spin_lock_irqsave", &[RET])
    }

    fn with(mut self, name: &'a str, code: &[I<'a>]) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, code.to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self
    }

    fn image(&self) -> Image {
        let length = |i: &I<'_>| match i {
            Call(_) | Jump(_) | Goto(_) => 5,
            If(_) => 6,
            Label(_) => 0,
            Pointer => 7,
            Bytes(bytes) => bytes.len() as u64,
        };
        let mut places = BTreeMap::new();
        let mut labels = BTreeMap::new();
        let mut at = BASE;
        for (name, code) in &self.0 {
            places.insert(*name, at);
            for i in code {
                if let Label(label) = i {
                    labels.insert((*name, *label), at);
                }
                at += length(i);
            }
            at = at.next_multiple_of(16);
        }
        let mut text: Vec<u8> = Vec::new();
        for (name, code) in &self.0 {
            for i in code {
                let next = BASE + text.len() as u64 + length(i);
                let to = |target: u64| (target.wrapping_sub(next) as u32).to_le_bytes();
                match i {
                    Call(callee) => text.extend([&[0xe8][..], &to(places[callee])].concat()),
                    Jump(callee) => text.extend([&[0xe9][..], &to(places[callee])].concat()),
                    If(label) => {
                        text.extend([&[0x0f, 0x84][..], &to(labels[&(*name, *label)])].concat());
                    }
                    Goto(label) => {
                        text.extend([&[0xe9][..], &to(labels[&(*name, *label)])].concat());
                    }
                    Label(_) => {}
                    Pointer => {
                        let table = (TABLE as u32).to_le_bytes();
                        text.extend([&[0xff, 0x14, 0x25][..], &table].concat());
                    }
                    Bytes(bytes) => text.extend(*bytes),
                }
            }
            text.resize(text.len().next_multiple_of(16), 0xcc);
        }
        let table = places["pv_queued_spin_unlock"].to_le_bytes().to_vec();
        let end = (BASE + text.len() as u64, 'T', "_etext".to_owned());
        let symbols = places
            .iter()
            .map(|(name, at)| (*at, 't', (*name).to_owned()));
        let symbols = Symbols::new(symbols.chain([end]));
        Image::new(vec![(BASE, text), (TABLE, table)], symbols)
    }

    fn inspect(&self) -> Finding {
        judge(&fix(), &self.image())
    }
}

fn states(finding: &Finding) -> Vec<Presence> {
    let states = finding.follow_ups.iter().map(|found| found.state);
    states
        .filter(|state| *state != Presence::NoEffect)
        .collect()
}

#[test]
fn waking_in_the_lock_is_the_bug() {
    let forms: [&[I<'_>]; 5] = [
        &[LOCK_AT_8, LOCK, WAKE, UNLOCK, RET],
        // Only when there is something to wake for.
        &[LOCK_AT_8, LOCK, If("off"), WAKE, Label("off"), UNLOCK, RET],
        // A store to something else drops nothing, whatever it looks like.
        &[LOCK_AT_8, LOCK, STORE, WAKE, DROP, RET],
        &[LOCK_AT_8, LOCK, WAKE, DROP_TICKET, RET],
        &[LOCK_AT_8, LOCK, Call("wake_up_q"), Pointer, RET],
    ];
    for (number, form) in forms.iter().enumerate() {
        for made in [Made::queueing(form), Made::uncounted(form)] {
            let found = made.inspect();
            assert_eq!(found.state, State::Affected, "{number}: {found:#?}");
            assert!(
                found.evidence[0]
                    .place
                    .starts_with("cpu_stop_queue_work+0x")
            );
            assert!(found.evidence[0].code.starts_with("call wake_up_"));
            assert_eq!(found.missing.len(), 4);
        }
    }
}

#[test]
fn waking_behind_the_lock_is_the_fix_however_the_lock_is_dropped() {
    for drop in [UNLOCK, DROP, DROP_BY_POINTER, DROP_TICKET, Pointer] {
        let late = [PREEMPT_OFF, LOCK_AT_8, LOCK, drop, WAKE, PREEMPT_ON, RET];
        let found = Made::queueing(&late).inspect();
        assert_eq!(found.state, State::Fixed, "{found:#?}");
        assert_eq!(states(&found), [Presence::Present; 3]);
        assert_eq!(found.forms[0].commit.id, "009836b4fa52");
    }
}

#[test]
fn a_count_of_the_lock_itself_is_not_taken_for_the_code_around_it() {
    // The spinlock counts out of line when it is taken, and in line when it is dropped.
    let held = [
        PREEMPT_OFF,
        LOCK_AT_8,
        LOCK,
        DROP,
        PREEMPT_ON,
        WAKE,
        PREEMPT_ON,
        RET,
    ];
    let found = Made::queueing(&held).inspect();
    assert_eq!(found.state, State::Fixed, "{found:#?}");
    let open = [LOCK_AT_8, LOCK, DROP, PREEMPT_ON, WAKE, RET];
    let found = Made::queueing(&open).inspect();
    assert_eq!(states(&found), [Presence::Missing; 3], "{found:#?}");
}

#[test]
fn a_wake_q_is_the_other_form_and_an_empty_one_wakes_nobody() {
    // Without something in the queue the way leads around what turns preemption off.
    let code = [
        LOCK_AT_8,
        LOCK,
        If("off"),
        Call("wake_q_add"),
        PREEMPT_OFF,
        UNLOCK,
        Call("wake_up_q"),
        PREEMPT_ON,
        RET,
        Label("off"),
        UNLOCK,
        Jump("wake_up_q"),
    ];
    let found = Made::queueing(&code).inspect();
    assert_eq!(found.state, State::Fixed, "{found:#?}");
    assert_eq!(found.forms[0].commit.id, "0b26351b910f");
}

#[test]
fn missing_follow_ups_are_told_apart() {
    use Presence::{Missing, Present};
    let gap = [LOCK_AT_8, LOCK, UNLOCK, PREEMPT_OFF, WAKE, PREEMPT_ON, RET];
    let found = Made::queueing(&gap).inspect();
    assert_eq!(found.state, State::Partial, "{found:#?}");
    assert_eq!(states(&found), [Present, Missing, Missing]);
    let none = Made::queueing(&[LOCK_AT_8, LOCK, UNLOCK, Jump("wake_up_process")]).inspect();
    assert_eq!(states(&none), [Missing; 3], "{none:#?}");
    assert!(none.evidence[0].code.starts_with("jump to wake_up_process"));
}

#[test]
fn of_a_kernel_that_does_not_count_preemption_nothing_is_guessed() {
    let found = Made::uncounted(&[LOCK_AT_8, LOCK, DROP, WAKE, RET]).inspect();
    assert_eq!(found.state, State::Fixed);
    assert_eq!(states(&found), [Presence::CannotTell; 3]);
    assert!(found.why.contains("nothing can be told"), "{}", found.why);
    assert_eq!(found.missing, []);
}

#[test]
fn helpers_parts_and_clones_are_followed() {
    // The wake-up is in a helper that was not inlined, and that is a clone.
    let made = Made::queueing(&[
        LOCK_AT_8,
        LOCK,
        Call("__cpu_stop_queue_work.isra.0"),
        UNLOCK,
        RET,
    ])
    .with(
        "__cpu_stop_queue_work.isra.0",
        &[WAKE, Jump("__x86_return_thunk")],
    );
    let found = made.inspect();
    assert_eq!(found.state, State::Affected, "{found:#?}");
    assert!(
        found.evidence[0]
            .place
            .starts_with("__cpu_stop_queue_work.isra.0+0x0")
    );
    // Whoever queues is a clone, and a part of it lies elsewhere.
    let made = Made::queueing(&[LOCK_AT_8, LOCK, UNLOCK, WAKE, RET])
        .without("cpu_stop_queue_work")
        .with(
            "cpu_stop_queue_work.constprop.0",
            &[LOCK_AT_8, LOCK, Jump("cpu_stop_queue_work.cold")],
        )
        .with("cpu_stop_queue_work.cold", &[WAKE, UNLOCK, RET])
        .with(
            "stop_one_cpu",
            &[Call("cpu_stop_queue_work.constprop.0"), RET],
        )
        .with(
            "stop_one_cpu_nowait",
            &[Jump("cpu_stop_queue_work.constprop.0")],
        );
    assert_eq!(
        made.inspect().state,
        State::Affected,
        "{:#?}",
        made.inspect()
    );
}

#[test]
fn loops_end() {
    let retry = [
        Label("again"),
        PREEMPT_OFF,
        LOCK_AT_8,
        LOCK,
        If("busy"),
        UNLOCK,
        WAKE,
        PREEMPT_ON,
        RET,
        Label("busy"),
        UNLOCK,
        PREEMPT_ON,
        Label("spin"),
        If("spin"),
        Goto("again"),
    ];
    let found = Made::queueing(&retry).inspect();
    assert_eq!(found.state, State::Fixed, "{found:#?}");
    let found = Made::queueing(&[Label("x"), Goto("x")]).inspect();
    assert_eq!(found.state, State::Unknown);
    // A function that calls itself.
    let found = Made::queueing(&[Call("cpu_stop_queue_work"), RET]).inspect();
    assert_eq!(found.state, State::Unknown);
}

#[test]
fn a_kernel_without_migrate_swap_cannot_have_it() {
    let made = Made::queueing(&[LOCK_AT_8, LOCK, WAKE, UNLOCK, RET]).without("migrate_swap_stop");
    assert_eq!(made.inspect().state, State::CannotHaveIt);
}

#[test]
fn what_is_not_understood_is_unknown_and_says_why() {
    for (code, why) in [
        (&[RET][..], "takes no lock"),
        (&[LOCK_AT_8, LOCK, UNLOCK, RET], "wakes nobody"),
        (
            &[LOCK_AT_8, LOCK, STORE, WAKE, RET],
            "in a way that is not known",
        ),
        (
            &[LOCK_AT_8, LOCK, DROP, DROP, WAKE, RET],
            "in a way that is not known",
        ),
        (&[LOCK, Bytes(&[0x06]), WAKE], "no instruction at"),
        (&[Bytes(&[0x0f, 0x0b]), WAKE], "takes no lock"),
    ] {
        let found = Made::queueing(code).inspect();
        assert_eq!(found.state, State::Unknown, "{found:#?}");
        assert!(found.why.contains(why), "{}: {why}", found.why);
    }
    let found = Made::queueing(&[LOCK_AT_8, LOCK, UNLOCK, WAKE, RET])
        .without("stop_one_cpu_nowait")
        .inspect();
    assert!(found.why.contains("stop_one_cpu_nowait()"), "{}", found.why);
}

#[test]
fn files_that_are_no_kernel_are_refused() {
    for bytes in [
        &b""[..],
        b"\x7fELF",
        b"garbage, and enough of it to look at, so to say",
        &[0; 4096],
    ] {
        assert!(matches!(
            Image::from_elf(bytes, None),
            Err(BadImage::Format(_))
        ));
    }
}

/// An ELF file of so many segments, each of the whole file, at addresses of the kernel.
fn elf_of_segments(count: u16) -> Vec<u8> {
    let words =
        |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let size = 64 + 56 * u64::from(count);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend(words(&[0, 64, 0]));
    file.extend(
        [0, 64 | 56 << 16, u32::from(count) | 64 << 16, 0]
            .map(u32::to_le_bytes)
            .concat(),
    );
    for number in 0..u64::from(count) {
        file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
        let address = 0xffff_ffff_8100_0000 + number % 16 * 0x10_0000;
        file.extend(words(&[0, address, address, size, size, 0x1000]));
    }
    file
}

#[test]
fn segments_that_name_the_same_bytes_again_and_again_are_refused() {
    let refused = |count| Image::from_elf(&elf_of_segments(count), None).unwrap_err();
    assert!(matches!(refused(1), BadImage::NoSymbols(_)));
    assert!(matches!(refused(60_000), BadImage::Overlap));
}
