//! Config fragments: which symbols are wanted with which values.

use super::{Problem, Problems};

/// One wanted symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Name without `CONFIG_`.
    pub symbol: String,
    /// `y`, `m`, `n`, a number, or a quoted string as written.
    pub value: String,
    /// Whether the build may go on without it, because not every kernel has it.
    pub optional: bool,
    /// `file:line` of the request.
    pub origin: String,
}

/// A parsed fragment, or several merged ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    requests: Vec<Request>,
}

impl Fragment {
    /// Parses `CONFIG_X=value` and `# CONFIG_X is not set` lines; `# optional` or `# optional: why`
    /// directly above a line marks it as one that may fail to hold.
    ///
    /// # Errors
    /// Every line that is none of these.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut fragment = Self::default();
        let mut problems = Vec::new();
        let mut optional = false;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            let line_number = index + 1;
            if let Some((symbol, value)) = request_in(line) {
                fragment.put(Request {
                    symbol: symbol.to_owned(),
                    value: value.to_owned(),
                    optional,
                    origin: format!("{file}:{line_number}"),
                });
            } else if !line.is_empty() && !line.starts_with('#') {
                problems.push(Problem::at_line(
                    file,
                    line_number,
                    format!(
                        "`{line}` is not a config line: expected `CONFIG_X=value` or `# CONFIG_X is not set`"
                    ),
                ));
            }
            optional = marks_optional(line);
        }
        if problems.is_empty() {
            return Ok(fragment);
        }
        Err(Problems(problems))
    }

    /// Adds another fragment, whose values win.
    pub fn merge(&mut self, other: Self) {
        for request in other.requests {
            self.put(request);
        }
    }

    /// What is wanted, each symbol once.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The text for `KCONFIG_ALLCONFIG`, sorted, so that equal wishes give equal text.
    pub fn allconfig(&self) -> String {
        let mut lines: Vec<String> = self
            .requests
            .iter()
            .map(|request| match request.value.as_str() {
                "n" => format!("# CONFIG_{} is not set\n", request.symbol),
                value => format!("CONFIG_{}={value}\n", request.symbol),
            })
            .collect();
        lines.sort_by(|a, b| symbol_of(a).cmp(symbol_of(b)));
        lines.concat()
    }

    fn put(&mut self, request: Request) {
        match self
            .requests
            .iter_mut()
            .find(|known| known.symbol == request.symbol)
        {
            Some(known) => *known = request,
            None => self.requests.push(request),
        }
    }
}

fn symbol_of(line: &str) -> &str {
    request_in(line.trim()).map_or("", |(symbol, _)| symbol)
}

fn marks_optional(line: &str) -> bool {
    let Some(comment) = line.strip_prefix('#') else {
        return false;
    };
    let comment = comment.trim();
    comment == "optional" || comment.starts_with("optional:")
}

/// The symbol and value of a line of a fragment or of a `.config`.
pub(super) fn request_in(line: &str) -> Option<(&str, &str)> {
    let (symbol, value) = match line.strip_prefix("# CONFIG_") {
        Some(rest) => (rest.strip_suffix(" is not set")?, "n"),
        None => line.strip_prefix("CONFIG_")?.split_once('=')?,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!symbol.is_empty() && symbol.chars().all(plain) && !value.is_empty())
        .then_some((symbol, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_lines_are_read() {
        let text = "# a note\n\nCONFIG_A=y\n# CONFIG_B is not set\n# optional: old kernels lack it\nCONFIG_C=\"x y\"\nCONFIG_D=64\n";
        let fragment = Fragment::parse("f.config", text).unwrap();
        let seen: Vec<_> = fragment
            .requests()
            .iter()
            .map(|r| {
                (
                    r.symbol.as_str(),
                    r.value.as_str(),
                    r.optional,
                    r.origin.as_str(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("A", "y", false, "f.config:3"),
                ("B", "n", false, "f.config:4"),
                ("C", "\"x y\"", true, "f.config:6"),
                ("D", "64", false, "f.config:7"),
            ]
        );
    }

    #[test]
    fn every_bad_line_is_named() {
        let error = Fragment::parse("f.config", "A=y\nCONFIG_OK=y\nCONFIG_X\n").unwrap_err();
        assert_eq!(error.0.len(), 2);
        assert!(error.to_string().contains("f.config:3: `CONFIG_X` is not"));
    }

    #[test]
    fn optional_reaches_only_the_next_line() {
        let fragment = Fragment::parse(
            "f",
            "# optional\nCONFIG_A=y\nCONFIG_B=y\n# optional\n\nCONFIG_C=y\n",
        )
        .unwrap();
        let optional: Vec<_> = fragment.requests().iter().map(|r| r.optional).collect();
        assert_eq!(optional, [true, false, false]);
    }

    #[test]
    fn later_values_win_and_order_does_not_change_the_text() {
        let mut a = Fragment::parse("a", "CONFIG_A=y\nCONFIG_B=y\n").unwrap();
        a.merge(Fragment::parse("b", "CONFIG_A=n\n").unwrap());
        assert_eq!(a.allconfig(), "# CONFIG_A is not set\nCONFIG_B=y\n");
        let b = Fragment::parse("c", "CONFIG_B=y\n# CONFIG_A is not set\n").unwrap();
        assert_eq!(a.allconfig(), b.allconfig());
    }
}
