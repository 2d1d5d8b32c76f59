//! Statements of a C function, as far as they decide what runs after what.

use super::function::closing;
use super::token::Token;

/// A call of a function, or of a macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Whom.
    pub name: String,
    /// Its arguments, as they stand there, without blanks.
    pub arguments: Vec<String>,
    /// The line.
    pub line: usize,
}

/// A statement. Expressions are the calls in them, in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// An expression or a declaration.
    Calls(Vec<Call>),
    /// `{ ... }`
    Block(Vec<Statement>),
    /// `if (condition) then else otherwise`
    If {
        /// The condition.
        condition: Vec<Call>,
        /// Runs when it holds.
        then: Box<Statement>,
        /// Runs when it does not.
        otherwise: Option<Box<Statement>>,
    },
    /// `while`, `for` and macros like `for_each_cpu`.
    Loop {
        /// What is evaluated first.
        head: Vec<Call>,
        /// Runs any number of times, or once and more.
        body: Box<Statement>,
        /// `while (1)`: only a jump leads out.
        endless: bool,
        /// `do ... while`: the body comes first.
        body_first: bool,
    },
    /// `switch (value) body`
    Switch {
        /// The value.
        value: Vec<Call>,
        /// With its cases.
        body: Box<Statement>,
    },
    /// `case ...:` or `default:`
    Case,
    /// `name:`
    Label(String),
    /// `goto name`
    Goto(String),
    /// `return value`
    Return(Vec<Call>),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// Deeper nesting than any kernel code has; whoever goes on would run out of stack.
const DEPTH_MAX: usize = 200;

/// Statements of a body, whatever is in it.
pub fn statements(body: &[Token]) -> Vec<Statement> {
    let mut parser = Parser {
        tokens: body,
        at: 0,
        depth: 0,
    };
    let mut found = Vec::new();
    while parser.at < body.len() {
        found.push(parser.statement());
    }
    found
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn word(&self, ahead: usize) -> &'a str {
        let token = self.tokens.get(self.at + ahead);
        token.map_or("", |token| token.text.as_str())
    }

    /// One statement; at least one token is consumed.
    fn statement(&mut self) -> Statement {
        self.depth += 1;
        let statement = if self.depth > DEPTH_MAX {
            self.at = self.tokens.len();
            Statement::Block(Vec::new())
        } else {
            self.by_first_word()
        };
        self.depth -= 1;
        statement
    }

    fn by_first_word(&mut self) -> Statement {
        match self.word(0) {
            "{" => self.block(),
            "if" => self.conditional(),
            "while" => self.while_loop(),
            "for" => self.for_loop(),
            "do" => self.do_loop(),
            "switch" => {
                self.at += 1;
                Statement::Switch {
                    value: self.in_parentheses().0,
                    body: Box::new(self.statement()),
                }
            }
            "case" | "default" => {
                self.skip_to(":");
                Statement::Case
            }
            "goto" => {
                let name = self.word(1).to_owned();
                self.expression();
                Statement::Goto(name)
            }
            "return" => Statement::Return(self.expression()),
            "break" => self.jump(Statement::Break),
            "continue" => self.jump(Statement::Continue),
            _ if self.is_label() => {
                let name = self.word(0).to_owned();
                self.at += 2;
                Statement::Label(name)
            }
            _ if self.is_loop_macro() => {
                let head = self.loop_macro_head();
                self.a_loop(head, false)
            }
            _ => Statement::Calls(self.expression()),
        }
    }

    fn block(&mut self) -> Statement {
        let end = closing(self.tokens, self.at);
        self.at += 1;
        let mut found = Vec::new();
        while self.at < end {
            found.push(self.statement());
        }
        self.at = end + 1;
        Statement::Block(found)
    }

    fn conditional(&mut self) -> Statement {
        self.at += 1;
        let condition = self.in_parentheses().0;
        let then = Box::new(self.statement());
        let otherwise = (self.word(0) == "else").then(|| {
            self.at += 1;
            Box::new(self.statement())
        });
        Statement::If {
            condition,
            then,
            otherwise,
        }
    }

    fn while_loop(&mut self) -> Statement {
        self.at += 1;
        let (head, text) = self.in_parentheses();
        self.a_loop(head, matches!(text.as_str(), "1" | "true"))
    }

    fn for_loop(&mut self) -> Statement {
        self.at += 1;
        let (head, text) = self.in_parentheses();
        self.a_loop(head, text.contains(";;"))
    }

    fn a_loop(&mut self, head: Vec<Call>, endless: bool) -> Statement {
        Statement::Loop {
            head,
            body: Box::new(self.statement()),
            endless,
            body_first: false,
        }
    }

    fn do_loop(&mut self) -> Statement {
        self.at += 1;
        let body = Box::new(self.statement());
        let mut head = Vec::new();
        let mut endless = false;
        if self.word(0) == "while" {
            self.at += 1;
            let (calls, text) = self.in_parentheses();
            (head, endless) = (calls, matches!(text.as_str(), "1" | "true"));
            self.expression();
        }
        Statement::Loop {
            head,
            body,
            endless,
            body_first: true,
        }
    }

    fn jump(&mut self, statement: Statement) -> Statement {
        self.expression();
        statement
    }

    fn is_label(&self) -> bool {
        let name = self.tokens.get(self.at).is_some_and(Token::is_name);
        name && self.word(1) == ":"
    }

    /// `for_each_cpu(cpu, mask) statement`: parentheses with neither an operator nor a `;` behind.
    fn is_loop_macro(&self) -> bool {
        let name = self.tokens.get(self.at).is_some_and(Token::is_name);
        if !name || self.word(1) != "(" {
            return false;
        }
        let behind = self.tokens.get(closing(self.tokens, self.at + 1) + 1);
        behind.is_some_and(|token| token.text == "{" || token.is_name())
    }

    fn loop_macro_head(&mut self) -> Vec<Call> {
        let end = closing(self.tokens, self.at + 1);
        let head = calls(&self.tokens[self.at..=end.min(self.tokens.len() - 1)]);
        self.at = end + 1;
        head
    }

    /// Calls in the parentheses that begin here, and their text.
    fn in_parentheses(&mut self) -> (Vec<Call>, String) {
        if self.word(0) != "(" {
            return (Vec::new(), String::new());
        }
        let end = closing(self.tokens, self.at);
        let inner = &self.tokens[self.at + 1..end.max(self.at + 1)];
        self.at = end + 1;
        (calls(inner), text_of(inner))
    }

    /// Everything up to the next `;` outside of brackets.
    fn expression(&mut self) -> Vec<Call> {
        let start = self.at.min(self.tokens.len());
        while self.at < self.tokens.len() && self.word(0) != ";" {
            if matches!(self.word(0), "(" | "[" | "{") {
                self.at = closing(self.tokens, self.at);
            }
            self.at += 1;
        }
        let end = self.at.min(self.tokens.len());
        self.at = end + 1;
        calls(&self.tokens[start..end])
    }

    fn skip_to(&mut self, mark: &str) {
        while self.at < self.tokens.len() && self.word(0) != mark {
            self.at += 1;
        }
        self.at += 1;
    }
}

/// Words that parentheses follow without a call.
const NO_CALLS: &[&str] = &[
    "if",
    "while",
    "for",
    "switch",
    "return",
    "sizeof",
    "typeof",
    "__typeof__",
    "do",
    "else",
];

/// Calls of an expression, arguments before whoever gets them.
fn calls(tokens: &[Token]) -> Vec<Call> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" => {
                let before = at.checked_sub(1).filter(|before| {
                    let before = &tokens[*before];
                    before.is_name() && !NO_CALLS.contains(&before.text.as_str())
                });
                open.push((at, before));
            }
            ")" => {
                if let Some((start, Some(name))) = open.pop() {
                    found.push(Call {
                        name: tokens[name].text.clone(),
                        arguments: arguments(&tokens[start + 1..at]),
                        line: tokens[name].line,
                    });
                }
            }
            _ => {}
        }
    }
    found
}

fn arguments(tokens: &[Token]) -> Vec<String> {
    let mut depth = 0_usize;
    let parts = tokens.split(|token| {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.text == ","
    });
    parts
        .map(text_of)
        .filter(|argument| !argument.is_empty())
        .collect()
}

fn text_of(tokens: &[Token]) -> String {
    tokens.iter().map(|token| token.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    fn shape(text: &str) -> String {
        statements(&tokens(text)).iter().map(one).collect()
    }

    fn one(statement: &Statement) -> String {
        let names = |calls: &[Call]| {
            let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
            names.join(",")
        };
        match statement {
            Statement::Calls(calls) => format!("{};", names(calls)),
            Statement::Block(all) => format!("{{{}}}", all.iter().map(one).collect::<String>()),
            Statement::If {
                condition,
                then,
                otherwise,
            } => {
                let otherwise = otherwise
                    .as_deref()
                    .map(|other| format!(" else {}", one(other)));
                format!(
                    "if[{}]{}{}",
                    names(condition),
                    one(then),
                    otherwise.unwrap_or_default()
                )
            }
            Statement::Loop {
                head,
                body,
                endless,
                body_first,
            } => {
                let kind = if *body_first { "do" } else { "loop" };
                let endless = if *endless { "!" } else { "" };
                format!("{kind}{endless}[{}]{}", names(head), one(body))
            }
            Statement::Switch { value, body } => format!("switch[{}]{}", names(value), one(body)),
            Statement::Case => "case:".to_owned(),
            Statement::Label(name) => format!("{name}:"),
            Statement::Goto(name) => format!("goto {name};"),
            Statement::Return(calls) => format!("return {};", names(calls)),
            Statement::Break => "break;".to_owned(),
            Statement::Continue => "continue;".to_owned(),
        }
    }

    #[test]
    fn statements_of_all_kinds() {
        for (text, expected) in [
            ("int x = f(g(1), h()); y->z(2);", "g,h,f;z;"),
            (
                "if (a()) b(); else if (c) { d(); }",
                "if[a]b; else if[]{d;}",
            ),
            ("retry: f(); if (x) goto retry;", "retry:f;if[]goto retry;"),
            ("while (a()) b(); while (1) c();", "loop[a]b;loop![]c;"),
            ("for (i = f(); i; i++) g();", "loop[f]g;"),
            ("for (;;) { break; continue; }", "loop![]{break;continue;}"),
            ("do { a(); } while (b()); c();", "do[b]{a;}c;"),
            (
                "for_each_cpu(cpu, mask) { a(); } b();",
                "loop[for_each_cpu]{a;}b;",
            ),
            (
                "for_each_cpu(cpu, mask) a(); b();",
                "loop[for_each_cpu]a;b;",
            ),
            (
                "switch (a) { case A ... B: b(); break; default: c(); }",
                "switch[]{case:b;break;case:c;}",
            ),
            (
                "s = (struct s){ .f = f, .g = g(), }; return h(s);",
                "g;return h;",
            ),
            ("x = sizeof(struct s) + (a)(b); ;", ";;"),
            ("({ f(); g(); }); DEFINE_Q(q);", "f,g;DEFINE_Q;"),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn arguments_keep_their_commas_in_brackets() {
        let calls = calls(&tokens("f(&a -> b, g(x, y), (struct z){1, 2})"));
        assert_eq!(calls[1].arguments, ["&a->b", "g(x,y)", "(structz){1,2}"]);
    }

    #[test]
    fn garbage_and_depth_end() {
        for text in [
            "if",
            "if (",
            "do",
            "while",
            "for (",
            "case",
            "goto",
            "f(",
            "else else",
            ") ] }",
        ] {
            let _ = shape(text);
        }
        let _ = shape(&"if (x) ".repeat(5000));
        let _ = shape(&"{".repeat(5000));
        let _ = shape(&"(".repeat(5000));
    }
}
