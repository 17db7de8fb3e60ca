//! JSON Schema (2020-12, as OpenAPI 3.1 uses it) of the tables.

use serde_json::{Map, Value, json};

use super::{Field, Kind, Neutral, Shape};

/// The object's own schema; objects inside are references under `#/components/schemas`, collected in `named`.
pub(in super::super) fn shape_schema(
    shape: &'static Shape,
    named: &mut Map<String, Value>,
) -> Value {
    if !named.contains_key(shape.name) {
        // Reserved first: a shape may contain itself.
        named.insert(shape.name.to_owned(), Value::Null);
        let mut properties = Map::new();
        for field in shape.all() {
            let mut schema = field_schema(field, named);
            if let Value::Object(map) = &mut schema
                && !field.about.is_empty()
            {
                map.insert("description".to_owned(), json!(field.about));
            }
            properties.insert(field.name.to_owned(), schema);
        }
        let required: Vec<&str> = shape
            .all()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        let mut schema = json!({
            "type": "object",
            "description": shape.about,
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        named.insert(shape.name.to_owned(), schema);
    }
    json!({"$ref": format!("#/components/schemas/{}", shape.name)})
}

/// With the values that count as absent.
fn field_schema(field: &'static Field, named: &mut Map<String, Value>) -> Value {
    let schema = kind_schema(&field.kind, named);
    let neutral: Vec<Value> = field.neutral.iter().flat_map(Neutral::examples).collect();
    match (&field.kind, neutral.is_empty()) {
        (_, true) => schema,
        (Kind::Unbuilt(_), false) => {
            let values: Vec<Value> = std::iter::once(Value::Null).chain(neutral).collect();
            json!({ "enum": values })
        }
        (_, false) => json!({"anyOf": [schema, {"enum": neutral}]}),
    }
}

pub(in super::super) fn kind_schema(kind: &'static Kind, named: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Integer { min, max } => {
            let mut schema = json!({"type": "integer"});
            if *min > i64::MIN {
                schema["minimum"] = json!(min);
            }
            if *max < i64::MAX {
                schema["maximum"] = json!(max);
            }
            schema
        }
        Kind::Number(range) => {
            let mut schema = json!({"type": "number"});
            for (end, excluded, name, without) in [
                (range.low, range.above, "minimum", "exclusiveMinimum"),
                (range.high, range.below, "maximum", "exclusiveMaximum"),
            ] {
                if end.is_finite() {
                    schema[if excluded { without } else { name }] = json!(end);
                }
            }
            schema
        }
        Kind::Text { min, .. } => match min {
            0 => json!({"type": "string"}),
            min => json!({"type": "string", "minLength": min}),
        },
        Kind::Choice(choices) => json!({"type": "string", "enum": choices}),
        Kind::List { of, min, max } => {
            let mut schema = json!({"type": "array", "items": kind_schema(of, named)});
            if *min > 0 {
                schema["minItems"] = json!(min);
            }
            if *max < usize::MAX {
                schema["maxItems"] = json!(max);
            }
            schema
        }
        Kind::Map { of, .. } => {
            json!({"type": "object", "additionalProperties": kind_schema(of, named)})
        }
        Kind::Object(shape) => shape_schema(shape, named),
        Kind::Either(kinds) => {
            let any: Vec<Value> = kinds.iter().map(|kind| kind_schema(kind, named)).collect();
            json!({"anyOf": any})
        }
        Kind::Unbuilt(_) => json!({"type": "null"}),
        Kind::Any => json!({}),
    }
}
