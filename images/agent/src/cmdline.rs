//! The kernel's command line.

/// The value of the last `name=value`, or an empty one for a bare `name`; quotes are taken off.
/// As in the kernel, `-` and `_` are the same in names.
pub fn value(cmdline: &str, name: &str) -> Option<String> {
    let same = |word: &str| word.replace('-', "_") == name.replace('-', "_");
    words(cmdline).into_iter().rev().find_map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((&word, ""));
        same(key).then(|| value.to_owned())
    })
}

/// Splits at blanks outside double quotes.
fn words(cmdline: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in cmdline.trim().chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words
                .last_mut()
                .expect("there always is a word")
                .push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "console=ttyS0 nokaslr panic=-1 nmi_watchdog=1 nmi_watchdog=panic nowatchdog dyndbg=\"file x +p\"";

    #[test]
    fn the_last_value_counts() {
        assert_eq!(value(RECORDED, "nmi_watchdog").as_deref(), Some("panic"));
        assert_eq!(value(RECORDED, "nmi-watchdog").as_deref(), Some("panic"));
        assert_eq!(value(RECORDED, "nowatchdog").as_deref(), Some(""));
        assert_eq!(value(RECORDED, "dyndbg").as_deref(), Some("file x +p"));
        assert_eq!(value(RECORDED, "watchdog"), None);
    }
}
