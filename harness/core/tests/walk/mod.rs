//! Scenes from recorded looks.

use kverdict_core::outside::memory::Memory;
use kverdict_core::outside::percpu::cpu_number;
use kverdict_core::outside::registers::Registers;
use kverdict_core::outside::sample::Look;
use kverdict_core::outside::stack::Stack;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::unwind::unwind;
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
                Doing::Stuck => unwind(&registers, symbols, memory),
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
