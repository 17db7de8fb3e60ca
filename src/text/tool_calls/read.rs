//! Calls written as JSON objects, however their parts are called.

use serde_json::Value;

use super::{Found, json};

/// Names of what is called and of what it is given.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];

/// `{"name": …, "arguments"|"parameters": …}`, other keys beside them or not, also within `"function"`. `None` where the
/// object is no call.
pub(super) fn call(object: &str) -> Option<Found> {
    let entries = json::entries(object)?;
    let get = |wanted: &str| {
        let mut named = entries.iter().rev();
        let (_, value) = named.find(|(key, _)| &object[key.clone()] == wanted)?;
        Some(&object[value.clone()])
    };
    let Some(name) = get("name") else {
        return call(get("function").filter(|inner| inner.starts_with('{'))?);
    };
    let name: String = serde_json::from_str(name).ok()?;
    let given = ARGUMENTS.into_iter().find_map(get);
    Some(Found {
        name: Some(name).filter(|name| !name.is_empty())?,
        arguments: arguments(given.unwrap_or("{}"))?,
    })
}

/// The text of an object: as it stands, out of a string, or `{}` for null.
pub(super) fn arguments(given: &str) -> Option<String> {
    let text = match serde_json::from_str(given).ok()? {
        Value::Null => return Some("{}".to_owned()),
        Value::Object(_) => return Some(given.to_owned()),
        Value::String(text) => text,
        _ => return None,
    };
    match serde_json::from_str(&text).ok()? {
        Value::Object(_) => Some(text.trim().to_owned()),
        _ => None,
    }
}

/// All calls of a list, if it holds nothing else.
pub(super) fn calls(list: &str) -> Option<Vec<Found>> {
    let items = json::items(list)?;
    let found: Option<Vec<Found>> = items.into_iter().map(|item| call(&list[item])).collect();
    found.filter(|calls| !calls.is_empty())
}

/// One call or a list of them.
pub(super) fn any(value: &str) -> Option<Vec<Found>> {
    match value.starts_with('[') {
        true => calls(value),
        false => Some(vec![call(value)?]),
    }
}
