//! Cells: what a night tests, each a kernel under a load, in a topology, watched by a set of detectors.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names a cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellId {
    /// The kernel's name in the night's file.
    pub kernel: String,
    /// The load's name.
    pub load: String,
    /// The topology's name.
    pub topology: String,
    /// Name of the set of detectors.
    pub detectors: String,
}

impl CellId {
    /// What it shares with the cells of other kernels: a control proves something about these.
    pub fn environment(&self) -> [&str; 3] {
        [&self.load, &self.topology, &self.detectors]
    }

    fn parts(&self) -> [&str; 4] {
        [&self.kernel, &self.load, &self.topology, &self.detectors]
    }
}

impl std::fmt::Display for CellId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.parts().join("/"))
    }
}

impl FromStr for CellId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let [kernel, load, topology, detectors] = parts[..] else {
            return Err(format!(
                "`{text}` is no cell: expected kernel/load/topology/detectors"
            ));
        };
        let [kernel, load, topology, detectors] =
            [kernel, load, topology, detectors].map(str::to_owned);
        Ok(Self {
            kernel,
            load,
            topology,
            detectors,
        })
    }
}

/// Some cells: those that have what is named. `*` stands for any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cells {
    /// Kernels; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Loads; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// Topologies; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<String>,
    /// Sets of detectors; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectors: Option<String>,
}

impl Cells {
    /// Whether a cell is among them.
    pub fn have(&self, cell: &CellId) -> bool {
        self.parts()
            .into_iter()
            .zip(cell.parts())
            .all(|((_, wanted), part)| wanted.is_none_or(|glob| matches(glob, part)))
    }

    /// What is named, with the field's name.
    pub(super) fn parts(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("kernel", self.kernel.as_deref()),
            ("load", self.load.as_deref()),
            ("topology", self.topology.as_deref()),
            ("detectors", self.detectors.as_deref()),
        ]
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any characters.
pub fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_and_read() {
        let id: CellId = "fixed/base/two-nodes/quiet".parse().unwrap();
        assert_eq!(id.environment(), ["base", "two-nodes", "quiet"]);
        assert_eq!(id.to_string(), "fixed/base/two-nodes/quiet");
        let error = "fixed/base".parse::<CellId>().unwrap_err();
        assert!(error.contains("kernel/load/topology/detectors"), "{error}");
    }

    #[test]
    fn patterns_are_globs_over_the_whole_text() {
        for (glob, text) in [
            ("a", "a"),
            ("*", ""),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*b*c", "a-b-b-c"),
            ("*a*", "bab"),
        ] {
            assert!(matches(glob, text), "{glob} {text}");
        }
        for (glob, text) in [
            ("a", "ab"),
            ("a*", "ba"),
            ("a*a", "a"),
            ("a*b*c", "a-c-b"),
            ("", "a"),
        ] {
            assert!(!matches(glob, text), "{glob} {text}");
        }
    }

    #[test]
    fn partial_cells_have_what_they_name() {
        let id: CellId = "vendor/natural/base/base".parse().unwrap();
        let cells = |kernel: Option<&str>, load: Option<&str>| Cells {
            kernel: kernel.map(str::to_owned),
            load: load.map(str::to_owned),
            ..Cells::default()
        };
        assert!(cells(Some("ven*"), None).have(&id));
        assert!(cells(Some("vendor"), Some("natural")).have(&id));
        assert!(!cells(Some("vendor"), Some("base")).have(&id));
        assert!(!cells(Some("fixed"), None).have(&id));
    }
}
