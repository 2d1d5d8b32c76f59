//! Who waits for whom in guests that were recorded, and in what could be mistaken for them.

mod walk;

use kverdict_core::console::signature::{Match, STOP_TWO_CPUS};
use kverdict_core::outside::deadlock;
use kverdict_core::outside::finding::{Kind, Stuck};
use kverdict_core::outside::memory::{Chunk, Memory, Recorded};
use kverdict_core::outside::percpu::PerCpu;
use kverdict_core::outside::sample::{Line, Look};
use kverdict_core::outside::seen::seen;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::waits::{Cpu, Cycle, Doing, Graph, How, Scene, Wait, graph};

const DEADLOCK: (&str, &str) = ("deadlock-6.12", "unfixed-6.12");
const QUEUED: (&str, &str) = ("deadlock-queued-6.12", "unfixed-6.12");
const ABBA: (&str, &str) = ("abba-6.12", "provoke-6.12");
const STOP: (&str, &str) = ("stop-machine-6.12", "provoke-6.12");
const CALL: (&str, &str) = ("function-call-6.12", "provoke-6.12");
const HARD: (&str, &str) = ("hard-spin-6.12", "provoke-6.12");
const AMPLIFIER: (&str, &str) = ("amplifier-waits-6.12", "fixed-6.12");

/// A recorded look with the symbols of its kernel, to be changed before it is judged.
struct Recording {
    look: Look,
    map: String,
    memory: Recorded,
}

impl Recording {
    fn open((look, map): (&str, &str)) -> Self {
        let read = |name: &str| {
            let path = format!("{}/tests/vcpus/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let line = serde_json::from_str(&read(&format!("{look}.jsonl"))).unwrap();
        let Line::Look(look) = line else {
            panic!("no look");
        };
        Self {
            memory: Recorded::new(&look.memory),
            look,
            map: read(&format!("{map}.map")),
        }
    }

    fn symbols(&self) -> Symbols {
        Symbols::from_system_map(&self.map).unwrap()
    }

    /// Writes a number into memory.
    fn poke(&mut self, at: u64, bytes: &[u8]) {
        let start = at & !0xff;
        let hex: String = (0..256)
            .map(|offset| {
                let mut byte = [0];
                let address = start + offset;
                self.memory.read(address, &mut byte);
                match address.checked_sub(at).and_then(|n| bytes.get(n as usize)) {
                    Some(byte) => format!("{byte:02x}"),
                    None => format!("{:02x}", byte[0]),
                }
            })
            .collect();
        self.memory.add(&[Chunk {
            at: start,
            bytes: hex,
        }]);
    }

    /// Takes the memory around an address away.
    fn forget(&mut self, at: u64) {
        let bytes = String::new();
        self.memory.add(&[Chunk {
            at: at & !0xff,
            bytes,
        }]);
    }

    /// Calls `judge` with the scene, in which these vCPUs are stuck.
    fn with<T>(&self, stuck: &[u32], judge: impl FnOnce(&mut Scene<'_>) -> T) -> T {
        let symbols = self.symbols();
        judge(&mut walk::scene(&self.look, &symbols, &self.memory, stuck))
    }

    fn graph(&self, stuck: &[u32]) -> Graph {
        self.with(stuck, |scene| graph(scene))
    }

    /// How much of the campaign's signature there is, and whether it is proven.
    fn seen(&self, stuck: &[u32]) -> (Match, bool) {
        self.with(stuck, |scene| seen_in(scene))
    }
}

fn seen_in(scene: &Scene<'_>) -> (Match, bool) {
    let seen = seen(scene, &graph(scene), &STOP_TWO_CPUS);
    (seen.matched, seen.proven)
}

/// `cpu rule what value holder how`, one for each wait.
fn lines(graph: &Graph) -> Vec<String> {
    let line = |wait: &Wait| {
        let holder = wait.holder.map_or("-".to_owned(), |cpu| cpu.to_string());
        let value = wait.value.map_or("-".to_owned(), |v| format!("{v:#x}"));
        format!(
            "{} {}: {} {value} <- {holder} {:?}",
            wait.cpu, wait.rule, wait.what, wait.how
        )
    };
    graph.waits.iter().map(line).collect()
}

fn proven(cpus: &[u32]) -> Option<Cycle> {
    Some(Cycle {
        cpus: cpus.to_vec(),
        proven: true,
    })
}

#[test]
fn the_deadlock_with_those_who_piled_up() {
    let recording = Recording::open(DEADLOCK);
    let graph = recording.graph(&[0, 2, 3, 5]);
    assert_eq!(
        lines(&graph),
        [
            "0 stopper-lock: lock of the stopper of CPU 5 0x1 <- 5 Stack",
            "2 stopper-lock: lock of the stopper of CPU 5 0x1 <- 5 Stack",
            "3 stopper-lock: lock of the stopper of CPU 5 0x1 <- 5 Stack",
            "5 on-cpu: migration/3 to leave its CPU 0x1 <- 3 Memory",
        ]
    );
    assert_eq!(graph.cycle, proven(&[3, 5]));
    assert_eq!(graph.piled_up, [0, 2]);
    assert_eq!(recording.seen(&[0, 2, 3, 5]), (Match::Target, true));
    let seen = recording.with(&[0, 2, 3, 5], |scene| seen(scene, &graph, &STOP_TWO_CPUS));
    let sides: Vec<(&str, u32)> = seen
        .sides
        .iter()
        .map(|s| (s.side.as_str(), s.cpu))
        .collect();
    assert_eq!(sides, [("A", 3), ("B", 5)]);
}

#[test]
fn the_deadlock_with_a_queue_at_the_lock_and_a_stopper_that_waits_for_its_partner() {
    let recording = Recording::open(QUEUED);
    let graph = recording.graph(&[0, 1, 4, 5]);
    assert_eq!(
        lines(&graph),
        [
            "0 on-cpu: migration/4 to leave its CPU 0x1 <- 4 Memory",
            "1 multi-cpu-stop: the stopper of CPU 5 to come for migrate_swap_stop() 0x1 <- 5 Memory",
            "4 stopper-lock: lock of the stopper of CPU 0 0x180101 <- 0 Stack",
            "5 stopper-lock: lock of the stopper of CPU 0 0x180101 <- 0 Stack",
        ]
    );
    assert_eq!(graph.cycle, proven(&[0, 4]));
    assert_eq!(graph.piled_up, [1, 5]);
    assert_eq!(recording.seen(&[0, 1, 4, 5]), (Match::Target, true));
}

#[test]
fn two_locks_in_opposite_order() {
    let recording = Recording::open(ABBA);
    let graph = recording.graph(&[2, 5]);
    assert_eq!(
        lines(&graph),
        [
            "2 spin-lock: spinlock at ffff8880203ac034 0x1 <- 5 Stack",
            "5 spin-lock: spinlock at ffff8880203ac030 0x1 <- 2 Stack",
        ]
    );
    assert_eq!(graph.cycle, proven(&[2, 5]));
    assert!(graph.piled_up.is_empty());
    assert_eq!(recording.seen(&[2, 5]), (Match::Other, false));
}

#[test]
fn all_stoppers_wait_for_the_one_that_cannot_come() {
    let recording = Recording::open(STOP);
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    let graph = recording.graph(&all);
    // CPU 2 was in the timer's interrupt, whose stack could not be followed: it is not said to wait,
    // nor to be missing. CPU 5 shows its wait only by a register.
    let line = |cpu| {
        format!(
            "{cpu} multi-cpu-stop: the stopper of CPU 3 to come for kv_nothing() 0x1 <- 3 Stack"
        )
    };
    assert_eq!(lines(&graph), [0, 1, 4, 5, 6, 7].map(line));
    assert_eq!((graph.cycle, graph.piled_up.len()), (None, 0));
    assert_eq!(recording.seen(&all).0, Match::Other);
}

#[test]
fn a_function_call_that_a_cpu_without_interrupts_cannot_take() {
    let recording = Recording::open(CALL);
    let graph = recording.graph(&[0, 6]);
    let expected = ["0 cross-call: CPU 6 to take an interrupt 0x11 <- 6 Memory"];
    assert_eq!(lines(&graph), expected);
    assert_eq!(graph.cycle, None);
}

#[test]
fn a_cpu_that_waits_for_nothing() {
    assert_eq!(Recording::open(HARD).graph(&[6]), Graph::default());
}

#[test]
fn an_amplifier_that_waits_is_no_deadlock() {
    let recording = Recording::open(AMPLIFIER);
    assert_eq!(recording.graph(&[0, 6]), Graph::default());
    assert_ne!(recording.seen(&[0, 6]).0, Match::Target);
}

#[test]
fn a_lock_that_nobody_has_is_not_waited_for() {
    let mut recording = Recording::open(DEADLOCK);
    let lock = recording.graph(&[3, 5]).waits[0].address;
    recording.poke(lock, &[0; 4]);
    let graph = recording.graph(&[0, 2, 3, 5]);
    assert_eq!(
        lines(&graph),
        ["5 on-cpu: migration/3 to leave its CPU 0x1 <- 3 Memory"]
    );
    assert_eq!(graph.cycle, None);
    assert_eq!(recording.seen(&[0, 2, 3, 5]), (Match::Possible, false));
}

#[test]
fn a_task_that_has_left_is_not_waited_for() {
    let mut recording = Recording::open(DEADLOCK);
    let flag = recording.graph(&[3, 5]).waits[1].address;
    recording.poke(flag, &[0; 4]);
    let graph = recording.graph(&[0, 2, 3, 5]);
    assert_eq!(graph.waits.len(), 3);
    assert_eq!(graph.cycle, None);
    assert_eq!(recording.seen(&[0, 2, 3, 5]), (Match::Possible, false));
}

#[test]
fn a_waker_that_holds_no_stopper_lock() {
    let recording = Recording::open(DEADLOCK);
    recording.with(&[0, 2, 3, 5], |scene| {
        let waker = cpu(scene, 5);
        waker
            .stack
            .frames
            .retain(|frame| frame.base() != Some("stop_two_cpus"));
        let graph = graph(scene);
        let waits: Vec<_> = graph
            .waits
            .iter()
            .map(|wait| (wait.cpu, wait.holder))
            .collect();
        assert_eq!(waits, [(0, None), (2, None), (3, None), (5, Some(3))]);
        assert_eq!(graph.cycle, None);
        assert_ne!(seen_in(scene).0, Match::Target);
    });
}

#[test]
fn a_waker_that_holds_other_stoppers_locks() {
    let mut recording = Recording::open(DEADLOCK);
    // The lock that is waited for becomes CPU 6's: CPU 5's stack shows no pointer to that one.
    let symbols = recording.symbols();
    let memory = recording.memory.clone();
    let per_cpu = PerCpu {
        symbols: &symbols,
        memory: &memory,
    };
    let other = per_cpu.address("cpu_stopper", 6).unwrap() + 8;
    recording.poke(other, &[1, 0, 0, 0]);
    let waiter = recording
        .look
        .vcpus
        .iter_mut()
        .find(|v| v.index == 3)
        .unwrap();
    waiter.registers.general[3] = other;
    let graph = recording.graph(&[3, 5]);
    assert_eq!(
        lines(&graph),
        [
            "3 stopper-lock: lock of the stopper of CPU 6 0x1 <- - Unknown",
            "5 on-cpu: migration/3 to leave its CPU 0x1 <- 3 Memory",
        ]
    );
    assert_eq!(graph.cycle, None);
}

#[test]
fn a_task_that_is_on_no_cpu() {
    let mut recording = Recording::open(DEADLOCK);
    let symbols = recording.symbols();
    let memory = recording.memory.clone();
    let per_cpu = PerCpu {
        symbols: &symbols,
        memory: &memory,
    };
    for cpu in 0..8 {
        let current = per_cpu.address("pcpu_hot", cpu).unwrap();
        recording.poke(current, &0xffff_8880_1234_5000_u64.to_le_bytes());
    }
    let graph = recording.graph(&[0, 2, 3, 5]);
    assert_eq!(
        lines(&graph)[3],
        "5 on-cpu: migration/3 to leave its CPU 0x1 <- - Memory"
    );
    assert_eq!(graph.cycle, None);
    assert_eq!(recording.seen(&[0, 2, 3, 5]).0, Match::Possible);
}

#[test]
fn without_the_stoppers_symbol_a_lock_is_a_lock() {
    let mut recording = Recording::open(DEADLOCK);
    let kept = recording.map.lines();
    let kept = kept.filter(|line| !line.ends_with(" cpu_stopper"));
    recording.map = kept.map(|line| format!("{line}\n")).collect();
    let graph = recording.graph(&[0, 2, 3, 5]);
    let lock = graph.waits.iter().find(|wait| wait.cpu == 3).unwrap();
    assert_eq!(lock.rule, "spin-lock");
    assert_eq!(lock.what, "spinlock at ffff88803ec9f2c8");
    assert_eq!(
        (lock.holder, lock.how),
        (Some(5), How::Stack),
        "by the address alone"
    );
    assert_eq!(recording.seen(&[0, 2, 3, 5]).0, Match::Target);
}

#[test]
fn nothing_follows_from_what_cannot_be_read() {
    let whole = Recording::open(DEADLOCK);
    let stuck = [0, 2, 3, 5];
    let complete = whole.graph(&stuck);
    for wait in &complete.waits {
        let mut recording = Recording::open(DEADLOCK);
        recording.forget(wait.address);
        let graph = recording.graph(&stuck);
        assert_eq!(graph.cycle, None, "without {:x}", wait.address);
    }
    // Whatever is missing: never a cycle of other CPUs, and never a proof of more.
    for chunk in &whole.look.memory {
        let mut recording = Recording::open(DEADLOCK);
        recording.forget(chunk.at);
        let graph = recording.graph(&stuck);
        if let Some(cycle) = &graph.cycle {
            assert_eq!(cycle.cpus, [3, 5], "without {:x}", chunk.at);
        }
        let (_, proven) = recording.seen(&stuck);
        let has_cycle = graph.cycle.is_some_and(|cycle| cycle.proven);
        assert!(!proven || has_cycle, "without {:x}", chunk.at);
    }
    let mut nothing = Recording::open(DEADLOCK);
    nothing.memory = Recorded::default();
    let graph = nothing.graph(&stuck);
    assert!(graph.cycle.is_none() && graph.waits.iter().all(|wait| wait.holder.is_none()));
}

#[test]
fn cpus_that_move_hold_nothing_for_long() {
    let recording = Recording::open(DEADLOCK);
    // Only one side is stuck: the other one is on its way.
    let graph = recording.graph(&[3]);
    assert_eq!(
        lines(&graph),
        ["3 stopper-lock: lock of the stopper of CPU 5 0x1 <- - Unknown"]
    );
    let graph = recording.graph(&[5]);
    assert_eq!(lines(&graph).len(), 1);
    assert_eq!(graph.cycle, None);
    assert_eq!(recording.seen(&[5]).0, Match::Possible);
}

#[test]
fn the_only_other_cpu_that_is_stuck_must_have_an_unknown_lock() {
    let recording = Recording::open(ABBA);
    recording.with(&[2, 5], |scene| {
        // Without its stack and registers nothing shows what CPU 5 holds.
        let holder = cpu(scene, 5);
        holder.stack.frames.clear();
        holder.registers.general = [0; 16];
        assert_eq!(
            lines(&graph(scene)),
            ["2 spin-lock: spinlock at ffff8880203ac034 0x1 <- 5 Exclusion"]
        );
        cpu(scene, 3).doing = Doing::Stuck;
        assert_eq!(graph(scene).waits[0].how, How::Unknown, "it may be either");
    });
}

#[test]
fn a_table_of_both_sides_fits_a_page() {
    let recording = Recording::open(DEADLOCK);
    let text = recording.with(&[0, 2, 3, 5], |scene| {
        let graph = graph(scene);
        deadlock::text(&stuck(scene), &graph)
    });
    println!("{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120));
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows[0], "Deadlock, proven: CPU 3 -> 5 -> 3");
    assert!(
        rows[2].starts_with("CPU 3, interrupts off") && rows[2].contains("| CPU 5, interrupts")
    );
    for part in [
        "stop_one_cpu_nowait()",
        "try_to_wake_up()",
        "waits for lock of the stopper of CPU 5 at",
        "keeps CPU 3 waiting for lock of the stopper of CPU 5",
        "CPU 0 waits for lock of the stopper of CPU 5 at ffff88803ec9f2c8 = 0x1: up to CPU 5",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

fn stuck(scene: &Scene<'_>) -> Vec<Stuck> {
    let stuck = scene.cpus.iter().filter(|cpu| cpu.doing == Doing::Stuck);
    stuck
        .map(|cpu| Stuck {
            vcpu: cpu.vcpu,
            cpu: cpu.number,
            kind: if cpu.registers.interrupts_on() {
                Kind::SoftLockup
            } else {
                Kind::HardLockup
            },
            since_ms: 0,
            cpu_time_ms: None,
            frozen: true,
            stack: cpu.stack.clone(),
        })
        .collect()
}

fn cpu<'s>(scene: &'s mut Scene<'_>, number: u32) -> &'s mut Cpu {
    let mut cpus = scene.cpus.iter_mut();
    cpus.find(|cpu| cpu.name() == number).unwrap()
}
