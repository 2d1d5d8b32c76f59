//! What is asked of each member of an archive, before anybody looks into it.

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::{Result, bail};

use crate::name;

/// A kernel package has some thousand files, a source package some ten thousand.
const MEMBERS_MAX: usize = 500_000;
/// All their names: those of a kernel package are 2 MB.
const NAMES_BYTES_MAX: usize = 64 << 20;

/// What a member of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with its content.
    File,
    /// A symbolic or hard link.
    Link,
    /// Folders, devices and the like.
    Other,
}

/// Called for each member: its name, what it is, and what it holds.
pub type Visitor<'a> = dyn FnMut(&str, Kind, &mut dyn Read) -> Result<()> + 'a;

/// Checks members on their way to a visitor.
pub struct Members<'a, 'b> {
    visitor: &'a mut Visitor<'b>,
    count: usize,
    names_bytes: usize,
    links: BTreeSet<String>,
}

impl<'a, 'b> Members<'a, 'b> {
    /// None seen yet.
    pub fn new(visitor: &'a mut Visitor<'b>) -> Self {
        Self {
            visitor,
            count: 0,
            names_bytes: 0,
            links: BTreeSet::new(),
        }
    }

    /// The next member, with its name as the archive has it.
    ///
    /// # Errors
    /// When its name leads out of the archive's folder or through a link, or there are too many; and
    /// what the visitor returns.
    pub fn visit(&mut self, name: &[u8], kind: Kind, content: &mut dyn Read) -> Result<()> {
        self.count += 1;
        self.names_bytes += name.len();
        if self.count > MEMBERS_MAX || self.names_bytes > NAMES_BYTES_MAX {
            bail!(
                "it has more than {MEMBERS_MAX} files, or more than {NAMES_BYTES_MAX} bytes of names"
            );
        }
        let name = name::inner(name)?;
        if let Some(link) = self.link_above(&name) {
            bail!("{name} in it leads through the link {link}: this is no package to trust");
        }
        if kind == Kind::File && matches!(name.as_str(), "" | ".") {
            bail!("a file in it has no name");
        }
        (self.visitor)(&name, kind, content)?;
        if kind == Kind::Link {
            self.links.insert(name);
        }
        Ok(())
    }

    fn link_above<'n>(&self, name: &'n str) -> Option<&'n str> {
        let mut above = name.match_indices('/').map(|(end, _)| &name[..end]);
        above.find(|folder| self.links.contains(*folder))
    }
}
