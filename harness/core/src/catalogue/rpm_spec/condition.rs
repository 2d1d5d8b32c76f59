//! `%if` of a spec: which lines count.

use super::macros::Macros;

/// The conditions that are open, outermost first.
#[derive(Debug, Default)]
pub(super) struct Branches {
    open: Vec<Branch>,
}

#[derive(Debug)]
struct Branch {
    /// Whether this branch counts; none: not understood.
    active: Option<bool>,
    /// Whether an earlier branch counted; none: not understood.
    taken: Option<bool>,
    line: String,
}

impl Branches {
    /// Takes in a line if it is a condition, and says whether it was one.
    pub(super) fn take(
        &mut self,
        word: &str,
        line: &str,
        holds: impl Fn(&str) -> Option<bool>,
    ) -> bool {
        let rest = line.trim().strip_prefix(word).unwrap_or_default().trim();
        let is_ours = || rest.split([' ', ',']).any(|arch| arch == "x86_64");
        match word {
            "%if" => self.open(line, holds(rest)),
            "%ifarch" => self.open(line, (!rest.contains('%')).then(is_ours)),
            "%ifnarch" => self.open(line, (!rest.contains('%')).then(|| !is_ours())),
            "%ifos" => self.open(line, Some(rest == "linux")),
            "%ifnos" => self.open(line, Some(rest != "linux")),
            "%else" => self.next(Some(true)),
            "%elif" => self.next(holds(rest)),
            "%elifarch" => self.next(Some(is_ours())),
            "%endif" => {
                self.open.pop();
            }
            _ => return false,
        }
        true
    }

    fn open(&mut self, line: &str, active: Option<bool>) {
        self.open.push(Branch {
            active,
            taken: active,
            line: line.trim().to_owned(),
        });
    }

    fn next(&mut self, holds: Option<bool>) {
        let Some(branch) = self.open.last_mut() else {
            return;
        };
        branch.active = match (branch.taken, holds) {
            (Some(true), _) | (_, Some(false)) => Some(false),
            (Some(false), Some(true)) => Some(true),
            (None, _) | (_, None) => None,
        };
        branch.taken = match (branch.taken, branch.active) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        };
    }

    /// Whether a line here counts, or may.
    pub(super) fn may_be_active(&self) -> bool {
        self.open.iter().all(|branch| branch.active != Some(false))
    }

    /// The condition that is not understood.
    pub(super) fn undecided(&self) -> Option<String> {
        self.open
            .iter()
            .find(|branch| branch.active.is_none())
            .map(|branch| branch.line.clone())
    }
}

/// Parentheses and negations in one expression, each of which the parser follows inwards.
const NESTED_MAX: usize = 100;

/// Whether an expression holds; none: not understood.
pub(super) fn holds(expression: &str, macros: &Macros) -> Option<bool> {
    let text = macros.expand(expression).ok()?;
    let tokens = tokens(&text)?;
    let nested = tokens
        .iter()
        .filter(|token| matches!(token, Token::Sign("(" | "!")));
    if nested.count() > NESTED_MAX {
        return None;
    }
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
    };
    let value = parser.either()?;
    (parser.at == tokens.len()).then(|| value.is_true())
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0,
            Self::Text(text) => !text.is_empty(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Value(Value),
    Sign(&'static str),
}

/// Longer signs come first, or `<=` would be read as `<`.
const SIGNS: [&str; 15] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "+", "-", "*", "/",
];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first == '"' {
            let (text, after) = rest[1..].split_once('"')?;
            found.push(Token::Value(Value::Text(text.to_owned())));
            rest = after;
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let number = rest[..end].parse().ok()?;
            found.push(Token::Value(Value::Number(number)));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Some(found)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn sign(&mut self, wanted: &[&'static str]) -> Option<&'static str> {
        let Some(Token::Sign(sign)) = self.tokens.get(self.at) else {
            return None;
        };
        wanted.contains(sign).then(|| {
            self.at += 1;
            *sign
        })
    }

    fn either(&mut self) -> Option<Value> {
        let mut value = self.both()?;
        while self.sign(&["||"]).is_some() {
            let right = self.both()?;
            value = Value::Number(i64::from(value.is_true() || right.is_true()));
        }
        Some(value)
    }

    fn both(&mut self) -> Option<Value> {
        let mut value = self.compared()?;
        while self.sign(&["&&"]).is_some() {
            let right = self.compared()?;
            value = Value::Number(i64::from(value.is_true() && right.is_true()));
        }
        Some(value)
    }

    fn compared(&mut self) -> Option<Value> {
        let left = self.sum()?;
        let Some(sign) = self.sign(&["==", "!=", "<=", ">=", "<", ">"]) else {
            return Some(left);
        };
        let right = self.sum()?;
        let of_one_kind = matches!(
            (&left, &right),
            (Value::Number(_), Value::Number(_)) | (Value::Text(_), Value::Text(_))
        );
        let order = of_one_kind.then(|| left.cmp(&right))?;
        Some(Value::Number(i64::from(match sign {
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<=" => order.is_le(),
            ">=" => order.is_ge(),
            "<" => order.is_lt(),
            _ => order.is_gt(),
        })))
    }

    fn sum(&mut self) -> Option<Value> {
        let mut value = self.single()?;
        while let Some(sign) = self.sign(&["+", "-", "*", "/"]) {
            let (Value::Number(left), Value::Number(right)) = (&value, &self.single()?) else {
                return None;
            };
            value = Value::Number(match sign {
                "+" => left.checked_add(*right)?,
                "-" => left.checked_sub(*right)?,
                "*" => left.checked_mul(*right)?,
                _ => left.checked_div(*right)?,
            });
        }
        Some(value)
    }

    fn single(&mut self) -> Option<Value> {
        if self.sign(&["!"]).is_some() {
            let value = self.single()?;
            return Some(Value::Number(i64::from(!value.is_true())));
        }
        if self.sign(&["("]).is_some() {
            let value = self.either()?;
            self.sign(&[")"])?;
            return Some(value);
        }
        let Token::Value(value) = self.tokens.get(self.at)? else {
            return None;
        };
        self.at += 1;
        Some(value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_worked_out_or_left_open() {
        let macros = Macros::of_release("1.el8");
        for (text, expected) in [
            ("0%{?rhel}", Some(true)),
            ("!0%{?fedora}", Some(true)),
            ("0%{?rhel} >= 8 && \"%{dist}\" != \".el7\"", Some(true)),
            ("(1 || 0) && 0", Some(false)),
            ("2 + 3 == 5", Some(true)),
            ("%{nope}", None),
            ("1 == \"1\"", None),
            ("1 1", None),
            ("", None),
            ("1/0", None),
            (&"(".repeat(100_000), None),
            (&("!".repeat(100_000) + "1"), None),
        ] {
            assert_eq!(holds(text, &macros), expected, "{text}");
        }
    }

    #[test]
    fn else_of_the_unknown_is_unknown_and_of_the_taken_is_out() {
        let mut branches = Branches::default();
        let mut seen = Vec::new();
        for line in [
            "%if ?", "%else", "%endif", "%if 1", "%elif ?", "%else", "%endif",
        ] {
            let word = line.split(' ').next().unwrap();
            branches.take(word, line, |text| (text == "1").then_some(true));
            seen.push((branches.may_be_active(), branches.undecided().is_some()));
        }
        assert_eq!(
            seen,
            [
                (true, true),
                (true, true),
                (true, false),
                (true, false),
                (false, false),
                (false, false),
                (true, false)
            ]
        );
    }
}
