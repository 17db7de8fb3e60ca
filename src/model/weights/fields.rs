//! Typed reading of a JSON object that remembers what was read, so that the rest can be accounted for.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::WeightError;

/// A JSON object being read key by key. Every getter marks its key as read and fails with the key named.
pub(in crate::model) struct Fields<'a> {
    map: &'a Map<String, Value>,
    read: BTreeSet<String>,
    /// Put before a key in errors: the file, or the file and the enclosing key.
    place: String,
}

impl<'a> Fields<'a> {
    pub fn new(map: &'a Map<String, Value>, place: impl Into<String>) -> Self {
        Self {
            map,
            read: BTreeSet::new(),
            place: place.into(),
        }
    }

    pub fn wrong(&self, key: &str, why: impl Into<String>) -> WeightError {
        WeightError::new(format!("{}{key}", self.place), why)
    }

    /// Written in the object, be it as null.
    pub fn present(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Written in the object as false.
    pub fn is_off(&self, key: &str) -> bool {
        self.map.get(key) == Some(&Value::Bool(false))
    }

    /// The value of a key; null counts as absent.
    fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.read.insert(key.to_owned());
        self.map.get(key).filter(|v| !v.is_null())
    }

    pub fn number(&mut self, key: &str) -> Result<Option<f64>, WeightError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|n| n.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(key, format!("{value} is not a number"))),
            },
        }
    }

    pub fn number_or(&mut self, key: &str, default: f64) -> Result<f64, WeightError> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    /// A whole number from 0, also when written as `8.0`.
    pub fn count(&mut self, key: &str) -> Result<Option<usize>, WeightError> {
        match self.number(key)? {
            None => Ok(None),
            Some(n) if n >= 0.0 && n.fract() == 0.0 && n <= 9e15 => Ok(Some(n as usize)),
            Some(n) => Err(self.wrong(key, format!("{n} is not a whole number from 0"))),
        }
    }

    pub fn count_or(&mut self, key: &str, default: usize) -> Result<usize, WeightError> {
        Ok(self.count(key)?.unwrap_or(default))
    }

    /// A whole number from 1 to `most`.
    pub fn size_or_none(&mut self, key: &str, most: usize) -> Result<Option<usize>, WeightError> {
        match self.count(key)? {
            Some(n) if n == 0 || n > most => {
                Err(self.wrong(key, format!("{n} is not between 1 and {most}")))
            }
            other => Ok(other),
        }
    }

    pub fn size_or(
        &mut self,
        key: &str,
        default: usize,
        most: usize,
    ) -> Result<usize, WeightError> {
        match self.size_or_none(key, most)?.unwrap_or(default) {
            0 => Err(self.wrong(key, "would be 0")),
            n => Ok(n),
        }
    }

    pub fn size(&mut self, key: &str, most: usize) -> Result<usize, WeightError> {
        match self.size_or_none(key, most)? {
            Some(n) => Ok(n),
            None => Err(self.wrong(key, "is missing")),
        }
    }

    pub fn flag_or(&mut self, key: &str, default: bool) -> Result<bool, WeightError> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(key, format!("{value} is neither true nor false"))),
        }
    }

    pub fn text(&mut self, key: &str) -> Result<Option<String>, WeightError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong(key, format!("{other} is not a string"))),
        }
    }

    pub fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>, WeightError> {
        let wrong = |this: &Self| this.wrong(key, "is not a list of strings");
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(self)))
                .collect::<Result<Vec<_>, _>>()
                .map(Some),
            Some(_) => Err(wrong(self)),
        }
    }

    /// A list of numbers; `None` if the key holds a single one.
    pub fn numbers(&mut self, key: &str) -> Result<Option<Vec<f64>>, WeightError> {
        match self.take(key) {
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    item.as_f64()
                        .ok_or_else(|| self.wrong(key, "is not a list of numbers"))
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Some),
            _ => Ok(None),
        }
    }

    pub fn object(&mut self, key: &str) -> Result<Option<&'a Map<String, Value>>, WeightError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.wrong(key, format!("{other} is not an object"))),
        }
    }

    /// Keys no getter asked for.
    pub fn unread(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map
            .iter()
            .map(|(k, v)| (k.as_str(), v))
            .filter(|(k, _)| !self.read.contains(*k))
    }
}
