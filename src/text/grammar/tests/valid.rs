//! Whether a value follows a schema: of the keywords these tests use, straight from the standard.

use regex::Regex;
use serde_json::{Map, Value};

pub fn valid(value: &Value, schema: &Value, root: &Value) -> bool {
    let Value::Object(schema) = schema else {
        return schema != &Value::Bool(false);
    };
    schema
        .iter()
        .all(|(key, says)| keyword(value, key, says, schema, root))
}

fn keyword(
    value: &Value,
    key: &str,
    says: &Value,
    schema: &Map<String, Value>,
    root: &Value,
) -> bool {
    let fits = |schema: &Value| valid(value, schema, root);
    let list = || says.as_array().unwrap();
    let count = says.as_u64().map(|n| n as usize);
    let number = says.as_f64();
    match (key, value) {
        ("$ref", _) => fits(root.pointer(&says.as_str().unwrap()[1..]).unwrap()),
        ("type", _) => match says {
            Value::String(name) => is(value, name),
            names => names
                .as_array()
                .unwrap()
                .iter()
                .any(|name| is(value, name.as_str().unwrap())),
        },
        ("const", _) => same(value, says),
        ("enum", _) => list().iter().any(|one| same(one, value)),
        ("anyOf", _) => list().iter().any(fits),
        ("oneOf", _) => list().iter().filter(|one| fits(one)).count() == 1,
        ("allOf", _) => list().iter().all(fits),
        ("minLength", Value::String(text)) => text.chars().count() >= count.unwrap(),
        ("maxLength", Value::String(text)) => text.chars().count() <= count.unwrap(),
        ("pattern", Value::String(text)) => {
            Regex::new(says.as_str().unwrap()).unwrap().is_match(text)
        }
        ("format", Value::String(text)) => format(text, says.as_str().unwrap()),
        ("minimum", Value::Number(n)) => n.as_f64() >= number,
        ("maximum", Value::Number(n)) => n.as_f64() <= number,
        ("exclusiveMinimum", Value::Number(n)) => n.as_f64() > number,
        ("exclusiveMaximum", Value::Number(n)) => n.as_f64() < number,
        ("multipleOf", Value::Number(n)) => {
            let times = n.as_f64().unwrap() / number.unwrap();
            (times - times.round()).abs() < 1e-6 * times.abs().max(1.0)
        }
        ("minItems", Value::Array(items)) => items.len() >= count.unwrap(),
        ("maxItems", Value::Array(items)) => items.len() <= count.unwrap(),
        ("prefixItems", Value::Array(items)) => items
            .iter()
            .zip(list())
            .all(|(item, schema)| valid(item, schema, root)),
        ("items", Value::Array(items)) => {
            let first = schema
                .get("prefixItems")
                .map_or(0, |p| p.as_array().unwrap().len());
            items.iter().skip(first).all(|item| valid(item, says, root))
        }
        ("minProperties", Value::Object(map)) => map.len() >= count.unwrap(),
        ("maxProperties", Value::Object(map)) => map.len() <= count.unwrap(),
        ("required", Value::Object(map)) => list()
            .iter()
            .all(|name| map.contains_key(name.as_str().unwrap())),
        ("properties", Value::Object(map)) => {
            let says = says.as_object().unwrap();
            says.iter()
                .all(|(name, schema)| map.get(name).is_none_or(|value| valid(value, schema, root)))
        }
        ("patternProperties", Value::Object(map)) => {
            says.as_object().unwrap().iter().all(|(pattern, schema)| {
                let pattern = Regex::new(pattern).unwrap();
                let named = map.iter().filter(|(name, _)| pattern.is_match(name));
                named
                    .into_iter()
                    .all(|(_, value)| valid(value, schema, root))
            })
        }
        ("additionalProperties", Value::Object(map)) => map
            .iter()
            .filter(|(name, _)| is_additional(name, schema))
            .all(|(_, value)| valid(value, says, root)),
        _ => true,
    }
}

fn is_additional(name: &str, schema: &Map<String, Value>) -> bool {
    let named = schema
        .get("properties")
        .is_some_and(|p| p.get(name).is_some());
    let patterns = schema.get("patternProperties").and_then(Value::as_object);
    let matched = patterns.is_some_and(|p| p.keys().any(|p| Regex::new(p).unwrap().is_match(name)));
    !named && !matched
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("{other}"),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn format(text: &str, name: &str) -> bool {
    match name {
        "date" => chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        "date-time" => text.len() >= 20 && text.as_bytes()[10].eq_ignore_ascii_case(&b'T'),
        "time" => text.len() >= 9 && text.as_bytes()[2] == b':',
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "uuid" => uuid::Uuid::parse_str(text).is_ok(),
        "email" => text.contains('@'),
        "uri" => text.contains(':'),
        _ => true,
    }
}
