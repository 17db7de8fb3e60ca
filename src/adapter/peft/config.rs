//! `adapter_config.json` as checked values. Every getter names its key when the value is not what it should be.

use serde_json::{Map, Value};

use crate::adapter::AdapterFault;
use crate::domain::lfs_pointer;

/// The object in `adapter_config.json`.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    keys: Map<String, Value>,
}

impl ConfigFile {
    /// `file` is the name in the error when the text is no JSON object.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, AdapterFault> {
        if let Some(why) = lfs_pointer(text) {
            return Err(AdapterFault::new(file, why));
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(keys)) => Ok(Self { keys }),
            Ok(_) => Err(AdapterFault::new(file, "is not a JSON object")),
            Err(error) => Err(match non_finite_key(text) {
                Some(key) => AdapterFault::new(key, "is not a finite number"),
                None => AdapterFault::new(file, format!("is not JSON: {error}")),
            }),
        }
    }

    pub fn keys(&self) -> &Map<String, Value> {
        &self.keys
    }

    /// `None` where the key is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, AdapterFault> {
        let wrong = || AdapterFault::new(key, "is not a string");
        self.get(key)
            .map(|value| value.as_str().ok_or_else(wrong))
            .transpose()
    }

    pub fn flag(&self, key: &str) -> Result<bool, AdapterFault> {
        let wrong = || AdapterFault::new(key, "is neither true nor false");
        Ok(self
            .get(key)
            .map(|value| value.as_bool().ok_or_else(wrong))
            .transpose()?
            .unwrap_or(false))
    }

    /// An object inside this one.
    pub fn object(&self, key: &str) -> Result<Option<Self>, AdapterFault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(keys)) => Ok(Some(Self { keys: keys.clone() })),
            Some(_) => Err(AdapterFault::new(key, "is not an object")),
        }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, AdapterFault> {
        self.get(key).map(|value| finite(key, value)).transpose()
    }

    pub fn count(&self, key: &str) -> Result<Option<usize>, AdapterFault> {
        self.get(key).map(|value| count(key, value)).transpose()
    }

    /// A list of strings.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, AdapterFault> {
        let wrong = || AdapterFault::new(key, "is not a list of strings");
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let items = value.as_array().ok_or_else(wrong)?;
        let texts = items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong));
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// A map whose order matters (PEFT lets the first matching pattern win); each value read by `read`.
    pub fn patterns<T>(
        &self,
        key: &str,
        read: impl Fn(&str, &Value) -> Result<T, AdapterFault>,
    ) -> Result<Vec<(String, T)>, AdapterFault> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let entries = value
            .as_object()
            .ok_or_else(|| AdapterFault::new(key, "is not an object"))?;
        entries
            .iter()
            .map(|(pattern, value)| {
                Ok((pattern.clone(), read(&format!("{key}.{pattern}"), value)?))
            })
            .collect()
    }
}

/// A whole number of at least 0.
pub fn count(field: &str, value: &Value) -> Result<usize, AdapterFault> {
    let whole = value.as_u64().and_then(|n| usize::try_from(n).ok());
    whole.ok_or_else(|| {
        AdapterFault::new(
            field,
            format!("{value} is not a whole number of at least 0"),
        )
    })
}

pub fn finite(field: &str, value: &Value) -> Result<f64, AdapterFault> {
    let number = value.as_f64().filter(|number| number.is_finite());
    number.ok_or_else(|| AdapterFault::new(field, format!("{value} is not a finite number")))
}

/// Python writes NaN and infinities as bare words, which are not JSON. Finds the key that holds the first one,
/// so that the fault can name it.
fn non_finite_key(text: &[u8]) -> Option<String> {
    const STAND_IN: &str = "\u{1}non-finite";
    let text = std::str::from_utf8(text).ok()?;
    let (mut plain, mut rest, mut in_string) = (String::with_capacity(text.len()), text, false);
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|word| !in_string && rest.starts_with(word));
        let taken = match word {
            Some(word) => {
                plain.push_str("\"\\u0001non-finite\"");
                word.len()
            }
            None if in_string && c == '\\' => {
                1 + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            None => {
                in_string ^= c == '"';
                c.len_utf8()
            }
        };
        if word.is_none() {
            plain.push_str(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    fn find(at: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) if text == STAND_IN => Some(at.to_owned()),
            Value::Object(keys) => keys.iter().find_map(|(key, value)| {
                find(
                    &if at.is_empty() {
                        key.clone()
                    } else {
                        format!("{at}.{key}")
                    },
                    value,
                )
            }),
            Value::Array(items) => items.iter().find_map(|item| find(at, item)),
            _ => None,
        }
    }
    find("", &serde_json::from_str(&plain).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> AdapterFault {
        ConfigFile::parse("adapter_config.json", text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_bare_nan_is_blamed_on_its_key() {
        assert_eq!(fault(r#"{"r": 4, "lora_alpha": NaN}"#).field, "lora_alpha");
        assert_eq!(
            fault(r#"{"note": "NaN \" é", "alpha_pattern": {"q_proj": -Infinity}}"#).field,
            "alpha_pattern.q_proj"
        );
    }

    #[test]
    fn text_that_is_no_object_is_blamed_on_the_file() {
        for text in ["", "[1]", "{\"r\": ", "nonsense", "{\"a\": NaNa}"] {
            assert_eq!(fault(text).field, "adapter_config.json", "{text}");
        }
    }

    #[test]
    fn getters_name_the_key_that_is_wrong() {
        let config = ConfigFile::parse(
            "f",
            br#"{"r": 2.5, "b": 1, "t": ["x", 3], "p": {"q": -1}, "n": null}"#,
        )
        .unwrap();
        assert_eq!(config.count("r").unwrap_err().field, "r");
        assert_eq!(config.flag("b").unwrap_err().field, "b");
        assert_eq!(config.texts("t").unwrap_err().field, "t");
        assert_eq!(config.patterns("p", count).unwrap_err().field, "p.q");
        assert_eq!(config.count("n").unwrap(), None);
    }
}
