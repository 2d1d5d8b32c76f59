//! Stacks read from outside: recorded of real guests, and hostile ones.

use std::collections::BTreeMap;

use kverdict_core::outside::memory::{Memory, Recorded};
use kverdict_core::outside::registers::{BadRegisters, Registers, index, parse};
use kverdict_core::outside::sample::{Line, Look};
use kverdict_core::outside::stack::{End, Frame, Origin, Stack};
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::unwind::unwind;

struct Guest {
    look: Look,
    symbols: Symbols,
    memory: Recorded,
}

impl Guest {
    fn new(look: &str, map: &str) -> Self {
        let Line::Look(look) = serde_json::from_str(look).unwrap() else {
            panic!("not a look");
        };
        Self {
            symbols: Symbols::from_system_map(map).unwrap(),
            memory: Recorded::new(&look.memory),
            look,
        }
    }

    fn stack(&self, vcpu: usize) -> Stack {
        unwind(
            &self.look.vcpus[vcpu].registers,
            &self.symbols,
            &self.memory,
        )
    }
}

fn debian() -> Guest {
    Guest::new(
        include_str!("vcpus/6.1.0-54-cloud-orc.jsonl"),
        include_str!("vcpus/6.1.0-54-cloud-orc.map"),
    )
}

fn own_build() -> Guest {
    Guest::new(
        include_str!("vcpus/6.12.117-deadlocked.jsonl"),
        include_str!("vcpus/6.12.117-deadlocked.map"),
    )
}

#[test]
fn both_sides_of_a_deadlock_in_6_12() {
    let guest = own_build();
    let waker = guest.stack(0);
    assert_eq!(
        waker.to_string(),
        "try_to_wake_up+0xf5 <- wake_up_process+0x10 <- stop_two_cpus+0x1ed <- migrate_swap+0x9f \
         <- task_numa_migrate.isra.0+0x39d <- task_numa_fault+0x74d <- __handle_mm_fault+0x184e \
         <- handle_mm_fault+0x77 <- exc_page_fault+0x22a <- asm_exc_page_fault+0x27"
    );
    assert_eq!(waker.end, End::UserSpace);
    let stopper = guest.stack(6);
    assert_eq!(
        stopper.to_string(),
        "queued_spin_lock_slowpath+0x84 <- _raw_spin_lock_irqsave+0x25 <- cpu_stop_queue_work+0x2d \
         <- stop_one_cpu_nowait+0x32 <- sched_balance_rq+0xd03 <- sched_balance_newidle+0x192 \
         <- balance_fair+0x1c <- __schedule+0x451 <- schedule+0x1b <- smpboot_thread_fn+0xeb \
         <- kthread+0xc2 <- ret_from_fork+0x31"
    );
    assert_eq!(stopper.end, End::Complete);
    assert!(stopper.frames.iter().all(Frame::is_sure));
}

#[test]
fn an_interrupt_on_its_own_stack_leads_to_what_it_interrupted() {
    let stack = own_build().stack(3);
    assert_eq!(
        stack.contexts(),
        [
            vec![
                "read_hpet",
                "ktime_get_update_offsets_now",
                "hrtimer_interrupt",
                "__sysvec_apic_timer_interrupt",
                "sysvec_apic_timer_interrupt",
                "asm_sysvec_apic_timer_interrupt",
            ],
            vec![
                "rcu_momentary_eqs",
                "multi_cpu_stop",
                "cpu_stopper_thread",
                "smpboot_thread_fn",
                "kthread",
                "ret_from_fork",
            ],
        ]
    );
    assert_eq!(stack.end, End::Complete);
    // What a function has on its stack lies where it was before the stacks were switched.
    let low = |at: usize| stack.frames[at].stack_low;
    assert!(low(0) < low(3), "both on the interrupt stack");
    assert!(
        low(4) < low(6) && low(6) - low(4) < 0x200,
        "both the task's"
    );
}

#[test]
fn an_interrupt_of_user_space_ends_there() {
    let stack = own_build().stack(2);
    let last = stack.frames.last().unwrap();
    assert_eq!(last.base(), Some("asm_sysvec_apic_timer_interrupt"));
    assert_eq!(stack.end, End::UserSpace);
}

#[test]
fn without_frame_pointers_callers_are_unsure_unless_their_call_leads_inwards() {
    let guest = debian();
    let idle = guest.stack(3);
    assert_eq!(
        idle.to_string(),
        "native_safe_halt+0xb <- amd_e400_idle+0x3d <- ? default_idle_call+0x38 <- ? do_idle+0x206 \
         <- ? cpu_startup_entry+0x26 <- ? start_secondary+0x12a <- ? secondary_startup_64_no_verify+0xe4"
    );
    assert_eq!(idle.end, End::Complete);
}

#[test]
fn without_frame_pointers_interrupts_are_crossed_too() {
    let stack = debian().stack(5);
    let crossed = stack
        .frames
        .iter()
        .find(|frame| frame.origin == Origin::Interrupted);
    assert_eq!(crossed.unwrap().base(), Some("multi_cpu_stop"));
    assert_eq!(stack.frames.last().unwrap().base(), Some("ret_from_fork"));
    assert_eq!(stack.end, End::Complete);
}

#[test]
fn the_same_kernel_elsewhere_has_the_same_stack() {
    let mut guest = own_build();
    let stack = guest.stack(6);
    let by = 0x1a40_0000_u64;
    guest.symbols = guest.symbols.clone().shifted(by).shifted(by.wrapping_neg());
    assert_eq!(guest.stack(6), stack);
    let moved = guest.symbols.shifted(by);
    assert_eq!(moved.address("runqueues"), Some(0x29ec0), "per CPU");
    let place = moved.place(stack.frames[0].address + by).unwrap();
    assert_eq!(place.symbol, "queued_spin_lock_slowpath");
}

/// Words at addresses; between them and around them nothing can be read.
#[derive(Default)]
struct Words(BTreeMap<u64, u64>);

impl Memory for Words {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        buffer.iter_mut().enumerate().all(|(n, byte)| {
            let Some(at) = at.checked_add(n as u64) else {
                return false;
            };
            let word = self.0.get(&(at & !7));
            *byte = word.map_or(0, |word| word.to_le_bytes()[(at % 8) as usize]);
            word.is_some()
        })
    }
}

const TEXT: u64 = 0xffff_ffff_8100_0000;
const STACK: u64 = 0xffff_8880_0010_0000;
/// A return address: `call *%rax` lies before it.
const CALLER: u64 = TEXT + 0x108;

fn symbols() -> Symbols {
    let map = "ffffffff81000000 T _text\nffffffff81000000 T leaf\nffffffff81000100 T caller\n\
        ffffffff81001000 T _etext\n";
    Symbols::from_system_map(map).unwrap()
}

fn guest(words: &[(u64, u64)]) -> Words {
    let mut memory = Words::default();
    for at in (TEXT..TEXT + 0x200).step_by(8) {
        memory.0.insert(at, 0x9090_9090_9090_9090);
    }
    // push %rbp; mov %rsp,%rbp
    memory.0.insert(TEXT, 0x9090_9090_e589_4855);
    memory.0.insert(TEXT + 0x100, 0xd0ff_9090_9090_9090);
    memory.0.extend(words.iter().copied());
    memory
}

fn at(rip: u64, rsp: u64, rbp: u64) -> Registers {
    let mut registers = Registers {
        rip,
        long_mode: true,
        ..Registers::default()
    };
    registers.general[index::RSP] = rsp;
    registers.general[index::RBP] = rbp;
    registers
}

fn walk(registers: &Registers, memory: &Words) -> (Vec<u64>, End) {
    let stack = unwind(registers, &symbols(), memory);
    let addresses = stack.frames.iter().map(|frame| frame.address);
    (addresses.collect(), stack.end)
}

#[test]
fn a_chain_that_leads_back_to_itself_is_a_loop() {
    let memory = guest(&[
        (STACK, 0),
        (STACK + 0x10, STACK + 0x20),
        (STACK + 0x18, CALLER),
        (STACK + 0x20, STACK + 0x10),
        (STACK + 0x28, CALLER),
    ]);
    let (frames, end) = walk(&at(TEXT + 0x20, STACK, STACK + 0x10), &memory);
    assert_eq!(frames, [TEXT + 0x20, CALLER, CALLER]);
    assert_eq!(end, End::Loop);
}

#[test]
fn frame_pointers_that_are_none_end_the_walk() {
    for rbp in [
        0,
        1,
        u64::MAX,
        u64::MAX - 7,
        STACK + 3,
        0x7fff_0000_0000,
        1 << 62,
        STACK - 8,
    ] {
        for rsp in [STACK, 0, u64::MAX, u64::MAX - 15, STACK + 1] {
            let (frames, end) = walk(&at(TEXT + 0x20, rsp, rbp), &guest(&[]));
            assert_eq!(
                (frames, end),
                (vec![TEXT + 0x20], End::Broken),
                "{rbp:#x} {rsp:#x}"
            );
        }
    }
}

#[test]
fn a_chain_into_user_space_or_far_away_is_not_followed() {
    for next in [
        0x7fff_0000_0000,
        STACK + 0x10_0000,
        STACK - 0x100,
        u64::MAX,
        8,
    ] {
        let memory = guest(&[
            (STACK + 0x10, next),
            (STACK + 0x18, CALLER),
            (0x7fff_0000_0000, 0x7fff_0000_0010),
            (0x7fff_0000_0008, CALLER),
            (STACK + 0x10_0000, STACK + 0x10_0010),
            (STACK + 0x10_0008, CALLER),
        ]);
        let (frames, end) = walk(&at(TEXT + 0x20, STACK, STACK + 0x10), &memory);
        assert_eq!(
            (frames, end),
            (vec![TEXT + 0x20, CALLER], End::Broken),
            "{next:#x}"
        );
    }
}

#[test]
fn a_stack_without_an_end_has_one() {
    let words = (0..40_000).map(|n| {
        (
            STACK + n * 8,
            if n % 2 == 0 {
                STACK + (n + 2) * 8
            } else {
                CALLER
            },
        )
    });
    let memory = guest(&words.collect::<Vec<_>>());
    let (frames, end) = walk(&at(TEXT + 0x20, STACK, STACK), &memory);
    assert_eq!((frames.len(), end), (256, End::TooLong));
    let words = (0..40_000).map(|n| (STACK + n * 8, CALLER));
    let memory = guest(&words.collect::<Vec<_>>());
    let (frames, end) = walk(&at(TEXT + 0x20, STACK, 0), &memory);
    assert_eq!((frames.len(), end), (256, End::TooLong));
}

/// A call of `leaf` in `caller`, and the return address that it leaves.
fn calling_leaf() -> (u64, [(u64, u64); 2]) {
    let after = TEXT + 0x128;
    let displacement = u64::from((TEXT as u32).wrapping_sub(after as u32));
    // nop; nop; nop; call
    let call = displacement << 32 | 0xe890_9090;
    (after, [(TEXT + 0x120, call), (after, 0)])
}

#[test]
fn a_function_without_its_frame_does_not_lose_its_caller() {
    let (after, code) = calling_leaf();
    let outer = [(STACK + 0x40, 0), (STACK + 0x48, CALLER)];
    // At its first byte the return address is at the end of the stack, then below the old frame pointer.
    for (offset, slot) in [(0, STACK), (1, STACK + 8)] {
        let mut memory = guest(&[(STACK, 0), (STACK + 8, 0), (slot, after)]);
        memory.0.extend(code.into_iter().chain(outer));
        let (frames, end) = walk(&at(TEXT + offset, STACK, STACK + 0x40), &memory);
        assert_eq!(frames, [TEXT + offset, after, CALLER], "{offset}");
        assert_eq!(end, End::Broken);
    }
    // Once it has its frame, what lies at the end of the stack is its own.
    let mut memory = guest(&[(STACK, after)]);
    memory.0.extend(code.into_iter().chain(outer));
    let (frames, _) = walk(&at(TEXT + 0x10, STACK, STACK + 0x40), &memory);
    assert_eq!(frames, [TEXT + 0x10, CALLER]);
}

/// What the CPU pushes, at an address.
fn pushed(at: u64, rip: u64, cs: u64, rsp: u64, ss: u64) -> [(u64, u64); 5] {
    let words = [rip, cs, 0x246, rsp, ss];
    std::array::from_fn(|n| (at + 8 * n as u64, words[n]))
}

#[test]
fn saved_registers_are_crossed_only_when_they_fit() {
    let record = [
        (STACK + 0x10, STACK + 0x41),
        (STACK + 0x18, CALLER),
        (STACK + 0x60, 0),
    ];
    let regs = STACK + 0x40 + 0x80;
    let end_of = |frame: [(u64, u64); 5]| {
        let mut memory = guest(&record);
        memory.0.extend(frame);
        walk(&at(TEXT + 0x20, STACK, STACK + 0x10), &memory)
    };
    let user = end_of(pushed(regs, 0x40_1000, 0x33, 0x7ffc_0000, 0x2b));
    assert_eq!(user, (vec![TEXT + 0x20, CALLER], End::UserSpace));
    let kernel = end_of(pushed(regs, TEXT + 0x110, 0x10, regs + 0x28, 0x18));
    assert_eq!(
        kernel,
        (vec![TEXT + 0x20, CALLER, TEXT + 0x110], End::Broken)
    );
    for (why, frame) in [
        (
            "not the kernel's text",
            pushed(regs, 0x40_1000, 0x10, regs + 0x28, 0x18),
        ),
        (
            "a selector that is none",
            pushed(regs, TEXT, 0x12, regs + 0x28, 0x18),
        ),
        (
            "a stack below itself",
            pushed(regs, TEXT, 0x10, regs - 0x100, 0x18),
        ),
        (
            "user space on a kernel stack",
            pushed(regs, 0x40_1000, 0x33, STACK, 0x2b),
        ),
    ] {
        let found = end_of(frame);
        assert_eq!(found, (vec![TEXT + 0x20, CALLER], End::Broken), "{why}");
    }
}

#[test]
fn chunks_that_are_missing_or_cut_cost_frames_but_nothing_else() {
    for guest in [own_build(), debian()] {
        let chunks = guest.look.memory.len();
        for missing in 0..chunks {
            let mut look = guest.look.clone();
            look.memory.remove(missing);
            let half = missing / 2;
            look.memory[half].bytes.truncate(missing % 512);
            let memory = Recorded::new(&look.memory);
            for vcpu in &look.vcpus {
                let stack = unwind(&vcpu.registers, &guest.symbols, &memory);
                assert!(!stack.frames.is_empty() && stack.frames.len() <= 256);
            }
        }
    }
}

#[test]
fn registers_of_linux() {
    let all = parse(include_str!("vcpus/registers-linux.txt")).unwrap();
    let (vcpu, registers) = all[0];
    assert_eq!((vcpu, all.len()), (0, 1));
    assert_eq!(registers.rip, 0xffff_ffff_8108_1805);
    assert_eq!(registers.rsp(), 0xffff_8880_0218_bab8);
    assert_eq!(registers.rbp(), 0xffff_8880_0218_bb00);
    assert_eq!(registers.general[8], 0);
    assert_eq!(registers.general[15], 8);
    assert_eq!(registers.gs_base, 0xffff_8880_1f40_0000);
    assert_eq!(registers.idt_base, 0xffff_fe00_0000_0000);
    assert_eq!(registers.cr3, 0x208b_f000);
    assert!(registers.in_kernel() && !registers.interrupts_on() && !registers.halted);
}

#[test]
fn registers_of_firmware() {
    let all = parse(include_str!("vcpus/registers-firmware.txt")).unwrap();
    assert_eq!(
        all.iter().map(|(vcpu, _)| *vcpu).collect::<Vec<_>>(),
        [0, 1]
    );
    let first = all[0].1;
    assert_eq!((first.rip, first.rsp()), (0xb7b9, 0x6f94));
    assert!(first.halted && first.interrupts_on() && !first.long_mode && !first.in_kernel());
    assert_eq!(all[1].1.idt_base, 0xf_61be);
}

#[test]
fn registers_without_a_head_are_the_first_vcpus_and_more_registers_do_no_harm() {
    let text = include_str!("vcpus/registers-linux.txt");
    let all = parse(text).unwrap();
    let plain: String = text
        .lines()
        .skip_while(|line| !line.contains('='))
        .map(|line| format!("{line}\r\n"))
        .collect();
    assert_eq!(parse(&plain).unwrap(), all);
    // As newer versions print them for CPUs that have them.
    let more = text.replace("RIP=", "R16=0000000000000001 R17=0000000000000002\nRIP=");
    assert_eq!(parse(&more).unwrap(), all);
}

#[test]
fn registers_that_were_cut_or_garbled_are_refused() {
    let text = include_str!("vcpus/registers-linux.txt");
    assert_eq!(parse(""), Err(BadRegisters::Empty));
    assert_eq!(parse("unknown command: 'info'"), Err(BadRegisters::Empty));
    assert!(matches!(parse("CPU#x\nRAX=0"), Err(BadRegisters::Head(_))));
    assert!(matches!(
        parse("CPU#99999999999\n"),
        Err(BadRegisters::Head(_))
    ));
    assert_eq!(parse(&text.repeat(2)), Err(BadRegisters::Twice(0)));
    let long = text.replace("R8 =0", &format!("R8 ={}", "f".repeat(10_000)));
    assert!(
        matches!(parse(&long), Err(BadRegisters::Value { register: "R8", found, .. }) if found.len() == 80)
    );
    for (from, to) in [
        ("CPL=0", "CPL=4"),
        ("HLT=0", "HLT=2"),
        ("RIP=f", "RIP=+"),
        ("GS =0000 f", "GS =0000 x"),
    ] {
        assert!(
            matches!(
                parse(&text.replace(from, to)),
                Err(BadRegisters::Value { .. })
            ),
            "{to}"
        );
    }
    let whole = text.find("CR3=").unwrap() + 20;
    for end in (0..whole).filter(|end| text.is_char_boundary(*end)) {
        // A number that was cut is still a number.
        if let Ok(all) = parse(&text[..end]) {
            assert!(text[..end].contains("CR3=") && all.len() == 1);
        }
    }
}
