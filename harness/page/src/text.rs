//! Text that may hold anything, made fit to be looked at.

use std::borrow::Cow;
use std::fmt::Write;

/// Text with what cannot be seen, or moves what can, written as an escape such as `\x1b`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut out, c);
    }
    Cow::Owned(out)
}

/// At most `chars_max` characters of bytes of any kind, in the same way; bytes that are no UTF-8 are written as
/// `\xff`.
pub(crate) fn visible_bytes(bytes: &[u8], chars_max: usize) -> String {
    // No character is longer than that.
    let bytes = &bytes[..bytes.len().min(chars_max.saturating_mul(4))];
    let mut out = String::new();
    let mut left = chars_max;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars().take(left) {
            push(&mut out, c);
            left -= 1;
        }
        for byte in chunk.invalid().iter().take(left) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
            left -= 1;
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    if !is_hidden(c) {
        out.push(c);
    } else if c.is_ascii() {
        let _ = write!(out, "\\x{:02x}", u32::from(c));
    } else {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    }
}

/// Control characters, and those that turn the direction of writing, break lines, or have no width.
pub(crate) fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => true,
        c => c.is_control(),
    }
}

/// Text for element content and quoted attributes, what cannot be seen made visible.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    out
}

/// The same, with what stands in backticks set as code.
pub(crate) fn with_code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // An odd one is no pair.
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let set = |(index, part): (usize, &&str)| match index % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    };
    parts.iter().enumerate().map(set).collect()
}

/// At most so many characters, the last three of which say that there were more.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(3)).collect();
    short.push_str("...");
    short
}

/// Lines of at most `width` characters, broken at blanks; words that are longer are cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, width);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(_) | None => lines.push(word),
        }
    }
    lines
}

/// A probability as people say it.
pub(crate) fn odds(probability: f64) -> String {
    if probability >= 0.1 {
        return format!("{:.0} in 100", probability * 100.0);
    }
    let once_in = 1.0 / probability;
    if once_in < 1e7 {
        format!("1 in {}", grouped(once_in))
    } else {
        format!("1 in {once_in:.0e}")
    }
}

/// A whole number with its thousands apart; of larger ones the first two digits count.
fn grouped(number: f64) -> String {
    let unit = 10_f64.powf((number.log10().floor() - 1.0).max(0.0));
    let digits = format!("{:.0}", (number / unit).round() * unit);
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Evidence as people read it.
pub(crate) fn evidence(evidence: f64) -> String {
    if evidence < 1e6 {
        format!("{evidence:.1}")
    } else {
        format!("{evidence:.1e}")
    }
}

/// `1 trial`, `2 trials`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A word of a command line as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_made_visible() {
        assert_eq!(visible("\u{1b}[31mred\r\0"), "\\x1b[31mred\\x0d\\x00");
        assert_eq!(visible("a\u{202e}b\u{feff}"), "a\\u{202e}b\\u{feff}");
        assert!(matches!(visible("plain ü\tline\n"), Cow::Borrowed(_)));
        assert_eq!(visible_bytes(b"a\xff\xfe<b\x07", 100), "a\\xff\\xfe<b\\x07");
        assert_eq!(visible_bytes(b"abcdef", 3), "abc");
        assert_eq!(visible_bytes(b"\xff\xff\xff", 2), "\\xff\\xff");
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(
            escape("</b a='\"'>&"),
            "&lt;/b a=&#x27;&quot;&#x27;&gt;&amp;"
        );
        assert_eq!(with_code("the `<a>` one"), "the <code>&lt;a&gt;</code> one");
        assert_eq!(with_code("no `pair"), "no `pair");
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        assert_eq!(
            wrap("lock of the stopper", 8),
            ["lock of", "the", "stopper"]
        );
        assert_eq!(wrap("abcdefghij", 6), ["abc..."]);
        assert!(wrap("", 6).is_empty());
    }

    #[test]
    fn probabilities_are_said_in_words() {
        assert_eq!(odds(0.4), "40 in 100");
        assert_eq!(odds(0.01), "1 in 100");
        assert_eq!(odds(1.0 / 8321.0), "1 in 8 300");
        assert_eq!(odds(1e-9), "1 in 1e9");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("--seed=1"), "--seed=1");
        assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
    }
}
