//! Schemas of every kind: whatever answer comes to its end is JSON that the schema allows.

use serde_json::{Value, json};

use super::valid::valid;
use super::*;

fn kinds() -> Vec<Value> {
    let short = json!({"type": "string", "maxLength": 6});
    let person = json!({"type": "object", "properties": {"name": short, "age": {"type": "integer", "minimum": 0, "maximum": 130}},
        "required": ["name", "age"], "additionalProperties": false});
    vec![
        json!(true),
        json!({"type": "null"}),
        json!({"type": "boolean"}),
        json!({"type": "string"}),
        json!({"type": "string", "minLength": 2, "maxLength": 4}),
        json!({"type": "string", "pattern": "^[A-Z][a-z]{1,5}$"}),
        json!({"type": "string", "pattern": "ab", "maxLength": 3}),
        json!({"type": "string", "pattern": "^\\d{2}$", "maxLength": 2}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "format": "time"}),
        json!({"type": "string", "format": "ipv4"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "string", "format": "email"}),
        json!({"type": "string", "format": "uri"}),
        json!({"type": "integer"}),
        json!({"type": "integer", "minimum": -5, "maximum": 17}),
        json!({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 8}),
        json!({"type": "integer", "multipleOf": 7}),
        json!({"type": "number", "multipleOf": 0.01, "exclusiveMinimum": 0, "maximum": 2.5}),
        json!({"type": "number", "multipleOf": 0.07, "minimum": -1, "maximum": 9}),
        json!({"type": "number", "minimum": 0.5, "maximum": 1.25}),
        json!({"type": "number", "exclusiveMinimum": 0}),
        json!({"type": "number", "exclusiveMinimum": 50, "maximum": 50.5}),
        json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
        json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}),
        json!({"type": ["string", "null"], "maxLength": 3}),
        json!({"enum": ["red", "green", 3, null, {"a": [1]}]}),
        json!({"const": {"kind": "cat", "legs": 4}}),
        json!({"type": "array", "items": {"type": "integer"}}),
        json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3}),
        json!({"type": "array", "prefixItems": [{"type": "integer"}, {"const": "x"}], "items": false, "minItems": 2}),
        json!({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "boolean"}, "maxItems": 3}),
        person,
        json!({"type": "object", "properties": {"a": short, "b": {"type": "boolean"}, "c": {"type": "null"}},
            "required": ["b"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": {"type": "integer"}}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": true}),
        json!({"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 1}),
        json!({"type": "object", "patternProperties": {"^n[0-9]$": {"type": "integer"}}, "additionalProperties": false}),
        json!({"type": "object", "properties": {"inner": {"type": "object", "properties": {"list": {"type": "array",
            "items": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": false},
            "maxItems": 2}}, "required": ["list"], "additionalProperties": false}}, "required": ["inner"], "additionalProperties": false}),
        json!({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "null"}, "maxItems": 2}]}),
        json!({"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}], "$defs": {"a": {"type": "integer", "minimum": 10}}}),
        json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
                "required": ["kind", "lives"], "additionalProperties": false},
            {"type": "object", "properties": {"kind": {"const": "dog"}, "barks": {"type": "boolean"}},
                "required": ["kind", "barks"], "additionalProperties": false}]}),
        json!({"oneOf": [{"type": "string", "maxLength": 3}, {"type": "integer"}]}),
        json!({"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], "discriminator": {"propertyName": "kind"}, "$defs": {
            "cat": {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"],
                "additionalProperties": false},
            "dog": {"type": "object", "properties": {"kind": {"const": "dog"}, "barks": {"type": "boolean"}}, "required": ["kind"],
                "additionalProperties": false}}}),
        json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "boolean"}, "maxProperties": 2}),
        json!({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 9}]}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]}]}),
        // A list by reference to itself.
        json!({"type": "object", "properties": {"on": {"type": "boolean"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["on", "next"], "additionalProperties": false}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"kids": {"type": "array",
            "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}}, "required": ["kids"], "additionalProperties": false}}}),
        // As pydantic writes it.
        json!({"$defs": {"Color": {"enum": ["red", "blue"], "title": "Color", "type": "string"}},
            "properties": {"color": {"$ref": "#/$defs/Color"}, "note": {"anyOf": [{"type": "string", "maxLength": 4}, {"type": "null"}],
            "default": null, "title": "Note"}}, "required": ["color"], "title": "Paint", "type": "object", "additionalProperties": false}),
    ]
}

#[test]
fn whatever_comes_to_its_end_is_what_the_schema_allows() {
    let grammars = grammars();
    let kinds = kinds();
    assert!(kinds.len() >= 40);
    for schema in kinds {
        let said = walks(&grammars, &Rule::JsonSchema(schema.clone()), 250);
        assert!(!said.is_empty(), "no answer to {schema} came to an end");
        for text in said {
            let value: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{schema}: {text:?} is not JSON: {error}"));
            assert!(
                valid(&value, &schema, &schema),
                "{schema} does not allow {text}"
            );
        }
    }
}

/// An object where a name that has a schema comes a second time, by the code of a letter, would follow no schema.
#[test]
fn a_name_that_is_taken_does_not_come_again_by_its_codes() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]});
    let mut guide = guide(&grammars(), Rule::JsonSchema(schema)).unwrap();
    for byte in b"{\"a\":null,\"" {
        guide.accept(u32::from(*byte)).unwrap();
    }
    let mut open = guide.clone();
    assert_eq!(open.allowed(&[b'b'.into(), b'"'.into()]), 2);
    assert_eq!(guide.allowed(&[b'\\'.into(), b'u'.into()]), 1);
}

/// As ECMAScript reads it; to other readers the first set would hold a second one.
#[test]
fn a_set_of_characters_holds_brackets() {
    let schema = json!({"type": "string", "pattern": "^[^[\\]]{1,3}$"});
    let said = walks(&grammars(), &Rule::JsonSchema(schema), 40);
    assert!(!said.is_empty());
    for text in said {
        let text: String = serde_json::from_str(&text).unwrap();
        let count = text.chars().count();
        assert!(
            (1..=3).contains(&count) && !text.contains(['[', ']']),
            "{text}"
        );
    }
}

#[test]
fn any_object_is_an_object() {
    let said = walks(&grammars(), &Rule::JsonObject, 200);
    assert!(!said.is_empty());
    for text in said {
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value.is_object(), "{text}");
    }
}

#[test]
fn blank_space_does_not_go_on() {
    let grammars = grammars();
    let mut guide = guide(&grammars, Rule::JsonObject).unwrap();
    guide.accept(b'{'.into()).unwrap();
    let blanks = [b' ', b'\n', b'\t', b'\r'].map(u32::from);
    let mut count = 0;
    loop {
        let mask = guide.mask().unwrap();
        let Some(blank) = blanks.iter().rev().find(|id| mask.allows(**id)) else {
            break;
        };
        guide.accept(*blank).unwrap();
        count += 1;
        assert!(count < 100, "blank space goes on");
    }
}
