//! The kinds of binary kernel: packages and bare images that boot as they are.

use serde::{Deserialize, Serialize};

use super::file::FileSource;
use super::source::AptPackage;

/// Where a kernel that somebody else built comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BinarySpec {
    /// A Debian package of apt's mirror; of a metapackage, the image that it depends on.
    DebianImage(AptPackage),
    /// A Debian package, local or downloaded.
    Deb(FileSource),
    /// An rpm package, local or downloaded.
    Rpm(FileSource),
    /// A bare bzImage (vmlinuz).
    Image(ImageSource),
}

/// A bare kernel image and what is known to belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// The bzImage (vmlinuz).
    pub kernel: FileSource,
    /// Its System.map.
    #[serde(
        default,
        rename = "system-map",
        skip_serializing_if = "Option::is_none"
    )]
    pub system_map: Option<FileSource>,
    /// Its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<FileSource>,
}

impl BinarySpec {
    /// The word used in files and tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DebianImage(_) => "debian-image",
            Self::Deb(_) => "deb",
            Self::Rpm(_) => "rpm",
            Self::Image(_) => "image",
        }
    }

    /// Where it is, in a line.
    pub fn location(&self) -> String {
        match self {
            Self::DebianImage(package) => package.location(),
            Self::Deb(file) | Self::Rpm(file) => file.location(),
            Self::Image(image) => image.kernel.location(),
        }
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        let field = format!("binary.{}", self.kind());
        match self {
            Self::DebianImage(package) => package.complaints(&field),
            Self::Deb(file) | Self::Rpm(file) => file.complaints(&field),
            Self::Image(image) => [
                ("kernel", Some(&image.kernel)),
                ("system-map", image.system_map.as_ref()),
                ("config", image.config.as_ref()),
            ]
            .into_iter()
            .flat_map(|(part, file)| {
                file.map_or(Vec::new(), |file| {
                    file.complaints(&format!("{field}.{part}"))
                })
            })
            .collect(),
        }
    }
}
