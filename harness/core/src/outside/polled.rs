//! What a spinning vCPU polls: the memory operands of the loop around RIP.

use std::collections::{HashMap, VecDeque};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register,
};

use super::memory::Memory;
use super::registers::Registers;

/// Instructions that are followed from RIP: a loop that waits is short.
const INSTRUCTIONS_MAX: usize = 160;
/// Instructions in a loop that waits.
const LOOP_MAX: usize = 40;
/// No x86 instruction is longer.
const INSTRUCTION_BYTES: usize = 15;

/// A memory operand that a loop reads over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// Address of the operand.
    pub address: u64,
    /// Bytes of it.
    pub width: u32,
    /// What is there now; `None`: it cannot be read.
    pub value: Option<u64>,
    /// What the base register holds: the object that the operand is a member of.
    pub base: Option<u64>,
}

/// What the loop around RIP polls, in the order of its instructions. Locals on the stack are left
/// out unless there is nothing else. Nothing: RIP is in no loop.
pub fn polled(registers: &Registers, memory: &dyn Memory) -> Vec<Polled> {
    Code::around(registers.rip, memory).polled(registers, memory, &|_| true)
}

/// The same for the caller at `address` of a small function that the vCPU is in: only operands are
/// known whose registers a function gives back as they were, provided that this one leaves them alone.
pub fn polled_by_caller(registers: &Registers, address: u64, memory: &dyn Memory) -> Vec<Polled> {
    let kept = |register: Register| {
        matches!(
            register.full_register(),
            Register::None
                | Register::RIP
                | Register::GS
                | Register::RBX
                | Register::R12
                | Register::R13
                | Register::R14
                | Register::R15
        )
    };
    Code::around(address, memory).polled(registers, memory, &kept)
}

/// The code that can be reached from an address, without what it calls.
struct Code {
    instructions: HashMap<u64, Instruction>,
    /// Addresses in the order in which they are reached.
    order: Vec<u64>,
}

impl Code {
    fn around(start: u64, memory: &dyn Memory) -> Self {
        let mut code = Self {
            instructions: HashMap::new(),
            order: Vec::new(),
        };
        let mut next = VecDeque::from([start]);
        while let Some(at) = next.pop_front() {
            if code.instructions.contains_key(&at) || code.order.len() >= INSTRUCTIONS_MAX {
                continue;
            }
            if let Some(instruction) = decode(at, memory) {
                code.order.push(at);
                next.extend(successors(&instruction));
                code.instructions.insert(at, instruction);
            }
        }
        code
    }

    /// The loop that RIP is in, or that lies ahead of a stale RIP: one that pauses before one that
    /// does not, then the nearest and shortest.
    fn nearest_loop(&self) -> Option<Vec<u64>> {
        let loops = self.order.iter().enumerate().filter_map(|(distance, at)| {
            let body = self.shortest_way_back(*at)?;
            (body.len() <= LOOP_MAX).then_some((distance, body))
        });
        let nearest =
            loops.min_by_key(|(distance, body)| (!self.pauses(body), distance + body.len()));
        nearest.map(|(_, body)| body)
    }

    fn pauses(&self, body: &[u64]) -> bool {
        body.iter()
            .filter_map(|at| self.instructions.get(at))
            .any(|instruction| instruction.code() == iced_x86::Code::Pause)
    }

    /// The shortest way from an instruction to itself, that instruction first.
    fn shortest_way_back(&self, home: u64) -> Option<Vec<u64>> {
        let mut came_from: HashMap<u64, u64> = HashMap::new();
        let mut next = VecDeque::from([home]);
        while let Some(at) = next.pop_front() {
            for to in successors(self.instructions.get(&at)?) {
                if to == home {
                    let back = std::iter::successors(Some(at), |at| came_from.get(at).copied());
                    let mut body: Vec<u64> = back.collect();
                    body.reverse();
                    return Some(body);
                }
                if self.instructions.contains_key(&to) && !came_from.contains_key(&to) {
                    came_from.insert(to, at);
                    next.push_back(to);
                }
            }
        }
        None
    }

    fn polled(
        &self,
        registers: &Registers,
        memory: &dyn Memory,
        known: &dyn Fn(Register) -> bool,
    ) -> Vec<Polled> {
        let body = self.nearest_loop().unwrap_or_default();
        let instructions = body.iter().filter_map(|at| self.instructions.get(at));
        let mut info = InstructionInfoFactory::new();
        let (mut of_stack, mut others) = (Vec::new(), Vec::new());
        for instruction in instructions {
            for operand in info.info(instruction).used_memory() {
                let is_read = matches!(
                    operand.access(),
                    OpAccess::Read
                        | OpAccess::CondRead
                        | OpAccess::ReadWrite
                        | OpAccess::ReadCondWrite
                );
                let parts = [operand.base(), operand.index(), operand.segment()];
                if !is_read || !parts.iter().all(|part| known(part_of(*part))) {
                    continue;
                }
                let Some(found) = resolve(operand, registers, memory) else {
                    continue;
                };
                let list = if is_stack(operand.base()) {
                    &mut of_stack
                } else {
                    &mut others
                };
                if !list.contains(&found) {
                    list.push(found);
                }
            }
        }
        if others.is_empty() { of_stack } else { others }
    }
}

/// Segments of 64-bit code have no base, but for FS and GS.
fn part_of(register: Register) -> Register {
    match register {
        Register::DS | Register::SS | Register::ES | Register::CS => Register::None,
        other => other,
    }
}

fn decode(at: u64, memory: &dyn Memory) -> Option<Instruction> {
    let mut bytes = [0; INSTRUCTION_BYTES];
    // Where the known code ends, fewer bytes may still make an instruction.
    let length = (1..=INSTRUCTION_BYTES)
        .rev()
        .find(|length| memory.read(at, &mut bytes[..*length]))?;
    let mut decoder = Decoder::with_ip(64, &bytes[..length], at, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Where an instruction leads to inside its function.
fn successors(instruction: &Instruction) -> Vec<u64> {
    match instruction.flow_control() {
        FlowControl::Next
        | FlowControl::Call
        | FlowControl::IndirectCall
        | FlowControl::XbeginXabortXend => vec![instruction.next_ip()],
        FlowControl::UnconditionalBranch => vec![instruction.near_branch_target()],
        FlowControl::ConditionalBranch => {
            vec![instruction.near_branch_target(), instruction.next_ip()]
        }
        FlowControl::IndirectBranch
        | FlowControl::Return
        | FlowControl::Interrupt
        | FlowControl::Exception => Vec::new(),
    }
}

fn resolve(
    operand: &iced_x86::UsedMemory,
    registers: &Registers,
    memory: &dyn Memory,
) -> Option<Polled> {
    let address = operand.virtual_address(0, |register, _, _| value_of(register, registers))?;
    let width = u32::try_from(operand.memory_size().size()).ok()?;
    Some(Polled {
        address,
        width,
        value: read(address, width, memory),
        base: operand
            .base()
            .is_gpr()
            .then(|| value_of(operand.base(), registers))
            .flatten(),
    })
}

fn value_of(register: Register, registers: &Registers) -> Option<u64> {
    match register {
        Register::None | Register::DS | Register::SS | Register::ES | Register::CS => Some(0),
        Register::GS => Some(registers.gs_base),
        register if register.is_gpr64() => registers.general.get(register.number()).copied(),
        register if register.is_gpr32() => {
            let value = registers.general.get(register.number())?;
            Some(value & u64::from(u32::MAX))
        }
        _ => None,
    }
}

fn is_stack(base: Register) -> bool {
    matches!(base.full_register(), Register::RSP | Register::RBP)
}

fn read(address: u64, width: u32, memory: &dyn Memory) -> Option<u64> {
    let mut bytes = [0; 8];
    let used = bytes.get_mut(..width as usize)?;
    (width > 0 && memory.read(address, used)).then(|| u64::from_le_bytes(bytes))
}
