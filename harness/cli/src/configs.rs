//! Finding input files: by their path, or by name among those that come with the program.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use include_dir::{Dir, include_dir};

use crate::commands::Usage;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../configs");

/// What an input file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A campaign.
    Campaign,
    /// What a tune has to do.
    Tune,
    /// What a night has to do.
    Night,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Campaign => "campaign",
            Self::Tune => "tune",
            Self::Night => "night",
        }
    }

    /// Where those lie that come with the program.
    fn folder(self) -> &'static Path {
        Path::new(match self {
            Self::Campaign => "",
            Self::Tune => "tune",
            Self::Night => "nightly",
        })
    }

    /// Those that come with the program.
    fn embedded(self) -> Vec<&'static include_dir::File<'static>> {
        let files = match self {
            Self::Campaign => Some(EMBEDDED.files()),
            Self::Tune | Self::Night => EMBEDDED.get_dir(self.folder()).map(Dir::files),
        };
        let is_yaml = |file: &&include_dir::File<'_>| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "yaml")
        };
        files.into_iter().flatten().filter(is_yaml).collect()
    }
}

/// An input file that was found.
#[derive(Debug)]
pub struct Config {
    /// What to call it where something is wrong in it.
    pub file: String,
    /// Its content.
    pub text: String,
    /// Folder that its relative paths start from; absent: it comes with the program.
    pub folder: Option<PathBuf>,
}

/// Whether a word names a file rather than one that comes with the program.
pub fn is_path(word: &str) -> bool {
    word.contains('/') || word.ends_with(".yaml") || word.ends_with(".yml")
}

/// Finds a file by path (anything with a `/` or ending in `.yaml`), or by the name of one that comes
/// with the program.
///
/// # Errors
/// When there is none.
pub fn find(kind: Kind, word: &str) -> Result<Config> {
    if is_path(word) {
        let path = Path::new(word);
        let text = fs::read_to_string(path)
            .map_err(|error| Usage(format!("cannot read the {} {word}: {error}", kind.word())))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        return Ok(Config {
            file: word.to_owned(),
            text,
            folder: Some(folder.to_owned()),
        });
    }
    let path = kind.folder().join(format!("{word}.yaml"));
    let files = kind.embedded().into_iter();
    let found = files
        .filter(|file| file.path() == path)
        .find_map(|file| file.contents_utf8());
    let Some(text) = found else {
        let text = format!(
            "no {} `{word}` comes with kverdict; there are: {}. A file is named by its path",
            kind.word(),
            names(kind).join(", ")
        );
        return Err(Usage(text).into());
    };
    Ok(Config {
        file: format!("configs/{}", path.display()),
        text: text.to_owned(),
        folder: None,
    })
}

fn names(kind: Kind) -> Vec<String> {
    let stem = |file: &include_dir::File<'_>| Some(file.path().file_stem()?.to_str()?.to_owned());
    kind.embedded().into_iter().filter_map(stem).collect()
}
