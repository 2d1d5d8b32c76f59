//! Linux' per-CPU variables, read from outside.

use super::memory::Memory;
use super::registers::Registers;
use super::symbols::Symbols;

/// No machine that is watched has more; `__per_cpu_offset` has as many entries as the kernel was
/// configured for.
const CPUS_MAX: u32 = 1024;
/// The kernel's half of the address space.
const KERNEL_HALF: u64 = 1 << 63;
/// `pcpu_hot.cpu_number`, behind `current_task` and `preempt_count` (6.2 to 6.14).
const HOT_CPU_NUMBER: u64 = 12;

/// Per-CPU variables of a guest.
#[derive(Clone, Copy)]
pub struct PerCpu<'a> {
    /// The kernel's symbols.
    pub symbols: &'a Symbols,
    /// The guest's memory.
    pub memory: &'a dyn Memory,
}

impl PerCpu<'_> {
    /// What has to be added to a per-CPU symbol for a CPU's own copy.
    pub fn base(&self, cpu: u32) -> Option<u64> {
        let array = self.symbols.address("__per_cpu_offset")?;
        self.memory.word(array + 8 * u64::from(cpu))
    }

    /// Address of a CPU's copy of a variable.
    pub fn address(&self, variable: &str, cpu: u32) -> Option<u64> {
        let offset = self.symbols.address(variable)?;
        Some(self.base(cpu)?.wrapping_add(offset))
    }

    /// What a CPU's copy of a variable holds, if it is a pointer into the kernel.
    fn pointer(&self, variable: &str, cpu: u32) -> Option<u64> {
        let value = self.memory.word(self.address(variable, cpu)?)?;
        (value & KERNEL_HALF != 0).then_some(value)
    }

    /// The task that a CPU runs.
    pub fn current_task(&self, cpu: u32) -> Option<u64> {
        // pcpu_hot begins with it (6.2 to 6.14).
        self.pointer("current_task", cpu)
            .or_else(|| self.pointer("pcpu_hot", cpu))
    }

    /// A CPU's migration thread.
    pub fn stopper_thread(&self, cpu: u32) -> Option<u64> {
        // Since 4.2 it is the first member of the stopper itself.
        if self.symbols.address("cpu_stopper_task").is_some() {
            self.pointer("cpu_stopper_task", cpu)
        } else {
            self.pointer("cpu_stopper", cpu)
        }
    }

    /// The CPU whose per-CPU area an address lies in, and the offset there.
    pub fn owner(&self, address: u64, cpus: &[u32]) -> Option<u32> {
        let mut bases: Vec<(u64, u32)> = cpus
            .iter()
            .filter_map(|cpu| Some((self.base(*cpu)?, *cpu)))
            .collect();
        bases.sort_unstable();
        // Areas are all of one size, and next to each other on one node.
        let gaps = bases.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let size = gaps.filter(|gap| *gap > 0).min()?;
        // Where symbols of per-CPU variables are addresses, they are so large that a base is
        // negative: what counts is the sum.
        let start = self.symbols.address("__per_cpu_start").unwrap_or(0);
        bases
            .iter()
            .find(|(base, _)| address.wrapping_sub(base.wrapping_add(start)) < size)
            .map(|(_, cpu)| *cpu)
    }
}

/// Linux' number of the CPU whose per-CPU area GS points to; `None` outside the kernel, or when
/// what is there contradicts itself.
pub fn cpu_number(registers: &Registers, symbols: &Symbols, memory: &dyn Memory) -> Option<u32> {
    if !registers.in_kernel() || registers.gs_base & KERNEL_HALF == 0 {
        return None;
    }
    let per_cpu = PerCpu { symbols, memory };
    let by_base = (0..CPUS_MAX)
        .map_while(|cpu| Some((cpu, per_cpu.base(cpu)?)))
        .find(|(_, base)| *base == registers.gs_base)
        .map(|(cpu, _)| cpu);
    let by_itself = own_number(registers.gs_base, symbols, memory);
    match (by_base, by_itself) {
        (Some(one), Some(other)) => (one == other).then_some(one),
        (one, other) => one.or(other),
    }
}

/// What the per-CPU area at `base` says it is.
fn own_number(base: u64, symbols: &Symbols, memory: &dyn Memory) -> Option<u32> {
    let offset = symbols
        .address("cpu_number")
        .or_else(|| Some(symbols.address("pcpu_hot")? + HOT_CPU_NUMBER))?;
    let number = memory.half_word(base.wrapping_add(offset))?;
    (number < CPUS_MAX).then_some(number)
}
