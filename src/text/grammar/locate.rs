//! Which part of a schema the compiler's complaint is about. The library compiles a schema as a whole and does not say
//! where it stopped, so parts are tried alone: one that fails for the same reason is where to look.

use serde_json::Value;

use super::compile::Flaw;
use super::limits::TRIALS;
use super::schema::{LISTS, MAPS, ONE};

/// `flaw`, of the whole of `root`, at the smallest part that fails alike. `fails`: why a schema cannot be compiled.
pub fn locate(root: &Value, mut flaw: Flaw, fails: impl Fn(Value) -> Option<Flaw>) -> Flaw {
    let mut path = String::new();
    let mut at = root;
    let mut left = TRIALS;
    'deeper: loop {
        for (step, part) in parts(at) {
            if left == 0 {
                break 'deeper;
            }
            left -= 1;
            // The complaint about a whole ends with the one about its part.
            let same = fails(alone(part, root)).filter(|other| flaw.why.ends_with(&other.why));
            if let Some(same) = same {
                flaw = same;
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&step);
                at = part;
                continue 'deeper;
            }
        }
        break;
    }
    // A schema alone may be at fault by one keyword whose value the complaint is about.
    if let Some(key) = keyword(at, &flaw.why) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    }
    Flaw { path, ..flaw }
}

/// The schemas that lie directly in a schema, each with its path from there.
fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let Value::Object(map) = schema else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, value) in map {
        let key = key.as_str();
        match value {
            Value::Array(items) if LISTS.contains(&key) => {
                let items = items.iter().enumerate();
                found.extend(items.map(|(at, item)| (format!("{key}[{at}]"), item)));
            }
            value if ONE.contains(&key) => found.push((key.to_owned(), value)),
            Value::Object(map) if MAPS.contains(&key) => {
                found.extend(
                    map.iter()
                        .map(|(name, schema)| (format!("{key}.{name}"), schema)),
                );
            }
            _ => {}
        }
    }
    found
}

/// A part with what its references may lead to.
fn alone(part: &Value, root: &Value) -> Value {
    let Value::Object(map) = part else {
        return part.clone();
    };
    let mut map = map.clone();
    for key in ["$defs", "definitions", "components"] {
        if let Some(shared) = root.get(key) {
            map.entry(key).or_insert_with(|| shared.clone());
        }
    }
    Value::Object(map)
}

/// What the library says, without the keyword's name or with several, and the keywords it may be about.
const SAID: [(&str, &[&str]); 7] = [
    ("patternProperty", &["patternProperties"]),
    ("regex", &["pattern", "patternProperties", "format"]),
    ("Regex", &["pattern", "format"]),
    ("`oneOf`", &["oneOf"]),
    ("min/maxProperties", &["minProperties", "maxProperties"]),
    ("Invalid type", &["type"]),
    ("Invalid range", &["maximum", "minimum"]),
];

fn keyword<'v>(schema: &'v Value, why: &str) -> Option<&'v str> {
    let map = schema.as_object()?;
    // Of several, the first that the complaint has is what is wrong.
    let place = |key: &String| {
        let spelled = [
            format!("'{key}'"),
            format!("{key} must be"),
            format!("{key} ("),
        ];
        spelled.iter().find_map(|text| why.find(text))
    };
    let spelled = map.keys().filter_map(|key| Some((place(key)?, key)));
    if let Some((_, key)) = spelled.min_by_key(|(at, _)| *at) {
        return Some(key.as_str());
    }
    let (_, about) = SAID.iter().find(|(said, _)| why.contains(said))?;
    let (key, _) = about.iter().find_map(|key| map.get_key_value(*key))?;
    Some(key.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_smallest_part_that_fails_alike_is_named() {
        let fails = |schema: Value| {
            let text = schema.to_string();
            text.contains("\"bad\"").then(|| Flaw::new("", "is bad"))
        };
        let located = |schema: Value| locate(&schema, Flaw::new("", "is bad"), fails).path;
        assert_eq!(
            located(
                json!({"properties": {"a": {"type": "string"}, "b": {"items": {"pattern": "bad"}}}})
            ),
            "properties.b.items"
        );
        assert_eq!(located(json!({"pattern": "bad"})), "");
        assert_eq!(
            located(json!({"anyOf": [{}, {"pattern": "bad"}]})),
            "anyOf[1]"
        );
    }
}
