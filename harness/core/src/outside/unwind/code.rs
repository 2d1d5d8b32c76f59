//! What bytes of code say about a stack: calls before a return address, and how functions begin.

use super::super::memory::Memory;

/// A call instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// To this address.
    Direct(u64),
    /// Through a register or memory.
    Indirect,
}

/// Longest call instruction: REX prefix, opcode, ModRM, SIB, 32-bit displacement.
const LONGEST_CALL_BYTES: usize = 8;
/// `call rel32`, its displacement included.
const DIRECT_CALL_BYTES: usize = 5;

/// What lies before a return address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// A call.
    Call(Call),
    /// Something else.
    Other,
    /// It cannot be read.
    Unreadable,
}

/// The instruction that a return address follows.
pub fn before(memory: &dyn Memory, address: u64) -> Before {
    let mut bytes = [0; LONGEST_CALL_BYTES];
    let start = address.checked_sub(LONGEST_CALL_BYTES as u64);
    if !start.is_some_and(|start| memory.read(start, &mut bytes)) {
        return Before::Unreadable;
    }
    match call_at_end(&bytes, address) {
        Some(call) => Before::Call(call),
        None => Before::Other,
    }
}

fn call_at_end(bytes: &[u8; LONGEST_CALL_BYTES], address: u64) -> Option<Call> {
    let direct = &bytes[LONGEST_CALL_BYTES - DIRECT_CALL_BYTES..];
    if let [0xe8, displacement @ ..] = direct {
        let displacement = i32::from_le_bytes(displacement.try_into().ok()?);
        return Some(Call::Direct(
            address.wrapping_add_signed(displacement.into()),
        ));
    }
    let mut starts = 0..LONGEST_CALL_BYTES - 1;
    let indirect = starts.any(|start| is_indirect_call(&bytes[start..]));
    indirect.then_some(Call::Indirect)
}

/// Whether these bytes are `FF /2`, whole and nothing else: Intel's manual, volume 2, CALL and table 2-2.
fn is_indirect_call(bytes: &[u8]) -> bool {
    let bytes = match bytes {
        [0x40..=0x4f, rest @ ..] => rest,
        other => other,
    };
    let [0xff, modrm, rest @ ..] = bytes else {
        return false;
    };
    let (mode, operation, base) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    if operation != 2 {
        return false;
    }
    let sib = mode != 3 && base == 4;
    let displacement = match (mode, base) {
        (1, _) => 1,
        (2, _) | (0, 5) => 4,
        (0, 4) if rest.first().is_some_and(|sib| sib & 7 == 5) => 4,
        _ => 0,
    };
    rest.len() == usize::from(sib) + displacement
}

/// How a function makes its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prologue {
    /// Offset behind `push %rbp`: from here on the return address lies a word further up.
    pub pushed: u64,
    /// Offset behind `mov %rsp,%rbp`: from here on the frame is in the chain.
    pub framed: u64,
}

/// Bytes of a function that are looked at for its prologue.
const PROLOGUE_BYTES: usize = 40;
const PUSH_RBP: u8 = 0x55;
const MOV_RSP_RBP: [u8; 3] = [0x48, 0x89, 0xe5];

/// The prologue of a function; `None` when it has none, or it cannot be read.
///
/// The compiler may put other instructions between the two, and a patched call for the tracer,
/// `endbr64` or padding may come first.
pub fn prologue(memory: &dyn Memory, function: u64) -> Option<Prologue> {
    let mut bytes = [0; PROLOGUE_BYTES];
    if !memory.read(function, &mut bytes) {
        return None;
    }
    let start = entry_length(&bytes);
    let moved = memchr::memmem::find(&bytes[start..], &MOV_RSP_RBP)? + start;
    let pushed = memchr::memchr(PUSH_RBP, &bytes[start..moved])? + start + 1;
    Some(Prologue {
        pushed: pushed as u64,
        framed: (moved + MOV_RSP_RBP.len()) as u64,
    })
}

/// Length of `endbr64` and of the call for the tracer, or the padding in its place.
fn entry_length(bytes: &[u8]) -> usize {
    let endbr = if bytes.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) {
        4
    } else {
        0
    };
    let traced = match bytes[endbr..] {
        [0xe8, ..]
        | [0x0f, 0x1f, 0x44, 0x00, 0x00, ..]
        | [0x66, 0x66, 0x66, 0x66, 0x90, ..]
        | [0x3e, 0x8d, 0x74, 0x26, 0x00, ..] => DIRECT_CALL_BYTES,
        _ => 0,
    };
    endbr + traced
}

/// Whether the instruction there leaves its function: `ret`, or the jump that stands for it in
/// kernels with return thunks.
pub fn returns(memory: &dyn Memory, address: u64, is_thunk: impl Fn(u64) -> bool) -> bool {
    let mut bytes = [0; DIRECT_CALL_BYTES];
    if !memory.read(address, &mut bytes) {
        return false;
    }
    match bytes {
        [0xc3, ..] => true,
        [0xe9, displacement @ ..] => {
            let displacement = i64::from(i32::from_le_bytes(displacement));
            is_thunk(
                address
                    .wrapping_add(DIRECT_CALL_BYTES as u64)
                    .wrapping_add_signed(displacement),
            )
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(code: &[u8]) -> Option<Call> {
        let mut bytes = [0x90; LONGEST_CALL_BYTES];
        bytes[LONGEST_CALL_BYTES - code.len()..].copy_from_slice(code);
        call_at_end(&bytes, 0xffff_ffff_8100_1000)
    }

    #[test]
    fn calls_are_known_by_their_last_bytes() {
        let target = Some(Call::Direct(0xffff_ffff_8100_0f00));
        assert_eq!(ends(&[0xe8, 0x00, 0xff, 0xff, 0xff]), target);
        for (text, code) in [
            ("call *%rax", &[0xff, 0xd0][..]),
            ("call *%r11", &[0x41, 0xff, 0xd3]),
            ("call *(%rax)", &[0xff, 0x10]),
            ("call *0x18(%rax)", &[0xff, 0x50, 0x18]),
            ("call *0x18(%rsp)", &[0xff, 0x54, 0x24, 0x18]),
            (
                "call *0x1180(%r12)",
                &[0x41, 0xff, 0x94, 0x24, 0x80, 0x11, 0, 0],
            ),
            ("call *pv_ops(%rip)", &[0xff, 0x15, 0, 1, 2, 3]),
            ("call *table(,%rax,8)", &[0xff, 0x14, 0xc5, 0, 1, 2, 3]),
        ] {
            assert_eq!(ends(code), Some(Call::Indirect), "{text}");
        }
    }

    #[test]
    fn jumps_and_cut_calls_are_no_calls() {
        for (text, code) in [
            ("jmp rel32", &[0xe9, 0x00, 0xff, 0xff, 0xff][..]),
            ("jmp *%rax", &[0xff, 0xe0]),
            (
                "a call with less displacement than it needs",
                &[0xff, 0x90, 0, 1],
            ),
            ("lretq", &[0x48, 0xcb]),
        ] {
            assert_eq!(ends(code), None, "{text}");
        }
    }

    struct Code(&'static [u8]);

    impl Memory for Code {
        fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
            buffer.fill(0x90);
            let rest = &self.0[at as usize..];
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            true
        }
    }

    #[test]
    fn a_prologue_is_found_behind_what_the_tracer_needs() {
        let found = |code| prologue(&Code(code), 0).map(|found| (found.pushed, found.framed));
        assert_eq!(found(&[0x55, 0x48, 0x89, 0xe5]), Some((1, 4)));
        let traced = &[0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x48, 0x89, 0xe5];
        assert_eq!(found(traced), Some((6, 9)));
        let endbr = &[
            0xf3, 0x0f, 0x1e, 0xfa, 0xe8, 0x55, 0, 0, 0, 0x55, 0x31, 0xc0, 0x48, 0x89, 0xe5,
        ];
        assert_eq!(found(endbr), Some((10, 15)));
        assert_eq!(found(&[0x48, 0x89, 0xe5]), None, "nothing was pushed");
        assert_eq!(found(&[0x41, 0x57, 0x41, 0x56, 0x53]), None);
    }
}
