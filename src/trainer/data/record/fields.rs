//! The keys of one object of a row, taken one by one, so that what is left over can be reported.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::kind;

/// An object and where it stands.
///
/// A key whose value says nothing (null, an empty text, list or object, or the key's own default) counts as absent.
pub(super) struct Fields {
    map: Map<String, Value>,
    place: String,
}

/// Keys whose default says something: it is as good as absent.
const DEFAULTS: [(&str, &[&str]); 12] = [
    ("parallel_tool_calls", &["true"]),
    ("tool_choice", &["\"auto\"", "\"none\""]),
    ("function_call", &["\"auto\"", "\"none\""]),
    // Of a row: on turns they are flags.
    ("weight", &["1", "1.0"]),
    ("loss", &["true"]),
    ("train", &["true"]),
    ("training", &["true"]),
    ("trainable", &["true"]),
    ("masked", &["false"]),
    ("mask", &["false"]),
    // Some write the list as a text.
    ("tools", &["\"[]\""]),
    ("functions", &["\"[]\""]),
];

impl Fields {
    /// `place` names the object, as in `messages[0]`; it is empty for the row itself.
    pub fn new(map: Map<String, Value>, place: &str) -> Self {
        Self {
            map,
            place: place.to_owned(),
        }
    }

    /// A key as messages name it, with where it stands.
    pub fn named(&self, key: &str) -> String {
        match self.place.as_str() {
            "" => format!("`{key}`"),
            place => format!("`{place}.{key}`"),
        }
    }

    /// Whether the key says anything.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The key's value if it says anything.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| says(key, value))
    }

    /// Whether the key is there, be its value empty; null is not there.
    pub fn writes(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Those of `keys` that say anything, in their order.
    pub fn among<'k>(&self, keys: &[&'k str]) -> Vec<&'k str> {
        keys.iter().copied().filter(|key| self.has(key)).collect()
    }

    /// Takes a value, be it empty; null is none.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// Takes a text, be it empty.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{} is {}, not text", self.named(key), kind(&other))),
        }
    }

    /// Takes a text that must be there, be it empty.
    pub fn required(&mut self, key: &str) -> Result<String, String> {
        self.text(key)?
            .ok_or_else(|| format!("{} is missing", self.named(key)))
    }

    /// Takes the text of `key`, which must hold more than blanks.
    pub fn answer(&mut self, key: &str) -> Result<String, String> {
        let text = self.required(key)?;
        not_blank(text, &self.named(key))
    }

    /// Adds the names of the keys that were not taken to `unused`; those of list items without their number.
    pub fn leave(self, unused: &mut BTreeSet<String>) {
        let place = match self.place.split_once('[') {
            Some((list, _)) => format!("{list}[]."),
            None if self.place.is_empty() => String::new(),
            None => format!("{}.", self.place),
        };
        let left = self.map.iter().filter(|(key, value)| says(key, value));
        unused.extend(left.map(|(key, _)| format!("{place}{key}")));
    }
}

/// An answer has something to learn from.
pub(super) fn not_blank(text: String, name: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err(format!(
            "{name} is empty: there is nothing to learn from it"
        )),
        false => Ok(text),
    }
}

fn says(key: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let default = || {
        DEFAULTS
            .iter()
            .any(|(name, values)| *name == key && values.contains(&value.to_string().as_str()))
    };
    !empty && !default()
}
