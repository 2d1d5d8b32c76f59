//! Finds vCPUs that burn CPU time in one place.
//!
//! A sample that shows a vCPU in the kernel with interrupts off proves nothing: it may be any short
//! critical section. Time alone proves nothing either: the host may not have run the vCPU. So a vCPU
//! is stuck when its thread *burned* so much CPU time while every sample showed it in the kernel, on
//! one spot of one stack, and every closer look showed the same functions up to a few inner ones.

use super::finding::{Kind, State, Watch};
use super::sample::{Sample, Vcpu};
use super::stack::{Frame, Origin, Stack};

/// How much CPU time, in milliseconds, a vCPU has to burn in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Before its stack is looked at. Almost every critical section is shorter.
    pub suspect_ms: u64,
    /// If it is part of a proven cycle. The cycle is proof by itself; the time only shows that both
    /// sides were in it together. Twice the longest wait of any amplifier.
    pub cycle_ms: u64,
    /// Interrupts off and preserved registers unchanged: a loop that waits for something. Legitimate
    /// waits with interrupts off are for other CPUs' critical sections, which take microseconds, or
    /// some milliseconds if the host took their vCPU away: CPU time of the waiting one does not grow
    /// faster than the holder's turn comes. The kernel's own detector waits for 10 s.
    pub frozen_ms: u64,
    /// Interrupts off, registers moving: perhaps long work that makes progress in a single function.
    /// Just below the kernel's own 10 s, beyond which the kernel itself calls it a hard lockup.
    pub moving_ms: u64,
    /// Interrupts on. The kernel's own soft lockup detector waits for 20 s.
    pub soft_ms: u64,
    /// So long, in wall-clock milliseconds, every vCPU has to wait in HLT to call a guest idle.
    pub idle_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            suspect_ms: 100,
            cycle_ms: 400,
            frozen_ms: 3_000,
            moving_ms: 9_000,
            soft_ms: 15_000,
            idle_ms: 5_000,
        }
    }
}

/// Where the host does not tell CPU times, wall-clock time counts for so much less.
const WALL_DIVISOR: u64 = 8;
/// Two stack pointers in one place: a spin may call small functions.
const SPOT_BYTES: u64 = 1024;
/// Functions that a waiting loop may call, one in the other, such as a delay.
const INNER_FRAMES_MAX: usize = 3;
/// Closer looks that all have to agree.
const LOOKS_MIN: u32 = 3;
/// CPU time, in milliseconds, before a vCPU that has interrupts on is looked at: much of what user
/// programs make the kernel do takes some time.
const SOFT_SUSPECT_MS: u64 = 5_000;

/// Functions that a CPU does not come back from, because the machine ends or a debugger has it.
const ENDS: &[&str] = &[
    "panic",
    "vpanic",
    "stop_this_cpu",
    "crash_nmi_callback",
    "nmi_panic_self_stop",
    "native_machine_emergency_restart",
    "machine_emergency_restart",
    "machine_halt",
    "native_machine_halt",
    "machine_power_off",
    "native_machine_power_off",
    "machine_restart",
    "native_machine_restart",
    "kgdb_cpu_enter",
];
/// Functions of a CPU that is still being brought up.
const BOOTS: &[&str] = &[
    "start_kernel",
    "x86_64_start_kernel",
    "x86_64_start_reservations",
    "start_secondary",
    "kernel_init_freeable",
];
/// With one of these in its stack the CPU is up: the idle loop is entered from the boot code.
const BOOTED: &[&str] = &["cpu_startup_entry", "cpu_idle", "do_idle"];

/// Follows a guest's vCPUs from sample to sample.
#[derive(Debug)]
pub struct Detector {
    limits: Limits,
    tracks: Vec<Tracks>,
    state: State,
    still_since_ms: Option<u64>,
    last_ms: Option<u64>,
    watch: Watch,
}

/// What one vCPU is followed for. A hard lockup may begin in the middle of what looks like a soft one.
#[derive(Debug, Clone, Default)]
struct Tracks {
    hard: Option<Track>,
    soft: Option<Track>,
}

impl Tracks {
    fn iter(&self) -> impl Iterator<Item = &Track> {
        self.hard.iter().chain(&self.soft)
    }
}

/// A vCPU that has been in one place since some sample.
#[derive(Debug, Clone)]
struct Track {
    kind: Kind,
    since_ms: u64,
    now_ms: u64,
    cpu_time: Option<(u64, u64)>,
    rsp: u64,
    preserved: [u64; 5],
    /// Samples with these preserved registers, less those with others.
    majority: i64,
    samples: i64,
    equal: i64,
    looks: u32,
    /// What all looks have in common, outermost first.
    common: Vec<Frame>,
    stack: Stack,
    exempt: bool,
}

/// A vCPU that is in one place, with the figures that say how long.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// QEMU's index.
    pub vcpu: u32,
    /// Interrupts off or on.
    pub kind: Kind,
    /// First sample there, in host milliseconds.
    pub since_ms: u64,
    /// CPU time burned there, in milliseconds; `None`: the host does not say.
    pub cpu_time_ms: Option<u64>,
    /// The same, or what wall-clock time counts for instead.
    burned_ms: u64,
    /// Whether most samples had the same preserved registers.
    pub frozen: bool,
    /// Where, at the last look.
    pub stack: Stack,
}

impl Detector {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tracks: Vec::new(),
            state: State::Unwatched,
            still_since_ms: None,
            last_ms: None,
            watch: Watch::default(),
        }
    }

    /// Takes in a sample; returns the indices of vCPUs whose stacks should be looked at now.
    pub fn sample(&mut self, sample: &Sample) -> Vec<u32> {
        self.watch.samples += 1;
        if let Some(last) = self.last_ms.replace(sample.at_ms) {
            let gap = sample.at_ms.saturating_sub(last);
            self.watch.longest_gap_ms = self.watch.longest_gap_ms.max(gap);
        }
        self.judge_whole(sample);
        let mut suspects = Vec::new();
        for vcpu in &sample.vcpus {
            let slot = vcpu.index as usize;
            if self.tracks.len() <= slot {
                self.tracks.resize_with(slot + 1, Tracks::default);
            }
            let tracks = &mut self.tracks[slot];
            tracks.hard = Track::follow(tracks.hard.take(), Kind::HardLockup, vcpu, sample.at_ms);
            tracks.soft = Track::follow(tracks.soft.take(), Kind::SoftLockup, vcpu, sample.at_ms);
            if self.tracks[slot].iter().any(|track| self.is_suspect(track)) {
                suspects.push(vcpu.index);
            }
        }
        suspects
    }

    /// Takes in what a closer look at a vCPU showed.
    pub fn look(&mut self, vcpu: u32, stack: Stack) {
        self.watch.looks += 1;
        let Some(tracks) = self.tracks.get_mut(vcpu as usize) else {
            return;
        };
        for track in tracks.hard.iter_mut().chain(&mut tracks.soft) {
            track.compare(stack.clone());
        }
    }

    /// vCPUs that have been in one place for at least the time that a cycle asks for, looked at often
    /// enough, and not booting or ending.
    pub fn suspects(&self) -> Vec<Suspect> {
        let of_vcpu = |(vcpu, tracks): (usize, &'_ Tracks)| {
            let long = tracks.iter().find(|track| {
                track.looks >= LOOKS_MIN
                    && !track.exempt
                    && track.burned_ms() >= self.limits.cycle_ms
            });
            long.map(|track| (vcpu as u32, track.clone()))
        };
        let all = self.tracks.iter().enumerate().filter_map(of_vcpu);
        all.map(|(vcpu, track)| track.suspect(vcpu)).collect()
    }

    /// Whether a suspect is stuck; `in_cycle` says that it waits in a proven cycle.
    pub fn is_stuck(&self, suspect: &Suspect, in_cycle: bool) -> bool {
        let limit = match (suspect.kind, in_cycle, suspect.frozen) {
            (_, true, _) => self.limits.cycle_ms,
            (Kind::HardLockup, false, true) => self.limits.frozen_ms,
            (Kind::HardLockup, false, false) => self.limits.moving_ms,
            (Kind::SoftLockup, false, _) => self.limits.soft_ms,
        };
        suspect.burned_ms >= limit
    }

    /// What the guest as a whole does, leaving lockups aside.
    pub fn state(&self) -> State {
        self.state
    }

    /// How well it was watched.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    fn is_suspect(&self, track: &Track) -> bool {
        track.burned_ms()
            >= match track.kind {
                Kind::HardLockup => self.limits.suspect_ms,
                Kind::SoftLockup => SOFT_SUSPECT_MS,
            }
    }

    fn judge_whole(&mut self, sample: &Sample) {
        let vcpus = || sample.vcpus.iter().map(|vcpu| &vcpu.registers);
        let state = if sample.run_state != "running" {
            State::NotRunning
        } else if vcpus().all(|registers| registers.halted) {
            // A boot loader that waits for a key is idle, too.
            if vcpus().any(|registers| registers.interrupts_on()) {
                State::Idle
            } else {
                State::Stopped
            }
        } else if vcpus().any(|registers| registers.in_kernel() || registers.cpl == 3) {
            State::Moving
        } else {
            State::Booting
        };
        match state {
            State::Idle | State::Stopped => {
                let since = *self.still_since_ms.get_or_insert(sample.at_ms);
                if sample.at_ms.saturating_sub(since) >= self.limits.idle_ms {
                    self.state = state;
                } else if self.state == State::Unwatched {
                    self.state = State::Moving;
                }
            }
            State::Unwatched
            | State::Booting
            | State::Moving
            | State::Stuck
            | State::NotRunning => {
                self.still_since_ms = None;
                self.state = state;
            }
        }
    }
}

impl Track {
    /// The track after one more sample; `None`: the vCPU does nothing that could be such a lockup.
    fn follow(track: Option<Self>, kind: Kind, vcpu: &Vcpu, at_ms: u64) -> Option<Self> {
        let registers = &vcpu.registers;
        if !registers.in_kernel() || registers.halted {
            return None;
        }
        // A hard lockup never has interrupts on and stays on its spot. In a soft lockup interrupts
        // come and go, on stacks of their own.
        if kind == Kind::HardLockup && registers.interrupts_on() {
            return None;
        }
        let spot = |track: &Self| track.rsp.abs_diff(registers.rsp()) <= SPOT_BYTES;
        match track {
            Some(mut track) if kind == Kind::SoftLockup || spot(&track) => {
                track.now_ms = at_ms;
                track.cpu_time = track
                    .cpu_time
                    .zip(vcpu.cpu_time_ns)
                    .map(|((since, _), now)| (since, now.max(since)));
                track.vote(registers.callee_saved());
                Some(track)
            }
            Some(_) | None => Some(Self::start(kind, vcpu, at_ms)),
        }
    }

    fn start(kind: Kind, vcpu: &Vcpu, at_ms: u64) -> Self {
        Self {
            kind,
            since_ms: at_ms,
            now_ms: at_ms,
            cpu_time: vcpu.cpu_time_ns.map(|now| (now, now)),
            rsp: vcpu.registers.rsp(),
            preserved: vcpu.registers.callee_saved(),
            majority: 1,
            samples: 1,
            equal: 1,
            looks: 0,
            common: Vec::new(),
            stack: Stack::default(),
            exempt: false,
        }
    }

    /// Boyer and Moore's majority vote: most samples of a spin that calls small functions show it
    /// outside of these.
    fn vote(&mut self, preserved: [u64; 5]) {
        self.samples += 1;
        if self.preserved == preserved {
            self.majority += 1;
            self.equal += 1;
        } else if self.majority == 0 {
            self.preserved = preserved;
            self.majority = 1;
            self.equal = 1;
        } else {
            self.majority -= 1;
        }
    }

    fn compare(&mut self, stack: Stack) {
        let frames = self.outer_first(&stack);
        if self.looks == 0 {
            self.common = frames.clone();
        }
        let common = self
            .common
            .iter()
            .zip(&frames)
            .take_while(|(a, b)| a.symbol == b.symbol && a.stack_low == b.stack_low)
            .count();
        let inner = frames.len().max(self.common.len()) - common;
        if frames.is_empty() || common == 0 || inner > INNER_FRAMES_MAX {
            self.start_again(frames);
        } else {
            self.common.truncate(common);
        }
        self.looks += 1;
        let contexts = stack.contexts();
        let has = |names: &[&str]| contexts.iter().flatten().any(|name| names.contains(name));
        self.exempt = has(ENDS) || (has(BOOTS) && !has(BOOTED));
        self.stack = stack;
    }

    /// The place is another one; what was burned before does not count.
    fn start_again(&mut self, common: Vec<Frame>) {
        self.since_ms = self.now_ms;
        self.cpu_time = self.cpu_time.map(|(_, now)| (now, now));
        self.looks = 0;
        self.common = common;
        self.majority = 1;
        self.samples = 1;
        self.equal = 1;
    }

    /// Frames outermost first, unsure ones too: what a stack holds does not change while nothing
    /// returns. Of a soft lockup only those of the interrupted task.
    fn outer_first(&self, stack: &Stack) -> Vec<Frame> {
        let frames = stack.frames.iter().rev();
        match self.kind {
            Kind::HardLockup => frames.cloned().collect(),
            Kind::SoftLockup => {
                let mut task = Vec::new();
                for frame in frames {
                    task.push(frame.clone());
                    if frame.origin == Origin::Interrupted {
                        break;
                    }
                }
                task
            }
        }
    }

    fn burned_ms(&self) -> u64 {
        self.cpu_time.map_or(
            self.now_ms.saturating_sub(self.since_ms) / WALL_DIVISOR,
            |(since, now)| (now - since) / 1_000_000,
        )
    }

    fn suspect(self, vcpu: u32) -> Suspect {
        Suspect {
            vcpu,
            kind: self.kind,
            since_ms: self.since_ms,
            cpu_time_ms: self.cpu_time.map(|_| self.burned_ms()),
            burned_ms: self.burned_ms(),
            frozen: self.equal * 2 > self.samples,
            stack: self.stack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::registers::{Registers, index};
    use crate::outside::stack::End;

    const STEP_MS: u64 = 250;
    const CALLER: &str = "_raw_spin_lock <- do_work <- kthread";

    /// One vCPU, sampled and looked at for so long; `share` is what the host gives its thread, in
    /// percent, and `at` says what it does at each step.
    fn watch(seconds: u64, share: u64, at: impl Fn(u64) -> (Registers, &'static str)) -> Detector {
        let mut detector = Detector::new(Limits::default());
        for step in 0..=seconds * 1000 / STEP_MS {
            let at_ms = step * STEP_MS;
            let (registers, stack) = at(step);
            let suspects = detector.sample(&sample(at_ms, registers, at_ms * share * 10_000));
            for vcpu in suspects {
                detector.look(vcpu, stack_of(stack));
            }
        }
        detector
    }

    fn sample(at_ms: u64, registers: Registers, cpu_time_ns: u64) -> Sample {
        Sample {
            at_ms,
            run_state: "running".into(),
            vcpus: vec![Vcpu {
                index: 0,
                registers,
                cpu_time_ns: Some(cpu_time_ns),
            }],
        }
    }

    fn kernel(interrupts_on: bool, rsp: u64, preserved: u64) -> Registers {
        let mut registers = Registers {
            rip: 0xffff_ffff_8100_0000,
            rflags: if interrupts_on { 0x202 } else { 0x2 },
            long_mode: true,
            ..Registers::default()
        };
        registers.general[index::RSP] = rsp;
        registers.general[index::RBX] = preserved;
        registers
    }

    const RSP: u64 = 0xffff_c900_0000_3e00;

    /// `a <- b <- c`, each 64 bytes of stack; a `!` marks an interrupted function.
    fn stack_of(text: &str) -> Stack {
        let names: Vec<&str> = text.split(" <- ").collect();
        let depth = names.len() as u64;
        let frames = names.iter().zip(0..).map(|(name, level)| Frame {
            address: 0,
            symbol: Some(name.trim_start_matches('!').to_owned()),
            offset: 0,
            stack_low: RSP + 0x200 - 64 * (depth - level),
            origin: match (level, name.starts_with('!')) {
                (_, true) => Origin::Interrupted,
                (0, false) => Origin::Register,
                (_, false) => Origin::Chained,
            },
        });
        Stack {
            frames: frames.collect(),
            end: End::Complete,
        }
    }

    /// Kind of the one stuck vCPU, if it is.
    fn verdict(detector: &Detector, in_cycle: bool) -> Option<Kind> {
        let suspects = detector.suspects();
        let suspect = suspects.first()?;
        detector.is_stuck(suspect, in_cycle).then_some(suspect.kind)
    }

    #[test]
    fn a_spin_with_interrupts_off_is_a_hard_lockup_once_it_burned_enough() {
        let spin = |_| (kernel(false, RSP, 7), CALLER);
        assert_eq!(verdict(&watch(2, 100, spin), false), None);
        assert_eq!(verdict(&watch(4, 100, spin), false), Some(Kind::HardLockup));
        assert_eq!(
            verdict(&watch(1, 100, spin), true),
            Some(Kind::HardLockup),
            "a proven cycle"
        );
        assert_eq!(verdict(&watch(1, 30, spin), true), None, "too little of it");
    }

    #[test]
    fn a_starved_vcpu_is_not_locked_up() {
        let spin = |_| (kernel(false, RSP, 7), CALLER);
        assert_eq!(verdict(&watch(60, 0, spin), true), None);
        assert_eq!(verdict(&watch(60, 4, spin), false), None);
    }

    #[test]
    fn halted_vcpus_and_user_programs_are_not_locked_up() {
        let halted = |_| {
            (
                Registers {
                    halted: true,
                    ..kernel(false, RSP, 7)
                },
                CALLER,
            )
        };
        assert_eq!(verdict(&watch(60, 100, halted), true), None);
        let user = |_| {
            (
                Registers {
                    cpl: 3,
                    rip: 0x40_1000,
                    ..kernel(true, RSP, 7)
                },
                CALLER,
            )
        };
        assert_eq!(verdict(&watch(60, 100, user), true), None);
    }

    #[test]
    fn firmware_and_the_decompressor_are_not_locked_up() {
        let firmware = |_| {
            (
                Registers {
                    long_mode: false,
                    rip: 0xf_e05b,
                    ..kernel(false, RSP, 7)
                },
                CALLER,
            )
        };
        let detector = watch(60, 100, firmware);
        assert_eq!(verdict(&detector, true), None);
        assert_eq!(detector.state(), State::Booting);
        let decompressor = |_| {
            (
                Registers {
                    rip: 0x100_0000,
                    ..kernel(false, RSP, 7)
                },
                CALLER,
            )
        };
        assert_eq!(verdict(&watch(60, 100, decompressor), true), None);
    }

    #[test]
    fn early_boot_and_a_panic_are_not_locked_up() {
        for stack in [
            "memset <- setup_arch <- start_kernel <- secondary_startup_64",
            "delay_tsc <- calibrate_delay <- start_secondary",
            "delay_tsc <- panic <- die",
        ] {
            let text: &'static str = stack;
            assert_eq!(
                verdict(&watch(60, 100, |_| (kernel(false, RSP, 7), text)), true),
                None,
                "{text}"
            );
        }
        let idle_loop =
            "_raw_spin_lock <- __schedule <- do_idle <- cpu_startup_entry <- start_secondary";
        assert!(
            verdict(
                &watch(60, 100, |_| (kernel(false, RSP, 7), idle_loop)),
                false
            )
            .is_some()
        );
    }

    #[test]
    fn waits_of_an_amplifier_with_pauses_between_them_are_not_a_lockup() {
        // Almost 250 ms with interrupts off in one place, then elsewhere, for ever.
        let stacks = [
            "context_switch <- schedule <- smpboot_thread_fn <- kthread",
            "kv_wait <- load_balance <- newidle_balance <- pick_next_task <- schedule <- smpboot_thread_fn <- kthread",
        ];
        let waits = |step: u64| {
            let waiting = !step.is_multiple_of(3);
            (kernel(!waiting, RSP, 7), stacks[usize::from(waiting)])
        };
        assert_eq!(verdict(&watch(60, 100, waits), true), None);
    }

    #[test]
    fn work_that_moves_needs_longer_and_work_that_moves_on_is_none() {
        let moving = |step: u64| (kernel(false, RSP, step), CALLER);
        assert_eq!(verdict(&watch(8, 100, moving), false), None);
        assert_eq!(
            verdict(&watch(11, 100, moving), false),
            Some(Kind::HardLockup)
        );
        let stacks = [
            "memcpy <- a <- b <- c <- d <- work <- kthread",
            "memset <- e <- f <- g <- h <- i <- kthread",
        ];
        let moves_on = |step: u64| (kernel(false, RSP, 7), stacks[step as usize / 3 % 2]);
        assert_eq!(verdict(&watch(60, 100, moves_on), true), None);
        let jumps = |step: u64| (kernel(false, RSP + step * 4096, 7), CALLER);
        assert_ne!(
            verdict(&watch(60, 100, jumps), true),
            Some(Kind::HardLockup)
        );
    }

    #[test]
    fn a_spin_that_calls_delays_is_still_one_place() {
        let stacks = [
            CALLER,
            "delay_tsc <- __delay <- _raw_spin_lock <- do_work <- kthread",
        ];
        let spin = |step: u64| {
            let inner = step.is_multiple_of(3);
            (
                kernel(false, RSP - 128 * u64::from(inner), 7 + u64::from(inner)),
                stacks[usize::from(inner)],
            )
        };
        assert_eq!(verdict(&watch(5, 100, spin), false), Some(Kind::HardLockup));
    }

    #[test]
    fn a_spin_with_interrupts_on_is_a_soft_lockup_also_through_interrupts() {
        let stacks = [
            "do_spin <- worker <- kthread",
            "hrtimer_interrupt <- asm_sysvec_apic_timer_interrupt <- !do_spin <- worker <- kthread",
        ];
        let spin = |step: u64| {
            let interrupt = step.is_multiple_of(5);
            let rsp = if interrupt {
                0xffff_8880_0000_0f00
            } else {
                RSP
            };
            (kernel(!interrupt, rsp, 7), stacks[usize::from(interrupt)])
        };
        assert_eq!(verdict(&watch(10, 100, spin), false), None);
        assert_eq!(
            verdict(&watch(25, 100, spin), false),
            Some(Kind::SoftLockup)
        );
    }

    #[test]
    fn a_guest_that_only_waits_is_idle_and_one_that_nothing_wakes_is_stopped() {
        let halted = |on| Registers {
            halted: true,
            ..kernel(on, RSP, 7)
        };
        let state =
            |registers: Registers, seconds| watch(seconds, 0, |_| (registers, CALLER)).state();
        assert_eq!(state(halted(true), 3), State::Moving);
        assert_eq!(state(halted(true), 6), State::Idle);
        assert_eq!(state(halted(false), 6), State::Stopped);
        let mut detector = Detector::new(Limits::default());
        let mut paused = sample(0, kernel(false, RSP, 7), 0);
        paused.run_state = "paused".into();
        detector.sample(&paused);
        assert_eq!(detector.state(), State::NotRunning);
    }

    #[test]
    fn where_the_host_tells_no_cpu_time_much_longer_is_asked_for() {
        let mut detector = Detector::new(Limits::default());
        for step in 0..=100 {
            let mut sample = sample(step * STEP_MS, kernel(false, RSP, 7), 0);
            sample.vcpus[0].cpu_time_ns = None;
            for vcpu in detector.sample(&sample) {
                detector.look(vcpu, stack_of(CALLER));
            }
            if step == 20 {
                assert_eq!(verdict(&detector, false), None);
            }
        }
        assert_eq!(verdict(&detector, false), Some(Kind::HardLockup));
    }
}
