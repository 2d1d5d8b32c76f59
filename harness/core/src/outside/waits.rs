//! Who waits for whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::lock::{self, Word};
use super::memory::Memory;
use super::percpu::PerCpu;
use super::polled::{Polled, polled, polled_by_caller};
use super::registers::{Registers, hex, index};
use super::stack::{End, Frame, Stack};
use super::symbols::Symbols;
use super::wait_rules::{LOCKS, Object, PerCpuLock, QUEUE_NODES, RULES, Rule, is_any};

/// A vCPU waits for something that another one has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The CPU that waits.
    pub cpu: u32,
    /// The rule of the table that knows this wait.
    pub rule: String,
    /// What it waits for, such as `lock of the stopper of CPU 6`.
    pub what: String,
    /// Address that is polled, or of the lock; 0: not known.
    #[serde(with = "hex")]
    pub address: u64,
    /// What is there.
    pub value: Option<u64>,
    /// The CPU that has to end the wait; `None` with [`How::Memory`]: memory says that no CPU can.
    pub holder: Option<u32>,
    /// How the holder is known.
    pub how: How,
}

/// How a wait's holder is known, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is not.
    Unknown,
    /// No other CPU can have it: they are idle, in user space, or move.
    Exclusion,
    /// The holder's stack shows a function that holds it, with its address.
    Stack,
    /// Guest memory says so: an owner field, or the current task of a CPU.
    Memory,
}

/// Who waits for whom, all CPUs together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// One for each stuck CPU whose wait is understood; several for one that waits for several.
    pub waits: Vec<Wait>,
    /// CPUs that wait for each other, in order, the first one's wait first.
    pub cycle: Option<Cycle>,
    /// CPUs that wait for the cycle without being part of it.
    pub piled_up: Vec<u32>,
}

/// A deadlock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// Each waits for the next one, the last for the first.
    pub cpus: Vec<u32>,
    /// Whether every wait's holder is known from the stack or from memory.
    pub proven: bool,
}

/// Everything that is known of a guest when it is asked who waits for whom.
#[derive(Clone)]
pub struct Scene<'a> {
    /// The kernel's symbols.
    pub symbols: &'a Symbols,
    /// The guest's memory.
    pub memory: &'a dyn Memory,
    /// All of its CPUs.
    pub cpus: Vec<Cpu>,
}

/// One CPU of a scene.
#[derive(Debug, Clone)]
pub struct Cpu {
    /// QEMU's index.
    pub vcpu: u32,
    /// Linux' number, if it is known; else QEMU's is taken for it.
    pub number: Option<u32>,
    /// Its registers.
    pub registers: Registers,
    /// Its stack; only that of a stuck CPU is looked at.
    pub stack: Stack,
    /// What it does.
    pub doing: Doing,
}

/// What a CPU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It burns CPU time in one place.
    Stuck,
    /// It waits in HLT.
    Idle,
    /// It runs a program.
    UserSpace,
    /// It runs the kernel, and gets on.
    Moving,
}

impl Cpu {
    /// The number by which a graph calls it.
    pub fn name(&self) -> u32 {
        self.number.unwrap_or(self.vcpu)
    }

    fn is_stuck(&self) -> bool {
        match self.doing {
            Doing::Stuck => true,
            Doing::Idle | Doing::UserSpace | Doing::Moving => false,
        }
    }
}

/// Who waits for whom.
pub fn graph(scene: &Scene<'_>) -> Graph {
    let lookout = Lookout::new(scene);
    let mut waits: Vec<Wait> = lookout
        .places
        .iter()
        .flat_map(|place| lookout.waits(place))
        .collect();
    waits.sort_by_key(|wait| (wait.cpu, wait.holder));
    let cycle = cycle(&waits);
    let piled_up = cycle
        .as_ref()
        .map_or_else(Vec::new, |c| piled_up(&waits, c));
    Graph {
        waits,
        cycle,
        piled_up,
    }
}

/// Where a stuck CPU waits.
struct Place<'a> {
    cpu: &'a Cpu,
    /// Its base symbols, all contexts.
    functions: Vec<&'a str>,
    /// The rule that knows the wait; without one it may still hold something.
    rule: Option<&'static Rule>,
    /// What its loop polls.
    polled: Vec<Polled>,
    /// Words on its stack and in the registers that functions keep.
    words: BTreeSet<u64>,
    /// The lock that it waits for.
    lock: Option<Lock>,
}

/// A spinlock that somebody waits for.
#[derive(Clone, Copy)]
struct Lock {
    address: u64,
    of: Option<(&'static PerCpuLock, u32)>,
}

/// All stuck CPUs' places, so that one can be held against the others.
struct Lookout<'a> {
    scene: &'a Scene<'a>,
    per_cpu: PerCpu<'a>,
    numbers: Vec<u32>,
    places: Vec<Place<'a>>,
}

impl<'a> Lookout<'a> {
    fn new(scene: &'a Scene<'a>) -> Self {
        let mut lookout = Self {
            scene,
            per_cpu: PerCpu {
                symbols: scene.symbols,
                memory: scene.memory,
            },
            numbers: scene.cpus.iter().map(Cpu::name).collect(),
            places: Vec::new(),
        };
        let stuck = scene.cpus.iter().filter(|cpu| cpu.is_stuck());
        lookout.places = stuck.map(|cpu| lookout.place(cpu)).collect();
        lookout
    }

    fn place(&self, cpu: &'a Cpu) -> Place<'a> {
        let contexts = cpu.stack.contexts();
        let found = contexts.iter().enumerate().find_map(|(number, frames)| {
            let rule = RULES.iter().find(|rule| rule.waiting_frames(frames) > 0)?;
            Some((number, rule))
        });
        // Registers are those of the innermost context.
        let polled = match found {
            Some((0, _)) => self.polled(cpu),
            Some(_) | None => Vec::new(),
        };
        let mut place = Place {
            cpu,
            functions: contexts.into_iter().flatten().collect(),
            rule: found.map(|(_, rule)| rule),
            polled,
            words: self.words(cpu),
            lock: None,
        };
        if place
            .rule
            .is_some_and(|rule| rule.object == Object::SpinLock)
        {
            place.lock = self.lock(&place);
        }
        place
    }

    /// What it polls; a loop may call a small function that only pauses.
    fn polled(&self, cpu: &Cpu) -> Vec<Polled> {
        let memory = self.scene.memory;
        let own = polled(&cpu.registers, memory);
        let caller = cpu
            .stack
            .frames
            .iter()
            .filter(|frame| frame.is_sure())
            .nth(1);
        match (own.is_empty(), caller) {
            (true, Some(caller)) => polled_by_caller(&cpu.registers, caller.address, memory),
            (true, None) | (false, _) => own,
        }
    }

    fn words(&self, cpu: &Cpu) -> BTreeSet<u64> {
        let mut words = BTreeSet::from(cpu.registers.callee_saved());
        let frames: Vec<u64> = cpu
            .stack
            .frames
            .iter()
            .filter(|frame| frame.is_sure())
            .map(|frame| frame.stack_low & !7)
            .collect();
        for (number, low) in frames.iter().enumerate() {
            // The outermost frame's end is not known, nor that of one whose caller is on another stack.
            let next = frames.get(number + 1).copied().unwrap_or(0);
            let high = match next.checked_sub(*low) {
                Some(size) if size <= FRAME_MAX => next,
                Some(_) | None => low.saturating_add(LAST_FRAME),
            };
            let addresses = (*low..high).step_by(8);
            words.extend(addresses.map_while(|at| self.scene.memory.word(at)));
        }
        words
    }

    fn waits(&self, place: &Place<'_>) -> Vec<Wait> {
        let Some(rule) = place.rule else {
            return Vec::new();
        };
        match rule.object {
            Object::SpinLock => self.lock_wait(place).into_iter().collect(),
            Object::OnCpu => self.on_cpu_wait(place, rule).into_iter().collect(),
            Object::Stoppers => self.stopper_waits(place, rule),
            Object::CrossCall => self.call_wait(place, rule).into_iter().collect(),
        }
    }
}

/// A frame that is larger belongs to another stack than its caller's.
const FRAME_MAX: u64 = 16 << 10;
/// What is read of a frame whose end is not known.
const LAST_FRAME: u64 = 256;

// Spinlocks.

impl<'a> Lookout<'a> {
    /// The lock that a CPU spins for: what it polls, or, where that is its own node of a queued
    /// lock or nothing, the pointer that it has to keep.
    fn lock(&self, place: &Place<'_>) -> Option<Lock> {
        let (nodes, locks): (Vec<&Polled>, Vec<&Polled>) = place
            .polled
            .iter()
            .filter(|polled| polled.address & KERNEL_HALF != 0)
            .partition(|polled| self.is_queue_node(polled.address));
        if let Some(polled) = locks.first()
            && nodes.is_empty()
        {
            return Some(self.named(polled.address & !3));
        }
        self.kept_lock(place)
    }

    fn is_queue_node(&self, address: u64) -> bool {
        self.numbers.iter().any(|cpu| {
            QUEUE_NODES.iter().any(|variable| {
                let nodes = self.per_cpu.address(variable, *cpu);
                nodes.is_some_and(|nodes| address.wrapping_sub(nodes) < QUEUE_NODES_BYTES)
            })
        })
    }

    /// Of the pointers in its registers and its innermost frames, the one that points to a lock.
    fn kept_lock(&self, place: &Place<'_>) -> Option<Lock> {
        let general = place.cpu.registers.general;
        // The argument's register and the first one that is saved: where compilers keep it.
        let first = [general[index::RBX], general[RDI]];
        let pointers = || {
            let all = first.iter().chain(&general).chain(&place.words);
            all.copied()
                .filter(|word| word & KERNEL_HALF != 0 && word % 4 == 0)
        };
        let known = pointers()
            .map(|at| self.named(at))
            .find(|lock| lock.of.is_some_and(|(of, _)| !of.holders.is_empty()));
        known.or_else(|| {
            let contended = |at: &u64| {
                self.scene
                    .memory
                    .half_word(*at)
                    .is_some_and(|word| lock::is_contended(word, self.numbers.len()))
            };
            // Anything on the stack may look like a lock; in registers little does.
            let mut registers = first.into_iter().chain(general);
            let at = registers.find(|at| at & KERNEL_HALF != 0 && at % 4 == 0 && contended(at));
            at.map(|at| self.named(at))
        })
    }

    fn named(&self, address: u64) -> Lock {
        let of = LOCKS.iter().find_map(|lock| {
            let cpu = self
                .numbers
                .iter()
                .find(|cpu| self.lock_address(lock, **cpu) == Some(address))?;
            Some((lock, *cpu))
        });
        Lock { address, of }
    }

    fn lock_address(&self, lock: &PerCpuLock, cpu: u32) -> Option<u64> {
        let elsewhere = lock
            .otherwise
            .filter(|(symbol, _)| self.scene.symbols.address(symbol).is_some());
        let offset = elsewhere.map_or(lock.offset, |(_, offset)| offset);
        Some(
            self.per_cpu
                .address(lock.variable, cpu)?
                .wrapping_add(offset),
        )
    }

    fn lock_wait(&self, place: &Place<'_>) -> Option<Wait> {
        let lock = place.lock?;
        let word = lock::read(lock.address, self.scene.symbols, self.scene.memory);
        if word.is_some_and(|word| !word.held) {
            return None;
        }
        let (holder, how) = match word {
            Some(word) => self.lock_holder(place, lock, word),
            None => (None, How::Unknown),
        };
        let rule = lock.of.map_or("spin-lock", |(of, _)| of.id);
        Some(Wait {
            cpu: place.cpu.name(),
            rule: rule.to_owned(),
            what: self.lock_name(lock),
            address: lock.address,
            value: word.map(|word| u64::from(word.bits)),
            holder,
            how,
        })
    }

    fn lock_name(&self, lock: Lock) -> String {
        match lock.of {
            Some((of, cpu)) => format!("{} {cpu}", of.about),
            None => match self.scene.symbols.object(lock.address) {
                Some(symbol) => format!("spinlock {symbol}"),
                None => format!("spinlock at {:x}", lock.address),
            },
        }
    }

    /// Who has it cannot be a CPU that moves: it would have let go by now. Of those that are stuck,
    /// waiters for the same lock are out, and one that alone keeps its address is it.
    fn lock_holder(&self, waiter: &Place<'_>, lock: Lock, word: Word) -> (Option<u32>, How) {
        if let Some(owner) = word.owner_cpu.filter(|cpu| self.numbers.contains(cpu)) {
            return (Some(owner), How::Memory);
        }
        let others = || {
            self.places.iter().filter(|other| {
                other.cpu.vcpu != waiter.cpu.vcpu
                    && other.lock.map(|other| other.address) != Some(lock.address)
            })
        };
        let shows_it = |other: &&Place<'_>| match lock.of {
            Some((of, cpu)) => self.holds(other, of, cpu),
            None => other.words.contains(&lock.address),
        };
        if let Some(holder) = the_only(others().filter(shows_it)) {
            return (Some(holder), How::Stack);
        }
        // Who can hold a lock with known holders would show it.
        let has_known_holders = lock.of.is_some_and(|(of, _)| !of.holders.is_empty());
        match the_only(others()).filter(|_| !has_known_holders) {
            Some(holder) => (Some(holder), How::Exclusion),
            None => (None, How::Unknown),
        }
    }

    /// Whether a CPU's stack shows a function that holds a CPU's lock, with a pointer to it.
    fn holds(&self, place: &Place<'_>, lock: &'static PerCpuLock, cpu: u32) -> bool {
        let Some(variable) = self.per_cpu.address(lock.variable, cpu) else {
            return false;
        };
        let mut names = place.functions.iter();
        let end = variable.saturating_add(lock.extent);
        names.any(|name| is_any(name, lock.holders))
            && place.words.range(variable..end).next().is_some()
            && match place.lock.and_then(|waited| waited.of) {
                // Two of them are taken in the order of CPUs.
                Some((same, later)) if same.id == lock.id => cpu < later,
                Some(_) | None => true,
            }
    }
}

/// RDI's place among the registers.
const RDI: usize = 7;
/// The kernel's half of the address space.
const KERNEL_HALF: u64 = 1 << 63;
/// Four nodes of 16 bytes, or of 32 with paravirtual locks.
const QUEUE_NODES_BYTES: u64 = 128;

fn the_only<'p, 'a: 'p>(mut places: impl Iterator<Item = &'p Place<'a>>) -> Option<u32> {
    let only = places.next()?;
    places.next().is_none().then(|| only.cpu.name())
}

// Tasks that have to leave their CPU.

impl Lookout<'_> {
    fn on_cpu_wait(&self, place: &Place<'_>, rule: &Rule) -> Option<Wait> {
        // All of them, so that a record of what was read can answer for each.
        let tasks: Vec<(u32, Option<u64>)> = self
            .numbers
            .iter()
            .map(|cpu| (*cpu, self.per_cpu.current_task(*cpu)))
            .collect();
        let running = |task: u64| {
            let here = tasks.iter().find(|(_, current)| *current == Some(task));
            here.map(|(cpu, _)| *cpu)
        };
        let some_are_unknown = tasks.iter().any(|(_, task)| task.is_none());
        let me = place.cpu.name();
        let flag = place.polled.iter().find(|polled| polled.base.is_some());
        if flag.is_some_and(|flag| flag.value == Some(0)) {
            return None;
        }
        let (task, holder, how) = match flag.and_then(|flag| Some((flag.base?, flag.value))) {
            Some((task, Some(_))) => match running(task) {
                None if some_are_unknown => (Some(task), None, How::Unknown),
                holder => (Some(task), holder, How::Memory),
            },
            // Without the flag's value it is not known whether it still waits.
            Some((task, None)) => (Some(task), None, How::Unknown),
            None => {
                let kept = place.cpu.registers.callee_saved().into_iter();
                let found = kept.filter_map(|task| Some((task, running(task)?)));
                match found.filter(|(_, cpu)| *cpu != me).min() {
                    Some((task, cpu)) => (Some(task), Some(cpu), How::Exclusion),
                    None => (None, None, How::Unknown),
                }
            }
        };
        Some(Wait {
            cpu: me,
            rule: rule.id.to_owned(),
            what: self.on_cpu_name(task, holder),
            address: flag.map_or(0, |flag| flag.address),
            value: flag.and_then(|flag| flag.value),
            holder: holder.filter(|holder| *holder != me),
            how,
        })
    }

    fn on_cpu_name(&self, task: Option<u64>, holder: Option<u32>) -> String {
        let stopper = self
            .numbers
            .iter()
            .find(|cpu| task.is_some() && self.per_cpu.stopper_thread(**cpu) == task);
        match (stopper, holder) {
            (Some(stopper), _) => format!("migration/{stopper} to leave its CPU"),
            (None, Some(holder)) => format!("the task on CPU {holder} to leave it"),
            (None, None) => "a task to leave its CPU".to_owned(),
        }
    }
}

// Stoppers.

/// Whether every function of a stack is known, from the first to the last.
fn is_whole(stack: &Stack) -> bool {
    let ends = match stack.end {
        End::UserSpace | End::Complete => true,
        End::Broken | End::Loop | End::TooLong => false,
    };
    ends && stack.frames.iter().all(Frame::is_sure)
}

/// `struct multi_stop_data`, as far as it is read; the same since 3.0.
struct StopData {
    /// What is run.
    function: u64,
    /// Its argument.
    argument: u64,
    /// Stoppers that take part.
    threads: u32,
}

/// Where the members are.
const STOP_THREADS: u64 = 0x10;
const STOP_STATE: u64 = 0x20;
/// `MULTI_STOP_EXIT`.
const STOP_LAST_STATE: u32 = 4;
/// `src_cpu` of `struct migration_swap_arg`; `dst_cpu` follows.
const SWAP_CPUS: u64 = 0x10;

impl Lookout<'_> {
    /// Where the data is that all stoppers of one call share: the base of the state that it polls,
    /// or, where the poll cannot be seen, a kept register that points to such data.
    fn shared_data(&self, place: &Place<'_>) -> Option<u64> {
        let states = place
            .polled
            .iter()
            .filter_map(|polled| Some((polled.base?, polled.address)));
        let mut polled = states.filter(|(base, at)| base.wrapping_add(STOP_STATE) == *at);
        let kept = || {
            let registers = place.cpu.registers.callee_saved().into_iter();
            registers
                .filter(|at| at & KERNEL_HALF != 0)
                .find(|at| self.looks_shared(*at))
        };
        polled.next().map(|(base, _)| base).or_else(kept)
    }

    fn looks_shared(&self, at: u64) -> bool {
        let state = self.scene.memory.half_word(at.wrapping_add(STOP_STATE));
        self.stop_data(at).is_some_and(|data| {
            let function = self.scene.symbols.place(data.function);
            function.is_some_and(|function| function.offset == 0)
                && (1..=self.numbers.len()).contains(&(data.threads as usize))
                && state.is_some_and(|state| state <= STOP_LAST_STATE)
        })
    }

    fn stop_data(&self, at: u64) -> Option<StopData> {
        Some(StopData {
            function: self.scene.memory.word(at)?,
            argument: self.scene.memory.word(at.wrapping_add(8))?,
            threads: self.scene.memory.half_word(at.wrapping_add(STOP_THREADS))?,
        })
    }

    fn stopper_waits(&self, place: &Place<'_>, rule: &'static Rule) -> Vec<Wait> {
        let shared = self.shared_data(place);
        let data = shared.and_then(|at| self.stop_data(at));
        let state = shared.map(|at| at.wrapping_add(STOP_STATE));
        let function = data
            .as_ref()
            .and_then(|data| self.scene.symbols.place(data.function))
            .map_or(String::new(), |place| format!(" for {}()", place.symbol));
        let wait = |holder: Option<u32>, how| Wait {
            cpu: place.cpu.name(),
            rule: rule.id.to_owned(),
            what: match holder {
                Some(cpu) => format!("the stopper of CPU {cpu} to come{function}"),
                None => format!("another stopper to come{function}"),
            },
            address: state.unwrap_or(0),
            value: state
                .and_then(|at| self.scene.memory.half_word(at))
                .map(u64::from),
            holder,
            how,
        };
        let (missing, how) = self.missing_stoppers(shared, rule, data.as_ref());
        if missing.is_empty() {
            return vec![wait(None, How::Unknown)];
        }
        let waits = missing.into_iter().map(|cpu| wait(Some(cpu), how));
        waits.collect()
    }

    /// The stuck CPUs whose stoppers do not take part though they have to.
    fn missing_stoppers(
        &self,
        shared: Option<u64>,
        rule: &'static Rule,
        data: Option<&StopData>,
    ) -> (Vec<u32>, How) {
        let is_there = |other: &&Place<'_>| {
            let theirs = self.shared_data(other);
            other.rule.is_some_and(|other| other.id == rule.id)
                && (theirs == shared || theirs.is_none())
        };
        // That something is not on a stack, only a whole stack shows.
        let away = self
            .places
            .iter()
            .filter(|other| is_whole(&other.cpu.stack) && !is_there(other));
        let away = away.map(|other| other.cpu.name());
        match data {
            Some(data) if data.threads as usize == self.numbers.len() => {
                (away.collect(), How::Stack)
            }
            Some(data) => {
                let pair = self.swapped_cpus(data);
                let partner = |cpu: &u32| pair.is_some_and(|pair| pair.contains(cpu));
                (away.filter(partner).collect(), How::Memory)
            }
            None => match away.collect::<Vec<u32>>()[..] {
                [only] => (vec![only], How::Exclusion),
                _ => (Vec::new(), How::Unknown),
            },
        }
    }

    /// The two CPUs of a `migrate_swap()`.
    fn swapped_cpus(&self, data: &StopData) -> Option<[u32; 2]> {
        let function = self.scene.symbols.place(data.function)?;
        if function.symbol != "migrate_swap_stop" || function.offset != 0 {
            return None;
        }
        let cpus = data.argument.checked_add(SWAP_CPUS)?;
        let memory = self.scene.memory;
        Some([memory.half_word(cpus)?, memory.half_word(cpus + 4)?])
    }
}

// Calls on other CPUs.

/// `CSD_FLAG_LOCK`: the call was not taken yet.
const CALL_LOCKED: u64 = 1;

impl Lookout<'_> {
    fn call_wait(&self, place: &Place<'_>, rule: &Rule) -> Option<Wait> {
        let flags = place.polled.iter().find(|polled| polled.value != Some(0));
        if flags.is_none() && !place.polled.is_empty() {
            return None;
        }
        let locked = flags
            .and_then(|flags| flags.value)
            .is_some_and(|value| value & CALL_LOCKED != 0);
        let deaf = |place: &&Place<'_>| !place.cpu.registers.interrupts_on();
        let others = || {
            self.places
                .iter()
                .filter(deaf)
                .filter(|other| other.cpu.vcpu != place.cpu.vcpu)
        };
        // Each CPU has its own copy of the call to many; a call to one is the caller's own.
        let called = flags
            .filter(|_| locked)
            .and_then(|flags| self.per_cpu.owner(flags.address, &self.numbers))
            .filter(|cpu| *cpu != place.cpu.name());
        let (holder, how) = match called {
            Some(cpu) if others().any(|other| other.cpu.name() == cpu) => (Some(cpu), How::Memory),
            Some(_) => (None, How::Unknown),
            // What cannot be read, nothing follows from.
            None if flags.is_some_and(|flags| flags.value.is_none()) => (None, How::Unknown),
            None => match the_only(others()) {
                Some(cpu) => (Some(cpu), How::Exclusion),
                None => (None, How::Unknown),
            },
        };
        Some(Wait {
            cpu: place.cpu.name(),
            rule: rule.id.to_owned(),
            what: match called.or(holder) {
                Some(cpu) => format!("CPU {cpu} to take an interrupt"),
                None => "another CPU to take an interrupt".to_owned(),
            },
            address: flags.map_or(0, |flags| flags.address),
            value: flags.and_then(|flags| flags.value),
            holder,
            how,
        })
    }
}

// Cycles.

/// Who waits for whom, by CPU.
type Edges = BTreeMap<u32, BTreeSet<u32>>;

fn edges<'w>(waits: impl Iterator<Item = &'w Wait>) -> Edges {
    let mut edges = Edges::new();
    for wait in waits {
        if let Some(holder) = wait.holder {
            edges.entry(wait.cpu).or_default().insert(holder);
        }
    }
    edges
}

/// The shortest cycle, one that is proven before one that is not.
fn cycle(waits: &[Wait]) -> Option<Cycle> {
    let strong = edges(waits.iter().filter(|wait| wait.how >= How::Stack));
    let proven = shortest_cycle(&strong).map(|cpus| Cycle { cpus, proven: true });
    proven.or_else(|| {
        let cpus = shortest_cycle(&edges(waits.iter()))?;
        Some(Cycle {
            cpus,
            proven: false,
        })
    })
}

fn shortest_cycle(edges: &Edges) -> Option<Vec<u32>> {
    let cycles = edges.keys().filter_map(|start| way_back(edges, *start));
    cycles.min_by_key(Vec::len)
}

fn way_back(edges: &Edges, home: u32) -> Option<Vec<u32>> {
    let mut came_from: BTreeMap<u32, u32> = BTreeMap::new();
    let mut next = VecDeque::from([home]);
    while let Some(at) = next.pop_front() {
        for to in edges.get(&at).into_iter().flatten() {
            if *to == home {
                let back = std::iter::successors(Some(at), |at| came_from.get(at).copied());
                let mut cpus: Vec<u32> = back.collect();
                cpus.reverse();
                return Some(cpus);
            }
            if !came_from.contains_key(to) {
                came_from.insert(*to, at);
                next.push_back(*to);
            }
        }
    }
    None
}

/// CPUs that a cycle keeps waiting, directly or through others.
fn piled_up(waits: &[Wait], cycle: &Cycle) -> Vec<u32> {
    let mut reached: BTreeSet<u32> = cycle.cpus.iter().copied().collect();
    loop {
        let more: Vec<u32> = waits
            .iter()
            .filter(|wait| wait.holder.is_some_and(|holder| reached.contains(&holder)))
            .map(|wait| wait.cpu)
            .filter(|cpu| !reached.contains(cpu))
            .collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    reached.retain(|cpu| !cycle.cpus.contains(cpu));
    reached.into_iter().collect()
}
