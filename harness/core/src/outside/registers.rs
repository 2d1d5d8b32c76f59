//! Registers of a vCPU.

use serde::{Deserialize, Serialize};

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
