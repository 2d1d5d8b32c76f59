//! The templates, and what is escaped in them: everything but drawings of our own.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, escape_formatter};
use serde::Serialize;

use crate::{Error, ink, text};

const TEMPLATES: [(&str, &str); 9] = [
    ("base.html", include_str!("../templates/base.html")),
    ("parts.html", include_str!("../templates/parts.html")),
    ("run.html", include_str!("../templates/run.html")),
    ("night.html", include_str!("../templates/night.html")),
    ("history.html", include_str!("../templates/history.html")),
    ("close-up.html", include_str!("../templates/close-up.html")),
    ("methods.html", include_str!("../templates/methods.html")),
    ("trials.html", include_str!("../templates/trials.html")),
    ("style.css", include_str!("../templates/style.css")),
];

static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(environment);

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(whitespace);
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    // One escape for text and for drawings, which also shows what cannot be seen.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(words) if !value.is_safe() => Ok(out.write_str(&text::escape(words))?),
        Some(_) | None => escape_formatter(out, state, value),
    });
    environment.add_filter("words", |words: &str| {
        Value::from_safe_string(text::with_code(words))
    });
    environment.add_global("inks", Value::from_safe_string(ink::css()));
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

/// Fills a template in.
pub(crate) fn render(name: &str, page: &impl Serialize) -> Result<String, Error> {
    let environment = match &*ENVIRONMENT {
        Ok(environment) => environment,
        Err(error) => {
            let why = format!("{error:#}");
            return Err(minijinja::Error::new(error.kind(), why).into());
        }
    };
    Ok(environment.get_template(name)?.render(Serde(page))?)
}
