//! Just enough of the shell to see which commands a line of `%prep` runs.

/// Words that stand before a command without being one.
const BEFORE: [&str; 8] = ["then", "do", "else", "elif", "{", "(", "!", "time"];

/// The simple commands of a line, as words without their quotes.
pub(super) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![vec![]];
    let mut word = String::new();
    let mut quote = None;
    let end_word = |word: &mut String, all: &mut Vec<Vec<String>>| {
        if let (false, Some(command)) = (word.is_empty(), all.last_mut()) {
            command.push(std::mem::take(word));
        }
    };
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"' | '`') => quote = Some(c),
            (Some(_), c) => word.push(c),
            (None, '#') if word.is_empty() => break,
            (None, ';' | '|' | '&' | '\n') => {
                end_word(&mut word, &mut all);
                all.push(vec![]);
            }
            (None, c) if c.is_whitespace() => end_word(&mut word, &mut all),
            (None, c) => word.push(c),
        }
    }
    end_word(&mut word, &mut all);
    all.into_iter()
        .map(|words| {
            let is_before = |word: &String| BEFORE.contains(&word.as_str());
            words.into_iter().skip_while(is_before).collect()
        })
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

/// How much deeper in conditions and loops the shell is after a command.
pub(super) fn depth_change(command: &[String]) -> i32 {
    match command.first().map_or("", String::as_str) {
        "if" | "for" | "while" | "until" | "case" => 1,
        "fi" | "done" | "esac" => -1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart_and_quotes_kept_whole() {
        let found = commands("if [ -f 'a;b' ] ; then patch -p1 <x && echo \"# y\"; fi # end; z");
        let lines: Vec<String> = found.iter().map(|words| words.join(",")).collect();
        assert_eq!(lines, ["if,[,-f,a;b,]", "patch,-p1,<x", "echo,# y", "fi"]);
        let depth: i32 = found.iter().map(|words| depth_change(words)).sum();
        assert_eq!(depth, 0);
    }
}
