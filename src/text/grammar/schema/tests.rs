//! What is taken of schemas, and what is refused with its path.

use serde_json::json;

use super::*;

fn refused(schema: Value) -> String {
    prepare(&schema).unwrap_err().path
}

#[test]
fn what_is_not_followed_is_refused_by_its_path() {
    for (schema, path) in [
        (json!({"not": {}}), "not"),
        (
            json!({"properties": {"a": {"items": {"if": {}}}}}),
            "properties.a.items.if",
        ),
        (
            json!({"anyOf": [{}, {"contains": {}}]}),
            "anyOf[1].contains",
        ),
        (json!({"format": "iri"}), "format"),
        (json!({"uniqueItems": true}), "uniqueItems"),
        (
            json!({"propertyNames": {"type": "string", "pattern": "a"}}),
            "propertyNames",
        ),
        (json!({"nullable": true}), "nullable"),
        (json!({"minLenght": 3}), "minLenght"),
        (json!({"$ref": "http://example.com/a"}), "$ref"),
        (json!({"$ref": "#/$defs/none"}), "$ref"),
        (json!({"items": 5}), "items"),
        (json!({"anyOf": {}}), "anyOf"),
        (json!({"properties": []}), "properties"),
        (json!({"enum": []}), "enum"),
        (json!({"minItems": -1}), "minItems"),
        (json!({"maxItems": 1.5}), "maxItems"),
        (json!({"x-guidance": {}}), "x-guidance"),
        (json!({"items": {"multipleOf": 1e-12}}), "items.multipleOf"),
        (
            json!({"properties": {"a": {"$id": "http://x/a", "items": {"$ref": "#"}}}}),
            "properties.a.items.$ref",
        ),
        (json!(false), ""),
        (json!("text"), ""),
    ] {
        assert_eq!(refused(schema.clone()), path, "{schema}");
    }
}

#[test]
fn annotations_are_taken_out_or_left_alone() {
    let schema = json!({
        "title": "T", "deprecated": true, "x-order": 3, "discriminator": {"propertyName": "a"},
        "uniqueItems": false, "nullable": false, "format": "int32", "comment": "mine",
        "propertyNames": {"type": "string"}, "unevaluatedProperties": true,
        "properties": {"deprecated": {"type": "string", "example": "b"}},
    });
    let kept = json!({
        "title": "T", "comment": "mine", "properties": {"deprecated": {"type": "string"}},
    });
    assert_eq!(prepare(&schema).unwrap(), kept);
}

#[test]
fn references_are_followed_to_where_no_keyword_leads() {
    let schema = json!({
        "$ref": "#/components/schemas/A",
        "components": {"schemas": {"A": {"type": "string", "xml": {}}, "B": {"not": {}}}},
    });
    let prepared = prepare(&schema).unwrap();
    assert_eq!(
        prepared["components"]["schemas"]["A"],
        json!({"type": "string"})
    );
    let schema = json!({"$ref": "#/components/B", "components": {"B": {"not": {}}}});
    assert_eq!(refused(schema), "components.B.not");
}

#[test]
fn a_reference_that_leads_to_itself_is_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    ] {
        assert!(refused(schema.clone()).ends_with("$ref"), "{schema}");
    }
    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    assert!(prepare(&tree).is_ok());
}

#[test]
fn what_is_too_much_is_refused_by_its_path() {
    let mut deep = json!({"type": "string"});
    for _ in 0..=DEPTH {
        deep = json!({"items": deep});
    }
    let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let names: Map<String, Value> = many(PROPERTIES + 1)
        .into_iter()
        .map(|n| (n, json!({})))
        .collect();
    for (schema, path) in [
        (deep, "items"),
        (json!({"items": {"enum": many(CHOICES + 1)}}), "items.enum"),
        (json!({"properties": names}), "properties"),
        (json!({"anyOf": vec![json!({}); SCHEMAS + 1]}), "anyOf["),
        (json!({"maxLength": 1e9}), "maxLength"),
        (json!({"description": "x".repeat(SOURCE_BYTES)}), ""),
    ] {
        let flaw = prepare(&schema).unwrap_err();
        assert!(flaw.too_complex && flaw.path.starts_with(path), "{flaw:?}");
    }
}
