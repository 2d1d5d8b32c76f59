//! Registers of a vCPU.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::monitor::excerpt;

/// Interrupt flag of RFLAGS.
const RFLAGS_IF: u64 = 1 << 9;
/// The kernel's half of the address space: bit 63.
const KERNEL_HALF: u64 = 1 << 63;

/// What one vCPU's registers hold.
///
/// Under QEMU's translator RIP is that of the last place where the vCPU left translated code, which
/// may lie some instructions back, or in another part of the same loop; the other registers are
/// those of the last block that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Instruction pointer.
    #[serde(with = "hex")]
    pub rip: u64,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encoding.
    #[serde(with = "hex_list")]
    pub general: [u64; 16],
    /// Flags.
    #[serde(with = "hex")]
    pub rflags: u64,
    /// Current privilege level: 0 is the kernel, 3 user space.
    pub cpl: u8,
    /// Whether the vCPU waits in HLT.
    pub halted: bool,
    /// Whether it runs 64-bit code.
    pub long_mode: bool,
    /// Base of GS: the per-CPU area while in the kernel.
    #[serde(with = "hex")]
    pub gs_base: u64,
    /// Base of the interrupt descriptor table.
    #[serde(with = "hex")]
    pub idt_base: u64,
    /// Page table.
    #[serde(with = "hex")]
    pub cr3: u64,
}

/// Positions in [`Registers::general`].
pub mod index {
    /// RBX.
    pub const RBX: usize = 3;
    /// RSP.
    pub const RSP: usize = 4;
    /// RBP.
    pub const RBP: usize = 5;
    /// R12, after which R13 to R15 follow.
    pub const R12: usize = 12;
}

impl Registers {
    /// Stack pointer.
    pub fn rsp(&self) -> u64 {
        self.general[index::RSP]
    }

    /// Frame pointer, in kernels that keep one.
    pub fn rbp(&self) -> u64 {
        self.general[index::RBP]
    }

    /// Whether interrupts are on.
    pub fn interrupts_on(&self) -> bool {
        self.rflags & RFLAGS_IF != 0
    }

    /// Whether it runs in the kernel proper: not in user space, firmware, or the decompressor, which
    /// run in the lower half or not in 64-bit code.
    pub fn in_kernel(&self) -> bool {
        self.long_mode && self.cpl == 0 && self.rip & KERNEL_HALF != 0
    }

    /// Registers that a function has to give back as they were: they do not change in a loop
    /// without progress.
    pub fn callee_saved(&self) -> [u64; 5] {
        let r = &self.general;
        [
            r[index::RBX],
            r[index::R12],
            r[index::R12 + 1],
            r[index::R12 + 2],
            r[index::R12 + 3],
        ]
    }
}

/// Text that is not what QEMU's monitor prints for `info registers`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRegisters {
    /// No block of registers at all.
    #[error("no vCPU in it")]
    Empty,
    /// A line that starts like the head of a block, but names no vCPU.
    #[error("expected `CPU#` and a number, found `{0}`")]
    Head(String),
    /// Two blocks of one vCPU.
    #[error("vCPU {0} appears twice")]
    Twice(u32),
    /// A block without one of the registers.
    #[error("vCPU {vcpu} has no {register}")]
    Missing {
        /// Index.
        vcpu: u32,
        /// QEMU's name of it.
        register: &'static str,
    },
    /// A register whose value is no number, or none of its size.
    #[error("vCPU {vcpu}: {register} cannot be `{found}`")]
    Value {
        /// Index.
        vcpu: u32,
        /// QEMU's name of it.
        register: &'static str,
        /// What is there.
        found: String,
    },
}

/// Reads what QEMU's monitor prints for `info registers -a`, by index: blocks that start with
/// `CPU#0`. Registers before the first of these heads are those of vCPU 0 (`info registers`).
///
/// Registers of 32-bit and 16-bit code (`EAX`) are extended with zeros. What is not known is skipped.
/// Source: `x86_cpu_dump_state()` in QEMU's `target/i386/cpu-dump.c`.
///
/// # Errors
/// When there is no vCPU in it, one appears twice, or one lacks a register: QEMU prints all or none.
pub fn parse(text: &str) -> Result<Vec<(u32, Registers)>, BadRegisters> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for block in blocks(text)? {
        if !seen.insert(block.vcpu) {
            return Err(BadRegisters::Twice(block.vcpu));
        }
        all.push((block.vcpu, block.registers()?));
    }
    match all.is_empty() {
        true => Err(BadRegisters::Empty),
        false => Ok(all),
    }
}

/// Names in the order of [`Registers::general`], in 64-bit code.
const LONG_NAMES: [&str; 16] = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13",
    "R14", "R15",
];
/// The same in other code.
const SHORT_NAMES: [&str; 8] = ["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"];

/// One vCPU's lines.
struct Block<'a> {
    vcpu: u32,
    lines: Vec<&'a str>,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, BadRegisters> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(number) = line.strip_prefix("CPU#") {
            let vcpu = number
                .parse()
                .map_err(|_| BadRegisters::Head(excerpt(line)))?;
            blocks.push(Block {
                vcpu,
                lines: Vec::new(),
            });
        } else if let Some(block) = blocks.last_mut() {
            block.lines.push(line);
        } else if line.contains('=') {
            blocks.push(Block {
                vcpu: 0,
                lines: vec![line],
            });
        }
    }
    Ok(blocks)
}

impl Block<'_> {
    fn registers(&self) -> Result<Registers, BadRegisters> {
        let long_mode = self.words("RIP").is_some();
        let [rip, rflags] = if long_mode {
            ["RIP", "RFL"]
        } else {
            ["EIP", "EFL"]
        };
        Ok(Registers {
            rip: self.number(rip, 0, u64::MAX)?,
            general: self.general(long_mode)?,
            rflags: self.number(rflags, 0, u64::MAX)?,
            cpl: self.number("CPL", 0, 3)? as u8,
            halted: self.number("HLT", 0, 1)? == 1,
            long_mode,
            gs_base: self.number("GS", 1, u64::MAX)?,
            idt_base: self.number("IDT", 0, u64::MAX)?,
            cr3: self.number("CR3", 0, u64::MAX)?,
        })
    }

    fn general(&self, long_mode: bool) -> Result<[u64; 16], BadRegisters> {
        let mut general = [0; 16];
        let names: &[&str] = if long_mode { &LONG_NAMES } else { &SHORT_NAMES };
        for (value, name) in general.iter_mut().zip(names) {
            *value = self.number(name, 0, u64::MAX)?;
        }
        Ok(general)
    }

    /// The words between `name=` (or `name =`) and the end of the line.
    fn words(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        self.lines.iter().find_map(|line| {
            let mut starts = line.match_indices('=').map(|(at, _)| at);
            let equals = starts.find(|at| line[..*at].split_whitespace().next_back() == Some(name));
            Some(line[equals? + 1..].split_whitespace())
        })
    }

    /// The word with this position behind the name, in hex.
    fn number(&self, name: &'static str, position: usize, most: u64) -> Result<u64, BadRegisters> {
        let vcpu = self.vcpu;
        let missing = BadRegisters::Missing {
            vcpu,
            register: name,
        };
        let mut words = self.words(name).ok_or(missing.clone())?;
        let word = words.nth(position).ok_or(missing)?;
        let digits = word.bytes().all(|digit| digit.is_ascii_hexdigit());
        let value = u64::from_str_radix(word, 16).ok().filter(|_| digits);
        value
            .filter(|value| *value <= most)
            .ok_or_else(|| BadRegisters::Value {
                vcpu,
                register: name,
                found: excerpt(word),
            })
    }
}

/// A number as text: JSON numbers lose digits in many readers, and people read addresses in hex.
pub mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `ffffffff81000000`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:x}"))
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// When it is not a hexadecimal number of 64 bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Sixteen numbers as one text, separated by blanks.
mod hex_list {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(values: &[u64; 16], serializer: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = values.iter().map(|value| format!("{value:x}")).collect();
        serializer.serialize_str(&words.join(" "))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; 16], D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let values: Result<Vec<u64>, _> = text
            .split(' ')
            .map(|word| u64::from_str_radix(word, 16))
            .collect();
        let values = values.map_err(D::Error::custom)?;
        values
            .try_into()
            .map_err(|_| D::Error::custom("expected 16 registers"))
    }
}
