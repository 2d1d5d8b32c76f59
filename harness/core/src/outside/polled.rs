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

    /// The loops that RIP is in, or that lie ahead of a stale RIP, with the instructions before them.
    fn loops(&self) -> impl Iterator<Item = (usize, Vec<u64>)> {
        self.order.iter().enumerate().filter_map(|(distance, at)| {
            let body = self.shortest_way_back(*at)?;
            (body.len() <= LOOP_MAX).then_some((distance, body))
        })
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

    /// What the likeliest loop polls: one that polls anything but locals, then one that pauses, then
    /// the nearest and shortest.
    fn polled(
        &self,
        registers: &Registers,
        memory: &dyn Memory,
        known: &dyn Fn(Register) -> bool,
    ) -> Vec<Polled> {
        let loops = self.loops().map(|(distance, body)| {
            let reads = self.reads(&body, registers, memory, known);
            let rank = (reads.others.is_empty(), !self.pauses(&body));
            (rank, distance + body.len(), reads)
        });
        let best = loops.min_by_key(|(rank, length, _)| (*rank, *length));
        best.map_or_else(Vec::new, |(_, _, reads)| {
            if reads.others.is_empty() {
                reads.of_stack
            } else {
                reads.others
            }
        })
    }

    /// What a loop reads.
    fn reads(
        &self,
        body: &[u64],
        registers: &Registers,
        memory: &dyn Memory,
        known: &dyn Fn(Register) -> bool,
    ) -> Reads {
        let mut reads = Reads::default();
        let mut info = InstructionInfoFactory::new();
        let instructions = body.iter().filter_map(|at| self.instructions.get(at));
        for instruction in instructions {
            for operand in info.info(instruction).used_memory() {
                let parts = [operand.base(), operand.index(), operand.segment()];
                if !is_read(operand.access()) || !parts.iter().all(|part| known(part_of(*part))) {
                    continue;
                }
                let list = if is_stack(operand.base()) {
                    &mut reads.of_stack
                } else {
                    &mut reads.others
                };
                let found = resolve(operand, registers, memory);
                if let Some(found) = found.filter(|found| !list.contains(found)) {
                    list.push(found);
                }
            }
        }
        reads
    }
}

/// Memory that a loop reads.
#[derive(Default)]
struct Reads {
    /// Locals.
    of_stack: Vec<Polled>,
    /// Everything else.
    others: Vec<Polled>,
}

fn is_read(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
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

#[cfg(test)]
mod tests {
    use super::super::memory::{Chunk, Recorded};
    use super::*;

    const CODE: u64 = 0xffff_ffff_8100_0000;
    const DATA: u64 = 0xffff_8880_0000_1000;

    fn memory(code: &str, data: u64) -> Recorded {
        let chunk = |at, bytes: String| Chunk { at, bytes };
        let mut word: String = data.to_le_bytes().map(|b| format!("{b:02x}")).concat();
        word.push_str(&"00".repeat(256 - 8));
        Recorded::new(&[
            chunk(
                CODE,
                format!("{}{}", code.replace(' ', ""), "cc".repeat(200)),
            ),
            chunk(DATA, word),
        ])
    }

    fn registers(offset: u64, values: &[(usize, u64)]) -> Registers {
        let mut registers = Registers {
            rip: CODE + offset,
            ..Registers::default()
        };
        for (register, value) in values {
            registers.general[*register] = *value;
        }
        registers
    }

    const RDI: usize = 7;
    const RBX: usize = 3;

    #[test]
    fn a_ticket_lock_from_every_instruction_of_its_loop() {
        // pause; sub $1,%eax; je start; movzwl (%rdi),%edx; cmp %cx,%dx; jne start; mov %r8,%rax; ret
        let memory = memory("f390 83e801 74f9 0fb717 6639ca 75f1 4c89c0 c3", 0x0e16_0e12);
        for offset in [0, 2, 5, 7, 10, 13] {
            let found = polled(&registers(offset, &[(RDI, DATA)]), &memory);
            let expected = Polled {
                address: DATA,
                width: 2,
                value: Some(0x0e12),
                base: Some(DATA),
            };
            assert_eq!(found, [expected], "{offset}");
        }
    }

    #[test]
    fn a_stale_rip_lies_ahead_of_its_loop() {
        // mov %rdi,%rbx; jmp test; pause; test: mov 0x34(%rbx),%eax; test %eax,%eax; jne pause; ret
        let memory = memory("4889fb eb02 f390 8b4334 85c0 75f7 c3", 0);
        for offset in [0, 3, 7] {
            let found = polled(&registers(offset, &[(RBX, DATA - 0x34)]), &memory);
            assert_eq!(found.len(), 1, "{offset}");
            assert_eq!((found[0].address, found[0].base), (DATA, Some(DATA - 0x34)));
            assert_eq!((found[0].width, found[0].value), (4, Some(0)));
        }
        assert_eq!(polled(&registers(14, &[(RBX, DATA)]), &memory), []);
    }

    #[test]
    fn what_is_not_on_the_way_round_is_not_polled() {
        // start: mov (%rbx),%eax; test %eax,%eax; jne wait; lock cmpxchg %edx,8(%rbx); ret;
        // wait: pause; jmp start
        let memory = memory("8b03 85c0 7506 f00fb15308 c3 f390 ebf0", 1);
        let found = polled(&registers(14, &[(RBX, DATA)]), &memory);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].address, found[0].value), (DATA, Some(1)));
    }

    #[test]
    fn locals_count_only_alone() {
        // start: pause; mov -8(%rbp),%rcx; cmp (%rbx),%ecx; jne start
        let both = memory("f390 488b4df8 3b0b 75f6", 5);
        let rbp = (super::super::registers::index::RBP, DATA + 0x10);
        let found = polled(&registers(0, &[(RBX, DATA), rbp]), &both);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].base, Some(DATA));
        // start: pause; cmpl $0,-8(%rbp); jne start
        let alone = memory("f390 837df800 75f8", 5);
        let found = polled(&registers(0, &[rbp]), &alone);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, DATA + 8);
    }

    #[test]
    fn a_caller_is_known_by_the_registers_that_are_kept() {
        // call 0; mov 0x20(%rbx),%eax; cmp (%rdi),%eax; je start
        let memory = memory("e8fbffffff 8b4320 3b07 74f4", 1);
        let registers = registers(0x80, &[(RBX, DATA - 0x20), (RDI, 0x1234)]);
        let found = polled_by_caller(&registers, CODE + 5, &memory);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].address, found[0].value), (DATA, Some(1)));
    }

    #[test]
    fn code_that_is_no_loop_or_cannot_be_read() {
        let none: [Polled; 0] = [];
        for code in ["c3", "0f0b", "ff e0", "9090 c3", ""] {
            assert_eq!(polled(&registers(0, &[]), &memory(code, 0)), none, "{code}");
        }
        assert_eq!(polled(&registers(0x1000, &[]), &Recorded::default()), none);
        // A loop without any memory: what spins for ever.
        assert_eq!(polled(&registers(0, &[]), &memory("f390 ebfc", 0)), none);
    }
}
