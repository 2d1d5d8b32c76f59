//! Waits of kernels and situations that were not recorded, made by hand.

use std::collections::BTreeMap;

use kverdict_core::outside::memory::Memory;
use kverdict_core::outside::percpu::{PerCpu, cpu_number};
use kverdict_core::outside::registers::Registers;
use kverdict_core::outside::stack::{End, Frame, Origin, Stack};
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::waits::{Cpu, Doing, Graph, How, Scene, graph};

const OFFSETS: u64 = 0xffff_ffff_8200_0000;
const AREAS: u64 = 0xffff_8880_1000_0000;
const AREA: u64 = 0x10_0000;
const STACKS: u64 = 0xffff_c900_0000_0000;
const LOCKS: u64 = 0xffff_8880_0300_0000;

const STOPPER: u64 = 0x1000;
const RUNQUEUE: u64 = 0x2000;
const NODES: u64 = 0x3000;
const CURRENT: u64 = 0x4000;
const NUMBER: u64 = 0x4008;
const STOPPER_TASK: u64 = 0x5000;

/// Since 4.2: `pause; mov 8(%rdx),%eax; test %eax,%eax; je back`.
const POLLS_NODE: &[u8] = &[0xf3, 0x90, 0x8b, 0x42, 0x08, 0x85, 0xc0, 0x74, 0xf7];
/// `pause; movzwl (%rdi),%eax; cmp %cx,%ax; jne back`.
const POLLS_TICKET: &[u8] = &[0xf3, 0x90, 0x0f, 0xb7, 0x07, 0x66, 0x39, 0xc8, 0x75, 0xf6];
/// `pause; mov (%rbx),%eax; test %eax,%eax; jne back`.
const POLLS_WORD: &[u8] = &[0xf3, 0x90, 0x8b, 0x03, 0x85, 0xc0, 0x75, 0xf8];
/// `pause; mov 0x34(%rbx),%eax; test %eax,%eax; jne back`.
const POLLS_ON_CPU: &[u8] = &[0xf3, 0x90, 0x8b, 0x43, 0x34, 0x85, 0xc0, 0x75, 0xf7];
/// `pause; mov 8(%rbx),%eax; test $1,%al; jne back`.
const POLLS_CALL: &[u8] = &[0xf3, 0x90, 0x8b, 0x43, 0x08, 0xa8, 0x01, 0x75, 0xf7];

const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RDI: usize = 7;

#[derive(Default)]
struct Made {
    bytes: BTreeMap<u64, u8>,
    map: Vec<(u64, char, String)>,
    cpus: Vec<Cpu>,
}

impl Memory for Made {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        buffer.iter_mut().enumerate().all(|(n, byte)| {
            let found = self.bytes.get(&at.wrapping_add(n as u64));
            *byte = found.copied().unwrap_or_default();
            found.is_some()
        })
    }
}

impl Made {
    fn new(cpus: u32) -> Self {
        let mut made = Self::default();
        for (name, at) in [
            ("__per_cpu_offset", OFFSETS),
            ("cpu_stopper", STOPPER),
            ("runqueues", RUNQUEUE),
            ("current_task", CURRENT),
            ("cpu_number", NUMBER),
        ] {
            made.map.push((at, 'd', name.to_owned()));
        }
        for cpu in 0..u64::from(cpus) {
            made.write(OFFSETS + 8 * cpu, AREAS + AREA * cpu);
            made.write(AREAS + AREA * cpu + CURRENT, task(cpu));
            made.write(AREAS + AREA * cpu + NUMBER, cpu);
            made.cpus.push(Cpu {
                vcpu: cpu as u32,
                number: Some(cpu as u32),
                registers: Registers::default(),
                stack: Stack::default(),
                doing: Doing::Idle,
            });
        }
        made
    }

    fn symbol(mut self, name: &str, at: u64) -> Self {
        self.map.push((at, 'd', name.to_owned()));
        self
    }

    fn queued(self) -> Self {
        self.symbol("queued_spin_lock_slowpath", 0xffff_ffff_8100_0000)
            .symbol("qnodes", NODES)
    }

    fn write(&mut self, at: u64, word: u64) {
        for (n, byte) in word.to_le_bytes().iter().enumerate() {
            self.bytes.insert(at + n as u64, *byte);
        }
    }

    /// A CPU that is stuck in `code`, with these functions on its stack, innermost first, and these
    /// words in the outermost one's frame.
    fn stuck(
        &mut self,
        cpu: u32,
        code: &[u8],
        calls: &str,
        registers: &[(usize, u64)],
        words: &[u64],
    ) {
        let at = 0xffff_ffff_8110_0000 + 0x1000 * u64::from(cpu);
        for (n, byte) in code.iter().enumerate() {
            self.bytes.insert(at + n as u64, *byte);
        }
        let names: Vec<&str> = calls.split(" <- ").collect();
        let low = STACKS + 0x4000 * u64::from(cpu);
        let last = low + 16 * (names.len() as u64 - 1);
        for slot in 0..128 {
            self.write(low + 8 * slot, 0);
        }
        for (n, word) in words.iter().enumerate() {
            self.write(last + 8 * n as u64, *word);
        }
        let made = &mut self.cpus[cpu as usize];
        made.doing = Doing::Stuck;
        made.registers = Registers {
            rip: at,
            long_mode: true,
            gs_base: AREAS + AREA * u64::from(cpu),
            ..Registers::default()
        };
        made.registers.general[RSP] = low;
        for (register, value) in registers {
            made.registers.general[*register] = *value;
        }
        let frames = names.iter().enumerate().map(|(depth, name)| Frame {
            address: at,
            symbol: Some((*name).to_owned()),
            offset: 0,
            stack_low: low + 16 * depth as u64,
            origin: if depth == 0 {
                Origin::Register
            } else {
                Origin::Chained
            },
        });
        made.stack = Stack {
            frames: frames.collect(),
            end: End::Complete,
        };
    }

    fn graph(&self) -> Graph {
        let symbols = Symbols::new(self.map.clone());
        graph(&Scene {
            symbols: &symbols,
            memory: self,
            cpus: self.cpus.clone(),
        })
    }

    /// `rule what holder how` of a CPU's only wait.
    fn wait(&self, cpu: u32) -> String {
        let graph = self.graph();
        let waits: Vec<_> = graph.waits.iter().filter(|wait| wait.cpu == cpu).collect();
        let [wait] = waits[..] else {
            return format!("{} waits", waits.len());
        };
        let holder = wait.holder.map_or("-".to_owned(), |cpu| cpu.to_string());
        format!("{}: {} <- {holder} {:?}", wait.rule, wait.what, wait.how)
    }
}

fn task(cpu: u64) -> u64 {
    0xffff_8880_0200_0000 + 0x1000 * cpu
}

fn of(cpu: u64, variable: u64) -> u64 {
    AREAS + AREA * cpu + variable
}

const IN_LOCK: &str = "queued_spin_lock_slowpath <- _raw_spin_lock_irqsave <- ";

fn in_lock(callers: &str) -> String {
    format!("{IN_LOCK}{callers}")
}

/// CPU 2 holds the lock of the stopper of CPU 1 and waits for CPU 0's migration thread.
fn waker(made: &mut Made) {
    made.write(task(0) + 0x34, 1);
    let calls = "try_to_wake_up <- wake_up_process <- stop_two_cpus <- migrate_swap";
    made.stuck(2, POLLS_ON_CPU, calls, &[(RBX, task(0))], &[of(1, STOPPER)]);
}

#[test]
fn who_polls_a_node_waits_in_the_queue_of_the_lock_that_it_keeps() {
    let mut made = Made::new(4).queued();
    waker(&mut made);
    made.write(of(1, STOPPER) + 8, 0x0004_0001);
    made.write(of(0, NODES) + 8, 0);
    let registers = [(RDX, of(0, NODES)), (RBX, of(1, STOPPER) + 8)];
    made.stuck(
        0,
        POLLS_NODE,
        &in_lock("cpu_stop_queue_work"),
        &registers,
        &[],
    );
    assert_eq!(
        made.wait(0),
        "stopper-lock: lock of the stopper of CPU 1 <- 2 Stack"
    );
    assert_eq!(made.graph().cycle.map(|cycle| cycle.cpus), Some(vec![0, 2]));

    // An unknown lock is known by its word: held, with a queue of CPUs that exist.
    made.write(LOCKS, 0x0004_0001);
    let registers = [(RDX, of(0, NODES)), (RBX, LOCKS)];
    made.stuck(0, POLLS_NODE, &in_lock("work"), &registers, &[]);
    let expected = format!("spin-lock: spinlock at {LOCKS:x} <- 2 Exclusion");
    assert_eq!(made.wait(0), expected);
    made.write(LOCKS, 0x1234_5601);
    assert_eq!(made.wait(0), "0 waits");
}

#[test]
fn tickets_before_queues() {
    for (symbol, offset) in [("other", 8), ("cpu_stopper_task", 0)] {
        let mut made = Made::new(4).symbol(symbol, STOPPER_TASK);
        waker(&mut made);
        made.write(of(1, STOPPER) + offset, 0x0e16_0e12);
        made.write(of(0, STOPPER_TASK), task(0));
        let calls = "_raw_spin_lock_irqsave <- cpu_stop_queue_work <- stop_one_cpu_nowait";
        let registers = [(RDI, of(1, STOPPER) + offset)];
        made.stuck(0, POLLS_TICKET, calls, &registers, &[]);
        assert_eq!(
            made.wait(0),
            "stopper-lock: lock of the stopper of CPU 1 <- 2 Stack"
        );
        let thread = match offset {
            0 => "migration/0 to leave its CPU",
            _ => "the task on CPU 0 to leave it",
        };
        assert_eq!(made.wait(2), format!("on-cpu: {thread} <- 0 Memory"));
        assert!(made.graph().cycle.is_some_and(|cycle| cycle.proven));
        made.write(of(1, STOPPER) + offset, 0x0e12_0e12);
        assert_eq!(made.wait(0), "0 waits", "nobody has it");
    }
}

#[test]
fn a_debug_build_names_the_owner() {
    let mut made = Made::new(4).queued().symbol("tty_lock", LOCKS);
    made.write(LOCKS, 0xdead_4ead_0000_0001);
    made.write(LOCKS + 8, 3);
    made.stuck(0, POLLS_WORD, &in_lock("work"), &[(RBX, LOCKS)], &[]);
    assert_eq!(made.wait(0), "spin-lock: spinlock tty_lock <- 3 Memory");
    made.write(LOCKS + 8, u64::from(u32::MAX));
    assert_eq!(made.wait(0), "spin-lock: spinlock tty_lock <- - Unknown");
}

#[test]
fn a_runqueue_on_a_stack_is_not_a_lock_that_is_held() {
    let mut made = Made::new(4).queued();
    made.write(of(1, RUNQUEUE), 1);
    made.stuck(
        0,
        POLLS_WORD,
        &in_lock("try_to_wake_up"),
        &[(RBX, of(1, RUNQUEUE))],
        &[],
    );
    made.stuck(
        1,
        &[0xeb, 0xfe],
        "spin <- __schedule",
        &[],
        &[of(1, RUNQUEUE)],
    );
    let waits_for_1 = "runqueue-lock: lock of the runqueue of CPU 1";
    assert_eq!(made.wait(0), format!("{waits_for_1} <- 1 Exclusion"));
    made.stuck(2, &[0xeb, 0xfe], "spin", &[], &[]);
    assert_eq!(made.wait(0), format!("{waits_for_1} <- - Unknown"));
}

#[test]
fn two_stoppers_locks_are_taken_in_order() {
    for (first, holder) in [(0, "2 Stack"), (3, "- Unknown")] {
        let mut made = Made::new(5).queued();
        made.write(of(1, STOPPER) + 8, 1);
        made.write(of(first, STOPPER) + 8, 1);
        let waited = [(RBX, of(1, STOPPER) + 8)];
        made.stuck(
            2,
            POLLS_WORD,
            &in_lock("stop_two_cpus"),
            &waited,
            &[of(first, STOPPER)],
        );
        let waited = [(RBX, of(first, STOPPER) + 8)];
        made.stuck(4, POLLS_WORD, &in_lock("cpu_stop_queue_work"), &waited, &[]);
        let expected = format!("stopper-lock: lock of the stopper of CPU {first} <- {holder}");
        assert_eq!(made.wait(4), expected);
    }
}

#[test]
fn two_that_could_have_it_are_none() {
    let mut made = Made::new(4).queued();
    made.write(LOCKS, 1);
    made.stuck(0, POLLS_WORD, &in_lock("work"), &[(RBX, LOCKS)], &[]);
    made.stuck(1, &[0xeb, 0xfe], "spin", &[], &[LOCKS]);
    assert!(made.wait(0).ends_with("<- 1 Stack"));
    made.stuck(2, &[0xeb, 0xfe], "spin", &[], &[LOCKS]);
    assert!(made.wait(0).ends_with("<- - Unknown"));
}

#[test]
fn a_cycle_of_three_and_a_queue_behind_it() {
    let mut made = Made::new(6).queued();
    let lock = |n: u64| LOCKS + 0x100 * n;
    for (cpu, wants, has) in [(1, 2, 1), (2, 3, 2), (3, 1, 3), (4, 5, 4), (5, 2, 5)] {
        made.write(lock(wants), 1);
        made.stuck(
            cpu,
            POLLS_WORD,
            &in_lock("work"),
            &[(RBX, lock(wants))],
            &[lock(has)],
        );
    }
    let graph = made.graph();
    let cycle = graph.cycle.unwrap();
    assert_eq!((cycle.cpus, cycle.proven), (vec![1, 2, 3], true));
    assert_eq!(
        graph.piled_up,
        [4, 5],
        "4 waits for 5, which waits for the cycle"
    );
    assert!(graph.waits.iter().all(|wait| wait.how == How::Stack));
}

#[test]
fn a_call_is_waited_for_while_it_is_not_taken() {
    let calls = "smp_call_function_many_cond <- on_each_cpu_cond_mask <- flush_tlb_mm_range";
    let mut made = Made::new(4).queued();
    let call = of(2, 0x6000);
    made.write(call + 8, 1);
    made.stuck(0, POLLS_CALL, calls, &[(RBX, call)], &[]);
    let waits_for_2 = "cross-call: CPU 2 to take an interrupt";
    assert_eq!(
        made.wait(0),
        format!("{waits_for_2} <- - Unknown"),
        "it moves"
    );
    made.stuck(2, &[0xeb, 0xfe], "spin", &[], &[]);
    assert_eq!(made.wait(0), format!("{waits_for_2} <- 2 Memory"));
    made.cpus[2].registers.rflags = 1 << 9;
    assert_eq!(
        made.wait(0),
        format!("{waits_for_2} <- - Unknown"),
        "interrupts are on"
    );
    made.write(call + 8, 0);
    assert_eq!(made.wait(0), "0 waits", "taken");

    // A call to one CPU is the caller's own: on its stack.
    made.cpus[2].registers.rflags = 0;
    made.write(LOCKS + 8, 1);
    made.stuck(
        0,
        POLLS_CALL,
        "smp_call_function_single",
        &[(RBX, LOCKS)],
        &[],
    );
    assert_eq!(
        made.wait(0),
        "cross-call: CPU 2 to take an interrupt <- 2 Exclusion"
    );
}

#[test]
fn a_cpus_number_is_what_both_its_area_and_the_table_say() {
    let mut made = Made::new(3);
    let symbols = Symbols::new(made.map.clone());
    let registers = |gs_base| Registers {
        rip: 0xffff_ffff_8110_0000,
        long_mode: true,
        gs_base,
        ..Registers::default()
    };
    assert_eq!(cpu_number(&registers(of(2, 0)), &symbols, &made), Some(2));
    assert_eq!(
        cpu_number(&registers(0x7fff_0000), &symbols, &made),
        None,
        "a program's GS"
    );
    let user = Registers {
        cpl: 3,
        ..registers(of(2, 0))
    };
    assert_eq!(cpu_number(&user, &symbols, &made), None);
    made.write(of(2, NUMBER), 1);
    assert_eq!(cpu_number(&registers(of(2, 0)), &symbols, &made), None);
    // pcpu_hot has both.
    let hot = [
        (OFFSETS, 'D', "__per_cpu_offset"),
        (CURRENT, 'D', "pcpu_hot"),
    ];
    let hot = Symbols::new(hot.map(|(at, kind, name)| (at, kind, name.to_owned())));
    made.write(of(1, CURRENT) + 8, 1 << 32);
    assert_eq!(cpu_number(&registers(of(1, 0)), &hot, &made), Some(1));
    let per_cpu = PerCpu {
        symbols: &hot,
        memory: &made,
    };
    assert_eq!(per_cpu.current_task(1), Some(task(1)));
}
