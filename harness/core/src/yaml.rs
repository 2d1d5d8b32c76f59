//! Reading YAML so that every mistake in a file is reported at once.
//!
//! serde stops at the first error, so the text is checked against the type's JSON schema (which
//! carries the ranges) before it is deserialized.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::{Map, Value};

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the field, such as `arms.fixed.kernel`; empty: the file as a whole.
    pub field: String,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// All mistakes found in one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// Name of the file.
    pub file: String,
    /// What is wrong with it, in the order of the file's fields; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(
            f,
            "{}: {count} problem{}",
            self.file,
            if count == 1 { "" } else { "s" }
        )?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Reads a file and checks what its schema cannot say.
///
/// # Errors
/// As [`parse`]; and all that `check` finds, together.
pub fn parse_checked<T: DeserializeOwned + JsonSchema>(
    file: &str,
    text: &str,
    check: impl FnOnce(&T) -> Vec<Problem>,
) -> Result<T, Problems> {
    let value = parse(file, text)?;
    let problems = check(&value);
    if problems.is_empty() {
        return Ok(value);
    }
    Err(Problems {
        file: file.to_owned(),
        problems,
    })
}

/// Parses `text`, the content of `file`.
///
/// # Errors
/// Every syntax error, unknown key, wrong type and out-of-range value, each with its field.
pub fn parse<T: DeserializeOwned + JsonSchema>(file: &str, text: &str) -> Result<T, Problems> {
    let fail = |problems| Problems {
        file: file.to_owned(),
        problems,
    };
    let refuse = |mistake: Mistake| {
        let line = mistake.line.filter(|_| !mistake.names_line);
        let place = line.map_or(String::new(), |line| format!(", line {line}"));
        fail(vec![Problem::new(
            "",
            format!("{}{place}", mistake.message),
        )])
    };
    mapping(text).map_err(refuse)?;
    // Of keys that are not text, this is where it is noticed.
    let value: Value =
        serde_yaml::from_str(text).map_err(|error| refuse(Mistake::of_yaml(text, error)))?;
    let problems = schema_problems::<T>(&value);
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    serde_yaml::from_str(text).map_err(|error| fail(vec![Problem::new("", error.to_string())]))
}

/// Why a text cannot be read.
pub(crate) struct Mistake {
    /// What is wrong.
    pub message: String,
    /// In which line, from 1, where that can be said.
    pub line: Option<usize>,
    /// Whether the message says the line, too.
    pub names_line: bool,
}

impl Mistake {
    /// That it is no YAML.
    fn of_yaml(text: &str, error: serde_yaml::Error) -> Self {
        let found = Self::of(text, error);
        Self {
            message: format!("not valid YAML: {}", found.message),
            ..found
        }
    }

    /// What serde says about `text`.
    ///
    /// serde_yaml takes whatever stands behind a first document, such as a line that is indented less than the file's
    /// first, for another one. What YAML does not let into a text at all, and a real second document, come from it
    /// without a line.
    pub(crate) fn of(text: &str, error: serde_yaml::Error) -> Self {
        let behind = || serde_yaml::Deserializer::from_str(text).nth(1);
        let is_behind = error.to_string().contains("more than one document");
        let rest = is_behind.then(behind).flatten();
        let error = match rest.map(serde_yaml::Value::deserialize) {
            Some(Err(wrong)) => wrong,
            Some(Ok(_)) => {
                return Self {
                    message: error.to_string(),
                    line: line_of_second_document(text),
                    names_line: false,
                };
            }
            None => error,
        };
        let message = error.to_string();
        let is_duplicate = message.starts_with("duplicate ");
        let place = error.location().map(|place| (place.line(), place.column()));
        // Where the words do not say it, its place is the start of the text.
        let names_line = place.is_some_and(|(line, column)| {
            message.contains(&format!(" line {line} column {column}"))
        });
        let line = match text.find(|c| !is_allowed(c)) {
            Some(at) if !names_line => Some(LINE_END.split(&text[..at]).count()),
            // Of a key that is there twice, it is where the whole begins.
            None if !names_line && is_duplicate => None,
            Some(_) | None => place.map(|(line, _)| line),
        };
        Self {
            message,
            line,
            names_line,
        }
    }

    /// Of the file as a whole.
    fn whole(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            line: None,
            names_line: false,
        }
    }
}

/// Sees to it that `text` is one mapping, in which no key is there twice: of such keys, others take the last value.
pub(crate) fn mapping(text: &str) -> Result<(), Mistake> {
    match serde_yaml::from_str(text).map_err(|error| Mistake::of_yaml(text, error))? {
        serde_yaml::Value::Mapping(_) => Ok(()),
        serde_yaml::Value::Null => Err(Mistake::whole("the file is empty")),
        serde_yaml::Value::Tagged(value) => Err(Mistake::whole(&format!(
            "the file is tagged {}: leave the tag out",
            value.tag
        ))),
        _ => Err(Mistake::whole("the file is not a mapping (key: value)")),
    }
}

/// Lines end as libyaml has it: `b-char` of YAML 1.1, section 4.2.
static LINE_END: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("\r\n|[\n\r\u{85}\u{2028}\u{2029}]").expect("a constant pattern"));

/// Where the second document of a text begins, or the first one ends.
fn line_of_second_document(text: &str) -> Option<usize> {
    let says_nothing = |line: &str| line.is_empty() || line.starts_with(['#', '%']);
    let is_border = |line: &str| {
        let marker = line.starts_with("---") || line.starts_with("...");
        marker && matches!(line.as_bytes().get(3), None | Some(b' ' | b'\t'))
    };
    let mut lines = LINE_END.split(text).zip(1..);
    // The first one may begin with such a line, too.
    lines.find(|(line, _)| !says_nothing(line))?;
    lines
        .find(|(line, _)| is_border(line))
        .map(|(_, number)| number)
}

/// `c-printable` of YAML 1.1, section 4.1, as libyaml has it: not the byte order mark.
fn is_allowed(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' => true,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => c >= '\u{a0}',
    }
}

fn schema_problems<T: JsonSchema>(value: &Value) -> Vec<Problem> {
    let schema = schemars::schema_for!(T).to_value();
    let mut problems = Vec::new();
    Checker { root: &schema }.check(&schema, value, "", &mut problems);
    problems
}

/// Holds a value against the part of JSON schema that schemars derives from our types. A complete
/// validator is a crate away, but takes longer to compile than all of kverdict.
struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, field: &str, problems: &mut Vec<Problem>) {
        if let Some(target) = schema["$ref"].as_str() {
            let pointer = target.trim_start_matches('#');
            return self.check(
                self.root.pointer(pointer).unwrap_or(&Value::Null),
                value,
                field,
                problems,
            );
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(alternatives) = schema[choice].as_array() {
                return self.check_nearest(alternatives, value, field, problems);
            }
        }
        if !is_of_type(schema, value) {
            let text = format!("{value} is not {}", expected_type(schema));
            return problems.push(Problem::new(field, text));
        }
        check_range(schema, value, field, problems);
        check_words(schema, value, field, problems);
        if let Some(object) = value.as_object() {
            self.check_keys(schema, object, field, problems);
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check(
                &schema["items"],
                item,
                &join(field, &index.to_string()),
                problems,
            );
        }
    }

    fn check_keys(
        &self,
        schema: &Value,
        object: &Map<String, Value>,
        field: &str,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in object {
            let inner = join(field, key);
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => {
                    let known: Vec<&str> = schema["properties"]
                        .as_object()
                        .into_iter()
                        .flat_map(Map::keys)
                        .map(String::as_str)
                        .collect();
                    problems.push(Problem::new(
                        inner,
                        format!("unknown key; known here: {}", known.join(", ")),
                    ));
                }
                (Value::Null, rest) => self.check(rest, value, &inner, problems),
                (known, _) => self.check(known, value, &inner, problems),
            }
        }
        let required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for key in required.filter(|key| !object.contains_key(*key)) {
            problems.push(Problem::new(
                join(field, key),
                "missing; this key is required",
            ));
        }
    }

    /// Of several alternatives (an optional value, an enum) only what is wrong with the one that
    /// comes nearest is of use to the reader.
    fn check_nearest(
        &self,
        alternatives: &[Value],
        value: &Value,
        field: &str,
        problems: &mut Vec<Problem>,
    ) {
        let tries = alternatives.iter().map(|schema| {
            let mut found = Vec::new();
            self.check(schema, value, field, &mut found);
            found
        });
        let tries: Vec<Vec<Problem>> = tries.collect();
        if tries.iter().any(Vec::is_empty) {
            return;
        }
        let inside = |found: &&Vec<Problem>| found.iter().all(|problem| problem.field != field);
        match tries.iter().filter(inside).min_by_key(|found| found.len()) {
            Some(nearest) => problems.extend_from_slice(nearest),
            None => {
                let words: Vec<&str> = alternatives
                    .iter()
                    .filter_map(|schema| schema["const"].as_str())
                    .collect();
                let text = if words.is_empty() {
                    tries
                        .concat()
                        .iter()
                        .map(|problem| problem.message.clone())
                        .collect::<Vec<_>>()
                        .join(", and ")
                } else {
                    format!("{value} is not one of {}", words.join(", "))
                };
                problems.push(Problem::new(field, text));
            }
        }
    }
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    };
    match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

fn expected_type(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(name) if name == "integer" => "a whole number".to_owned(),
        Value::String(name) if name == "object" => "a mapping (key: value)".to_owned(),
        Value::String(name) if name == "array" => "a list".to_owned(),
        other => format!("a {}", other.to_string().replace('"', "")),
    }
}

fn check_range(schema: &Value, value: &Value, field: &str, problems: &mut Vec<Problem>) {
    let size = |counted: &str| match counted {
        "Items" => value.as_array().map(|items| items.len() as f64),
        "Properties" => value.as_object().map(|keys| keys.len() as f64),
        _ => value.as_f64(),
    };
    for (low, high, counted) in [
        ("minimum", "maximum", ""),
        ("minItems", "maxItems", "Items"),
        ("minProperties", "maxProperties", "Properties"),
    ] {
        let Some(size) = size(counted) else { continue };
        let (low, high) = (schema[low].as_f64(), schema[high].as_f64());
        if low.is_some_and(|low| size < low) || high.is_some_and(|high| size > high) {
            let end = |end: Option<f64>| end.map_or("any".to_owned(), |end| end.to_string());
            let what = if counted.is_empty() { "" } else { " entries" };
            let text = format!(
                "{size}{what} is out of range: {} to {}",
                end(low),
                end(high)
            );
            problems.push(Problem::new(field, text));
        }
    }
}

fn check_words(schema: &Value, value: &Value, field: &str, problems: &mut Vec<Problem>) {
    if let Some(words) = schema["enum"]
        .as_array()
        .filter(|words| !words.contains(value))
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        problems.push(Problem::new(
            field,
            format!("{value} is not one of {}", words.join(", ")),
        ));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        problems.push(Problem::new(
            field,
            format!("{value} is not {}", schema["const"]),
        ));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        problems.push(Problem::new(
            field,
            format!("{value} does not match {pattern}"),
        ));
    }
}

fn join(field: &str, key: &str) -> String {
    // A key can be as good as nothing, and has to be found all the same.
    let key = if key.is_empty() { "\"\"" } else { key };
    if field.is_empty() {
        key.to_owned()
    } else {
        format!("{field}.{key}")
    }
}
