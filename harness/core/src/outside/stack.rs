//! A kernel stack, read from outside.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::registers::hex;

/// One function of a stack, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Address in the function: RIP for the innermost frame of a context, return addresses for
    /// its callers.
    #[serde(with = "hex")]
    pub address: u64,
    /// The symbol, compiler's suffixes included; `None`: no symbol covers the address.
    pub symbol: Option<String>,
    /// Offset into the symbol.
    pub offset: u64,
    /// Lowest stack address that belongs to this function: what lies between it and the next outer
    /// frame's are its locals and saved registers.
    #[serde(with = "hex")]
    pub stack_low: u64,
    /// How it is known.
    pub origin: Origin,
}

/// How a frame is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The vCPU's own RIP.
    Register,
    /// By the chain of frame pointers, or by a call instruction that leads to the frame before it.
    Chained,
    /// From the registers that an interrupt, exception or NMI saved: the frames before it are the
    /// handler's.
    Interrupted,
    /// A word on the stack that looks like a return address: unsure, printed with `?`.
    Scanned,
}

impl Frame {
    /// The symbol without what the compiler appended: `.isra.0`, `.constprop.3`, `.cold`.
    pub fn base(&self) -> Option<&str> {
        let symbol = self.symbol.as_deref()?;
        Some(symbol.split('.').next().unwrap_or(symbol))
    }

    /// Whether it is known for sure.
    pub fn is_sure(&self) -> bool {
        match self.origin {
            Origin::Register | Origin::Chained | Origin::Interrupted => true,
            Origin::Scanned => false,
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_sure() { "" } else { "? " };
        match &self.symbol {
            Some(symbol) => write!(f, "{mark}{symbol}+{:#x}", self.offset),
            None => write!(f, "{mark}{:#018x}", self.address),
        }
    }
}

/// What one vCPU is doing, innermost frame first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The frames.
    pub frames: Vec<Frame>,
    /// Why it ends where it ends.
    pub end: End,
}

/// Why a stack ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The task came from user space here.
    UserSpace,
    /// The outermost frame of a kernel thread or of the idle task.
    Complete,
    /// The chain leads to an address that cannot be read or is no stack.
    #[default]
    Broken,
    /// The chain leads back to itself.
    Loop,
    /// More frames than a kernel stack has.
    TooLong,
}

impl Stack {
    /// The sure frames of each interrupted context, innermost context and frame first, by base
    /// symbol; a frame without a symbol is an empty name. A new context begins at each
    /// [`Origin::Interrupted`] frame.
    pub fn contexts(&self) -> Vec<Vec<&str>> {
        let mut contexts: Vec<Vec<&str>> = vec![Vec::new()];
        for frame in self.frames.iter().filter(|frame| frame.is_sure()) {
            if frame.origin == Origin::Interrupted {
                contexts.push(Vec::new());
            }
            if let Some(context) = contexts.last_mut() {
                context.push(frame.base().unwrap_or_default());
            }
        }
        contexts.retain(|context| !context.is_empty());
        contexts
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames: Vec<String> = self.frames.iter().map(Frame::to_string).collect();
        f.write_str(&frames.join(" <- "))
    }
}
