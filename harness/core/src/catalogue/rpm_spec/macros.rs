//! rpm's macros, as far as kernel specs use them to name sources and patches.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A macro that expands to itself, or to one that does, is cut off here.
const MAX_DEPTH: u32 = 40;
/// Macros that one text may lead to; those of kernels lead to some dozen.
const MAX_STEPS: u32 = 10_000;
/// What a text may expand to, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Stands for the folder of the sources until a file's name is looked at.
pub(super) const SOURCE_DIR: &str = "$RPM_SOURCE_DIR";

/// Macros that are defined; one without a body is defined in a way that is not understood.
#[derive(Debug, Default)]
pub(super) struct Macros {
    bodies: BTreeMap<String, Option<String>>,
}

impl Macros {
    /// The macros that rpm and a distribution bring: what `514.el7` tells.
    pub(super) fn of_release(release: &str) -> Self {
        let mut macros = Self::default();
        for (name, body) in [
            ("_sourcedir", SOURCE_DIR),
            ("_target_cpu", "x86_64"),
            ("__patch", "patch"),
            ("nil", ""),
        ] {
            macros.set(name, body);
        }
        for (mark, name) in [(".el", "rhel"), (".fc", "fedora")] {
            let Some(at) = release.find(mark) else {
                continue;
            };
            let dist = &release[at..];
            let digits: String = dist[mark.len()..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            macros.set("dist", dist);
            macros.set(name, &digits);
        }
        macros
    }

    pub(super) fn set(&mut self, name: &str, body: &str) {
        self.bodies.insert(name.to_owned(), Some(body.to_owned()));
    }

    /// Takes in a line that defines or undefines a macro.
    pub(super) fn define(&mut self, line: &str, undecided: bool) {
        let mut words = line.trim().splitn(3, char::is_whitespace);
        let keyword = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default().trim();
        let body = words.next().unwrap_or_default().trim();
        let (name, has_parameters) = match name.split_once('(') {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
        let body = match keyword {
            "%undefine" if !undecided => {
                self.bodies.remove(name);
                return;
            }
            "%bcond_with" => return self.set(&format!("with {name}"), "0"),
            "%bcond_without" => return self.set(&format!("with {name}"), "1"),
            "%bcond" => {
                let value = self.expand(body).ok();
                self.bodies.insert(format!("with {name}"), value);
                return;
            }
            "%global" => self.expand(body).ok(),
            _ => Some(body.to_owned()),
        };
        let body = body.filter(|_| !undecided && !has_parameters);
        self.bodies.insert(name.to_owned(), body);
    }

    /// Replaces all macros of a text.
    ///
    /// # Errors
    /// The macro that is not defined, or not understood.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        self.expand_at(text, &Effort::default())
    }

    fn expand_at(&self, text: &str, effort: &Effort) -> Result<String, String> {
        let without_end = || {
            let start: String = text.chars().take(80).collect();
            format!("`{start}` expands without end")
        };
        let effort = &effort.deeper().ok_or_else(without_end)?;
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            out += &rest[..at];
            if out.len() > MAX_BYTES {
                return Err(without_end());
            }
            let after = &rest[at + 1..];
            let first = after.chars().next().unwrap_or(' ');
            rest = match first {
                '%' => {
                    out.push('%');
                    &after[1..]
                }
                '{' => {
                    let Some(end) = closing_brace(after) else {
                        return Err(format!("`%{after}` has no closing brace"));
                    };
                    out += &self.braced(&after[1..end], effort)?;
                    &after[end + 1..]
                }
                '(' | '[' => return Err(format!("`%{after}` is not understood")),
                c if c.is_ascii_alphabetic() || "_?!".contains(c) => {
                    let end = after
                        .find(|c: char| !c.is_ascii_alphanumeric() && !"_?!".contains(c))
                        .unwrap_or(after.len());
                    out += &self.braced(&after[..end], effort)?;
                    &after[end..]
                }
                _ => {
                    out.push('%');
                    after
                }
            };
        }
        Ok(out + rest)
    }

    /// What stands between the braces: `name`, `?name`, `!?name:value`, `with name`.
    fn braced(&self, inner: &str, effort: &Effort) -> Result<String, String> {
        let bare = inner.trim_start_matches(['?', '!']);
        let flags = &inner[..inner.len() - bare.len()];
        let (name, value) = match bare.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (bare, None),
        };
        if let Some(option) = name.strip_prefix("with ").or(name.strip_prefix("without ")) {
            return self.build_option(option.trim(), name.starts_with("without"));
        }
        if name == "expand" && flags.is_empty() {
            return self.expand_at(value.unwrap_or_default(), effort);
        }
        let known = self.bodies.get(name);
        let wanted = flags.matches('!').count().is_multiple_of(2);
        if flags.contains('?') {
            return match (known.is_some() == wanted, value) {
                (false, _) => Ok(String::new()),
                (true, Some(value)) => self.expand_at(value, effort),
                (true, None) if wanted => self.body(name, known, effort),
                (true, None) => Ok(String::new()),
            };
        }
        self.body(name, known, effort)
    }

    fn body(
        &self,
        name: &str,
        known: Option<&Option<String>>,
        effort: &Effort,
    ) -> Result<String, String> {
        match known {
            Some(Some(body)) => self.expand_at(body, effort),
            Some(None) => Err(format!(
                "the macro `{name}` is defined in a way that is not understood"
            )),
            None => Err(format!("the macro `{name}` is not defined in the spec")),
        }
    }

    fn build_option(&self, name: &str, negated: bool) -> Result<String, String> {
        let is_on = match self.bodies.get(&format!("with {name}")) {
            Some(Some(value)) => value.trim() != "0",
            Some(None) => return Err(format!("the build option `{name}` is not understood")),
            None => false,
        };
        Ok(u8::from(is_on != negated).to_string())
    }
}

/// How deep an expansion is, and how many there were for the same text.
#[derive(Default)]
struct Effort {
    depth: u32,
    steps: Rc<Cell<u32>>,
}

impl Effort {
    /// One expansion more; none: these are too many.
    fn deeper(&self) -> Option<Self> {
        self.steps.set(self.steps.get() + 1);
        (self.depth <= MAX_DEPTH && self.steps.get() <= MAX_STEPS).then(|| Self {
            depth: self.depth + 1,
            steps: Rc::clone(&self.steps),
        })
    }
}

/// Where the brace that opens a text is closed.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Whether a definition goes on in the next line.
pub(super) fn has_open_brace(text: &str) -> bool {
    text.matches('{').count() > text.matches('}').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_kernel_specs_expand() {
        let mut macros = Macros::of_release("514.16.1.el7");
        macros.set("version", "3.10.0");
        macros.define("%define pkg %{version}-514%{?dist}", false);
        macros.define(
            "%define with_up %{?_without_up: 0} %{?!_without_up: 1}",
            false,
        );
        macros.define("%bcond_without doc", false);
        macros.define("%global shell %(uname)", false);
        for (text, expected) in [
            ("linux-%{pkg}.tar.xz", "linux-3.10.0-514.el7.tar.xz"),
            ("%version%%%{?nope}%{!?nope:x%{rhel}}", "3.10.0%x7"),
            ("%{with_up}", "  1"),
            ("%{with doc}%{without doc}%{with nope}", "100"),
        ] {
            assert_eq!(macros.expand(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["%{nope}", "%{shell}", "%(ls)", "%{lua: x}", "%{open"] {
            assert!(macros.expand(text).is_err(), "{text}");
        }
        macros.define("%define loop %{loop}", false);
        assert!(macros.expand("%loop").unwrap_err().contains("without end"));
    }

    #[test]
    fn macros_that_double_each_time_are_cut_off() {
        for innermost in ["", "x"] {
            let mut macros = Macros::of_release("1.el8");
            macros.set("m0", innermost);
            for number in 1..=35 {
                let inner = number - 1;
                macros.set(
                    &format!("m{number}"),
                    &format!("%{{m{inner}}}%{{m{inner}}}"),
                );
            }
            assert_eq!(macros.expand("%m3"), Ok(innermost.repeat(8)));
            let error = macros.expand("%m35").unwrap_err();
            assert!(error.contains("without end"), "{error}");
        }
    }
}
