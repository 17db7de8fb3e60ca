//! Walking a value along its table; the first thing that does not fit is named by its path.

use serde_json::{Map, Value};

use super::path::Path;
use super::{Field, Kind, Shape};
use crate::domain::Reason;

impl Shape {
    /// The value without what counts as absent, if it is this object and nothing else.
    pub fn settle(&self, mut value: Value) -> Result<Value, Reason> {
        self.check(&value)?;
        self.strip(&mut value);
        Ok(value)
    }

    pub(super) fn check(&self, value: &Value) -> Result<(), Reason> {
        if !value.is_object() {
            return Err(Reason::BadBody(format!(
                "the body must be a JSON object, not {}",
                type_of(value)
            )));
        }
        self.check_at(value, &Path::Root)
    }

    fn check_at(&self, value: &Value, path: &Path<'_>) -> Result<(), Reason> {
        let Value::Object(map) = value else {
            return Err(Reason::field(
                path.to_string(),
                format!("must be an object, not {}", type_of(value)),
            ));
        };
        let unknown = map
            .keys()
            .find(|name| self.all().all(|field| field.name != name.as_str()));
        if let Some(name) = unknown {
            let at = Path::Key(path, name).to_string();
            return Err(Reason::field(at, "is not a field of this request"));
        }
        for field in self.all() {
            let at = Path::Key(path, field.name);
            match map.get(field.name) {
                None | Some(Value::Null) if field.required => {
                    return Err(Reason::field(at.to_string(), "is required"));
                }
                None | Some(Value::Null) => {}
                Some(value) if field.is_neutral(value, map) => {}
                Some(value) => field.kind.check(value, &at)?,
            }
        }
        Ok(())
    }

    /// Takes neutral values out, here and in the objects within.
    fn strip(&self, value: &mut Value) {
        let Value::Object(map) = value else {
            return;
        };
        let names = self.all().filter(|field| {
            map.get(field.name)
                .is_some_and(|value| field.is_neutral(value, map))
        });
        for name in names.map(|field| field.name).collect::<Vec<_>>() {
            map.remove(name);
        }
        for field in self.all().filter(|field| field.kind.may_hold_objects()) {
            if let Some(value) = map.get_mut(field.name) {
                field.kind.strip(value);
            }
        }
    }
}

impl Field {
    pub(super) fn is_neutral(&self, value: &Value, beside: &Map<String, Value>) -> bool {
        self.neutral.iter().any(|neutral| neutral.is(value, beside))
    }
}

impl Kind {
    /// Lists of numbers are long and need no second look.
    fn may_hold_objects(&self) -> bool {
        match self {
            Self::Object(_) => true,
            Self::List { of, .. } | Self::Map { of, .. } => of.may_hold_objects(),
            Self::Either(kinds) => kinds.iter().any(Self::may_hold_objects),
            _ => false,
        }
    }

    fn strip(&self, value: &mut Value) {
        match (self, value) {
            (Self::Object(shape), value) => shape.strip(value),
            (Self::List { of, .. }, Value::Array(items)) if of.may_hold_objects() => {
                items.iter_mut().for_each(|item| of.strip(item));
            }
            (Self::Map { of, .. }, Value::Object(map)) if of.may_hold_objects() => {
                map.values_mut().for_each(|value| of.strip(value));
            }
            (Self::Either(kinds), value) => {
                if let Some(kind) = kinds.iter().find(|kind| kind.takes(value)) {
                    kind.strip(value);
                }
            }
            _ => {}
        }
    }

    pub(super) fn check(&self, value: &Value, path: &Path<'_>) -> Result<(), Reason> {
        let wrong = |why: String| Err(Reason::field(path.to_string(), why));
        if !self.takes(value) {
            return wrong(format!(
                "must be {}, not {}",
                self.describe(),
                type_of(value)
            ));
        }
        match self {
            Self::Flag | Self::Any => Ok(()),
            Self::Integer { min, max } => {
                // `takes` let integers through; those beyond i64 are above any `max`.
                let fits = value
                    .as_i64()
                    .is_some_and(|number| (*min..=*max).contains(&number));
                if fits {
                    Ok(())
                } else {
                    wrong(format!("must be {}", self.describe()))
                }
            }
            Self::Number(range) => {
                if value.as_f64().is_some_and(|number| range.holds(number)) {
                    Ok(())
                } else {
                    wrong(format!("must be {}", self.describe()))
                }
            }
            Self::Text { min, max } => match value.as_str().map_or(0, str::len) {
                length if length < *min => wrong("must not be empty".to_owned()),
                length if length > *max => wrong(format!("is {length} bytes long; at most {max}")),
                _ => Ok(()),
            },
            Self::Choice(choices) => {
                let known = value.as_str().is_some_and(|text| choices.contains(&text));
                if known {
                    Ok(())
                } else {
                    wrong(format!("must be {}", self.describe()))
                }
            }
            Self::List { of, min, max } => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                if items.len() < *min || items.len() > *max {
                    let most = if *max == usize::MAX {
                        String::new()
                    } else {
                        format!(" and at most {max}")
                    };
                    return wrong(format!("has {} entries; at least {min}{most}", items.len()));
                }
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, item)| of.check(item, &Path::Index(path, at)))
            }
            Self::Map { of, max } => {
                let Value::Object(map) = value else {
                    return Ok(());
                };
                if map.len() > *max {
                    return wrong(format!("has {} entries; at most {max}", map.len()));
                }
                map.iter()
                    .try_for_each(|(key, value)| of.check(value, &Path::Key(path, key)))
            }
            Self::Object(shape) => shape.check_at(value, path),
            Self::Either(kinds) => match kinds.iter().find(|kind| kind.takes(value)) {
                Some(kind) => kind.check(value, path),
                None => Ok(()),
            },
            Self::Unbuilt(why) => wrong((*why).to_owned()),
        }
    }

    /// Whether the JSON type fits; values are checked afterwards.
    pub(super) fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Flag => value.is_boolean(),
            Self::Integer { .. } => value.is_i64() || value.is_u64(),
            Self::Number(_) => value.is_number(),
            Self::Text { .. } | Self::Choice(_) => value.is_string(),
            Self::List { of, .. } => value
                .as_array()
                .is_some_and(|items| items.first().is_none_or(|item| of.takes_type(item))),
            Self::Map { .. } | Self::Object(_) => value.is_object(),
            Self::Either(kinds) => kinds.iter().any(|kind| kind.takes(value)),
            Self::Unbuilt(_) | Self::Any => true,
        }
    }

    /// Inside a list the first entry chooses between kinds of lists; where there is no choice, the entry itself is
    /// the better thing to complain about.
    fn takes_type(&self, value: &Value) -> bool {
        match self {
            Self::Object(_) | Self::Map { .. } | Self::Either(_) | Self::Choice(_) => true,
            other => other.takes(value),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Integer { min, max } => match (*min, *max) {
                (i64::MIN, i64::MAX) => "an integer".to_owned(),
                (min, i64::MAX) => format!("an integer from {min}"),
                (min, max) => format!("an integer from {min} to {max}"),
            },
            Self::Number(range) if range.bounded() => format!("a number {range}"),
            Self::Number(range) => range.to_string(),
            Self::Text { .. } => "a string".to_owned(),
            Self::Choice(choices) => choices
                .iter()
                .map(|choice| format!("`{choice}`"))
                .collect::<Vec<_>>()
                .join(" or "),
            Self::List { of, .. } => format!("a list of which each entry is {}", of.describe()),
            Self::Map { of, .. } => format!("an object of which each value is {}", of.describe()),
            Self::Object(_) => "an object".to_owned(),
            Self::Either(kinds) => kinds
                .iter()
                .map(Self::describe)
                .collect::<Vec<_>>()
                .join(", or "),
            Self::Unbuilt(_) => "null".to_owned(),
            Self::Any => "anything".to_owned(),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
