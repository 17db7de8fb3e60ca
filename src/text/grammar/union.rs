//! `oneOf` of references. The library compares schemas where they stand and leads no reference to its target, so it would
//! refuse the unions that pydantic writes. Where the targets exclude one another, `anyOf` says the same and needs no proof.

use serde_json::{Map, Value, json};

/// Comparisons in one schema; what needs more is left as it is.
pub const COMPARED: usize = 100_000;
/// References in a row, and properties within one another.
const DEEP: usize = 8;
/// Bytes of a reference, which is followed at each comparison.
const PATH: usize = 200;

/// `map`: a schema's keywords. `whole`: where its references lead. `left`: comparisons that may still be made.
pub fn settle(map: &mut Map<String, Value>, whole: &Value, left: &mut usize) {
    let Some(Value::Array(options)) = map.get("oneOf") else {
        return;
    };
    if !options.iter().any(|option| option.get("$ref").is_some()) {
        return;
    }
    let mut pairs = (0..options.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    if !pairs.all(|(a, b)| exclude(&options[a], &options[b], whole, DEEP, left)) {
        return;
    }
    let options = map.remove("oneOf");
    if map.contains_key("anyOf") {
        let all = map.entry("allOf").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(json!({"anyOf": options}));
        }
    } else {
        map.insert("anyOf".to_owned(), options.into());
    }
}

/// Whether no value can follow both.
fn exclude<'v>(
    a: &'v Value,
    b: &'v Value,
    whole: &'v Value,
    deep: usize,
    left: &mut usize,
) -> bool {
    let (Some(a), Some(b)) = (target(a, whole), target(b, whole)) else {
        return false;
    };
    let (len_a, len_b) = (length(a, "enum"), length(b, "enum"));
    let names = length(a, "required") + length(b, "required");
    match left.checked_sub((1 + len_a) * (1 + len_b) + names) {
        Some(rest) => *left = rest,
        None => {
            *left = 0;
            return false;
        }
    }
    if let (Some(a), Some(b)) = (values(a), values(b)) {
        return !a.iter().any(|one| b.contains(one));
    }
    let (kinds_a, kinds_b) = (kinds(a), kinds(b));
    if let (Some(a), Some(b)) = (&kinds_a, &kinds_b)
        && !a.iter().any(|kind| b.contains(kind))
    {
        return true;
    }
    let objects = |kinds: &Option<Vec<&str>>| kinds.as_deref() == Some(&["object"]);
    if deep == 0 || !(objects(&kinds_a) || objects(&kinds_b)) {
        return false;
    }
    { required(a).chain(required(b)) }.any(|name| {
        let both = property(a, name).zip(property(b, name));
        both.is_some_and(|(a, b)| exclude(a, b, whole, deep - 1, left))
    })
}

fn property<'v>(schema: &'v Value, name: &str) -> Option<&'v Value> {
    schema.get("properties")?.get(name)
}

/// Of a list that a keyword holds.
fn length(schema: &Value, key: &str) -> usize {
    schema
        .get(key)
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// What a schema refers to, or itself.
fn target<'v>(schema: &'v Value, whole: &'v Value) -> Option<&'v Value> {
    let mut at = schema;
    for _ in 0..DEEP {
        match at.get("$ref") {
            Some(to) => {
                let to = to.as_str().filter(|to| to.len() <= PATH)?;
                at = whole.pointer(to.strip_prefix('#')?)?;
            }
            None => return Some(at),
        }
    }
    None
}

/// The values that are allowed, where they are told and none is equal to one that is written differently.
fn values(schema: &Value) -> Option<Vec<&Value>> {
    let told = match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => vec![value],
        (None, list) => list?.as_array()?.iter().collect(),
    };
    let simple = |value: &&Value| value.is_string() || value.is_boolean() || value.is_null();
    told.iter().all(simple).then_some(told)
}

/// The types that are allowed, where they are told.
fn kinds(schema: &Value) -> Option<Vec<&str>> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match (schema.get("type"), schema.get("const")) {
        (Some(Value::String(name)), _) => Some(vec![wide(name)]),
        (Some(Value::Array(names)), _) => {
            names.iter().map(|name| name.as_str().map(wide)).collect()
        }
        (Some(_), _) => None,
        (None, Some(value)) => Some(vec![kind(value)]),
        (None, None) => Some(schema.get("enum")?.as_array()?.iter().map(kind).collect()),
    }
}

fn wide(name: &str) -> &str {
    if name == "integer" { "number" } else { name }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(options: Value) -> bool {
        let pet = |kind: Value| json!({"type": "object", "properties": {"kind": kind, "n": {"type": "integer"}}, "required": ["kind"]});
        let whole = json!({"$defs": {
            "cat": pet(json!({"const": "cat"})), "dog": pet(json!({"$ref": "#/$defs/name"})), "name": {"enum": ["dog", "wolf"]},
            "any": pet(json!({"type": "string"})), "open": {"properties": {"kind": {"const": "x"}}, "required": ["kind"]},
            "opener": {"properties": {"kind": {"const": "y"}}, "required": ["kind"]},
            "loose": {"type": "object", "properties": {"kind": {"const": "z"}}},
            "looser": {"type": "object", "properties": {"kind": {"const": "w"}}},
            "whole": {"type": "integer"}, "real": {"type": "number"}, "round": {"$ref": "#/$defs/round"},
        }});
        let mut map = Map::new();
        map.insert("oneOf".to_owned(), options.clone());
        settle(&mut map, &whole, &mut 1_000);
        let any = map.get("anyOf") == Some(&options);
        assert_ne!(any, map.get("oneOf") == Some(&options));
        any
    }

    #[test]
    fn unions_whose_parts_exclude_one_another_are_settled() {
        let of = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
        for (options, excluded) in [
            (json!([of("cat"), of("dog")]), true),
            (
                json!([of("cat"), of("dog"), {"type": ["null", "array"]}]),
                true,
            ),
            (json!([of("cat"), of("loose")]), true),
            (json!([of("cat"), of("open")]), true),
            (json!([of("whole"), {"const": "a"}]), true),
            // One may lack the name, or be of any type, or hold for what the other holds for.
            (json!([of("loose"), of("looser")]), false),
            (json!([of("open"), of("opener")]), false),
            (json!([of("cat"), of("cat")]), false),
            (json!([of("dog"), of("any")]), false),
            (json!([of("whole"), of("real")]), false),
            (json!([of("round"), of("cat")]), false),
            (json!([of("none"), of("cat")]), false),
            // The library sees these itself.
            (json!([{"type": "string"}, {"type": "null"}]), false),
        ] {
            assert_eq!(settled(options.clone()), excluded, "{options}");
        }
    }

    #[test]
    fn what_else_is_asked_for_stays() {
        let mut map = json!({"anyOf": [{}], "allOf": [{}], "oneOf": [{"$ref": "#/a"}]});
        settle(map.as_object_mut().unwrap(), &json!({"a": {}}), &mut 10);
        let both = json!({"anyOf": [{}], "allOf": [{}, {"anyOf": [{"$ref": "#/a"}]}]});
        assert_eq!(map, both);
    }

    /// Each name leads to all of them again.
    #[test]
    fn comparing_comes_to_an_end() {
        let names: Vec<String> = (0..50).map(|n| format!("n{n}")).collect();
        let again = |to: &str| -> Map<String, Value> {
            let to = json!({"$ref": to});
            names.iter().map(|n| (n.clone(), to.clone())).collect()
        };
        let whole = json!({
            "a": {"type": "object", "properties": again("#/a"), "required": names},
            "b": {"type": "object", "properties": again("#/b"), "required": names},
        });
        let mut map = json!({"oneOf": [{"$ref": "#/a"}, {"$ref": "#/b"}]});
        let mut left = COMPARED;
        settle(map.as_object_mut().unwrap(), &whole, &mut left);
        assert!(left == 0 && map.get("oneOf").is_some());
    }
}
