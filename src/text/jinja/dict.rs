//! Dicts: keys in the order they came, equal as Python has them equal (`1`, `1.0` and `True` are one key).

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use indexmap::{Equivalent, IndexMap};

use super::compare::equal;
use super::fault::{Outcome, failed};
use super::value::{Extent, Value};

/// A value that Python can hash.
#[derive(Clone)]
pub(in crate::text) struct Key(Value);

impl Key {
    pub fn new(value: Value) -> Outcome<Self> {
        check_hashable(&value)?;
        Ok(Self(value))
    }

    pub fn value(&self) -> &Value {
        &self.0
    }
}

fn check_hashable(value: &Value) -> Outcome<()> {
    match value {
        Value::List(_) | Value::Dict(_) | Value::View(..) => {
            Err(failed(format!("unhashable type: '{}'", value.type_name())))
        }
        Value::Tuple(seq) => seq.items.iter().try_for_each(check_hashable),
        _ => Ok(()),
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Str(text) => (**text).hash(state),
        Value::Bool(value) => i64::from(*value).hash(state),
        Value::Int(value) => value.hash(state),
        // Every whole float of this size is the same number as an integer.
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => {
            (*value as i64).hash(state);
        }
        Value::Tuple(seq) => seq.items.iter().for_each(|item| hash(item, state)),
        // Rare as keys: all of a kind share one place.
        value => std::mem::discriminant(value).hash(state),
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Equivalent<Key> for str {
    fn equivalent(&self, key: &Key) -> bool {
        key.0.as_str() == Some(self)
    }
}

#[derive(Clone, Default)]
pub(in crate::text) struct Dict {
    map: IndexMap<Key, Value>,
    extent: Extent,
}

impl Dict {
    pub fn insert(&mut self, key: Value, value: Value) -> Outcome<()> {
        self.extent = self.extent.and(key.extent())?.and(value.extent())?;
        self.map.insert(Key::new(key)?, value);
        Ok(())
    }

    /// `None` where it is not there; fails for what cannot be a key.
    pub fn find(&self, key: &Value) -> Outcome<Option<&Value>> {
        match key {
            Value::Str(text) => Ok(self.map.get(&**text)),
            key => Ok(self.map.get(&Key::new(key.clone())?)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name)
    }

    pub fn at(&self, index: usize) -> Option<(&Value, &Value)> {
        let (key, value) = self.map.get_index(index)?;
        Some((key.value(), value))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Value, &Value)> + ExactSizeIterator {
        self.map.iter().map(|(key, value)| (key.value(), value))
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn extent(&self) -> Extent {
        self.extent
    }
}

impl From<&serde_json::Map<String, serde_json::Value>> for Dict {
    fn from(map: &serde_json::Map<String, serde_json::Value>) -> Self {
        let mut extent = Extent::default();
        let map = map
            .iter()
            .map(|(key, value)| {
                let value = Value::from(value);
                extent = extent.and(value.extent()).unwrap_or(extent);
                (Key(Value::str(key.as_str())), value)
            })
            .collect();
        Self { map, extent }
    }
}

/// JSON nests less deep than values may.
impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, Some(whole)) => Self::big(whole.into()),
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::str(text.as_str()),
            Json::Array(items) => {
                let items: Vec<Self> = items.iter().map(Self::from).collect();
                Self::list(items).unwrap_or(Self::None)
            }
            Json::Object(map) => Self::Dict(Rc::new(Dict::from(map))),
        }
    }
}
