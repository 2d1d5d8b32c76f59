//! A file that a kernel comes from: on this machine, or somewhere to download it from.

use serde::{Deserialize, Serialize};

/// A file on this machine or behind a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// A local file; a relative one is taken from the YAML file's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where to download it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of the file, in hex. Without one, a download is held against what came first, which
    /// takes a URL that is protected on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl FileSource {
    /// Where it is, in a line.
    pub fn location(&self) -> String {
        self.url
            .clone()
            .or_else(|| self.path.clone())
            .unwrap_or_default()
    }

    pub(super) fn complaints(&self, field: &str) -> Vec<String> {
        let mut found = Vec::new();
        if self.path.is_some() == self.url.is_some() {
            found.push(format!("{field}: give either `path` or `url`"));
        }
        if self.path.as_ref().is_some_and(String::is_empty) {
            found.push(format!("{field}.path: is empty: name the file"));
        }
        match &self.sha256 {
            None if self.url.as_ref().is_some_and(|url| !url.starts_with("https://")) => found.push(format!(
                "{field}.sha256: is missing: a download without TLS has to have one; copy it from where the file is published, or from `sha256sum FILE`"
            )),
            Some(digest) if !is_sha256(digest) => found.push(format!(
                "{field}.sha256: `{digest}` is not 64 lower-case hex digits: copy it from `sha256sum FILE`"
            )),
            None | Some(_) => {}
        }
        found
    }
}

/// Whether a text looks like a SHA-256 in hex.
pub fn is_sha256(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.len() == 64 && text.chars().all(hex)
}
