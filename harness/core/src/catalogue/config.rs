//! A finished `.config`, and whether it is what was asked for.
//!
//! Kconfig drops silently what a dependency forbids, and a kernel without its lockup detector or
//! without NUMA would later pass every trial. So each wish is looked up again afterwards.

use std::collections::BTreeMap;

use super::fragment::{Fragment, request_in};

/// The values of a finished `.config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<String, String>,
}

/// A wish that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheld {
    /// Name without `CONFIG_`.
    pub symbol: String,
    /// What the fragment asked for.
    pub wanted: String,
    /// What the `.config` has; `n` when it has no line about it.
    pub found: String,
    /// Where the wish was written.
    pub origin: String,
    /// Whether the fragment allows it.
    pub optional: bool,
}

impl Config {
    /// Reads a `.config`.
    pub fn parse(text: &str) -> Self {
        let values = text
            .lines()
            .filter_map(request_in)
            .map(|(symbol, value)| (symbol.to_owned(), value.to_owned()))
            .collect();
        Self { values }
    }

    /// The value of a symbol, `n` when there is none.
    pub fn value(&self, symbol: &str) -> &str {
        self.values.get(symbol).map_or("n", String::as_str)
    }

    /// Every symbol that it has a line about, without `CONFIG_`, sorted.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Every wish that this configuration does not hold.
    pub fn unheld(&self, wishes: &Fragment) -> Vec<Unheld> {
        wishes
            .requests()
            .iter()
            .filter(|request| self.value(&request.symbol) != request.value)
            .map(|request| Unheld {
                symbol: request.symbol.clone(),
                wanted: request.value.clone(),
                found: self.value(&request.symbol).to_owned(),
                origin: request.origin.clone(),
                optional: request.optional,
            })
            .collect()
    }
}

impl Unheld {
    /// One line that names the wish and what became of it.
    pub fn headline(&self) -> String {
        format!(
            "CONFIG_{}: wanted {} ({}), found {}",
            self.symbol, self.wanted, self.origin, self.found
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_compared_value_by_value() {
        let config = Config::parse("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=64\nCONFIG_VT=y\n");
        let wishes = Fragment::parse(
            "f.config",
            "CONFIG_A=y\nCONFIG_B=y\nCONFIG_N=512\nCONFIG_GONE=n\n# optional\n# CONFIG_VT is not set\n",
        )
        .unwrap();
        let lines: Vec<String> = config
            .unheld(&wishes)
            .iter()
            .map(Unheld::headline)
            .collect();
        assert_eq!(
            lines,
            [
                "CONFIG_B: wanted y (f.config:2), found n",
                "CONFIG_N: wanted 512 (f.config:3), found 64",
                "CONFIG_VT: wanted n (f.config:6), found y",
            ]
        );
        let optional: Vec<bool> = config.unheld(&wishes).iter().map(|u| u.optional).collect();
        assert_eq!(optional, [false, false, true]);
    }
}
