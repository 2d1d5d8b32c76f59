//! What QEMU's monitor says (QMP: one JSON object a line), read without believing it: a guest that is
//! diagnosed may run under somebody else's QEMU, or under none.

use serde_json::Value;

/// One line of a monitor.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// What a command returned.
    Return(Value),
    /// Why a command was refused.
    Refused(String),
    /// Something happened: the event, and its reason or action if it has one, such as
    /// `SHUTDOWN guest-reset`.
    Event(String),
}

/// A line that no monitor says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// Something else than JSON.
    #[error("answer is no JSON: `{0}`")]
    NoJson(String),
    /// JSON, but nothing that QMP knows.
    #[error("neither answer nor error: `{0}`")]
    Neither(String),
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is nothing that QMP knows: shows how it begins.
    pub fn read(line: &str) -> Result<Self, BadLine> {
        let message: Value =
            serde_json::from_str(line).map_err(|_| BadLine::NoJson(excerpt(line)))?;
        // Newer QEMUs have events that nobody here knows; they end nothing.
        if let Some(event) = message.get("event") {
            let data = &message["data"];
            let words = [Some(event), data.get("reason"), data.get("action")];
            let words: Vec<&str> = words
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            return Ok(Self::Event(plain(&words.join(" "))));
        }
        if let Some(error) = message.get("error") {
            let why = error["desc"].as_str().unwrap_or("refused");
            return Ok(Self::Refused(plain(why)));
        }
        match message.get("return") {
            Some(value) => Ok(Self::Return(value.clone())),
            None => Err(BadLine::Neither(excerpt(line))),
        }
    }
}

/// vCPUs and the host's threads that run them, of `query-cpus-fast`; `None`: it is no list.
pub fn vcpu_threads(answer: &Value) -> Option<Vec<(u32, Option<i64>)>> {
    let vcpus = answer.as_array()?.iter();
    let threads = vcpus.filter_map(|vcpu| {
        let index = u32::try_from(vcpu["cpu-index"].as_u64()?).ok()?;
        Some((index, vcpu["thread-id"].as_i64()))
    });
    Some(threads.collect())
}

/// Reads `ffffffff81000000: 0x48 0x8d ...` lines, words of `size` bytes (up to 8) as the human monitor's
/// `x` prints them; `false` unless they fill the buffer.
pub fn fill(buffer: &mut [u8], size: usize, text: &str) -> bool {
    let words = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, words)| words.split_ascii_whitespace());
    let mut filled = 0;
    for (slot, word) in buffer.chunks_mut(size).zip(words) {
        let digits = word.strip_prefix("0x").unwrap_or("?");
        let Ok(value) = u64::from_str_radix(digits, 16) else {
            return false;
        };
        slot.copy_from_slice(&value.to_le_bytes()[..slot.len()]);
        filled += slot.len();
    }
    filled == buffer.len()
}

/// How a line begins, for a message.
pub fn excerpt(line: &str) -> String {
    let start: String = line.chars().take(80).collect();
    plain(&start)
}

/// Without what a terminal would obey.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitors_words_cannot_write_to_the_terminal() {
        let refused = Line::read(r#"{"error": {"desc": "no\u001b[2J"}}"#);
        assert_eq!(refused, Ok(Line::Refused("no\u{fffd}[2J".to_owned())));
        let event = Line::read(r#"{"event": "E\u0007", "data": {"reason": "why"}}"#);
        assert_eq!(event, Ok(Line::Event("E\u{fffd} why".to_owned())));
        let bad = Line::read("\u{1b}[2Jhello").unwrap_err().to_string();
        assert_eq!(bad, "answer is no JSON: `\u{fffd}[2Jhello`");
    }

    #[test]
    fn memory_is_read_from_the_monitors_text() {
        let mut bytes = [0; 3];
        assert!(fill(
            &mut bytes,
            1,
            "ffffffff81000000: 0x48 0x8d\r\nffffffff81000002: 0xff\r\n"
        ));
        assert_eq!(bytes, [0x48, 0x8d, 0xff]);
        for bad in [
            "",
            "ffffffff81000000: 0x48 0x8d",
            "Cannot access memory at address 0x0",
            "a: 0x1 0x2 zz",
        ] {
            assert!(!fill(&mut bytes, 1, bad), "{bad}");
        }
    }
}
