//! Functions of a C file.

use std::collections::BTreeMap;

use super::statement::{Statement, statements};
use super::token::{Token, tokens};

/// A function that is defined in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub body: Vec<Statement>,
}

/// What may stand between a function's parameters and its body, with parentheses of its own.
const ANNOTATIONS: &[&str] = &["__acquires", "__releases", "__must_hold", "__attribute__"];

/// All functions of a file, by name; of two with the same name the first.
pub fn functions(text: &str) -> BTreeMap<String, Function> {
    let tokens = tokens(text);
    let mut functions = BTreeMap::new();
    let mut head = 0;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => head = at + 1,
            "(" | "[" => at = closing(&tokens, at),
            "{" => {
                let end = closing(&tokens, at);
                if let Some(name) = function_name(&tokens[head..at]) {
                    let body = &tokens[at + 1..end.min(tokens.len())];
                    functions
                        .entry(name.to_owned())
                        .or_insert_with(|| Function {
                            name: name.to_owned(),
                            body: statements(body),
                        });
                    head = end + 1;
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    functions
}

/// Where the bracket that opens at `open` closes; the end when it does not.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The function that these tokens, in front of a `{`, declare. Initializers, structures and the like
/// declare none.
fn function_name(head: &[Token]) -> Option<&str> {
    if head.iter().any(|token| token.text == "=") {
        return None;
    }
    let mut name = None;
    let mut at = 0;
    while at < head.len() {
        if head[at].text == "(" {
            let before = at.checked_sub(1).map(|before| &head[before]);
            if let Some(before) = before.filter(|token| token.is_name())
                && !ANNOTATIONS.contains(&before.text.as_str())
            {
                name = Some(before.text.as_str());
            }
            at = closing(head, at);
        }
        at += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_from_what_else_has_braces() {
        let text = "
            static DEFINE_PER_CPU(struct box, boxes);
            struct box { int lock; void (*run)(int); };
            static const struct ops table = { .run = run(1), };
            #define M(x) { x }
            enum kind { ONE, TWO };
            static int __init first(struct box *b, void (*f)(int))
                __acquires(b) { return 0; }
            __printf(1, 2) void second(const char *f, ...) { third(); }
            SYSCALL_DEFINE1(name, int, x) { return x; }
            int declared(void);
            struct box *fourth(void) { if (x) { y(); } }";
        let found = functions(text);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["SYSCALL_DEFINE1", "first", "fourth", "second"]);
    }

    #[test]
    fn garbage_has_no_functions_and_does_not_hang() {
        for text in [
            "",
            "((((",
            "}}}}",
            "{",
            "a(",
            "f() {",
            "\0\u{1}(){",
            "= { ( }",
        ] {
            assert!(functions(text).len() <= 1, "{text}");
        }
    }
}
