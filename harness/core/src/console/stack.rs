//! Stacks as the kernel prints them, read line by line.

use serde::{Deserialize, Serialize};

use super::line::read_number;

/// Frames kept of one stack; the kernel's own stacks are far shorter.
const FRAMES_MAX: usize = 96;
/// Longest symbol kept, in bytes.
const SYMBOL_BYTES_MAX: usize = 128;

/// One function of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The symbol as printed, suffixes such as `.isra.0` included.
    pub symbol: String,
    /// Offset into the function.
    pub offset: u64,
    /// Size of the function.
    pub size: u64,
    /// Whether the unwinder vouched for it: no `?`, and not the address behind a function's end.
    pub reliable: bool,
    /// Which interrupted context it belongs to; 0 is the innermost one (such as the NMI handler).
    pub context: u32,
}

impl Frame {
    /// The symbol without what the compiler appended: `.isra.0`, `.constprop.3`, `.part.1`, `.cold`.
    pub fn base(&self) -> &str {
        self.symbol.split('.').next().unwrap_or(&self.symbol)
    }
}

/// What one CPU or task was doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The CPU, if the kernel named it.
    pub cpu: Option<u32>,
    /// The task's PID, if named.
    pub pid: Option<u32>,
    /// The task's command, if named.
    pub comm: Option<String>,
    /// 1-based line of the stack's first line.
    pub line: u64,
    /// Byte offset of that line.
    pub offset: u64,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

impl Stack {
    /// The reliable frames of each context, innermost first, by base symbol.
    pub fn contexts(&self) -> Vec<Vec<&str>> {
        let mut contexts: Vec<(u32, Vec<&str>)> = Vec::new();
        for frame in self.frames.iter().filter(|f| f.reliable) {
            match contexts.last_mut() {
                Some((context, frames)) if *context == frame.context => frames.push(frame.base()),
                Some(_) | None => contexts.push((frame.context, vec![frame.base()])),
            }
        }
        contexts.into_iter().map(|(_, frames)| frames).collect()
    }
}

/// What a line has to do with a stack.
#[derive(Debug, PartialEq)]
pub(super) enum StackLine<'a> {
    /// `NMI backtrace for cpu 3`: the stack of that CPU follows.
    NmiBacktrace(u32),
    /// `NMI backtrace for cpu 3 skipped: idling at ...`.
    NmiSkipped(u32),
    /// `Sending NMI from CPU 1 to CPUs 0,3-7:`.
    NmiRequest(Vec<u32>),
    /// `CPU: 2 UID: 0 PID: 25 Comm: migration/2 Not tainted ...`.
    Cpu {
        cpu: u32,
        pid: Option<u32>,
        comm: Option<&'a [u8]>,
    },
    /// `task:kworker/0:1 state:D stack:0 pid:9 ...`.
    Task { pid: Option<u32>, comm: &'a [u8] },
    /// `Call Trace:`.
    TraceStart,
    /// `RIP: 0010:symbol+0x1/0x2`.
    Instruction(FrameText<'a>),
    /// `RIP: 0033:0x401f20`, or a RIP without a name.
    UserInstruction,
    /// A line of the trace: contexts that begin or end, then perhaps a frame.
    Trace {
        boundaries: u32,
        frame: Option<FrameText<'a>>,
    },
    /// `</TASK>`: nothing more comes.
    TraceEnd,
    /// Registers, code bytes and other lines that stand between the parts of a report.
    Material,
    /// Nothing of the sort.
    Other,
}

/// A frame before it is copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FrameText<'a> {
    pub symbol: &'a [u8],
    pub offset: u64,
    pub size: u64,
    pub reliable: bool,
}

impl<'a> StackLine<'a> {
    pub fn read(text: &'a [u8]) -> Self {
        let Some(&first) = text.first() else {
            return StackLine::Other;
        };
        let special = match first {
            b'N' | b'S' | b's' => read_nmi(text),
            b'C' => read_cpu(text),
            b't' => read_task(text),
            b'R' | b'E' | b'p' => read_instruction(text),
            _ => None,
        };
        special
            .or_else(|| read_trace(text))
            .unwrap_or_else(|| read_material(text))
    }
}

fn read_nmi(text: &[u8]) -> Option<StackLine<'_>> {
    if let Some(rest) = text.strip_prefix(b"NMI backtrace for cpu ") {
        let (cpu, digits) = read_number(rest)?;
        let skipped = rest[digits..].starts_with(b" skipped");
        return Some(if skipped {
            StackLine::NmiSkipped(cpu)
        } else {
            StackLine::NmiBacktrace(cpu)
        });
    }
    if let Some(rest) = text.strip_prefix(b"Sending NMI from CPU ") {
        let at = memchr::memmem::find(rest, b" to CPUs ")?;
        return Some(StackLine::NmiRequest(read_cpu_list(&rest[at + 9..])));
    }
    // 3.10 names nobody.
    let all = text
        .get(1..)
        .is_some_and(|rest| rest.starts_with(b"ending NMI to "));
    all.then(|| StackLine::NmiRequest(Vec::new()))
}

/// `0,3-7:`, at most 4096 CPUs of it.
fn read_cpu_list(text: &[u8]) -> Vec<u32> {
    const CPUS_MAX: usize = 4096;
    let mut cpus = Vec::new();
    for range in text.split(|b| *b == b',') {
        let Some((first, digits)) = read_number(range) else {
            break;
        };
        let last = range[digits..]
            .strip_prefix(b"-")
            .and_then(read_number)
            .map_or(first, |(last, _)| last);
        cpus.extend((first..=last).take(CPUS_MAX - cpus.len()));
    }
    cpus
}

fn read_cpu(text: &[u8]) -> Option<StackLine<'_>> {
    if text.starts_with(b"Call Trace:") || text.starts_with(b"Call trace:") {
        return Some(StackLine::TraceStart);
    }
    let rest = text.strip_prefix(b"CPU: ")?;
    let (cpu, _) = read_number(rest)?;
    let pid = number_after(rest, b"PID: ");
    let comm = memchr::memmem::find(rest, b" Comm: ").map(|at| comm_of(&rest[at + 7..]));
    // `CPU: 0 PID: ...` is what a stack begins with; `CPU: Intel(R) ...` and others are not.
    (pid.is_some() || comm.is_some()).then_some(StackLine::Cpu { cpu, pid, comm })
}

fn comm_of(text: &[u8]) -> &[u8] {
    let ends = [&b" Not tainted"[..], b" Tainted:", b" Kdump:"];
    let end = ends
        .iter()
        .filter_map(|end| memchr::memmem::find(text, end))
        .min()
        .unwrap_or(text.len());
    &text[..end.min(32)]
}

fn read_task(text: &[u8]) -> Option<StackLine<'_>> {
    let rest = text.strip_prefix(b"task:")?;
    let at = memchr::memmem::find(rest, b" state:")?;
    let pid = number_after(rest, b"pid:");
    Some(StackLine::Task {
        pid,
        comm: rest[..at.min(32)].trim_ascii(),
    })
}

fn number_after(text: &[u8], label: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(text, label)?;
    let rest = text[at + label.len()..].trim_ascii_start();
    read_number(rest).map(|(number, _)| number)
}

/// `RIP: 0010:sym+0x1/0x2`, 3.10's `RIP: 0010:[<addr>]  [<addr>] sym+0x1/0x2`, `pc : sym+...`.
fn read_instruction(text: &[u8]) -> Option<StackLine<'_>> {
    let rest = [&b"RIP: "[..], b"EIP: ", b"pc : "]
        .iter()
        .find_map(|label| text.strip_prefix(*label))?;
    let rest = match memchr::memchr(b':', rest) {
        Some(4) => &rest[5..],
        Some(_) | None => rest,
    };
    let frame = read_frame(skip_addresses(rest));
    Some(frame.map_or(StackLine::UserInstruction, StackLine::Instruction))
}

/// A trace line: `<IRQ>`, ` ? sym+0x1/0x2 [module]`, ` <<EOE>>  [<addr>] sym+0x1/0x2`.
fn read_trace(text: &[u8]) -> Option<StackLine<'_>> {
    if text.starts_with(b"</TASK>") {
        return Some(StackLine::TraceEnd);
    }
    let mut rest = text;
    let mut markers = 0;
    let mut boundaries = 0;
    while let Some((is_boundary, length_bytes)) = read_marker(rest) {
        markers += 1;
        boundaries += u32::from(is_boundary);
        rest = rest[length_bytes..].trim_ascii_start();
    }
    let frame = read_frame(skip_addresses(rest));
    let is_trace = frame.is_some() || (markers > 0 && rest.is_empty());
    is_trace.then_some(StackLine::Trace { boundaries, frame })
}

/// `<TASK>`, `</IRQ>`, `<<EOE>>`, `<EOI>`. What ends an exception's stack returns to the context
/// that it interrupted. Returns the length too.
fn read_marker(text: &[u8]) -> Option<(bool, usize)> {
    if text.first() != Some(&b'<') {
        return None;
    }
    let open = text.iter().take_while(|b| **b == b'<').count();
    let ends = text.get(open) == Some(&b'/');
    let name_at = open + usize::from(ends);
    let name_bytes = text[name_at..]
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'#' | b'_'))
        .count();
    let name = &text[name_at..name_at + name_bytes];
    let close = text[name_at + name_bytes..]
        .iter()
        .take_while(|b| **b == b'>')
        .count();
    if name.is_empty() || close == 0 {
        return None;
    }
    let returns = ends || name == b"EOE" || name == b"EOI";
    Some((returns, name_at + name_bytes + close))
}

/// Skips `[<ffffffff81012345>]`, any number of times.
fn skip_addresses(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        let Some(inner) = text.strip_prefix(b"[<") else {
            return text;
        };
        let Some(end) = memchr::memmem::find(inner, b">]") else {
            return text;
        };
        text = &inner[end + 2..];
    }
}

/// `? sym+0x1/0x2 [module]`.
fn read_frame(text: &[u8]) -> Option<FrameText<'_>> {
    let (text, vouched) = match text.strip_prefix(b"? ") {
        Some(rest) => (rest.trim_ascii_start(), false),
        None => (text, true),
    };
    let plus = memchr::memchr(b'+', &text[..text.len().min(SYMBOL_BYTES_MAX)])?;
    let symbol = &text[..plus];
    let named = !symbol.is_empty()
        && symbol
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$'));
    if !named {
        return None;
    }
    let (offset, rest) = read_hex(&text[plus + 1..])?;
    let (size, rest) = read_hex(rest.strip_prefix(b"/")?)?;
    if !matches!(rest.first(), None | Some(b' ' | b'(')) {
        return None;
    }
    Some(FrameText {
        symbol,
        offset,
        size,
        // The address behind a function's last byte is a return address that nothing returns to.
        reliable: vouched && offset < size,
    })
}

fn read_hex(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.strip_prefix(b"0x")?;
    let count = digits
        .iter()
        .take(16)
        .take_while(|b| b.is_ascii_hexdigit())
        .count();
    let value = digits[..count].iter().try_fold(0u64, |n, b| {
        Some(n << 4 | u64::from((*b as char).to_digit(16)?))
    })?;
    (count > 0).then_some((value, &digits[count..]))
}

/// Whether a line belongs into a report without being a part of the stack.
fn read_material(text: &[u8]) -> StackLine<'_> {
    const LABELS: [&[u8]; 34] = [
        b"RSP:",
        b"RAX:",
        b"RDX:",
        b"RBP:",
        b"R10:",
        b"R13:",
        b"FS:",
        b"CS:",
        b"CR2:",
        b"DR0:",
        b"DR3:",
        b"PKRU:",
        b"Code:",
        b"Stack:",
        b"ORIG_RAX",
        b"Hardware name:",
        b"Tainted:",
        b"Modules linked in:",
        b"Workqueue:",
        b"Stopper:",
        b"task: ",
        b"INFO: NMI handler",
        b"CPU: ",
        b"irq event stamp:",
        b"hardirqs last",
        b"softirqs last",
        b"EFLAGS:",
        b"EAX:",
        b"ESI:",
        b"DS:",
        b"PKRU",
        b"------------[ cut here",
        b"RIP ",
        b"RSP ",
    ];
    let labelled = LABELS.iter().any(|label| text.starts_with(label));
    // 3.10 dumps the stack's words: `ffff880012345678 0000000000000001 ...`.
    let words = text.len() >= 16 && text[..16].iter().all(u8::is_ascii_hexdigit);
    if labelled || words {
        StackLine::Material
    } else {
        StackLine::Other
    }
}

/// Builds one [`Stack`] from its lines.
#[derive(Debug)]
pub(super) struct StackBuilder {
    stack: Stack,
    context: u32,
    tracing: bool,
}

impl StackBuilder {
    pub fn new(line: u64, offset: u64) -> Self {
        let stack = Stack {
            cpu: None,
            pid: None,
            comm: None,
            line,
            offset,
            frames: Vec::new(),
        };
        StackBuilder {
            stack,
            context: 0,
            tracing: false,
        }
    }

    /// Whether `Call Trace:` was seen.
    pub fn is_tracing(&self) -> bool {
        self.tracing
    }

    /// Whether a frame was seen.
    pub fn has_frames(&self) -> bool {
        !self.stack.frames.is_empty()
    }

    pub fn cpu(&self) -> Option<u32> {
        self.stack.cpu
    }

    pub fn set_cpu(&mut self, cpu: u32) {
        self.stack.cpu = Some(cpu);
    }

    pub fn set_task(&mut self, pid: Option<u32>, comm: Option<&[u8]>) {
        self.stack.pid = pid;
        self.stack.comm = comm.map(|c| super::report::printable(c, 32));
    }

    pub fn start_trace(&mut self) {
        self.tracing = true;
    }

    /// The instruction pointer of an interrupted context, which is its innermost frame.
    pub fn instruction(&mut self, frame: FrameText<'_>) {
        if self.tracing {
            self.context += 1;
        }
        self.push(frame);
    }

    pub fn trace(&mut self, boundaries: u32, frame: Option<FrameText<'_>>) {
        if !self.tracing {
            return;
        }
        self.context += boundaries;
        if let Some(frame) = frame {
            self.push(frame);
        }
    }

    fn push(&mut self, frame: FrameText<'_>) {
        if self.stack.frames.len() == FRAMES_MAX {
            return;
        }
        self.stack.frames.push(Frame {
            symbol: String::from_utf8_lossy(frame.symbol).into_owned(),
            offset: frame.offset,
            size: frame.size,
            reliable: frame.reliable,
            context: self.context,
        });
    }

    /// The stack as far as it goes.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    pub fn finish(self) -> Stack {
        self.stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &[u8]) -> Option<(String, u64, u64, bool)> {
        match StackLine::read(text) {
            StackLine::Trace { frame: Some(f), .. } | StackLine::Instruction(f) => Some((
                String::from_utf8_lossy(f.symbol).into_owned(),
                f.offset,
                f.size,
                f.reliable,
            )),
            _ => None,
        }
    }

    #[test]
    fn frames_of_every_era() {
        let expected = |reliable| Some(("schedule".to_string(), 0x1b, 0xb0, reliable));
        for text in [
            &b"schedule+0x1b/0xb0"[..],
            b"schedule+0x1b/0xb0 [mod]",
            b"[<ffffffff81012345>] schedule+0x1b/0xb0",
            b"<<EOE>>  [<ffffffff81012345>] schedule+0x1b/0xb0",
            b"RIP: 0010:schedule+0x1b/0xb0",
            b"RIP: 0010:[<ffffffff81012345>]  [<ffffffff81012345>] schedule+0x1b/0xb0",
        ] {
            assert_eq!(frame(text), expected(true), "{}", text.escape_ascii());
        }
        assert_eq!(frame(b"? schedule+0x1b/0xb0"), expected(false));
        assert_eq!(
            frame(b"[<ffffffff81012345>] ? schedule+0x1b/0xb0"),
            expected(false)
        );
        assert_eq!(frame(b"sort_range+0x20/0x20").map(|f| f.3), Some(false));
        assert_eq!(frame(b"a word+0x1/0x2 too many"), None);
        assert_eq!(frame(b"sum+0x1/0x2,3"), None);
        assert_eq!(frame(b"RIP: 0033:0x401f20"), None);
    }

    #[test]
    fn headers_of_every_era() {
        let cpu = |text: &'static [u8]| match StackLine::read(text) {
            StackLine::Cpu { cpu, pid, comm } => Some((cpu, pid, comm.map(<[u8]>::to_vec))),
            _ => None,
        };
        let expected = Some((2, Some(25), Some(b"migration/2".to_vec())));
        assert_eq!(
            cpu(b"CPU: 2 UID: 0 PID: 25 Comm: migration/2 Not tainted 6.12.117 #3"),
            expected
        );
        assert_eq!(
            cpu(b"CPU: 2 PID: 25 Comm: migration/2 Tainted: G        W"),
            expected
        );
        assert_eq!(
            cpu(b"CPU: 2 PID: 25 Comm: migration/2 Kdump: loaded Not tainted"),
            expected
        );
        assert_eq!(cpu(b"CPU: 2 cores"), None);
        assert_eq!(
            StackLine::read(b"Sending NMI from CPU 1 to CPUs 0,3-5:"),
            StackLine::NmiRequest(vec![0, 3, 4, 5])
        );
        assert_eq!(
            StackLine::read(b"sending NMI to all CPUs:"),
            StackLine::NmiRequest(vec![])
        );
        assert_eq!(
            StackLine::read(b"NMI backtrace for cpu 6 skipped: idling at x"),
            StackLine::NmiSkipped(6)
        );
    }

    #[test]
    fn suffixes_are_not_part_of_the_base() {
        let frame = Frame {
            symbol: "task_numa_migrate.isra.0.constprop.1".into(),
            offset: 1,
            size: 2,
            reliable: true,
            context: 0,
        };
        assert_eq!(frame.base(), "task_numa_migrate");
    }
}
