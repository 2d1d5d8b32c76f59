//! What single instructions do to locks and to the count of preemption.

use std::collections::HashSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    OpKind, Register,
};

use super::{Image, effect_of};
use crate::inspect::calls::Effect;

/// No x86 instruction is longer.
const INSTRUCTION_BYTES: usize = 15;
/// More than any function here has.
const STRAIGHT_MAX: usize = 4000;
/// Instructions before a call that may say what its argument is.
const ARGUMENT_MAX: usize = 64;

/// The instruction at an address.
pub fn decode(image: &Image, address: u64) -> Option<Instruction> {
    let bytes = image.bytes(address, INSTRUCTION_BYTES);
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// All instructions of a function, one behind the other.
pub fn straight(image: &Image, start: u64) -> Vec<Instruction> {
    let end = image.end(start);
    let mut at = start;
    let next = || {
        let found = decode(image, at).filter(|_| at < end)?;
        at = found.next_ip();
        Some(found)
    };
    std::iter::from_fn(next).take(STRAIGHT_MAX).collect()
}

/// What an instruction does to `__preempt_count`, the one 32-bit counter per CPU that is counted up and
/// down by one in code like this.
pub fn preemption(instruction: &Instruction) -> Option<Effect> {
    if instruction.memory_segment() != Register::GS {
        return None;
    }
    let step = match instruction.code() {
        Code::Inc_rm32 => 1,
        Code::Dec_rm32 => -1,
        Code::Add_rm32_imm8 | Code::Add_rm32_imm32 => instruction.immediate(1) as i32,
        Code::Sub_rm32_imm8 | Code::Sub_rm32_imm32 => {
            (instruction.immediate(1) as i32).checked_neg()?
        }
        _ => return None,
    };
    match step {
        1 => Some(Effect::PreemptOff),
        -1 => Some(Effect::PreemptOn),
        _ => None,
    }
}

/// Where a called pointer to a function lies: `call *pv_ops+0x18(%rip)`.
pub fn pointer(instruction: &Instruction) -> Option<u64> {
    let plain = matches!(instruction.memory_base(), Register::None | Register::RIP);
    let fixed = plain && instruction.memory_index() == Register::None;
    let here = matches!(instruction.memory_segment(), Register::DS | Register::CS);
    (instruction.op0_kind() == OpKind::Memory && fixed && here)
        .then(|| instruction.memory_displacement64())
}

/// What is known about the locks of a function: how stores that drop them look.
#[derive(Debug, Default)]
pub struct Locks {
    /// Offsets of locks in their structures.
    offsets: Vec<u64>,
    /// Registers that have pointed to a lock itself.
    pointers: Vec<Register>,
    /// There are locks whose place is not known.
    anywhere: bool,
    /// Where preemption is counted down because a lock was dropped: the lock had counted it up.
    counted: HashSet<u64>,
}

impl Locks {
    /// Looks at the calls in a function that take locks.
    pub fn of(image: &Image, start: u64) -> Self {
        let code = straight(image, start);
        let mut locks = Self::default();
        for (number, call) in code.iter().enumerate() {
            let target = call.near_branch_target();
            if call.is_call_near() && effect_of(&image.names(target)) == Some(Effect::Lock) {
                locks.add(&code[..number]);
            }
        }
        locks.pair(&code);
        locks
    }

    /// Finds what counts preemption down for stores that drop a lock: it comes behind the store, before
    /// anything is called or decided.
    fn pair(&mut self, code: &[Instruction]) {
        let mut dropped = 0_usize;
        for instruction in code {
            if self.drops(instruction) {
                dropped += 1;
            } else if instruction.flow_control() != FlowControl::Next {
                dropped = 0;
            } else if dropped > 0 && preemption(instruction) == Some(Effect::PreemptOn) {
                dropped -= 1;
                self.counted.insert(instruction.ip());
            }
        }
    }

    /// Whether an instruction counts preemption down for a lock that was dropped.
    pub fn counts(&self, instruction: &Instruction) -> bool {
        self.counted.contains(&instruction.ip())
    }

    /// Follows the first argument of a call, in `rdi`, back to `lea offset(structure)`.
    fn add(&mut self, before: &[Instruction]) {
        let mut factory = InstructionInfoFactory::new();
        let mut wanted = Register::RDI;
        for instruction in before.iter().rev().take(ARGUMENT_MAX) {
            if !writes(factory.info(instruction), wanted) {
                continue;
            }
            match instruction.code() {
                Code::Mov_r64_rm64 | Code::Mov_rm64_r64
                    if instruction.op1_kind() == OpKind::Register =>
                {
                    wanted = instruction.op1_register();
                    self.pointers.push(wanted);
                    continue;
                }
                Code::Lea_r64_m if instruction.memory_index() == Register::None => {
                    self.offsets.push(instruction.memory_displacement64());
                }
                Code::Add_rm64_imm8 | Code::Add_rm64_imm32 => {
                    self.offsets.push(instruction.immediate(1));
                }
                _ => self.anywhere = true,
            }
            return;
        }
        self.anywhere = true;
    }

    /// Whether an instruction drops such a lock by storing to it: a queued spinlock's byte becomes 0, and
    /// the head of a ticket lock moves on (arch/x86, before v4.2) by one, or by two where slow paths exist.
    pub fn drops(&self, instruction: &Instruction) -> bool {
        let stores = match instruction.code() {
            Code::Mov_rm8_imm8 => instruction.immediate8() == 0,
            Code::Add_rm8_imm8 | Code::Add_rm16_imm8 => matches!(instruction.immediate8(), 1 | 2),
            Code::Inc_rm8 | Code::Inc_rm16 => true,
            _ => false,
        };
        stores && instruction.op0_kind() == OpKind::Memory && self.is_lock(instruction)
    }

    fn is_lock(&self, instruction: &Instruction) -> bool {
        let base = instruction.memory_base();
        let elsewhere = matches!(base, Register::None | Register::RIP | Register::RSP);
        if elsewhere
            || instruction.memory_segment() == Register::GS
            || instruction.memory_index() != Register::None
        {
            return false;
        }
        let offset = instruction.memory_displacement64();
        self.anywhere
            || self.offsets.contains(&offset)
            || (offset == 0 && self.pointers.contains(&base))
    }
}

fn writes(info: &iced_x86::InstructionInfo, register: Register) -> bool {
    info.used_registers().iter().any(|used| {
        used.register().full_register() == register
            && matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::ReadWrite
                    | OpAccess::CondWrite
                    | OpAccess::ReadCondWrite
            )
    })
}
