//! Following the lines of `%prep`.

use super::macros::SOURCE_DIR;
use super::shell::{commands, depth_change};
use super::{FileName, Prep, PrepLine, Spec, SpecPatch, Trouble};

/// What `ApplyPatch` of Red Hat's specs runs, unless the spec says otherwise.
const APPLY_PATCH: [&str; 3] = ["patch", "-p1", "-F1"];
/// Commands that change sources by patches of their own.
const PATCHERS: [&str; 6] = [
    "patch",
    "$patch_command",
    "quilt",
    "apply-patches",
    "guards",
    "dpatch",
];

pub(super) fn follow(spec: &Spec) -> Result<Prep, Trouble> {
    let mut follower = Follower {
        spec,
        tarball: None,
        patches: Vec::new(),
        not_run: Vec::new(),
        apply_patch: APPLY_PATCH.map(str::to_owned).to_vec(),
        depth: 0,
    };
    let mut lines = spec.prep.iter();
    while let Some(line) = lines.next() {
        if is_function(&line.text) {
            // What it does is known by its name.
            lines.by_ref().find(|line| line.text.trim_end() == "}");
            continue;
        }
        follower
            .line(line)
            .map_err(|message| (line.number, message))?;
    }
    let last = spec.prep.last().map_or(1, |line| line.number);
    Ok(Prep {
        tarball: follower.tarball.ok_or((
            last,
            "%prep unpacks no source: expected %setup or %autosetup".to_owned(),
        ))?,
        patches: follower.patches,
        not_run: follower.not_run,
    })
}

fn is_function(line: &str) -> bool {
    let head = line.trim_end().trim_end_matches('{').trim_end();
    head.strip_suffix("()").is_some_and(|name| {
        let name = name.trim_end();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

struct Follower<'a> {
    spec: &'a Spec,
    tarball: Option<String>,
    patches: Vec<SpecPatch>,
    not_run: Vec<String>,
    /// The words of `patch_command`.
    apply_patch: Vec<String>,
    /// Conditions and loops of the shell around the line.
    depth: i32,
}

impl Follower<'_> {
    fn line(&mut self, line: &PrepLine) -> Result<(), String> {
        let text = line.text.trim();
        if text.starts_with('#') {
            return Ok(());
        }
        let word = text
            .split(|c: char| c.is_whitespace())
            .next()
            .unwrap_or_default();
        let is_macro = ["%setup", "%autosetup", "%patch", "%autopatch"]
            .iter()
            .any(|name| word.starts_with(name));
        if is_macro {
            self.decided(line)?;
            let words = self.words(text.trim_start_matches(word))?;
            return match word {
                "%setup" => self.setup(&words, false),
                "%autosetup" => self.setup(&words, true),
                "%autopatch" => self
                    .unconditional(text)
                    .and_then(|()| self.all(&words, line)),
                _ => self
                    .unconditional(text)
                    .and_then(|()| self.patch(word, &words, line)),
            }
            .and_then(|()| match word {
                "%autosetup" if !words.iter().any(|word| word == "-N") => self.all(&words, line),
                _ => Ok(()),
            });
        }
        for command in commands(text) {
            self.command(&command, line)?;
            self.depth += depth_change(&command);
        }
        Ok(())
    }

    fn words(&self, text: &str) -> Result<Vec<String>, String> {
        let text = self.spec.macros.expand(text)?;
        Ok(commands(&text).into_iter().next().unwrap_or_default())
    }

    fn decided(&self, line: &PrepLine) -> Result<(), String> {
        match &line.undecided {
            Some(condition) => Err(format!(
                "`{}` stands under `{condition}`, which is not understood",
                line.text.trim()
            )),
            None => Ok(()),
        }
    }

    fn unconditional(&self, text: &str) -> Result<(), String> {
        if self.depth == 0 {
            return Ok(());
        }
        Err(format!(
            "`{text}` stands in a condition or loop of the shell, which is not run"
        ))
    }

    /// `%setup -q -n NAME -c -T -a N -b N`; where it unpacks to does not matter.
    fn setup(&mut self, words: &[String], auto: bool) -> Result<(), String> {
        let mut default = true;
        let mut sources = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-T" => default = false,
                "-n" | "-S" => drop(words.next()),
                "-a" | "-b" => {
                    let number = words.next().and_then(|number| number.parse::<u32>().ok());
                    sources.push(number.ok_or("%setup -a and -b need a number")?);
                }
                "-q" | "-c" | "-D" | "-N" | "-v" => {}
                other if auto && (other.starts_with("-p") || other.starts_with("-S")) => {}
                other => return Err(format!("the option `{other}` of %setup is not understood")),
            }
        }
        if default {
            sources.insert(0, 0);
        }
        match sources.as_slice() {
            [] => Ok(()),
            [number] if self.tarball.is_none() => {
                let name = numbered(&self.spec.sources, *number, "Source")?;
                self.tarball = Some(name);
                Ok(())
            }
            _ => Err("%prep unpacks more than one source".to_owned()),
        }
    }

    /// `%patch1 -p1`, `%patch -P1 -p1`, `%patch 1 -p1`
    fn patch(&mut self, word: &str, words: &[String], line: &PrepLine) -> Result<(), String> {
        let mut options = self.options(Some(0));
        let mut numbers: Vec<String> = Vec::new();
        let digits = word.trim_start_matches("%patch");
        numbers.extend((!digits.is_empty()).then(|| digits.to_owned()));
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-P" => numbers.extend(words.next().cloned()),
                "-b" | "-z" => drop(words.next()),
                word if word.strip_prefix("-P").is_some() => numbers.push(word[2..].to_owned()),
                word if !word.starts_with('-') => numbers.push(word.to_owned()),
                word => options.take(word, &mut words)?,
            }
        }
        if numbers.is_empty() {
            numbers.push("0".to_owned());
        }
        for number in numbers {
            let number = number
                .parse()
                .map_err(|_| format!("`{number}` is not a patch's number"))?;
            let file = numbered(&self.spec.patches, number, "Patch")?;
            self.patches.push(options.patch(file, line.number));
        }
        Ok(())
    }

    /// All patches, as `%autopatch -p1 -m 5 -M 9` or `git am` apply them.
    fn all(&mut self, words: &[String], line: &PrepLine) -> Result<(), String> {
        let mut options = self.options(None);
        let (mut first, mut last) = (0, u32::MAX);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let bound = |next: Option<&String>| {
                next.and_then(|next| next.parse::<u32>().ok())
                    .ok_or_else(|| format!("`{word}` needs a number"))
            };
            match word.as_str() {
                "-m" => first = bound(words.next())?,
                "-M" => last = bound(words.next())?,
                "-n" | "-S" | "-a" | "-b" => drop(words.next()),
                "-q" | "-c" | "-D" | "-N" | "-T" | "-v" => {}
                word if word.starts_with("-S") => {}
                word => options.take(word, &mut words)?,
            }
        }
        for (number, _) in self.spec.patches.range(first..=last) {
            let file = numbered(&self.spec.patches, *number, "Patch")?;
            self.patches.push(options.patch(file, line.number));
        }
        Ok(())
    }

    fn command(&mut self, command: &[String], line: &PrepLine) -> Result<(), String> {
        let first = command.first().map_or("", String::as_str);
        if let Some(value) = first.strip_prefix("patch_command=") {
            self.apply_patch = value.split_whitespace().map(str::to_owned).collect();
            return Ok(());
        }
        let is_git_patching = first == "git"
            && command
                .iter()
                .any(|word| ["am", "apply", "quiltimport", "cherry-pick"].contains(&word.as_str()));
        if is_git_patching && command.last().is_some_and(|word| word == "%{patches}") {
            self.decided(line)?;
            self.unconditional(line.text.trim())?;
            return self.all(&["-p1".to_owned()], line);
        }
        if matches!(first, "ApplyPatch" | "ApplyOptionalPatch") {
            return self.apply(first == "ApplyOptionalPatch", command, line);
        }
        let runs_a_patcher = command
            .iter()
            .take(1)
            .chain(after_xargs(command))
            .any(|word| {
                let name = self
                    .spec
                    .macros
                    .expand(word)
                    .unwrap_or_else(|_| word.clone());
                PATCHERS.contains(&name.rsplit('/').next().unwrap_or_default())
            });
        if runs_a_patcher || is_git_patching {
            return Err(format!(
                "`{}` changes sources in a way that is not understood: give the patched source as a tree or a tarball",
                line.text.trim()
            ));
        }
        let is_word = first.starts_with(|c: char| c.is_ascii_lowercase());
        let is_structure = depth_change(command) != 0 || ["cd", "echo", "exit"].contains(&first);
        if is_word && !is_structure && !first.contains('=') {
            let known = self.not_run.iter().any(|known| known == first);
            self.not_run.extend((!known).then(|| first.to_owned()));
        }
        Ok(())
    }

    /// `ApplyPatch FILE [options of patch]`
    fn apply(&mut self, optional: bool, command: &[String], line: &PrepLine) -> Result<(), String> {
        self.decided(line)?;
        self.unconditional(line.text.trim())?;
        let words: Vec<String> = command[1..]
            .iter()
            .map(|word| self.spec.macros.expand(word))
            .collect::<Result<_, _>>()?;
        let mut options = self.options(None);
        let mut file = None;
        let given: Vec<String> = self
            .apply_patch
            .iter()
            .skip(1)
            .cloned()
            .chain(words)
            .collect();
        let mut given = given.iter();
        while let Some(word) = given.next() {
            match word.as_str() {
                word if !word.starts_with('-') => file = Some(word),
                word => options.take(word, &mut given)?,
            }
        }
        let file = file.ok_or("it names no patch")?;
        let name = file
            .strip_prefix(SOURCE_DIR)
            .map_or(file, |rest| rest.trim_start_matches('/'));
        if name.contains(['$', '/', '*']) {
            return Err(format!("`{name}` is not the name of a patch"));
        }
        let mut patch = options.patch(name.to_owned(), line.number);
        patch.optional = optional;
        self.patches.push(patch);
        Ok(())
    }

    fn options(&self, strip: Option<u32>) -> Options {
        let fuzz = self.spec.macros.expand("%{_default_patch_fuzz}");
        Options {
            strip,
            fuzz: fuzz
                .ok()
                .and_then(|fuzz| fuzz.trim().parse().ok())
                .unwrap_or(0),
            reverse: false,
        }
    }
}

/// Words of the command that `xargs` runs.
fn after_xargs(command: &[String]) -> impl Iterator<Item = &String> {
    let at = command.iter().position(|word| word == "xargs");
    command.iter().skip(at.unwrap_or(command.len()))
}

fn numbered(
    files: &std::collections::BTreeMap<u32, FileName>,
    number: u32,
    kind: &str,
) -> Result<String, String> {
    match files.get(&number) {
        Some(Ok(name)) => Ok(name.clone()),
        Some(Err(reason)) => Err(format!("the name of {kind}{number} is not known: {reason}")),
        None => Err(format!("there is no {kind}{number}")),
    }
}

/// Options of `patch` that matter.
struct Options {
    strip: Option<u32>,
    fuzz: u32,
    reverse: bool,
}

impl Options {
    fn take<'a>(
        &mut self,
        word: &str,
        more: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let mut number = |inline: &str| {
            let text = match inline {
                "" => more.next().map_or("", String::as_str),
                inline => inline.trim_start_matches('='),
            };
            text.parse().map_err(|_| format!("`{word}` needs a number"))
        };
        match word {
            "-R" | "--reverse" => self.reverse = true,
            "-s" | "--silent" | "-E" | "-N" | "-t" | "-f" | "-Z" | "-q" | "--binary" => {}
            _ => {
                if let Some(inline) = word.strip_prefix("--fuzz").or(word.strip_prefix("-F")) {
                    self.fuzz = number(inline)?;
                } else if let Some(inline) =
                    word.strip_prefix("--strip").or(word.strip_prefix("-p"))
                {
                    self.strip = Some(number(inline)?);
                } else {
                    return Err(format!("the option `{word}` of patch is not understood"));
                }
            }
        }
        Ok(())
    }

    fn patch(&self, file: String, line: usize) -> SpecPatch {
        SpecPatch {
            file,
            strip: self.strip,
            fuzz: self.fuzz,
            reverse: self.reverse,
            optional: false,
            line,
        }
    }
}
