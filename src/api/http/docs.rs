//! The OpenAPI document, made from the route table, and a page to read it. No third-party host is involved.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::respond::bytes_response;
use super::routes::{Given, Row, Sent, Verb, rows};
use super::shape::{kind_schema, shape_schema};
use crate::api::access::Access;

static OPENAPI: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) async fn openapi(_call: Call) -> Outcome {
    Ok(bytes_response(200, "application/json", OPENAPI.as_str()))
}

pub(super) async fn page(_call: Call) -> Outcome {
    Ok(bytes_response(
        200,
        "text/html; charset=utf-8",
        include_str!("docs.html"),
    ))
}

fn document() -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for row in rows() {
        let path = row.path.replace("{*", "{");
        let verb = match row.verb {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Delete => "delete",
        };
        let operation = operation(row, &path, verb, &mut schemas);
        if let Value::Object(verbs) = paths.entry(path).or_insert_with(|| json!({})) {
            verbs.insert(verb.to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "adapterd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One quantized base model, many adapters in one batch, and a trainer that registers new ones live. \
                null, and the values listed as an `enum` beside a field, count as absent. Bodies may be sent with `content-encoding: gzip`. \
                A browser's request from another origin changes nothing unless `server.cors_origins` lists that origin: it is a 403.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    })
}

/// Either header will do; where keys are not asked for, none.
fn security(access: Access) -> Value {
    match access {
        Access::Open => json!([]),
        Access::Metrics => json!([{}, {"bearer": []}, {"header": []}]),
        Access::AnyKey | Access::Of(_) => json!([{"bearer": []}, {"header": []}]),
    }
}

fn operation(row: &'static Row, path: &str, verb: &str, schemas: &mut Map<String, Value>) -> Value {
    let words: Vec<&str> = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut operation = json!({
        "operationId": format!("{verb}_{}", words.join("_")),
        "tags": [row.tag],
        "summary": row.about,
        "description": row.access.told(),
        "security": security(row.access),
        "parameters": parameters(row, path, schemas),
        "responses": {
            "200": given(row.given, schemas),
            "default": {
                "description": "What went wrong.",
                "content": {"application/json": {"schema": shape_schema(row.dialect.shape(), schemas)}},
            },
        },
    });
    if let Some(body) = sent(row.sent, schemas) {
        operation["requestBody"] = body;
    }
    operation
}

fn parameters(row: &'static Row, path: &str, schemas: &mut Map<String, Value>) -> Vec<Value> {
    let named = path.split(['{', '}']).skip(1).step_by(2);
    let in_path = named.map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    );
    let mut parameters: Vec<Value> = in_path.collect();
    for field in row.query.into_iter().flat_map(|shape| shape.all()) {
        parameters.push(json!({
            "name": field.name,
            "in": "query",
            "description": field.about,
            "schema": kind_schema(&field.kind, schemas),
        }));
    }
    if matches!((row.sent, row.given), (Sent::Json(_), Given::Stream(..))) {
        parameters.push(json!({
            "name": "adapter",
            "in": "header",
            "description": "As the field `adapter`.",
            "schema": {"type": "string"},
        }));
    }
    parameters
}

fn sent(sent: Sent, schemas: &mut Map<String, Value>) -> Option<Value> {
    let mut content = Map::new();
    let required = !matches!(sent, Sent::Optional(_));
    match sent {
        Sent::Nothing => return None,
        Sent::Json(shape) | Sent::Optional(shape) => {
            content.insert(
                "application/json".to_owned(),
                json!({"schema": shape_schema(shape, schemas)}),
            );
        }
        Sent::Form(shape) => {
            content.insert(
                "multipart/form-data".to_owned(),
                json!({"schema": shape_schema(shape, schemas)}),
            );
        }
        Sent::Folder(shape) => {
            content.insert("application/x-tar".to_owned(), json!({"schema": {}}));
            content.insert("application/gzip".to_owned(), json!({"schema": {}}));
            let parts = json!({"type": "object", "additionalProperties": {"type": "string"}});
            content.insert("multipart/form-data".to_owned(), json!({"schema": parts}));
            content.insert(
                "application/json".to_owned(),
                json!({"schema": shape_schema(shape, schemas)}),
            );
        }
    }
    Some(json!({"required": required, "content": content}))
}

fn given(given: Given, schemas: &mut Map<String, Value>) -> Value {
    let content = match given {
        Given::Json(shape) => json!({"application/json": {"schema": shape_schema(shape, schemas)}}),
        Given::Stream(whole, piece) => json!({
            "application/json": {"schema": shape_schema(whole, schemas)},
            "text/event-stream": {"schema": shape_schema(piece, schemas)},
        }),
        Given::Raw(kind) => json!({kind: {"schema": {"type": "string"}}}),
    };
    json!({"description": "Done.", "content": content})
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_document_under_its_own_name() {
        let document = document();
        let mut names = HashSet::new();
        let mut count = 0;
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                assert!(
                    names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                    "{operation}"
                );
                assert_ne!(operation["tags"][0], "", "{operation}");
                count += 1;
            }
        }
        assert_eq!(count, rows().count());
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.get(name).is_some_and(Value::is_object), "{name}");
        }
    }
}
