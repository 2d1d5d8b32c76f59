//! Why a symbol did not hold: its definition in the tree's Kconfig files.

use std::sync::LazyLock;

use regex::Regex;

use super::config::Config;

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    // A constant pattern; a wrong one fails the tests of this module.
    #[allow(clippy::expect_used)]
    Regex::new(r"!=|<=|>=|[!=<>]|\w+|[^\s\w]").expect("a constant pattern")
});

/// One condition in the way of a symbol, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Line in the file, from 1.
    pub line: usize,
    /// The expression.
    pub expression: String,
}

/// One place where a symbol is defined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// Line of `config SYMBOL`, from 1.
    pub line: usize,
    /// `depends on` of the symbol and of the menus and `if` blocks around it in the same file.
    pub conditions: Vec<Condition>,
    /// Whether users can set it; one without a prompt is only selected by others.
    pub has_prompt: bool,
}

/// Every definition of a symbol in the text of one Kconfig file.
pub fn definitions(text: &str, symbol: &str) -> Vec<Definition> {
    let mut reader = Reader::default();
    for (number, line) in joined_lines(text) {
        reader.take(number, &line, symbol);
    }
    reader.finish()
}

/// Who forces a symbol on: the symbols that `select` it, with the lines that say so.
pub fn selectors(text: &str, symbol: &str) -> Vec<(usize, String)> {
    let mut owner = "";
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("config" | "menuconfig"), Some(name)) => owner = name,
            (Some("select"), Some(name)) if name == symbol => {
                found.push((index + 1, owner.to_owned()));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    found
}

/// Which symbols of an expression stand in its way: `X is not set`, or `X is set` for `!X`. What a
/// symbol is compared with is not judged; its value is told.
pub fn blockers(expression: &str, config: &Config) -> Vec<String> {
    let words: Vec<&str> = TOKEN
        .find_iter(expression)
        .map(|token| token.as_str())
        .collect();
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let is_symbol = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && word.chars().any(|c| c.is_ascii_uppercase());
        if !is_symbol {
            continue;
        }
        let near = |at: usize| words.get(at).copied().unwrap_or_default();
        let compared = [near(index.wrapping_sub(1)), near(index + 1)]
            .iter()
            .any(|token| ["=", "!=", "<", ">", "<=", ">="].contains(token));
        let negated = near(index.wrapping_sub(1)) == "!";
        let value = config.value(word);
        let text = match (compared, negated, value != "n") {
            (true, _, _) => format!("CONFIG_{word} is {value}"),
            (false, false, false) => format!("CONFIG_{word} is not set"),
            (false, true, true) => format!("CONFIG_{word} is set"),
            (false, false, true) | (false, true, false) => continue,
        };
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// Lines with their numbers; a trailing backslash joins the next one.
fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some((_, last)) if open => *last += part.trim_start(),
            Some(_) | None => lines.push((index + 1, part.to_owned())),
        }
        open = goes_on;
    }
    lines
}

/// What an attribute line belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Nobody,
    Symbol,
    Block,
}

#[derive(Debug, Default)]
struct Reader {
    /// Conditions of the `if`, `menu` and `choice` blocks that are open.
    blocks: Vec<Vec<Condition>>,
    current: Option<Definition>,
    owner: Owner,
    /// Indent of the help text that is being skipped; None in it: not seen its first line yet.
    help: Option<Option<usize>>,
    found: Vec<Definition>,
}

impl Reader {
    fn take(&mut self, number: usize, line: &str, symbol: &str) {
        if self.skips_as_help(line) {
            return;
        }
        let trimmed = line.trim();
        let (keyword, rest) = trimmed
            .split_once(char::is_whitespace)
            .map_or((trimmed, ""), |(keyword, rest)| (keyword, rest.trim()));
        match keyword {
            "config" | "menuconfig" => self.open_symbol(number, rest == symbol),
            "if" => self.open_block(vec![condition(number, rest)]),
            "menu" | "choice" => self.open_block(Vec::new()),
            "endif" | "endmenu" | "endchoice" => {
                self.close_symbol();
                self.blocks.pop();
            }
            "source" | "comment" | "mainmenu" => {
                self.close_symbol();
                self.owner = Owner::Nobody;
            }
            "help" | "---help---" => self.help = Some(None),
            "depends" => self.depends(number, rest),
            "bool" | "tristate" | "int" | "hex" | "string" | "prompt" => {
                if let Some(current) = &mut self.current {
                    current.has_prompt |= rest.starts_with(['"', '\'']);
                    if let Some((_, expression)) = rest.rsplit_once("\" if ") {
                        current.conditions.push(condition(number, expression));
                    }
                }
            }
            // Kconfig's other keywords do not decide whether a symbol can be set.
            _ => {}
        }
    }

    fn skips_as_help(&mut self, line: &str) -> bool {
        let Some(indent) = self.help else {
            return false;
        };
        if line.trim().is_empty() {
            return true;
        }
        let own = indent_of(line);
        match indent {
            None if own > 0 => self.help = Some(Some(own)),
            Some(least) if own >= least => {}
            None | Some(_) => {
                self.help = None;
                return false;
            }
        }
        true
    }

    fn open_symbol(&mut self, number: usize, wanted: bool) {
        self.close_symbol();
        self.owner = Owner::Symbol;
        self.current = wanted.then(|| Definition {
            line: number,
            conditions: self.blocks.concat(),
            has_prompt: false,
        });
    }

    fn open_block(&mut self, conditions: Vec<Condition>) {
        self.close_symbol();
        self.owner = Owner::Block;
        self.blocks.push(conditions);
    }

    fn depends(&mut self, number: usize, rest: &str) {
        let expression = rest.strip_prefix("on").unwrap_or(rest).trim();
        let list = match self.owner {
            Owner::Symbol => self.current.as_mut().map(|current| &mut current.conditions),
            Owner::Block => self.blocks.last_mut(),
            Owner::Nobody => None,
        };
        if let Some(list) = list {
            list.push(condition(number, expression));
        }
    }

    fn close_symbol(&mut self) {
        self.found.extend(self.current.take());
    }

    fn finish(mut self) -> Vec<Definition> {
        self.close_symbol();
        self.found
    }
}

fn condition(line: usize, expression: &str) -> Condition {
    Condition {
        line,
        expression: expression.to_owned(),
    }
}

fn indent_of(line: &str) -> usize {
    line.chars()
        .take_while(|c| c.is_whitespace())
        .map(|c| if c == '\t' { 8 } else { 1 })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
menu "Debugging"
	depends on DEBUG

config OTHER
	bool "other"
	help
	  config FAKE
	  depends on NOTHING

if EXPERT && \
   !TINY

config VT
	bool "Virtual terminal" if EXPERT
	depends on (TTY || NET) && NR_CPUS > 1
	default y

endif
endmenu

config PLAIN
	def_bool y
"#;

    #[test]
    fn conditions_come_from_menus_ifs_and_the_symbol_with_their_lines() {
        let found = definitions(TEXT, "VT");
        assert_eq!(found.len(), 1);
        let shown: Vec<_> = found[0]
            .conditions
            .iter()
            .map(|c| (c.line, c.expression.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (3, "DEBUG"),
                (11, "EXPERT && !TINY"),
                (15, "EXPERT"),
                (16, "(TTY || NET) && NR_CPUS > 1")
            ]
        );
        assert!(found[0].has_prompt && found[0].line == 14);
    }

    #[test]
    fn help_text_defines_nothing_and_blocks_end() {
        assert!(definitions(TEXT, "FAKE").is_empty());
        let plain = definitions(TEXT, "PLAIN");
        assert!(plain[0].conditions.is_empty() && !plain[0].has_prompt);
    }

    #[test]
    fn blockers_are_the_unset_and_the_wrongly_set_ones() {
        let config = Config::parse("CONFIG_TTY=y\nCONFIG_TINY=y\n");
        assert_eq!(
            blockers(
                "(TTY || NET) && !TINY && NR_CPUS > 1 && X86=y && A!=y",
                &config
            ),
            [
                "CONFIG_NET is not set",
                "CONFIG_TINY is set",
                "CONFIG_NR_CPUS is n",
                "CONFIG_X86 is n",
                "CONFIG_A is n"
            ]
        );
    }

    #[test]
    fn selectors_are_named_with_their_lines() {
        let text = "config A\n\tselect VT if X\nmenuconfig B\n\tselect OTHER\n\tselect VT\n";
        assert_eq!(
            selectors(text, "VT"),
            [(2, "A".to_owned()), (5, "B".to_owned())]
        );
    }
}
