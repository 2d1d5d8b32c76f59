//! C in tokens, without comments and preprocessor lines.

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it stands there.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
}

impl Token {
    /// Whether it is a name or a keyword.
    pub fn is_name(&self) -> bool {
        self.text
            .starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    }
}

/// Tokens of a file, whatever is in it.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut conditions = Conditions::default();
    let mut in_comment = false;
    let mut in_directive = false;
    for (number, line) in text.lines().enumerate() {
        let plain = without_comments(line, &mut in_comment);
        if in_directive || (!in_comment && plain.trim_start().starts_with('#')) {
            if !in_directive {
                conditions.take(plain.trim_start().trim_start_matches('#').trim_start());
            }
            in_directive = line.trim_end().ends_with('\\');
        } else if conditions.taken() {
            split(&plain, number + 1, &mut tokens);
        }
    }
    tokens
}

/// The `#if`s around a line: whether each one's part is taken.
#[derive(Debug, Default)]
struct Conditions(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Taken,
    /// `#if 0`: the next part is taken.
    NotYet,
    /// Another part was taken.
    Over,
}

impl Conditions {
    fn take(&mut self, directive: &str) {
        let word = directive
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap_or_default();
        let condition = directive[word.len()..].trim();
        match word {
            "if" if condition == "0" => self.0.push(Part::NotYet),
            "if" | "ifdef" | "ifndef" => self.0.push(Part::Taken),
            "else" | "elif" => {
                if let Some(part) = self.0.last_mut() {
                    *part = match part {
                        Part::NotYet => Part::Taken,
                        Part::Taken | Part::Over => Part::Over,
                    };
                }
            }
            "endif" => {
                self.0.pop();
            }
            _ => {}
        }
    }

    fn taken(&self) -> bool {
        self.0.iter().all(|part| *part == Part::Taken)
    }
}

/// A line with blanks for comments. Quotation marks hide what looks like one.
fn without_comments(line: &str, in_comment: &mut bool) -> String {
    let mut plain = String::new();
    let mut rest = line;
    let mut quote = None;
    while let Some(next) = rest.chars().next() {
        if *in_comment {
            let Some(end) = rest.find("*/") else { break };
            *in_comment = false;
            plain.push(' ');
            rest = &rest[end + 2..];
            continue;
        }
        if quote.is_none() && rest.starts_with("//") {
            break;
        }
        if quote.is_none() && rest.starts_with("/*") {
            *in_comment = true;
            rest = &rest[2..];
            continue;
        }
        let length = match (quote, next) {
            (Some(_), '\\') => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            (Some(open), _) if open == next => {
                quote = None;
                1
            }
            (None, '"' | '\'') => {
                quote = Some(next);
                1
            }
            (Some(_) | None, _) => next.len_utf8(),
        };
        plain.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    plain
}

fn split(line: &str, number: usize, tokens: &mut Vec<Token>) {
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if matches!(first, '"' | '\'') {
            quoted(rest, first)
        } else if rest.starts_with("->") || rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(Token {
            text: rest[..length].to_owned(),
            line: number,
        });
        rest = rest[length..].trim_start();
    }
}

/// Length of a quotation that begins here.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let all: Vec<String> = tokens(text).into_iter().map(|token| token.text).collect();
        all.join(" ")
    }

    #[test]
    fn comments_quotations_and_directives_hide_calls() {
        for (text, expected) in [
            ("a(b->c); // d()", "a ( b -> c ) ;"),
            ("a /* b() \n c() */ d", "a d"),
            (
                "a(\"/* no \\\" comment\", 'x'); b",
                "a ( \"/* no \\\" comment\" , 'x' ) ; b",
            ),
            ("#define f(x) \\\n\tg(x)\nh", "h"),
            ("a\n#ifdef X\nb\n#else\nc\n#endif\nd", "a b d"),
            ("#if 0\na\n#elif 1\nb\n#else\nc\n#endif", "b"),
            ("\"open", "\"open"),
            ("'ü' ü", "'ü' ü"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(tokens("/* \n\n */ a")[0].line, 3);
    }
}
