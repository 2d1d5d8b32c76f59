//! From raw bytes to lines, and from lines to the messages in them.
//!
//! A console is shared: firmware, the kernel and user space write to it, the kernel may leave out a
//! newline, user space may be cut short by the kernel. So a line can hold several messages, and who
//! wrote one shows only in its prefix.

use memchr::{memchr, memchr_iter, memrchr_iter};

/// Longest piece of a line that is looked at as a whole. The kernel's own limit for a record is
/// about 1 KiB of text; anything longer is not a kernel line, but may have one glued to its end.
pub(super) const MAX_PIECE_BYTES: usize = 8192;
/// How much of the end of a cut line is searched for the start of a message to carry over.
const CARRY_BYTES_MAX: usize = 1024;
/// What is carried over in any case: more than the longest prefix, which the cut may have split.
const CARRY_BYTES_MIN: usize = 64;

/// A line, or a part of one that is too long to hold.
pub(super) struct Piece<'a> {
    /// 1-based number of the line.
    pub line: u64,
    /// Offset of the line's first byte, or of this part's, in the whole stream.
    pub offset: u64,
    /// The bytes, without the newline.
    pub bytes: &'a [u8],
    /// Whether this is not the line's beginning.
    pub continued: bool,
}

/// Cuts a stream into [`Piece`]s, the same ones however the stream was split into chunks.
#[derive(Debug)]
pub(super) struct Lines {
    pending: Vec<u8>,
    line: u64,
    offset: u64,
    continued: bool,
}

impl Lines {
    pub fn new() -> Self {
        Lines {
            pending: Vec::new(),
            line: 1,
            offset: 0,
            continued: false,
        }
    }

    /// Takes a chunk and hands every piece that is complete to `sink`.
    pub fn feed(&mut self, mut chunk: &[u8], mut sink: impl FnMut(Piece<'_>)) {
        while !chunk.is_empty() {
            let room_bytes = MAX_PIECE_BYTES - self.pending.len();
            let window = &chunk[..room_bytes.min(chunk.len())];
            if let Some(end) = memchr(b'\n', window) {
                self.complete(&window[..end], &mut sink);
                chunk = &chunk[end + 1..];
            } else {
                self.pending.extend_from_slice(window);
                chunk = &chunk[window.len()..];
                if self.pending.len() == MAX_PIECE_BYTES {
                    self.cut(&mut sink);
                }
            }
        }
    }

    /// Hands over what came after the last newline. Returns the number of lines.
    pub fn finish(&mut self, mut sink: impl FnMut(Piece<'_>)) -> u64 {
        let lines_whole = self.line - 1;
        if self.pending.is_empty() && !self.continued {
            return lines_whole;
        }
        self.complete(&[], &mut sink);
        lines_whole + 1
    }

    fn complete(&mut self, tail: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        // Most lines lie in the chunk as a whole and need no copy.
        let bytes = if self.pending.is_empty() {
            tail
        } else {
            self.pending.extend_from_slice(tail);
            &self.pending
        };
        let length_bytes = bytes.len() as u64;
        sink(Piece {
            line: self.line,
            offset: self.offset,
            bytes,
            continued: self.continued,
        });
        self.pending.clear();
        self.line += 1;
        self.offset += length_bytes + 1;
        self.continued = false;
    }

    fn cut(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        let keep_from = carry_from(&self.pending);
        sink(Piece {
            line: self.line,
            offset: self.offset,
            bytes: &self.pending[..keep_from],
            continued: self.continued,
        });
        self.pending.drain(..keep_from);
        self.offset += keep_from as u64;
        self.continued = true;
    }
}

/// Where the part of a cut line begins that the next piece has to see again: at the last message
/// that starts near the end.
fn carry_from(bytes: &[u8]) -> usize {
    let floor = bytes.len() - CARRY_BYTES_MAX;
    let default = bytes.len() - CARRY_BYTES_MIN;
    memrchr_iter(b'[', &bytes[floor..default])
        .map(|at| floor + at)
        .find(|&at| Stamp::read(&bytes[at..]).is_some())
        .unwrap_or(default)
}

/// Who wrote a message, as far as its prefix tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It has a prefix that only the kernel's log gives.
    Kernel,
    /// It has a log level that only user space can write to `/dev/kmsg`.
    User,
    /// It has no prefix: user space, firmware, or a kernel that prints no timestamps.
    Bare,
}

/// Who printed a message, from `CONFIG_PRINTK_CALLER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Task(u32),
    Cpu(u32),
}

/// One message: what one `printk()` or one write put into a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub origin: Origin,
    pub time_us: Option<u64>,
    pub caller: Option<Caller>,
    /// The text after the prefix, blanks trimmed from both ends.
    pub text: &'a [u8],
}

/// Hands the messages of a piece (without escape sequences) to `sink`. `latest_us` is the greatest
/// kernel time seen so far.
pub(super) fn messages<'a>(
    bytes: &'a [u8],
    continued: bool,
    mut latest_us: Option<u64>,
    mut sink: impl FnMut(Message<'a>),
) {
    let mut bytes = trim(bytes);
    let mut continued = continued;
    loop {
        let prefix = Prefix::read(bytes);
        latest_us = latest_us.max(prefix.time_us);
        let body = &bytes[prefix.length_bytes..];
        let end = next_message(body, latest_us).unwrap_or(body.len());
        // What goes on from a cut line has no beginning that a pattern could be held against.
        if !(continued && prefix.origin == Origin::Bare) {
            sink(Message {
                origin: prefix.origin,
                time_us: prefix.time_us,
                caller: prefix.caller,
                text: trim(&body[..end]),
            });
        }
        if end == body.len() {
            return;
        }
        continued = false;
        bytes = trim_start(&body[end..]);
    }
}

/// Finds where another message begins inside of `body`.
fn next_message(body: &[u8], latest_us: Option<u64>) -> Option<usize> {
    let carriage_return = memchr(b'\r', body);
    let until = carriage_return.unwrap_or(body.len());
    memchr_iter(b'[', &body[..until])
        .find_map(|at| glued_at(body, at, latest_us))
        .or(carriage_return)
}

/// Whether a message of the kernel was glued on at `at`, rather than quoted there. Returns where
/// its prefix begins.
fn glued_at(body: &[u8], at: usize, latest_us: Option<u64>) -> Option<usize> {
    let stamp = Stamp::read(&body[at..])?;
    // At the very beginning it is the text of a message that has a prefix: a quotation.
    let before = trim_start(&body[..at]);
    if before.is_empty() {
        return None;
    }
    if let Some(level_bytes) = level_suffix(before) {
        return Some(at - level_bytes);
    }
    match before[before.len() - 1] {
        b'\'' | b'"' | b'`' | b'>' | b'(' => None,
        // A prompt or an unfinished word of user space, then the kernel: its time goes forward.
        // What a tool quotes from an older log goes back.
        b' ' | b'\t' if before[0] == b'>' || latest_us.is_none_or(|t| stamp.time_us < t) => None,
        _ => Some(at),
    }
}

/// Length of a `<4>` at the end of `before`, if something stands before it.
fn level_suffix(before: &[u8]) -> Option<usize> {
    let digits = before.strip_suffix(b">")?;
    let start = digits.iter().rposition(|b| !b.is_ascii_digit())?;
    let is_level = start > 0 && digits[start] == b'<' && start + 1 < digits.len();
    is_level.then_some(before.len() - start)
}

/// What stands before the text of a message.
struct Prefix {
    length_bytes: usize,
    origin: Origin,
    time_us: Option<u64>,
    caller: Option<Caller>,
}

impl Prefix {
    fn read(bytes: &[u8]) -> Self {
        let mut prefix = Prefix {
            length_bytes: 0,
            origin: Origin::Bare,
            time_us: None,
            caller: None,
        };
        match bytes.first() {
            Some(b'[' | b'<' | b'0'..=b'9' | b'.' | b'A'..=b'S' | 0x80..) => {}
            Some(_) | None => return prefix,
        }
        prefix.take_syslog(bytes);
        prefix.take_level(bytes);
        prefix.take_stamp(bytes);
        if prefix.origin == Origin::Bare {
            prefix.take_damaged(bytes);
        }
        prefix
    }

    /// `Nov 22 14:37:48 host kernel: `, `2026-11-22T14:37:48.123456+00:00 host kernel: `: the
    /// kernel's log by way of a syslog daemon.
    fn take_syslog(&mut self, bytes: &[u8]) {
        let head = &bytes[..bytes.len().min(120)];
        let Some(&first) = head.first() else { return };
        let is_date = match first {
            b'A'..=b'S' => {
                head.len() > 15 && head[3] == b' ' && head[9] == b':' && head[12] == b':'
            }
            b'0'..=b'9' => {
                head.len() > 19 && head[4] == b'-' && head[10] == b'T' && head[13] == b':'
            }
            _ => false,
        };
        if !is_date {
            return;
        }
        if let Some(at) = memchr::memmem::find(head, b" kernel: ") {
            self.origin = Origin::Kernel;
            self.length_bytes = at + b" kernel: ".len();
        }
    }

    /// `<4>`. Facilities above 0 (the kernel's) are for others.
    fn take_level(&mut self, bytes: &[u8]) {
        let rest = &bytes[self.length_bytes..];
        let Some(inner) = rest.strip_prefix(b"<") else {
            return;
        };
        let digits = inner
            .iter()
            .take(3)
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits == 0 || inner.get(digits) != Some(&b'>') {
            return;
        }
        let level = inner[..digits]
            .iter()
            .fold(0u32, |n, b| n * 10 + u32::from(b - b'0'));
        self.origin = if level < 8 {
            Origin::Kernel
        } else {
            Origin::User
        };
        self.length_bytes += digits + 2;
    }

    fn take_stamp(&mut self, bytes: &[u8]) {
        let rest = &bytes[self.length_bytes..];
        let Some(stamp) = Stamp::read(rest) else {
            if let Some(length_bytes) = wall_clock_stamp(rest) {
                self.length_bytes += length_bytes;
                self.mark_kernel();
            }
            return;
        };
        self.length_bytes += stamp.length_bytes;
        self.time_us = Some(stamp.time_us);
        self.mark_kernel();
        let rest = &bytes[self.length_bytes..];
        if let Some((caller, length_bytes)) = read_caller(rest) {
            self.caller = Some(caller);
            self.length_bytes += length_bytes;
        }
    }

    fn mark_kernel(&mut self) {
        if self.origin == Origin::Bare {
            self.origin = Origin::Kernel;
        }
    }

    /// A timestamp whose beginning was lost or overwritten: `\xff2.395104] `.
    fn take_damaged(&mut self, bytes: &[u8]) {
        let head = &bytes[..bytes.len().min(24)];
        let Some(close) = memchr(b']', head) else {
            return;
        };
        let inside = &head[..close];
        let digits_at_end = inside
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let has_point = inside.contains(&b'.');
        let is_stamp = (if has_point { 1..=6 } else { 3..=5 }).contains(&digits_at_end)
            && (has_point || !inside.contains(&b'['))
            && inside[..close - digits_at_end]
                .iter()
                .all(|b| matches!(b, b'[' | b'.' | b' ' | b'0'..=b'9' | 0x80.. | 0..=0x1f))
            && head.get(close + 1) == Some(&b' ');
        if is_stamp {
            self.origin = Origin::Kernel;
            self.length_bytes = close + 1;
        }
    }
}

/// `[   72.395104]`.
struct Stamp {
    time_us: u64,
    length_bytes: usize,
}

impl Stamp {
    fn read(bytes: &[u8]) -> Option<Self> {
        let inner = bytes.strip_prefix(b"[")?;
        let blanks = inner.iter().take(8).take_while(|b| **b == b' ').count();
        let whole = inner[blanks..]
            .iter()
            .take(12)
            .take_while(|b| b.is_ascii_digit())
            .count();
        let fraction = &inner[blanks + whole..];
        if whole == 0 || fraction.len() < 8 || fraction[0] != b'.' || fraction[7] != b']' {
            return None;
        }
        if !fraction[1..7].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = inner[blanks..blanks + whole].iter().chain(&fraction[1..7]);
        let time_us = digits.fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
        Some(Stamp {
            time_us,
            length_bytes: 1 + blanks + whole + 8,
        })
    }
}

/// `[Sun Nov 22 14:37:48 2026]`, from `dmesg -T`. Returns its length.
fn wall_clock_stamp(bytes: &[u8]) -> Option<usize> {
    let is_stamp = bytes.len() > 26
        && bytes[0] == b'['
        && bytes[25] == b']'
        && bytes[4] == b' '
        && bytes[14] == b':'
        && bytes[17] == b':';
    is_stamp.then_some(26)
}

/// `[  T123]`, `[    C2]`, with or without a blank before it. Returns its length too.
fn read_caller(bytes: &[u8]) -> Option<(Caller, usize)> {
    let gap = usize::from(bytes.first() == Some(&b' '));
    let inner = bytes[gap..].strip_prefix(b"[")?;
    let blanks = inner.iter().take(8).take_while(|b| **b == b' ').count();
    let kind = *inner.get(blanks)?;
    let (number, digits) = read_number(&inner[blanks + 1..])?;
    if inner.get(blanks + 1 + digits) != Some(&b']') {
        return None;
    }
    let caller = match kind {
        b'T' => Caller::Task(number),
        b'C' => Caller::Cpu(number),
        _ => return None,
    };
    Some((caller, gap + 1 + blanks + 1 + digits + 1))
}

/// Reads a decimal number of at most 9 digits. Returns how many there were too.
pub(super) fn read_number(bytes: &[u8]) -> Option<(u32, usize)> {
    let digits = bytes
        .iter()
        .take(10)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let number = bytes[..digits]
        .iter()
        .fold(0u32, |n, b| n * 10 + u32::from(b - b'0'));
    Some((number, digits))
}

/// Takes terminal escape sequences out of `bytes`, into `scratch`.
pub(super) fn without_escapes<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    const ESCAPE: u8 = 0x1b;
    if memchr(ESCAPE, bytes).is_none() {
        return bytes;
    }
    scratch.clear();
    let mut rest = bytes;
    while let Some(at) = memchr(ESCAPE, rest) {
        scratch.extend_from_slice(&rest[..at]);
        rest = &rest[at + escape_length(&rest[at..])..];
    }
    scratch.extend_from_slice(rest);
    scratch
}

/// Length of the escape sequence that `bytes` begins with: `ESC c`, `ESC [ ? 7 l`.
fn escape_length(bytes: &[u8]) -> usize {
    if bytes.get(1) != Some(&b'[') {
        return bytes.len().min(2);
    }
    let parameters = bytes[2..]
        .iter()
        .take_while(|b| matches!(b, 0x20..=0x3f))
        .count();
    // A sequence that does not end properly is not one: keep what may be a message.
    match bytes.get(2 + parameters) {
        Some(0x40..=0x7e) => 3 + parameters,
        Some(_) | None => 1,
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0)
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|b| !is_blank(*b))
        .unwrap_or(bytes.len());
    &bytes[start..]
}

fn trim(bytes: &[u8]) -> &[u8] {
    let bytes = trim_start(bytes);
    let end = bytes
        .iter()
        .rposition(|b| !is_blank(*b))
        .map_or(0, |at| at + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &[u8], latest_us: Option<u64>) -> Vec<(Origin, Option<u64>, String)> {
        let mut out = Vec::new();
        messages(line, false, latest_us, |m| {
            let text = String::from_utf8_lossy(m.text).into_owned();
            out.push((m.origin, m.time_us, text));
        });
        out
    }

    fn only(line: &[u8]) -> (Origin, Option<u64>, String) {
        let mut all = split(line, Some(0));
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn prefixes_are_taken_off() {
        let text = "Kernel panic".to_string();
        for (line, time_us) in [
            (&b"[   72.395104] Kernel panic\r\r"[..], Some(72_395_104)),
            (b"<0>[   72.395104] Kernel panic", Some(72_395_104)),
            (b"[   72.395104][    C2] Kernel panic", Some(72_395_104)),
            (b"[   72.395104] [ T123] Kernel panic", Some(72_395_104)),
            (
                b"[123456.000001][T1234567] Kernel panic",
                Some(123_456_000_001),
            ),
            (b"<2>Kernel panic", None),
            (b"[Sun Nov 22 14:37:48 2026] Kernel panic", None),
            (
                b"Nov 22 14:37:48 host kernel: [    1.000000] Kernel panic",
                Some(1_000_000),
            ),
            (
                b"2026-11-22T14:37:48.123456+00:00 host kernel: Kernel panic",
                None,
            ),
            (b"\xff2.395104] Kernel panic", None),
        ] {
            assert_eq!(
                only(line),
                (Origin::Kernel, time_us, text.clone()),
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn user_space_has_no_prefix_of_the_kernel() {
        assert_eq!(only(b"Kernel panic").0, Origin::Bare);
        assert_eq!(only(b"[ INFO: possible").0, Origin::Bare);
        assert_eq!(only(b"[  OK  ] Started").0, Origin::Bare);
        assert_eq!(only(b"[12] Kernel panic").0, Origin::Bare);
        assert_eq!(only(b"<12>[    1.000000] Kernel panic").0, Origin::User);
        assert_eq!(
            only(b"Nov 22 14:37:48 host app[3]: Kernel panic").0,
            Origin::Bare
        );
    }

    #[test]
    fn glued_messages_come_apart() {
        let texts = |line: &[u8], latest_us| -> Vec<String> {
            split(line, latest_us)
                .into_iter()
                .map(|(_, _, text)| text)
                .collect()
        };
        assert_eq!(
            texts(b"[    2.000000] on cpu 3[    2.000001] Modules", None),
            ["on cpu 3", "Modules"]
        );
        assert_eq!(
            texts(b"count 47<4>[    2.000001] Modules", Some(0)),
            ["count 47", "Modules"]
        );
        assert_eq!(
            texts(b"login: [    2.000001] Kernel panic", Some(1_000_000)),
            ["login:", "Kernel panic"]
        );
        assert_eq!(
            texts(b"10%\r20%\r[    2.000001] Kernel panic", Some(0)),
            ["10%", "20%", "Kernel panic"]
        );
        assert_eq!(
            texts(b"a\xff\x00[    2.000001] b", Some(0)),
            ["a\u{fffd}", "b"]
        );
    }

    #[test]
    fn quotations_stay_together() {
        for line in [
            &b"tool: [    2.000001] Kernel panic"[..],
            b"> [    9.000001] Kernel panic",
            b"saw '[    9.000001] Kernel panic'",
            b"[    8.100000] app: [    2.000001] Kernel panic",
            b"[    8.100000] [    9.000001] Kernel panic",
        ] {
            assert_eq!(
                split(line, Some(8_000_000)).len(),
                1,
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn escapes_are_taken_out() {
        let mut scratch = Vec::new();
        let line = b"\x1bc\x1b[?7l\x1b[2J[    0.000000] Linux\x1b[0m";
        assert_eq!(without_escapes(line, &mut scratch), b"[    0.000000] Linux");
        assert_eq!(without_escapes(b"a\x1b[\xff", &mut scratch), b"a[\xff");
        assert_eq!(without_escapes(b"a\x1b", &mut scratch), b"a");
    }

    #[test]
    fn pieces_do_not_depend_on_chunks() {
        let mut stream = vec![b'x'; 3 * MAX_PIECE_BYTES];
        let at = MAX_PIECE_BYTES - 100;
        stream[at..at + 15].copy_from_slice(b"[    1.000000] ");
        stream.extend_from_slice(b"\n\nend");
        let pieces = |chunk_bytes: usize| {
            let mut out = Vec::new();
            let mut lines = Lines::new();
            let mut sink = |p: Piece<'_>| out.push((p.line, p.offset, p.bytes.to_vec()));
            for chunk in stream.chunks(chunk_bytes) {
                lines.feed(chunk, &mut sink);
            }
            let count = lines.finish(&mut sink);
            (count, out)
        };
        let whole = pieces(stream.len());
        assert_eq!(whole.0, 3);
        assert_eq!(
            whole.1[1].1 as usize, at,
            "the message near the cut is seen again"
        );
        for chunk_bytes in [1, 7, 100, MAX_PIECE_BYTES, MAX_PIECE_BYTES + 1] {
            assert_eq!(pieces(chunk_bytes), whole);
        }
    }
}
