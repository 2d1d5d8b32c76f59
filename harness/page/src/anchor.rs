//! Names of places in a page, and links to files beside it.

use std::fmt::Write;

/// A name that is fit for an id and a link, whatever it is made of.
pub(crate) fn slug(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => out.push(char::from(byte)),
            other => {
                // Writing to a String cannot fail.
                let _ = write!(out, "_{other:02x}");
            }
        }
    }
    out
}

/// Where a trial is shown in detail.
pub(crate) fn trial(id: &str) -> String {
    format!("trial-{}", slug(id))
}

/// Where a line of a trial's console stands.
pub(crate) fn line(trial: &str, number: u64) -> String {
    format!("{}-L{number}", slug(trial))
}

/// Link to a file of a trial, from a page in the run's folder.
pub(crate) fn file(trial: &str, name: &str) -> String {
    format!("trials/{}/{name}", percent(trial))
}

/// A part of a path with all but the harmless characters as `%xx`.
pub(crate) fn percent(part: &str) -> String {
    let mut out = String::new();
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

/// A link to somewhere else, if it is one that people may follow: others are shown as text.
pub(crate) fn web(link: &str) -> Option<&str> {
    let is_web = link.starts_with("https://") || link.starts_with("http://");
    is_web.then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_ids_and_links() {
        assert_eq!(line("0001-unfixed", 7), "0001-unfixed-L7");
        assert_eq!(slug("a b\"<"), "a_20b_22_3c");
        assert_ne!(slug("a_20"), slug("a "), "no two names become one");
        assert_eq!(file("a b/..", "x"), "trials/a%20b%2F../x");
        assert_eq!(web("javascript:alert(1)"), None);
        assert_eq!(web("https://example.org/1"), Some("https://example.org/1"));
    }
}
