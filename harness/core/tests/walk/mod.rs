//! Scenes from recorded looks.

use kverdict_core::outside::memory::Memory;
use kverdict_core::outside::percpu::cpu_number;
use kverdict_core::outside::registers::Registers;
use kverdict_core::outside::sample::Look;
use kverdict_core::outside::stack::{End, Frame, Origin, Stack};
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::waits::{Cpu, Doing, Scene};

/// The CPUs of a look, of which `stuck` are.
pub fn scene<'a>(
    look: &Look,
    symbols: &'a Symbols,
    memory: &'a dyn Memory,
    stuck: &[u32],
) -> Scene<'a> {
    let cpus = look.vcpus.iter().map(|vcpu| {
        let registers = vcpu.registers;
        let doing = match registers {
            _ if stuck.contains(&vcpu.index) => Doing::Stuck,
            Registers { halted: true, .. } => Doing::Idle,
            Registers { cpl: 3, .. } => Doing::UserSpace,
            _ => Doing::Moving,
        };
        Cpu {
            vcpu: vcpu.index,
            number: cpu_number(&registers, symbols, memory),
            stack: match doing {
                Doing::Stuck => walk(&registers, symbols, memory),
                Doing::Idle | Doing::UserSpace | Doing::Moving => Stack::default(),
            },
            registers,
            doing,
        }
    });
    Scene {
        symbols,
        memory,
        cpus: cpus.collect(),
    }
}

/// Follows frame pointers.
fn walk(registers: &Registers, symbols: &Symbols, memory: &dyn Memory) -> Stack {
    let mut frames = vec![frame(
        registers.rip,
        registers.rsp(),
        Origin::Register,
        symbols,
    )];
    let start = symbols.place(registers.rip).map_or(0, |place| place.start);
    let mut first = [0];
    if memory.read(start, &mut first) && first != [0x55] {
        // No frame of its own: its caller's address is on top of the stack.
        let caller = memory.word(registers.rsp()).unwrap_or(0);
        frames.push(frame(caller, registers.rsp() + 8, Origin::Chained, symbols));
    }
    let mut rbp = registers.rbp();
    while let (Some(next), Some(caller)) = (memory.word(rbp), memory.word(rbp.wrapping_add(8))) {
        if !symbols.is_text(caller) || frames.len() > 64 {
            break;
        }
        frames.push(frame(caller, rbp + 16, Origin::Chained, symbols));
        rbp = next;
    }
    Stack {
        frames,
        end: End::Complete,
    }
}

fn frame(address: u64, stack_low: u64, origin: Origin, symbols: &Symbols) -> Frame {
    let place = symbols.place(address);
    Frame {
        address,
        symbol: place.map(|place| place.symbol.to_owned()),
        offset: place.map_or(0, |place| place.offset),
        stack_low,
        origin,
    }
}
