//! `oneOf` of references. The library compares schemas where they stand and leads no reference to its target, so it would
//! refuse the unions that pydantic writes. Where the targets exclude one another, `anyOf` says the same and needs no proof.

use serde_json::{Map, Value, json};

/// Comparisons for one `oneOf`; those of more schemas are left as they are.
const COMPARED: usize = 2_000;
/// References in a row, and properties within one another.
const DEEP: usize = 8;

/// `map`: a schema's keywords. `whole`: where its references lead.
pub fn settle(map: &mut Map<String, Value>, whole: &Value) {
    let Some(Value::Array(options)) = map.get("oneOf") else {
        return;
    };
    let refers = options.iter().any(|option| option.get("$ref").is_some());
    if !refers || options.len() * options.len() > COMPARED {
        return;
    }
    let mut pairs = (0..options.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    if !pairs.all(|(a, b)| exclude(&options[a], &options[b], whole, DEEP)) {
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
fn exclude(a: &Value, b: &Value, whole: &Value, deep: usize) -> bool {
    let (Some(a), Some(b)) = (target(a, whole), target(b, whole)) else {
        return false;
    };
    let apart = |a: &[&Value], b: &[&Value]| !a.iter().any(|one| b.contains(one));
    if let (Some(a), Some(b)) = (values(a), values(b)) {
        return apart(&a, &b);
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
    let property = |of: &'_ Value, name: &str| of.get("properties")?.get(name).cloned();
    { required(a).chain(required(b)) }.any(|name| {
        let both = property(a, name).zip(property(b, name));
        both.is_some_and(|(a, b)| exclude(&a, &b, whole, deep - 1))
    })
}

/// What a schema refers to, or itself.
fn target<'v>(schema: &'v Value, whole: &'v Value) -> Option<&'v Value> {
    let mut at = schema;
    for _ in 0..DEEP {
        match at.get("$ref") {
            Some(to) => at = whole.pointer(to.as_str()?.strip_prefix('#')?)?,
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
        settle(&mut map, &whole);
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
        settle(map.as_object_mut().unwrap(), &json!({"a": {}}));
        let both = json!({"anyOf": [{}], "allOf": [{}, {"anyOf": [{"$ref": "#/a"}]}]});
        assert_eq!(map, both);
    }
}
