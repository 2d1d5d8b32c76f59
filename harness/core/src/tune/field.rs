//! A field of a campaign, by the steps that lead to it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

/// One step: into a mapping, or into a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Step {
    /// Position in a list, from 0.
    Index(u32),
    /// Key of a mapping.
    Key(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Key(key) => key.fmt(f),
        }
    }
}

/// A field of a campaign. It is written as a list of steps, because keys have dots and slashes in them:
/// `[tuning, sysctls, kernel.numa_balancing]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Field(#[schemars(length(min = 1, max = 16))] Vec<Step>);

impl Field {
    /// The steps, outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether one of the two is the other, or inside of it.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, two)| one == two)
    }

    /// Whether a [`crate::yaml::Problem`] with this `field` is about the field or something in it.
    pub fn holds(&self, field: &str) -> bool {
        field
            .strip_prefix(&self.to_string())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The field's value in a document, if that has it.
    pub fn get<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, child)
    }

    /// Puts a value into the field; a key that its mapping does not have is added.
    ///
    /// # Errors
    /// When there is nothing that could have such a field, in words.
    pub fn set(&self, document: &mut Value, value: Value) -> Result<(), String> {
        let Some((last, way)) = self.0.split_last() else {
            return Err("a field has a name".to_owned());
        };
        let mut at = document;
        for (depth, step) in way.iter().enumerate() {
            at = child_mut(at, step).ok_or_else(|| {
                let missing = Self(way[..=depth].to_vec());
                format!("the campaign has no `{missing}` to set something in")
            })?;
        }
        match (at, last) {
            (Value::Mapping(mapping), Step::Key(key)) => {
                mapping.insert(Value::String(key.clone()), value);
                return Ok(());
            }
            (Value::Sequence(list), Step::Index(index)) => {
                if let Some(item) = list.get_mut(*index as usize) {
                    *item = value;
                    return Ok(());
                }
            }
            (_, Step::Key(_) | Step::Index(_)) => {}
        }
        let inside = Self(way.to_vec());
        Err(format!("the campaign's `{inside}` has no field `{last}`"))
    }
}

impl fmt::Display for Field {
    /// As problems name fields: the steps with dots between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            let dot = if depth == 0 { "" } else { "." };
            write!(f, "{dot}{step}")?;
        }
        Ok(())
    }
}

fn child<'a>(value: &'a Value, step: &Step) -> Option<&'a Value> {
    match step {
        Step::Index(index) => value.as_sequence()?.get(*index as usize),
        Step::Key(key) => value.as_mapping()?.get(key),
    }
}

fn child_mut<'a>(value: &'a mut Value, step: &Step) -> Option<&'a mut Value> {
    match step {
        Step::Index(index) => value.as_sequence_mut()?.get_mut(*index as usize),
        Step::Key(key) => value.as_mapping_mut()?.get_mut(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "
tuning:
  sysctls: {kernel.numa_balancing: 1, kernel: 2}
  files: {/sys/module/fair/parameters/kv_a_wait_us: 5}
guest:
  nodes: [{cpus: 4}, {cpus: 2}]
shuffler: null
";

    fn field(text: &str) -> Field {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn keys_with_dots_and_slashes_and_positions_in_lists_are_reached() {
        let mut document: Value = serde_yaml::from_str(DOCUMENT).unwrap();
        for (text, old) in [
            ("[tuning, sysctls, kernel.numa_balancing]", 1),
            ("[tuning, sysctls, kernel]", 2),
            (
                "[tuning, files, /sys/module/fair/parameters/kv_a_wait_us]",
                5,
            ),
            ("[guest, nodes, 1, cpus]", 2),
        ] {
            let field = field(text);
            assert_eq!(field.get(&document), Some(&Value::from(old)), "{text}");
            field.set(&mut document, Value::from(77)).unwrap();
            assert_eq!(field.get(&document), Some(&Value::from(77)), "{text}");
        }
        let left = serde_yaml::to_string(&document).unwrap();
        assert_eq!(left.matches("77").count(), 4, "{left}");
    }

    #[test]
    fn a_new_key_is_added_and_a_missing_parent_is_named() {
        let mut document: Value = serde_yaml::from_str(DOCUMENT).unwrap();
        let new = field("[tuning, sysctls, kernel.watchdog]");
        assert_eq!(new.get(&document), None);
        new.set(&mut document, Value::from(0)).unwrap();
        assert_eq!(new.get(&document), Some(&Value::from(0)));
        for (text, word) in [
            ("[load, swappers, hop_us]", "no `load`"),
            ("[shuffler, count]", "`shuffler` has no field `count`"),
            ("[guest, nodes, 2]", "`guest.nodes` has no field `2`"),
            ("[guest, nodes, 2, cpus]", "no `guest.nodes.2`"),
            (
                "[guest, nodes, first]",
                "`guest.nodes` has no field `first`",
            ),
        ] {
            let error = field(text).set(&mut document, Value::Null).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_field_holds_itself_and_what_is_in_it_only() {
        let count = field("[load, pollers, count]");
        assert!(count.holds("load.pollers.count") && count.holds("load.pollers.count.x"));
        assert!(!count.holds("load.pollers.counter") && !count.holds("load.pollers"));
        assert!(count.overlaps(&field("[load, pollers]")) && field("[load]").overlaps(&count));
        assert!(!count.overlaps(&field("[load, pollers, mbufs]")));
    }
}
